// The same in Chromium, in a page of the gateway: chromium.mjs URL BROWSER [CLIENT [TOKEN]]
import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const [url, executablePath, client = 'eventsource', token] = process.argv.slice(2);
const imports = {
  'reconnecting-eventsource': '/node_modules/reconnecting-eventsource/build/esnext/reconnecting-eventsource.js',
  '@microsoft/fetch-event-source': '/node_modules/@microsoft/fetch-event-source/lib/esm/index.js',
};
const page_text = `<!doctype html><script type="importmap">${JSON.stringify({ imports })}</script>`;

/** The modules come from here as they are; one imports another without its ending, as bundlers allow. */
async function serve(route) {
  const { pathname } = new URL(route.request().url());
  const file = pathname.endsWith('js') ? pathname : `${pathname}.js`;
  await route.fulfill({ body: await readFile(new URL(`.${file}`, import.meta.url)), contentType: 'text/javascript' });
}

const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage();
await page.exposeFunction('print', (kind, data, id) => console.log(JSON.stringify({ kind, data, id })));
await page.route('**/page', (route) => route.fulfill({ body: page_text, contentType: 'text/html' }));
await page.route('**/*.mjs', serve);
await page.route('**/node_modules/**', serve);
await page.goto(new URL('/page', url).href); // EventSource must be of the same origin
await page.evaluate(async (name) => { window.client = await import(`/with_${name}.mjs`); }, client);
await page.unrouteAll();
await page.evaluate((given) => { window.client.default(...given, window.print); }, [url, token]);
process.stdin.resume();
process.stdin.on('end', () => browser.close());
