// Pages in Chromium, each with a module of its own as it would stand in it: pages.mjs BROWSER. A line of JSON on standard
// input opens one, {"name", "url", "file", "cookie"?}, or clicks in it, {"name", "click": "#say"}. What it gives to
// show() is printed, a JSON line each.
import { readFile } from 'node:fs/promises';
import readline from 'node:readline';
import { chromium } from 'playwright-core';

const body = '<!doctype html><button id="say">Say</button>';
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const pages = new Map();

async function open({ name, url, file, cookie }) {
  const context = await browser.newContext();
  if (cookie) await context.addCookies([{ ...cookie, url }]);
  const page = await context.newPage();
  pages.set(name, page);
  const print = (kind) => (data) => console.log(JSON.stringify({ name, kind, data }));
  await page.exposeFunction('show', print('shown'));
  await page.exposeFunction('reload', print('reload'));
  page.on('pageerror', (error) => print('error')(String(error)));
  await page.route('**/app', (route) => route.fulfill({ body, contentType: 'text/html' }));
  await page.goto(`${url}/app`);
  await page.unrouteAll();
  await page.addScriptTag({ type: 'module', content: await readFile(file, 'utf8') });
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { click, ...given } = JSON.parse(line);
    return click ? pages.get(given.name).click(click) : open(given);
  })
  .on('close', () => browser.close());
