// The client in Chromium, in pages of the gateway's own origin, over HTTP/1.1: six connections for all tabs together.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { numbers, stage, texts, until } from './kit.mjs';

const urls = await stage.urls();
const run = Math.random().toString(36).slice(2, 8);
let browser, context, count = 0;

const live = () => `t/${run}/${++count}`;
const durable = () => `d/${run}/${++count}`;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.BROWSER,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});
after(() => browser.close());
afterEach(async () => {
  await context?.close();
  await until(async () => await stage.streams() === 0, 'no stream is left');
});

/** A tab with a gate `gate` that keeps what it hears in `heard`; `init` runs before anything else. */
async function tab(options = {}, { url = urls.open, init = null } = {}) {
  if (!context) {
    context = await browser.newContext();
    context.on('close', () => { context = null; });
  }
  const page = await context.newPage();
  await page.exposeFunction('freshToken', (...given) => stage.token(...given));
  if (init) await page.addInitScript(init);
  await page.goto(`${url}/livez`);
  await open(page, options);
  return page;
}

const open = (page, options) => page.evaluate(async (given) => {
  const { EventGate } = await import('/eventgate.js');
  const heard = { events: [], gaps: [], errors: [], tokens: 0 };
  if (given.grants) {
    given.token = () => {
      heard.tokens++;
      return window.freshToken(...given.grants);
    };
  }
  window.heard = heard;
  window.gate = new EventGate(undefined, {
    onGap: (gap) => heard.gaps.push(gap),
    onError: (error) => heard.errors.push([error.status, error.message]),
    ...given,
  });
}, options);

const subscribe = (page, channel, options = {}) => page.evaluate(([name, given]) => new Promise((resolve) => {
  window.gate.on(name, (data, event) => window.heard.events.push([event.channel, data]), { ...given, onOpen: resolve });
}), [channel, options]);

const heard = (page) => page.evaluate(() => window.heard);
const data = async (page, channel) => (await heard(page)).events.filter(([name]) => name === channel).map(([, value]) => value);
const publish = (page, channel, value) => page.evaluate((given) => window.gate.publish(...given), [channel, value]);
const withoutWorker = () => { delete window.SharedWorker; };
const withoutLocks = () => {
  Object.defineProperty(navigator, 'locks', { value: undefined });
  window.sources = 0;
  window.EventSource = class extends EventSource {
    constructor(...given) {
      super(...given);
      window.sources++;
    }
  };
};

async function expect(page, channel, values) {
  await until(async () => (await data(page, channel)).length >= values.length, `${values.length} events of ${channel}`);
  assert.deepEqual(await data(page, channel), values);
}

test('EventSource, and the gateway is killed in between', async () => {
  const [page, kept, told] = [await tab(), durable(), live()];
  await Promise.all([subscribe(page, kept), subscribe(page, told)]);
  await stage.log(kept, ...texts(1, 5));
  await expect(page, kept, numbers(1, 5));
  await stage.kill();
  await stage.log(kept, ...texts(6, 9));
  await stage.start();
  await expect(page, kept, numbers(1, 9));
  await stage.notify(told, '1');
  await expect(page, told, [1]);
  const { gaps, errors } = await heard(page);
  assert.deepEqual([gaps.map((gap) => [gap.reason, gap.channels]), errors], [[['reconnect', [told]]], []]);
});

test('8 tabs stay live over one connection', async () => {
  const common = live();
  const pages = [];
  for (let i = 0; i < 8; i++) pages.push(await tab());
  const own = pages.map(() => durable());
  await Promise.all(pages.flatMap((page, i) => [subscribe(page, common), subscribe(page, own[i])]));
  await until(async () => await stage.streams() === 1, 'one stream');
  await Promise.all(pages.map((page, i) => publish(page, own[i], i)));
  await stage.notify(common, ...texts(1, 20));
  await Promise.all(pages.map((page) => expect(page, common, numbers(1, 20)))); // what is under way when it is killed is lost
  await stage.kill();
  await Promise.all(own.map((channel) => stage.log(channel, '"meanwhile"')));
  await stage.start();
  await Promise.all(pages.map((page, i) => expect(page, own[i], [i, 'meanwhile'])));
  await stage.notify(common, ...texts(21, 30));
  await Promise.all(pages.map((page) => expect(page, common, numbers(1, 30))));
  assert.equal(await stage.streams(), 1);
  assert.ok((await Promise.all(pages.map(heard))).every(({ errors, gaps }) => errors.length === 0 && gaps.length === 1));
  await Promise.all(pages.slice(1).map((page) => page.close()));
  await until(async () => await stage.subscribers(own[7]) === 0, 'what a closed tab had is left out');
  await publish(pages[0], own[0], 'alone');
  await expect(pages[0], own[0], [0, 'meanwhile', 'alone']);
});

