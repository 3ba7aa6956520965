// The playground's controls: publishing, tokens, keys.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stage, until } from './kit.mjs';
import { begun, dataOf, durable, expectData, expectText, live, open, subscribed, texts, to, urls, violations } from './page.mjs';

test('publishing: live and durable, with a type and a key', async () => {
  const [told, kept] = [live(), durable()], page = await subscribed([told, kept]);
  const publish = page.getByRole('button', { name: 'Publish', exact: true });
  const [channel, data] = [page.getByLabel('Channel', { exact: true }), page.getByLabel('Data: JSON, or text')];
  await channel.fill(told);
  await expectText(page, '#publish-kind', /live channel/);
  assert.equal(await page.getByLabel('Type').isDisabled(), true);
  await data.fill('just text');
  await publish.click();
  await expectText(page, '#publish-answer .good', /^202, committed/);
  await expectData(page, ['"just text"']);
  await channel.fill(kept);
  await expectText(page, '#publish-kind', /durable channel/);
  const exact = '{"n":1.50,"big":12345678901234567890,"small":0.12345678901234567890123,"price":1234567890123456.78}';
  await data.fill(exact);
  await page.getByLabel('Type').fill('made');
  await page.getByLabel('Idempotency key').fill('one');
  await data.press('Control+Enter');
  await expectText(page, '#publish-answer .good', /^201, id \w+\.\d+, /);
  assert.deepEqual(await stage.logged(kept), [exact], 'all digits');
  await publish.click();
  await expectText(page, '#publish-answer .good', /The key was known/);
  await data.fill('other');
  await publish.click();
  await expectText(page, '#publish-answer .bad', /422: .*key/i);
  await channel.fill('nowhere');
  await publish.click();
  await expectText(page, '#publish-answer .bad', /404: There is no channel "nowhere".*\(request \w+\)/);
  page.expected = /status of (422|404)/;
  await page.locator('.row.event', { hasText: 'made' }).click();
  await page.getByRole('button', { name: 'Publish again…' }).click();
  await until(async () => await channel.inputValue() === kept, 'it is in the form');
  assert.deepEqual([await data.inputValue(), await page.getByLabel('Type').inputValue()], [exact, 'made']);
  await publish.click();
  await until(async () => (await stage.logged(kept)).join() === [exact, exact].join(), 'the same again');
  assert.equal((await texts(page, '#publish-changes'))[0], '');
  await stage.log(kept, '{"2": 1, "1": 2}'); // that no browser can publish in this order
  const ordered = page.locator('.row.event').nth(3);
  await ordered.click();
  await expectText(page, '#detail pre', /"data": \{"2": 1, "1": 2\}/);
  await page.getByRole('button', { name: 'Publish again…' }).click();
  await expectText(page, '#publish-changes', /changes the order of its keys/);
  await stage.notify(told, '[0.12345678901234567890123]');
  await page.locator('.row.event').nth(4).click();
  await expectText(page, '#detail pre', /0\.12345678901234567890123/);
  await page.route('**/events?*format=poll*', (route) => route.abort()); // as if it were no longer kept
  page.expected = /status of (422|404)|ERR_FAILED/;
  await stage.log(kept, '[12345678901234567890]');
  await page.locator('.row.event').nth(5).click();
  await expectText(page, '#detail', /may have rounded numbers/);
  await page.getByRole('button', { name: 'Publish again…' }).click();
  await expectText(page, '#publish-changes', /no longer has this event/);
});

test('publishing a batch', async () => {
  const [told, kept] = [live(), durable()], page = await subscribed([told, kept]);
  await page.getByLabel('Batch').check();
  const box = page.getByLabel('A JSON array, or a line for each event');
  const publish = page.getByRole('button', { name: 'Publish', exact: true });
  await box.fill(`{"channel": "${told}", "data": 1}\n\n{"channel": "${told}", "data": 2}`);
  await publish.click();
  await expectText(page, '#publish-answer', /2 events published.*202, committed/);
  await expectData(page, ['1', '2']);
  await box.fill(JSON.stringify([{ channel: kept, data: 3, type: 'a' }, { channel: kept, data: 4, key: 'k' }]));
  await publish.click();
  await expectText(page, '#publish-answer', /2 events published.*201, id/);
  await expectData(page, ['1', '2', '3', '4']);
  for (const [text, said] of [['{"channel": "x"', /Line 1 is no JSON/], ['', /at least one/], ['[{"channel": 1}]', /Event 1 needs/]]) {
    await box.fill(text);
    await publish.click();
    await expectText(page, '#publish-answer .bad', said);
  }
});

test('what the gateway refuses is told in its words', async () => {
  const page = await open();
  page.expected = /status of 40[04]/;
  await page.getByLabel('Channels or patterns').fill('elsewhere');
  await page.keyboard.press('Enter');
  const alert = page.getByRole('alert');
  await alert.waitFor();
  assert.match(await alert.textContent(), /There is no channel "elsewhere".*404 unknown-channel, request \w+/);
  await page.getByRole('button', { name: 'Dismiss this message' }).click();
  assert.equal(await alert.count(), 0);
  await expectText(page, '#connection', /Not subscribed/);
});

