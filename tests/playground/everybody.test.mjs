// How the playground is for those who can't see, like it dark, or have a small screen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stage, until } from './kit.mjs';
import { begun, dataOf, durable, expectText, live, open, rows, violations } from './page.mjs';

for (const [name, options] of [['light', { colorScheme: 'light' }], ['dark', { colorScheme: 'dark' }],
  ['a phone', { width: 360, height: 740, hasTouch: true, isMobile: true, colorScheme: 'dark', reducedMotion: 'reduce' }]]) {
  test(`axe-core finds nothing: ${name}`, async () => {
    const [told, kept] = [live(), durable()];
    const page = await open('', options);
    await expectText(page, '#first-title', /Nothing/);
    await expectText(page, '#sets', /default/);
    assert.deepEqual(await violations(page), []);
    await page.getByLabel('Channels or patterns').fill(`${told}, ${kept}`);
    await page.keyboard.press('Enter');
    await begun(page, 2);
    await stage.log(kept, '{"a": [1, "b", true]}');
    await stage.notify(told, '1');
    await until(async () => (await dataOf(page)).length === 2, 'two events');
    await page.getByLabel('From', { exact: true }).selectOption('cursor');
    await page.getByLabel('Cursor, or an event’s id').fill('0~aaaaaaaaaa-1');
    await page.getByRole('button', { name: 'Resume' }).click();
    await until(async () => (await rows(page)).some(([kind]) => kind === 'gap'), 'a gap');
    await page.getByLabel('Batch').check();
    await page.locator(options.colorScheme === 'light' ? '.row.gap' : '.row.event').first().click();
    assert.deepEqual(await violations(page), []);
    const { wide, moving } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth - innerWidth,
      moving: document.getAnimations().length }));
    assert.ok(wide <= 0, 'nothing is wider than the screen');
    assert.equal(moving, 0);
    if (options.width) {
      await page.getByPlaceholder('Search').fill('1');
      await expectText(page, '#found', /match/);
      const boxes = await Promise.all(['#search', '#json', '#clear'].map((one) => page.locator(one).boundingBox()));
      assert.ok(boxes[0].width > 200 && boxes[1].y === boxes[2].y, 'the search has a line of its own');
      await page.getByRole('button', { name: 'JSON', exact: true }).click();
      await until(async () => (await dataOf(page)).every((line) => line.startsWith('{"data":')), 'data comes first where there is little room');
      const small = await page.locator('button:visible, select:visible').evaluateAll((all) => all.filter(
        (one) => one.getBoundingClientRect().height < 24).map((one) => one.textContent));
      assert.deepEqual(small, [], 'what can be touched is large enough');
      const edges = await page.locator('button:visible, input:visible, select:visible, textarea:visible').evaluateAll((all) => all.filter(
        (one) => one.getBoundingClientRect().right > innerWidth).map((one) => one.id));
      assert.deepEqual(edges, []);
    }
  });
}

test('it has landmarks, and everything has a name', async () => {
  const page = await open();
  for (const [role, name] of [['banner', undefined], ['main', undefined], ['complementary', 'Channels and sets'],
    ['complementary', 'Publish and details'], ['region', 'Events'], ['region', 'Subscribe']]) {
    assert.equal(await page.getByRole(role, { name, exact: true }).count(), 1, `${role} ${name}`);
  }
  assert.equal(await page.locator('h1').count(), 1);
  await until(async () => /now 0/.test(await page.getByRole('img', { name: /Events per second/ }).getAttribute('aria-label')), 'plots in words');
});
