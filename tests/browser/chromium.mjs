// The same with Chromium's own EventSource, in a page of the gateway: chromium.mjs URL BROWSER
import { chromium } from 'playwright-core';

const [url, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage();
await page.exposeFunction('print', (line) => console.log(line));
await page.goto(new URL('/livez', url).href); // EventSource must be of the same origin
await page.evaluate((address) => {
  const source = new EventSource(address);
  for (const kind of ['open', 'message', 'gap', 'cursor', 'error']) {
    source.addEventListener(kind, ({ data, lastEventId }) => {
      window.print(JSON.stringify({ kind, data, id: lastEventId }));
    });
  }
}, url);
process.stdin.resume();
process.stdin.on('end', () => browser.close());
