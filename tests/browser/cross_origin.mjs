// An EventSource with credentials in a page of another origin, in Chromium: cross_origin.mjs URL PAGE COOKIE BROWSER
// [FOREIGN]. "post" on standard input: that page publishes; "forge": a page of FOREIGN does, as any form could.
import readline from 'node:readline';
import { chromium } from 'playwright-core';

const [url, pageUrl, cookie, executablePath, foreignUrl] = process.argv.slice(2);
const overTls = url.startsWith('https:');
const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ ignoreHTTPSErrors: overTls });
const [name, value] = cookie.split('=');
const { hostname, origin } = new URL(url);
await context.addCookies([overTls
  ? { name, value, domain: hostname, path: '/', secure: true, httpOnly: true, sameSite: 'Lax' }
  : { name, value, url: origin }]);
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

async function forge() {
  const foreign = await context.newPage();
  await foreign.goto(foreignUrl);
  const answered = foreign.waitForResponse(url);
  await foreign.evaluate((address) => {
    fetch(address, { method: 'POST', body: '"forged"', mode: 'no-cors', credentials: 'include' }).catch(() => {});
  }, url);
  console.log(JSON.stringify({ kind: 'forged', status: (await answered).status() }));
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => (line === 'forge' ? forge() : page.evaluate(() => window.post())))
  .on('close', () => browser.close());
