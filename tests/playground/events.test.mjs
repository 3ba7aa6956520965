// The playground's events: what comes is shown, and can be looked at, searched, held, and gone back to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numbers, stage, until } from './kit.mjs';
import { begun, dataOf, durable, expectData, expectText, live, open, rows, subscribed, texts, to } from './page.mjs';

const strings = (first, last) => numbers(first, last).map(String);

test('a first visit says what to do: one click, or a line in psql', async () => {
  const page = await open();
  await expectText(page, '#first-title', /Nothing is subscribed to yet/);
  await page.getByRole('button', { name: 'Subscribe to t/playground and publish a first event' }).click();
  await expectData(page, ['{"hello":"from the playground"}']);
  await expectText(page, '#connection', /Connected by EventSource/);
  assert.equal(await page.locator('#first-steps').isVisible(), false);
  const second = await open();
  await expectText(second, '#first-body code', /NOTIFY "t\/playground"/);
  await stage.sql((await texts(second, '.line code'))[0]);
  await expectData(page, ['{"hello":"from the playground"}', '{"hello":"from psql"}']);
  const third = await open(to('d/first'));
  await expectText(third, '#first-title', /Waiting for the first event/);
  const [line] = await texts(third, '.line code');
  assert.match(line, /^SELECT eventgate\.publish\('d\/first', /);
  await stage.sql(line);
  await expectData(third, ['{"hello":"from psql"}']);
});

test('several channels and patterns, chosen and typed, come and go', async () => {
  const [told, kept, other] = [live(), durable(), durable()];
  const page = await open();
  const box = page.getByRole('checkbox', { name: 'd/**' });
  await box.check();
  await page.getByLabel('Channels or patterns').fill(`${told}, ${kept}`);
  await page.keyboard.press('Enter');
  await until(async () => await page.locator('.chip.open').count() === 3, 'three subscriptions');
  await stage.notify(told, '1');
  await expectData(page, ['1']);
  await stage.log(kept, '2'); // by its name and by the pattern: once
  await expectData(page, ['1', '2']);
  await stage.log(other, '3');
  await expectData(page, ['1', '2', '3']);
  assert.equal(await page.evaluate(() => location.hash), `#channel=d/**&channel=${told}&channel=${kept}`);
  await page.getByRole('button', { name: 'Unsubscribe from d/**' }).click();
  await until(async () => !await box.isChecked(), 'the box is empty');
  const focused = () => page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.id);
  assert.equal(await focused(), `Unsubscribe from ${told}`);
  await until(async () => await stage.subscribers(other) === 0, 'the pattern is gone');
  await stage.log(other, '4');
  await stage.log(kept, '5');
  await expectData(page, ['1', '2', '3', '5']);
  await page.reload();
  await until(async () => await page.locator('.chip.open').count() === 2, 'what the address says');
  await page.getByRole('checkbox', { name: told }).uncheck();
  await page.getByRole('button', { name: `Unsubscribe from ${kept}` }).click();
  await expectText(page, '#connection', /Not subscribed/);
  assert.equal(await focused(), 'channel');
});

test('a live pattern cannot be listened to: its beginning is offered, to be gone on with', async () => {
  const page = await open();
  await page.getByRole('button', { name: 't/**' }).click();
  assert.equal(await page.getByLabel('Channels or patterns').inputValue(), 't/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'channel');
});

test('by each transport, and from one to the other nothing is lost or repeated', async () => {
  const kept = durable(), page = await subscribed([kept]);
  const asked = [];
  page.on('request', (request) => request.url().includes('/events?') && asked.push([request.resourceType(), request.url()]));
  let last = 0;
  for (const [label, said, type] of [['Fetch stream', 'fetch stream', 'fetch'], ['Long-poll', 'long-poll', 'fetch'],
    ['EventSource', 'EventSource', 'eventsource']]) {
    await stage.log(kept, String(++last));
    await expectData(page, strings(1, last));
    await page.getByLabel('Transport').selectOption({ label });
    await stage.log(kept, String(++last));
    await expectText(page, '#connection', new RegExp(`Connected by ${said}`));
    await expectData(page, strings(1, last));
    assert.equal(asked.at(-1)[0], type);
    assert.equal(asked.at(-1)[1].includes('format=poll'), label === 'Long-poll');
  }
  assert.equal(await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('transport')), 'eventsource');
});

