// People who have pages open in Chromium; each line of the input is something that one of them does.
//     {"do": "open", "browser": "a", "url": "..."}   {"do": "look", "page": 0}
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const browser = await chromium.launch({
  executablePath: process.env.BROWSER,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const contexts = {}, pages = [];

const does = {
  /** Pages of one `who` are in one browser, with one set of connections. */
  async open({ who, url }) {
    contexts[who] ??= await browser.newContext({ viewport: { width: 760, height: 640 } });
    const page = await contexts[who].newPage();
    page.on('pageerror', (error) => console.log(JSON.stringify({ error: String(error) })));
    await page.goto(url);
    return pages.push(page) - 1;
  },
  reload: ({ page }) => pages[page].reload(),
  click: ({ page, name }) => pages[page].getByRole('button', { name, exact: true }).click(),
  look: ({ page, script }) => pages[page].evaluate(script),
  screenshot: ({ page, file }) => pages[page].screenshot({ path: file }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const wanted = JSON.parse(line);
  console.log(JSON.stringify({ answer: await does[wanted.do](wanted) ?? null }));
}
await browser.close();
