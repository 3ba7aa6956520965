// Pages of the playground, and what their tests ask of them. A page must never say anything on the console, and never
// want what its policy forbids, but for what a test expects.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before } from 'node:test';
import { chromium } from 'playwright-core';
import { stage, until } from './kit.mjs';

export const urls = await stage.urls();
const run = Math.random().toString(36).slice(2, 8);
let browser, count = 0;
const contexts = [];

export const live = () => `t/${run}/${++count}`;
export const durable = () => `d/${run}/${++count}`;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.BROWSER,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});
after(() => browser.close());

/** A page at `address`, in a browser of its own; `complaints` are all that it said. */
export async function open(address = '', { base = urls.open, width = 1440, height = 900, context = null, ...options } = {}) {
  const own = context ?? await browser.newContext({ viewport: { width, height }, ...options });
  if (!context) contexts.push(own);
  const page = await own.newPage();
  page.complaints = [];
  page.expected = /^$/;
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(error.stack));
  await page.goto(`${base}/${address}`);
  pages.push(page);
  return page;
}

const pages = [];

afterEach(async () => {
  const said = pages.flatMap((page) => page.complaints.filter((text) => !page.expected.test(text)));
  pages.length = 0;
  await Promise.all(contexts.splice(0).map((context) => context.close()));
  assert.deepEqual(said, []);
});

/** An address that subscribes. */
export const to = (...channels) => `#${channels.map((name) => `channel=${name}`).join('&')}`;

/** A page whose subscriptions have begun. */
export async function subscribed(channels, options = {}) {
  const page = await open(to(...channels), options);
  await begun(page, channels.length);
  return page;
}

export const begun = (page, number) => until(async () => await page.locator('.chip.open').count() === number, `${number} subscriptions`);

export const texts = (page, selector) => page.locator(selector).allTextContents();

/** What the rows say that are in the document, in order: [kind, channel, data]. */
export const rows = (page) => page.locator('#events-rows .row:not([hidden])').evaluateAll((found) => found.map((row) => [
  ['event', 'gap', 'note'].find((kind) => row.classList.contains(kind)), row.querySelector('.channel').textContent,
  row.querySelector('.data').textContent]));

export const dataOf = async (page) => (await rows(page)).filter(([kind]) => kind === 'event').map(([, , data]) => data);

/** Waits until the events that are shown are these. */
export async function expectData(page, wanted) {
  let found = [];
  await until(async () => {
    found = await dataOf(page);
    return JSON.stringify(found) === JSON.stringify(wanted);
  }, () => ({ wanted, found }));
}

export const expectText = (page, selector, pattern) => until(
  async () => pattern.test((await texts(page, selector)).join(' ')), `${selector} says ${pattern}`);

const axe = await readFile(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** What axe-core finds wrong with the page. */
export async function violations(page) {
  await page.evaluate(axe); // by the debugger, which the page's policy does not bind
  const { violations: found } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return found.map(({ id, nodes }) => [id, nodes.map(({ html, any }) => [html.slice(0, 200), any[0]?.message])]);
}
