// An EventSource with credentials in a page of another origin, in Chromium: cross_origin.mjs URL PAGE COOKIE BROWSER
import { chromium } from 'playwright-core';

const [url, pageUrl, cookie, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext();
const [name, value] = cookie.split('=');
await context.addCookies([{ name, value, url: new URL(url).origin }]);
const page = await context.newPage();
await page.exposeFunction('print', (line) => console.log(line));
await page.goto(pageUrl);
await page.evaluate((address) => {
  const print = (kind, more) => window.print(JSON.stringify({ kind, ...more }));
  const source = new EventSource(address, { withCredentials: true });
  for (const kind of ['open', 'message', 'gap', 'cursor', 'error']) {
    source.addEventListener(kind, ({ data, lastEventId }) => {
      print(kind, { data, id: lastEventId, state: source.readyState });
    });
  }
  const post = { method: 'POST', body: '"by cookie"', credentials: 'include', headers: { 'Content-Type': 'application/json' } };
  window.post = () => fetch(address, post).then(
    (answer) => print('posted', { status: answer.status, id: answer.headers.get('X-Request-Id') }),
    () => print('posted', { status: 0 }),
  );
}, url);
process.stdin.on('data', () => page.evaluate(() => window.post()));
process.stdin.on('end', () => browser.close());
