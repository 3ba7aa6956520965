// The playground while the gateway is killed and comes again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stage, until } from './kit.mjs';
import { dataOf, durable, expectData, expectText, live, open, rows, subscribed, texts, to } from './page.mjs';

const UNREACHABLE = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|Failed to fetch/;

for (const transport of ['auto', 'fetch', 'poll']) {
  test(`killed and started again, by ${transport}: the state is shown, it goes on, and the gap is there`, async () => {
    const [told, kept] = [live(), durable()];
    const page = await open(`${to(told, kept)}&transport=${transport}`);
    page.expected = UNREACHABLE;
    await until(async () => await page.locator('.chip.open').count() === 2, 'two subscriptions');
    await stage.log(kept, '1');
    await expectData(page, ['1']);
    await stage.kill();
    await until(async () => await page.locator('#connection').getAttribute('data-state') === 'lost', 'that the connection is lost');
    await expectText(page, '#connection-text', /Connection lost|cannot be reached/);
    assert.equal(await page.locator('.chip.open').count(), 0);
    if (transport === 'auto') await expectText(page, '#sets', /last known: listening/);
    if (transport === 'auto') await expectText(page, '#streams-value', /^–$/);
    await stage.log(kept, '2', '3');
    await stage.start();
    await expectData(page, ['1', '2', '3']);
    await stage.notify(told, '4');
    await expectData(page, ['1', '2', '3', '4']);
    await until(async () => await page.locator('#connection').getAttribute('data-state') === 'open', 'that it is connected');
    const others = (await rows(page)).filter(([kind]) => kind !== 'event').map(([kind, , data]) => [kind, data.slice(0, 24)]);
    assert.deepEqual(others.filter(([kind]) => kind === 'gap'), [['gap', `reconnect: ${told} – events`.slice(0, 24)]]);
    assert.deepEqual(others.filter(([kind]) => kind === 'note').map(([, text]) => text.slice(0, 12)), ['Connection l', 'Connected ag']);
    await expectText(page, '#sets', /listening/);
  });
}

test('a database that is away is told in the header', async () => {
  const page = await subscribed([durable()]);
  page.expected = /^$/;
  await stage.stop_postgres();
  await expectText(page, '#connection', /Connected by .*, but the database of default is away/);
  const sentences = await texts(page, '#sets p.bad');
  assert.deepEqual(sentences, [...new Set(sentences)], 'nothing is said twice');
  await stage.start_postgres();
  await expectText(page, '#connection', /^Connected by \w+$/);
});

test('subscribed to while the gateway is away: it says so, and begins when it is back', async () => {
  const kept = durable(), page = await subscribed([kept]);
  page.expected = UNREACHABLE;
  await stage.log(kept, '1');
  await expectData(page, ['1']);
  await page.getByRole('button', { name: `Unsubscribe from ${kept}` }).click();
  await stage.kill();
  await page.getByLabel('Channels or patterns').fill(kept);
  await page.getByRole('button', { name: 'Subscribe', exact: true }).click();
  await expectText(page, '#connection-text', /cannot be reached|Connection lost/);
  await page.getByLabel('Channel', { exact: true }).fill(kept);
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await stage.start();
  await expectText(page, '#publish-answer .good', /201/);
  await until(async () => await page.locator('.chip.open').count() === 1, 'the subscription');
  await stage.log(kept, '3');
  await until(async () => (await dataOf(page)).at(-1) === '3', 'what comes now');
});