for (const [how, end] of [
  ['closes its gate', (page) => page.evaluate(() => window.gate.close())],
  ['is closed', (page) => page.close()],
  ['crashes', async (page) => {
    const session = await context.newCDPSession(page);
    session.send('Page.crash').catch(() => {});
    await new Promise((resolve) => { page.once('crash', resolve); });
  }],
]) {
  test(`without SharedWorker, the tab that leads ${how}: the next one goes on`, async () => {
    const channel = durable();
    const pages = [];
    for (let i = 0; i < 3; i++) {
      pages.push(await tab({}, { init: withoutWorker }));
      await subscribe(pages[i], channel);
    }
    await until(async () => await stage.streams() === 1, 'one stream');
    await stage.log(channel, ...texts(1, 5));
    await Promise.all(pages.map((page) => expect(page, channel, numbers(1, 5))));
    await Promise.all([end(pages[0]), stage.log(channel, ...texts(6, 9))]);
    await Promise.all(pages.slice(1).map((page) => expect(page, channel, numbers(1, 9))));
    await stage.log(channel, '10');
    await Promise.all(pages.slice(1).map((page) => expect(page, channel, numbers(1, 10))));
    await until(async () => await stage.streams() === 1, 'one stream');
  });
}

test('the SharedWorker dies: the tabs make another, and go on', async () => {
  const channel = durable();
  const pages = [await tab(), await tab()];
  await Promise.all(pages.map((page) => subscribe(page, channel)));
  await stage.log(channel, '1', '2');
  await Promise.all(pages.map((page) => expect(page, channel, [1, 2])));
  const session = await browser.newBrowserCDPSession();
  const { targetInfos } = await session.send('Target.getTargets', { filter: [{ type: 'shared_worker' }] });
  assert.equal(targetInfos.length, 1);
  await session.send('Target.closeTarget', { targetId: targetInfos[0].targetId });
  await stage.log(channel, '3', '4');
  await Promise.all(pages.map((page) => expect(page, channel, [1, 2, 3, 4])));
  await until(async () => await stage.streams() === 1, 'one stream');
});

test('without locks each tab has a stream of its own', async () => {
  const channel = live();
  const pages = [await tab({}, { init: withoutLocks }), await tab({}, { init: withoutLocks })];
  await Promise.all(pages.map((page) => subscribe(page, channel)));
  assert.equal(await stage.streams(), 2);
  await stage.notify(channel, '1');
  await Promise.all(pages.map((page) => expect(page, channel, [1])));
  assert.equal(await pages[0].evaluate(() => window.sources), 1, 'by EventSource, since no header is needed');
});

test('a reload goes on at the stored cursor', async () => {
  const [page, channel] = [await tab({ resume: true }), durable()];
  await subscribe(page, channel);
  await publish(page, channel, 1);
  await expect(page, channel, [1]);
  await page.goto('about:blank');
  await stage.log(channel, '2', '3');
  await page.goto(`${urls.open}/livez`);
  await open(page, { resume: true });
  await subscribe(page, channel);
  await expect(page, channel, [2, 3]);
});

test('a token goes in a header and is fresh, for all tabs', async () => {
  const channel = durable(), grants = [[channel], [channel], 4];
  const pages = [await tab({ grants }, { url: urls.guarded }), await tab({ grants }, { url: urls.guarded })];
  await Promise.all(pages.map((page) => subscribe(page, channel)));
  for (let i = 1; i <= 8; i++) {
    await publish(pages[i % 2], channel, i);
    await new Promise((resolve) => { setTimeout(resolve, 600); });
  }
  await Promise.all(pages.map((page) => expect(page, channel, numbers(1, 8))));
  assert.ok((await heard(pages[1])).tokens >= 2);
  assert.equal(await stage.streams('guarded'), 1);
  await subscribe(pages[0], channel);
  await pages[0].evaluate(() => window.gate.on('d/of/others', () => {}));
  await until(async () => (await heard(pages[0])).errors.length === 1, 'the error');
  const [[status, sentence]] = (await heard(pages[0])).errors;
  assert.ok(status === 403 && sentence.includes('d/of/others'), sentence);
});

test('where streams do not get through, long-poll does', async () => {
  const [page, channel] = [await tab({ streamTimeout: 500 }, { url: urls.buffering }), durable()];
  await subscribe(page, channel);
  await stage.log(channel, ...texts(1, 20));
  await expect(page, channel, numbers(1, 20));
});

test('what EventSource cannot tell is asked for: the sentence of a refusal', async () => {
  const page = await tab();
  await page.evaluate(() => window.gate.on('elsewhere', () => {}));
  await until(async () => (await heard(page)).errors.length === 1, 'the error');
  const [[status, sentence]] = (await heard(page)).errors;
  assert.ok(status === 404 && sentence.startsWith('There is no channel "elsewhere"'), sentence);
});
