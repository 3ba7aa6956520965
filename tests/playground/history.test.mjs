// What the playground keeps, and what it finds in it: the modules themselves, in Node.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const { CHARACTERS_KEPT, ENTRIES_KEPT, History } = await import(`${process.env.PLAYGROUND}/history.js`);
const { Matches } = await import(`${process.env.PLAYGROUND}/matches.js`);
const { dataIn, isKept, mayDiffer, parseExactly } = await import(`${process.env.PLAYGROUND}/exact.js`);
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
  assert.equal(history.ring.length, ENTRIES_KEPT);
  assert.match(held(history)[0].text, /the first 8 are left out/, 'seven, and one for the note');
  history.clear();
  assert.deepEqual([history.ring.length, history.events, history.gaps, history.isCut], [0, 0, 0, false]);
});

test('a pause that was too long for its bounds is noted where something is missing', () => {
  const history = new History();
  history.pause();
  for (let i = 0; i < 20; i++) add(history, 1, 'z'.repeat(2 ** 20));
  history.resume();
  const [first, ...others] = held(history);
  assert.match(first.text, /the first 5 are left out/);
  assert.equal(history.isCut, false, 'the note has room, too');
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
  assert.equal(matches.events, 501, 'and are no events');
  assert.deepEqual([matches.gapAfter(-1), matches.gapAfter(1000)], [1000, 1000], 'from the last to the first');
  add(history, ENTRIES_KEPT - 1, '"tea"');
  while (!matches.advance(0));
  assert.deepEqual([matches.places.length, history.ring.at(matches.places.at(matches.places.first)).text], [1, '"Milk (fresh)"']);
  matches.search('(');
  while (!matches.advance(0));
  assert.deepEqual([matches.places.length, matches.events, matches.gapAfter(-1)], [1, 1, undefined]);
  matches.search('');
  while (!matches.advance(0));
  assert.equal(matches.places.length, ENTRIES_KEPT);
});

test('what JavaScript may have changed is known', () => {
  for (const text of ['[1.5, {"b": 12345678901234567890}]', '0.12345678901234567890123', '1234567890123456.78', '-1e300', '{"2": 1, "1": 2}']) {
    assert.equal(mayDiffer(JSON.parse(text)), true, text);
  }
  for (const text of ['{"a": [1, 1.5, -19.9, "x", null, 999999999999999, 1e-7]}', '{"1": 2}', '[]']) {
    assert.equal(mayDiffer(JSON.parse(text)), false, text);
  }
});

test('what a page would change is known before it is published', () => {
  for (const text of ['{"a": [1, 1.5, "\\u00e9\\"  \\/", null, {}]}', ' "x  y" ', '[{"1": 2, "x": 1}]']) assert.equal(isKept(text), true, text);
  for (const text of ['{"2": 1, "1": 2}', '{"a": 1, "a": 2}']) assert.equal(isKept(text), false, text);
  for (const text of ['12345678901234567890', '[0.12345678901234567890123, 1.50]']) assert.equal(isKept(text), JSON.rawJSON !== undefined, text);
});

test('data is found in an answer as it was written', () => {
  const answer = (data) => `{"gap":{"channels":["data"]},"events":[{"id":"x.1","x":{"data":0},"channel":"data","data": ${data} }],"next":"x.1"}`;
  for (const data of ['1.50', '"a,}\\"]"', '{"data": [{"data":1},2], "2":1}', 'null']) assert.equal(dataIn(answer(data)), data);
  assert.equal(dataIn('{"events":[],"next":"x.1"}'), null);
});

test('numbers are read exactly where that can be', () => {
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
  meters.sample({ rate: null, streams: null, isLost: true });
  assert.equal(meters.here.at(-1), null);
});