test('with keys: what is missing is said, a token makes up for it, and stays in its tab', async () => {
  const kept = durable();
  const page = await open(to(kept), { base: urls.guarded });
  page.expected = /status of 40[13]/;
  await expectText(page, '#channels-note', /nothing that you may see.*can still be subscribed to/);
  await expectText(page, '#sets-note', /For operators.*Everything else works/);
  await expectText(page, '#streams-missing', /for operators/);
  await expectText(page, '[role=alert]', new RegExp(`Without a token this gateway refuses ${kept}`));
  await expectText(page, '#first-title', /has been refused/);
  assert.equal((await page.locator('body').textContent()).includes('access_token'), false, 'no advice for programs');
  await expectText(page, '.chip.refused', new RegExp(`${kept}: refused`));
  await expectText(page, '#connection', /Not subscribed/);
  const asked = [];
  page.on('request', (request) => asked.push(request));
  const token = await stage.token([kept], [kept], 60, true);
  await page.getByRole('button', { name: 'Token…' }).click();
  await page.getByRole('textbox', { name: 'Token' }).fill('tökén€');
  await page.getByRole('button', { name: 'Use it' }).click();
  assert.match(await page.locator('#token').evaluate((input) => input.validationMessage), /can’t be a token/);
  await page.getByRole('textbox', { name: 'Token' }).fill(token.replace('.', '.\n'));
  await expectText(page, '#token-claims', new RegExp(`Subscribe: ${kept}\\..*Admin`));
  assert.deepEqual(await violations(page), []);
  await page.getByRole('button', { name: 'Use it' }).click();
  await begun(page, 1); // what was refused is asked for again
  assert.equal(await page.getByRole('alert').count(), 0);
  await expectText(page, '#connection', /Connected by fetch stream/);
  await expectText(page, '#sets', /listening, publishing, reading, appending/);
  await stage.log(kept, '1');
  await expectData(page, ['1']);
  assert.equal(await page.locator('#transport option[value="eventsource"]').evaluate((option) => option.disabled), true);
  const withToken = asked.filter((request) => request.headers().authorization === `Bearer ${token}`);
  assert.ok(withToken.length >= 4 && asked.every((request) => !request.url().includes(token.slice(-20))), 'in a header alone');
  assert.ok(!(await page.url()).includes('token'));
  await page.reload();
  await begun(page, 1); // the tab has it
  const other = await open('', { base: urls.guarded, context: page.context() });
  other.expected = page.expected;
  await other.getByRole('button', { name: 'Token: none' }).waitFor();
  await page.getByRole('button', { name: 'Token: set' }).click();
  await page.getByLabel('Keep it in this browser').check();
  await page.getByRole('button', { name: 'Use it' }).click();
  await other.reload();
  await other.getByRole('button', { name: 'Token: set' }).click();
  await other.getByRole('button', { name: 'Forget it' }).click();
  assert.equal(await other.evaluate(() => localStorage.length + sessionStorage.length), 0);
});

test('everything by the keyboard', async () => {
  const kept = durable(), page = await open();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the events');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'channel');
  await page.keyboard.type(kept);
  await page.keyboard.press('Enter');
  await begun(page, 1);
  await stage.log(kept, '1', '2', '3');
  await expectData(page, ['1', '2', '3']);
  for (let i = 0; i < 20 && await page.evaluate(() => document.activeElement.id) !== 'events'; i++) await page.keyboard.press('Tab');
  const chosen = () => page.evaluate(() => {
    const id = document.activeElement.getAttribute('aria-activedescendant'), row = id && document.getElementById(id);
    return row && [row.getAttribute('aria-selected'), row.querySelector('.data').textContent, row.getAttribute('aria-posinset'),
      row.getAttribute('aria-setsize')].join();
  });
  for (const [key, data] of [['ArrowUp', '3'], ['ArrowUp', '2'], ['Home', '1'], ['ArrowDown', '2'], ['End', '3'], ['PageUp', '1']]) {
    await page.keyboard.press(key);
    await until(async () => await chosen() === `true,${data},${data},3`, `${key} goes to ${data}`);
  }
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'detail');
  assert.ok((await texts(page, '#detail pre'))[0].includes('"data": 1'));
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Resume from here');
  await page.locator('#events').focus();
  await page.keyboard.press('Space');
  await expectText(page, '#pause', /Resume/);
  await page.keyboard.press('Space');
  await page.keyboard.press('Escape');
  await expectText(page, '#detail', /Select an event/);
});

test('a reader of old events is left alone while new ones come', async () => {
  const kept = durable(), page = await subscribed([kept]);
  await stage.flood(kept, 300);
  await until(async () => (await dataOf(page)).at(-1) === '300', 'it follows');
  await page.locator('#events').hover();
  await page.mouse.wheel(0, -2000);
  await page.locator('#newest').waitFor();
  await until(async () => (await dataOf(page)).at(-1) !== '300', 'old events');
  const [before] = await dataOf(page);
  await stage.log(kept, ...Array(50).fill('0'));
  await expectText(page, '#newest', /50 newer/);
  assert.equal((await dataOf(page))[0], before);
  await page.locator('#newest').click();
  await until(async () => (await dataOf(page)).at(-1) === '0', 'the newest');
});

test('of many channels some are shown, and a filter finds the others', async () => {
  const base = durable();
  await stage.sql(`select count(eventgate.publish('${base}/' || n, '1')) from generate_series(1, 250) n`);
  const page = await open();
  await expectText(page, '#channels-note', /more: filter by name/);
  assert.equal(await page.locator('#channels li').count(), 200);
  await page.getByPlaceholder('Filter').fill(`${base}/249`);
  await until(async () => (await texts(page, '#channels .channel-name')).join() === `${base}/249`, 'the one that is sought');
  await page.getByRole('checkbox', { name: `${base}/249` }).check();
  await begun(page, 1);
});
