// How smooth the playground is at 1,000 events a second: prints JSON. measure.mjs [SECONDS]
import { chromium } from 'playwright-core';
import { stage, until } from './kit.mjs';

const PER_SECOND = 1000;
const seconds = Number(process.argv[2] ?? 30);
const { open: url } = await stage.urls();
const channel = `t/measured/${Math.random().toString(36).slice(2, 8)}`;
const browser = await chromium.launch({
  executablePath: process.env.BROWSER,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--enable-precise-memory-info'],
});

/** In the page: its long tasks, and the times of its frames. */
function watch() {
  window.measured = { tasks: [], frames: [] };
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.measured.tasks.push(duration);
  }).observe({ type: 'longtask' });
  const frame = (now) => {
    window.measured.frames.push(now);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.goto(`${url}/#channel=${channel}`);
  await until(async () => await page.locator('.chip.open').count() === 1, 'the subscription');
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const busy = async () => (await session.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration').value;
  await page.evaluate(watch);
  const before = await busy();
  await stage.rate(channel, PER_SECOND, seconds);
  const used = await busy() - before;
  const { tasks, frames } = await page.evaluate(() => window.measured);
  const wanted = new RegExp(`^${(PER_SECOND * seconds).toLocaleString('en')} events, 0 gaps`);
  await until(async () => wanted.test(await page.textContent('#kept')), 'every event');
  const intervals = frames.slice(1).map((at, i) => at - frames[i]);
  const usual = [...intervals].sort((a, b) => a - b)[Math.floor(intervals.length / 2)];
  console.log(JSON.stringify({
    seconds, events: PER_SECOND * seconds, tasks_over_50_ms: tasks.length, longest_task_ms: Math.round(Math.max(0, ...tasks)),
    main_thread_percent: Math.round(100 * used / seconds), frames: frames.length, frames_dropped: intervals.reduce((sum, each) => sum + Math.max(0, Math.round(each / usual) - 1), 0),
    longest_frame_ms: Math.round(Math.max(...intervals)), rows: await page.locator('#events .row').count(),
    elements: await page.locator('*').count(),
    heap_mib: Math.round(await page.evaluate(() => performance.memory.usedJSHeapSize) / 2 ** 20),
  }));
} finally {
  await browser.close();
}