test('an event as JSON, and from its cursor on again; a cursor that is pasted; the beginning', async () => {
  const [told, kept] = [live(), durable()], page = await subscribed([told, kept]);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await stage.log(kept, '{"n": 1, "big": 12345678901234567890}');
  await expectData(page, ['{"n":1,"big":12345678901234567000}']);
  await stage.notify(told, '2');
  await expectData(page, ['{"n":1,"big":12345678901234567000}', '2']);
  await stage.log(kept, '3');
  await until(async () => (await dataOf(page)).length === 3, 'three events');
  await page.locator('.row.event').first().click();
  const shown = JSON.parse((await texts(page, '#detail pre'))[0]);
  assert.deepEqual([shown.channel, shown.data.n, shown.id.includes('.')], [kept, 1, true]);
  await expectText(page, '#detail pre', /"big": 12345678901234567890$/m);
  await page.getByRole('button', { name: 'Copy cursor' }).click();
  const cursor = await page.evaluate(() => navigator.clipboard.readText());
  await page.getByRole('button', { name: 'Resume from here' }).click();
  await until(async () => (await rows(page)).length === 6, 'a note and two events more');
  const again = (await rows(page)).slice(3);
  assert.deepEqual(again.map(([kind, , data]) => [kind, data]), [['note', `Resumed from ${cursor}`], ['event', '2'], ['event', '3']]);
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByLabel('From', { exact: true }).selectOption('cursor');
  await page.getByLabel('Cursor, or an event’s id').fill(shown.id); // of the log alone: what of the live ones was missed isn't known
  await page.getByRole('button', { name: 'Resume' }).click();
  await until(async () => (await dataOf(page)).includes('3'), 'what came after the id');
  assert.deepEqual((await rows(page)).filter(([kind]) => kind === 'gap').map(([, title, data]) => [title, data.includes(told)]),
    [['Gap', true]]);
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByLabel('From', { exact: true }).selectOption('earliest');
  await page.getByRole('button', { name: 'Resume' }).click();
  await until(async () => (await dataOf(page)).length === 3, 'everything');
});

test('a place that is none is told, and everything goes on where it was; another address is followed', async () => {
  const [told, kept] = [live(), durable()], page = await subscribed([told, kept]);
  page.expected = /status of 400/;
  await stage.log(kept, '1');
  await expectData(page, ['1']);
  const before = await page.evaluate(() => location.hash);
  await page.getByLabel('From', { exact: true }).selectOption('cursor');
  await page.getByLabel('Cursor, or an event’s id').fill('garbage');
  await page.getByRole('button', { name: 'Resume' }).click();
  await expectText(page, '[role=alert]', /400/);
  await begun(page, 2);
  await stage.log(kept, '2');
  await expectData(page, ['1', '2']);
  await stage.notify(told, '3');
  await expectData(page, ['1', '2', '3']);
  assert.deepEqual([(await rows(page)).length, await page.evaluate(() => location.hash)], [3, before], 'no note says otherwise');
  const third = durable();
  await page.evaluate((hash) => { location.hash = hash; }, `${to(kept, third)}&after=garbage`);
  await until(async () => (await texts(page, '.chip.open span')).join() === `${kept},${third}`, 'what the address says');
  await stage.log(third, '4');
  await expectData(page, ['1', '2', '3', '4']);
  await page.evaluate(() => { location.hash = 'stream'; });
  await until(async () => await page.evaluate(() => location.hash) === to(kept, third), 'a place in the page is no address');
});

