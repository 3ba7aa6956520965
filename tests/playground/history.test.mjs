// What the playground keeps, and what it finds in it: the modules themselves, in Node.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const { CHARACTERS_KEPT, ENTRIES_KEPT, History } = await import(`${process.env.PLAYGROUND}/history.js`);
const { Matches } = await import(`${process.env.PLAYGROUND}/matches.js`);
const { hasRoundedNumber, parseExactly } = await import(`${process.env.PLAYGROUND}/json_view.js`);
const { Meters } = await import(`${process.env.PLAYGROUND}/meters.js`);

const event = (text) => ({ kind: 'event', channel: 'orders', id: 'tag.1', text });
const gap = { kind: 'gap', reason: 'slow', channels: ['orders'], from: null, to: '1', at: 0 };
const held = ({ ring }) => Array.from({ length: ring.length }, (_, i) => ring.at(ring.first + i));

function add(history, count, text = '1') {
  for (let i = 0; i < count; i++) history.add(event(text));
}

test('entries are bounded, and so are their characters', () => {
  const history = new History();
  add(history, ENTRIES_KEPT);
  assert.equal(history.isCut, false);
  add(history, 5);
  assert.equal(history.isCut, true);
  assert.deepEqual([history.ring.length, history.ring.first, history.events], [ENTRIES_KEPT, 5, ENTRIES_KEPT + 5]);
  add(history, 20, 'x'.repeat(2 ** 20));
  const characters = held(history).reduce((sum, { text }) => sum + text.length, 0);
  assert.ok(characters <= CHARACTERS_KEPT && characters > CHARACTERS_KEPT - 2 ** 21, String(characters));
  add(history, 1, 'y'.repeat(CHARACTERS_KEPT + 1));
  assert.equal(history.ring.length, 1, 'the newest stays, however large');
});

test('a pause holds what comes, within the same bounds, and says what it has left out', () => {
  const history = new History();
  add(history, 3, '"before"');
  history.pause();
  add(history, 10, '"meanwhile"');
  history.add(gap);
  assert.deepEqual([history.ring.length, history.waiting, history.gaps], [3, 11, 1]);
  history.resume();
  assert.equal(history.ring.length, 14);
  history.pause();
  add(history, ENTRIES_KEPT + 7);
  assert.equal(history.ring.length, 14);
  history.resume();
  assert.equal(history.ring.length, ENTRIES_KEPT);
  history.clear();
  history.pause();
  add(history, ENTRIES_KEPT - 2);
  add(history, 9);
  history.resume();
  assert.equal(history.ring.length, ENTRIES_KEPT, 'the note had to go for the last');
  history.clear();
  assert.deepEqual([history.ring.length, history.events, history.gaps, history.isCut], [0, 0, 0, false]);
});

test('a pause that was too long for its bounds is noted where something is missing', () => {
  const history = new History();
  history.pause();
  for (let i = 0; i < 20; i++) add(history, 1, 'z'.repeat(2 ** 20));
  history.resume();
  const [first, ...others] = held(history);
  assert.equal(first.kind, 'event', 'the note is older than what fills all there is');
  assert.ok(others.length >= 14);
});

test('a search goes on where it was, and forgets what is no longer kept', () => {
  const history = new History(), matches = new Matches(history);
  add(history, 500, '"tea"');
  add(history, 500, '"milk"');
  matches.search('MILK');
  while (!matches.advance(0));
  assert.equal(matches.places.length, 500);
  history.add(gap);
  history.add(event('"Milk (fresh)"'));
  while (!matches.advance(0));
  assert.equal(matches.places.length, 502, 'gaps are found by each search');
  add(history, ENTRIES_KEPT - 1, '"tea"');
  while (!matches.advance(0));
  assert.deepEqual([matches.places.length, history.ring.at(matches.places.at(matches.places.first)).text], [1, '"Milk (fresh)"']);
  matches.search('(');
  while (!matches.advance(0));
  assert.equal(matches.places.length, 1);
  matches.search('');
  while (!matches.advance(0));
  assert.equal(matches.places.length, ENTRIES_KEPT);
});

test('numbers that JavaScript cannot hold are known', () => {
  assert.equal(hasRoundedNumber({ a: [1, 1.5, { b: 9007199254740993 }] }), true);
  assert.equal(hasRoundedNumber({ a: [1, 1.5, 'x', null, { b: 9007199254740991 }] }), false);
  assert.deepEqual(parseExactly('{"a": [1, "x", null, true]}'), { a: [1, 'x', null, true] });
  assert.throws(() => parseExactly('{'), SyntaxError);
});

test('a minute is measured, and old events that are read again have no age', () => {
  const meters = new Meters();
  for (const age of [1, 5, 3]) meters.add(age);
  meters.add(null);
  meters.sample({ rate: 7, streams: 2 });
  assert.deepEqual([meters.median, meters.worst, meters.gateway, meters.streams], [[3], [5], [7], [2]]);
  assert.ok(meters.here[0] > 0);
  for (let i = 0; i < 300; i++) meters.sample({ rate: null, streams: null });
  assert.deepEqual([meters.times.length, meters.median.length, meters.here.at(-1), meters.median.at(-1)], [121, 121, 0, null]);
});