test('many subscriptions: they leave room for events, and are written to the address at once', async () => {
  const page = await open(), names = numbers(1, 60).map(() => durable());
  await page.evaluate(() => {
    window.written = 0;
    const { replaceState } = history;
    history.replaceState = (...given) => { window.written++; replaceState.apply(history, given); };
  });
  await page.evaluate((hash) => { location.hash = hash; }, to(...names));
  await begun(page, names.length);
  assert.ok(await page.evaluate(() => window.written) < 10);
  await page.setViewportSize({ width: 1280, height: 720 });
  await stage.log(names[0], '1');
  await expectData(page, ['1']);
  assert.ok((await page.locator('#events').boundingBox()).height > 100);
});

test('a gap looks like nothing else, and says why and where', async () => {
  const channels = [live(), durable()], page = await subscribed(channels);
  await stage.notify(channels[0], '1');
  await expectData(page, ['1']);
  await page.getByLabel('From', { exact: true }).selectOption('cursor');
  await page.getByLabel('Cursor, or an event’s id').fill('0~aaaaaaaaaa-1');
  await page.getByRole('button', { name: 'Resume' }).click();
  await until(async () => (await rows(page)).some(([kind]) => kind === 'gap'), 'the gap');
  await stage.notify(channels[0], '2');
  await expectData(page, ['1', '2']);
  const gap = page.locator('.row.gap');
  assert.match(await gap.textContent(), /Gap.*unknown: .* – events may be missing here/);
  for (const name of channels) assert.ok((await gap.textContent()).includes(name));
  const look = (row) => row.evaluate((element) => [getComputedStyle(element).backgroundColor, getComputedStyle(element).borderTopStyle]);
  assert.notDeepEqual(await look(gap), await look(page.locator('.row.event').first()));
  await expectText(page, '#kept', /2 events, 1 gap/);
  await expectText(page, '#announcements', /Gap: Events may be missing/);
  await page.getByRole('button', { name: '1 gap' }).click();
  await until(async () => await gap.getAttribute('aria-selected') === 'true', 'there is a way to it');
  await page.locator('#events').focus();
  await page.keyboard.press('Escape');
  await page.keyboard.press('g');
  await expectText(page, '#detail', /this is not an event.*cannot be read, or is of another log.*Load the state/);
  assert.equal(await page.locator('#detail pre').count(), 0);
  await page.getByPlaceholder('Search').fill('nothing that is there');
  await until(async () => JSON.stringify((await rows(page)).map(([kind]) => kind)) === '["note","gap"]', 'gaps are found by each search');
  await expectText(page, '#found', /^0 matches$/);
});

test('search, pause, one line of JSON, clear', async () => {
  const kept = durable(), page = await subscribed([kept]);
  await stage.log(kept, '{"item": "Tea (green)"}', '{"item": "milk"}', '{"item": "tea (black)"}');
  await until(async () => (await dataOf(page)).length === 3, 'three events');
  await page.getByPlaceholder('Search').fill('TEA (');
  await expectData(page, ['{"item":"Tea (green)"}', '{"item":"tea (black)"}']);
  await expectText(page, '#found', /^2 matches$/);
  await stage.log(kept, '{"item": "bread"}', '{"item": "ice tea (lemon)"}');
  await expectData(page, ['{"item":"Tea (green)"}', '{"item":"tea (black)"}', '{"item":"ice tea (lemon)"}']);
  await page.getByPlaceholder('Search').fill('');
  await until(async () => (await dataOf(page)).length === 5, 'all events');
  await page.getByRole('button', { name: 'Pause' }).click();
  await stage.log(kept, '6', '7');
  await expectText(page, '#waiting', /Paused: 2 entries waiting/);
  assert.equal((await dataOf(page)).length, 5);
  await page.locator('#pause').click();
  await until(async () => (await dataOf(page)).slice(5).join() === '6,7', 'what came meanwhile');
  await page.getByRole('button', { name: 'JSON', exact: true }).click();
  await until(async () => (await dataOf(page)).every((line) => JSON.parse(line).channel === kept), 'whole events');
  await page.getByRole('button', { name: 'Clear' }).click();
  await until(async () => (await rows(page)).length === 0, 'nothing is left');
  await stage.log(kept, '8');
  await until(async () => (await dataOf(page)).length === 1, 'it goes on');
});

test('whatever comes is text', async () => {
  const evil = '<img src=x onerror="window.wasHit = 1"><script>window.wasHit = 1</script>';
  const kept = `${durable()}/<b>bold</b>"'`, told = `${live()}/<i>\u202e`; // which turns what follows around
  const page = await open();
  await page.getByLabel('Channels or patterns').fill(`${kept}, ${told}`);
  await page.getByRole('button', { name: 'Subscribe', exact: true }).click();
  await until(async () => await page.locator('.chip.open').count() === 2, 'two subscriptions');
  await stage.sql(`select eventgate.publish('${kept.replace("'", "''")}', to_json($$${evil}$$::text), type => $$${evil}$$)`);
  await stage.notify(told, evil);
  await expectData(page, [JSON.stringify(evil), JSON.stringify(evil)]);
  for (const row of await page.locator('.row.event').all()) {
    await row.click();
    assert.ok((await texts(page, '#detail pre'))[0].includes(JSON.stringify(evil)));
  }
  await page.getByRole('button', { name: 'JSON', exact: true }).click();
  await page.getByLabel('Channel', { exact: true }).fill(evil);
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await expectText(page, '#publish-answer .bad', /40[04]: /);
  await page.getByLabel('Channels or patterns').fill(evil.replaceAll('/', ''));
  await page.getByRole('button', { name: 'Subscribe', exact: true }).click();
  await page.getByRole('alert').first().waitFor();
  page.expected = /status of 40[04]/;
  await until(async () => (await page.locator('#channels li').filter({ hasText: told.replace('\u202e', '\\u202e') }).count()) > 0, 'the listing has the name');
  assert.equal(await page.locator('img[src="x"], #stream b, #stream i, .side b, .side i, script:not([src])').count(), 0);
  assert.equal(await page.evaluate(() => window.wasHit), undefined);
  const isRefused = await page.evaluate((html) => {
    try {
      document.body.insertAdjacentHTML('beforeend', html);
      return false;
    } catch (error) {
      return error instanceof TypeError;
    }
  }, evil);
  assert.ok(isRefused, 'not even by mistake: Trusted Types');
  page.expected = /status of 40[04]|TrustedHTML/;
});

test('1,000 events a second: none is lost, and the page stays small', async () => {
  const told = live(), page = await subscribed([told]), many = 3000;
  let most = 0, spoken = 0;
  await page.evaluate(() => {
    window.spoken = 0;
    new MutationObserver(() => { window.spoken++; }).observe(document.getElementById('announcements'), { childList: true });
  });
  const sent = stage.rate(told, 1000, many / 1000);
  await until(async () => {
    most = Math.max(most, await page.locator('#events *').count());
    return /^3,000 events, 0 gaps/.test((await texts(page, '#kept'))[0]);
  }, 'all have come');
  await sent;
  spoken = await page.evaluate(() => window.spoken);
  assert.ok(most > 50 && most < 260, `${most} elements`);
  assert.ok(spoken <= 3, `${spoken} sentences`);
  await until(async () => (await dataOf(page)).at(-1) === String(many), 'the last one is seen');
  const [visible, rate] = await Promise.all([dataOf(page), texts(page, '#channels .rate.busy')]);
  assert.deepEqual(visible, strings(many - visible.length + 1, many), 'in order');
  assert.ok(rate.length > 0);
});

test('no more than 10,000 entries are kept', async () => {
  const kept = durable(), page = await subscribed([kept]);
  await stage.flood(kept, 11000);
  await expectText(page, '#kept', /^11,000 events, 0 gaps, the last 10,000 entries are kept$/);
  await page.locator('#events').focus();
  await page.keyboard.press('Home');
  await until(async () => (await dataOf(page))[0] === '1001', 'the oldest');
  await page.getByPlaceholder('Search').fill('"?10998"?');
  await until(async () => (await dataOf(page)).length === 0, 'it is no regular expression');
  await page.getByPlaceholder('Search').fill('10998'); // ids are searched, too
  await until(async () => (await dataOf(page)).at(-1) === '10998' && (await dataOf(page)).length < 4, 'the one that is sought');
  assert.equal(await page.locator('#events .row').count() < 50, true);
});
