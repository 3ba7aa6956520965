// The client in Node: no EventSource, no tabs; streams by fetch, or long-poll.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { createServer } from 'node:http';
import { numbers, stage, texts, until } from './kit.mjs';

const { EventGate, EventGateError } = await import(process.env.CLIENT);
const urls = await stage.urls();
const gates = [];
let count = 0;

function gate(options = {}, url = urls.open) {
  const heard = { gaps: [], errors: [], states: [] };
  const made = new EventGate(url, {
    onGap: (gap) => heard.gaps.push(gap),
    onError: (error) => heard.errors.push(error),
    onState: (state, detail) => heard.states.push([state, detail]),
    ...options,
  });
  gates.push(made);
  return Object.assign(made, { heard });
}

/** Subscribes, and waits until it has begun. */
function subscribed(made, channel, options = {}) {
  const got = [];
  return new Promise((resolve) => {
    made.on(channel, (data) => got.push(data), { onOpen: () => resolve(got), ...options });
  });
}

const run = Math.random().toString(36).slice(2, 8);
const live = () => `t/${run}/${++count}`;
const durable = () => `d/${run}/${++count}`;

afterEach(async () => {
  gates.splice(0).forEach((each) => each.close());
  await until(async () => await stage.streams() === 0, 'no stream is left');
});

// The fetch() of Node 18 keeps the connection of a body that is aborted while much of it is unread.
const sinceNode20 = { skip: parseInt(process.versions.node) < 20 && 'Node 18 does not let go of the stream' };

test('options without a URL before them are a mistake that is told', () => {
  assert.throws(() => new EventGate({ token: 'x' }), /the URL comes first/);
});

test('on, once, off, emit', async () => {
  const [made, channel] = [gate(), live()];
  const [all, first, none] = [[], [], []];
  const never = (data) => none.push(data);
  await new Promise((resolve) => {
    made.once(channel, (data) => first.push(data))
      .on(channel, never)
      .on(channel, (data, event) => all.push([data, event.channel]), { onOpen: resolve });
  });
  made.off(channel, never);
  assert.deepEqual(await made.emit(channel, { n: 1 }), { status: 202 });
  await made.emit(channel, 2);
  await until(() => all.length === 2, 'two events');
  assert.deepEqual([all, first, none], [[[{ n: 1 }, channel], [2, channel]], [{ n: 1 }], []]);
  made.off(channel);
  await made.emit(channel, 3);
  await until(async () => await stage.streams() === 0, 'the stream of nobody ends');
  assert.equal(all.length, 2);
});

for (const transport of ['fetch', 'poll']) {
  test(`each event comes with the cursor behind it, by ${transport}`, async () => {
    const [made, kept, told] = [gate({ transport }), durable(), live()], cursors = [];
    await Promise.all([kept, told].map((name) => new Promise((resolve) => {
      made.on(name, (_, event, cursor) => cursors.push(cursor), { onOpen: resolve });
    })));
    assert.deepEqual(made.heard.states.at(-1), ['open', { wait: undefined, reason: undefined, transport }]);
    await stage.log(kept, ...texts(1, 5));
    await until(() => cursors.length === 5, 'five events');
    for (const [i, cursor] of cursors.entries()) {
      const again = await subscribed(gate(), kept, { after: cursor });
      await until(() => again.length === 4 - i, 'those behind it');
      assert.deepEqual(again, numbers(i + 2, 5));
    }
    assert.equal((await made.publish(told, 1, { key: null })).status, 202, 'the first attempt, without a key');
    await until(() => cursors.length === 6, 'the live one has been read'); // see sinceNode20
  });
}

test('patterns, publish with a type and a key, and a batch', async () => {
  const [made, base] = [gate(), durable()];
  const [level, rest] = [[], []];
  const opened = [];
  made.on(`${base}/*`, (_, event) => level.push([event.channel, event.type]), { onOpen: () => opened.push(1) });
  made.on(`${base}/**`, (data) => rest.push(data), { onOpen: () => opened.push(1) });
  await until(() => opened.length === 2, 'both begin');
  const { status, id } = await made.publish(`${base}/a`, { n: 1 }, { type: 'made', key: 'one' });
  assert.equal(status, 201);
  assert.deepEqual(await made.publish(`${base}/a`, { n: 1 }, { type: 'made', key: 'one' }), { status, id, replayed: true });
  const rows = await made.publish([{ channel: `${base}/b/c`, data: 2 }, { channel: `${base}/d`, data: 3, type: 'x' }]);
  assert.deepEqual(rows.map((row) => row.status), [201, 201]);
  await until(() => rest.length === 3, 'three events');
  assert.deepEqual(rest, [{ n: 1 }, 2, 3]);
  assert.deepEqual(level, [[`${base}/a`, 'made'], [`${base}/d`, 'x']]);
  const mixed = [{ channel: durable(), data: 1 }, { channel: live(), data: 2 }];
  assert.deepEqual((await made.publish(mixed)).map((row) => row.status), [201, 202]);
});

test('a name can lead to no other channel, and a key may be any text', async () => {
  const [made, kept] = [gate(), durable()];
  for (const name of [`${kept}/../x`, `${kept}/.`, '..', '', `${kept}//x`]) {
    await assert.rejects(made.publish(name, 1), { status: 400, type: 'bad-channel' }, name);
  }
  await assert.rejects(made.publish('../events', [{ channel: kept, data: 1 }]), { status: 400, type: 'bad-channel' });
  for (const key of ['Zahlung für 7', '支付-7', ' a ', 'a']) {
    const { status, id } = await made.publish(kept, 1, { key });
    assert.equal(status, 201);
    assert.deepEqual(await made.publish(kept, 1, { key }), { status, id, replayed: true });
    assert.deepEqual(await made.publish([{ channel: kept, data: 1, key }]), [{ status, id, replayed: true }]);
  }
});

test('emit() tells its error to onError, and rejects nowhere', async () => {
  const made = gate();
  assert.equal(await made.emit('nope/x', 1), undefined);
  assert.deepEqual(made.heard.errors.map(({ status, type }) => [status, type]), [[404, 'unknown-channel']]);
});

test('what cannot be a token is told at once', async () => {
  for (const token of ['tökén', () => 'two\nlines', async () => '支']) {
    const made = gate({ token });
    made.on(live(), () => {});
    made.on(live(), () => {});
    await until(() => made.heard.errors.length === 2, () => made.heard);
    for (const { status, message } of made.heard.errors) assert.match(`${status} ${message}`, /^401 This can't be a token/);
    await assert.rejects(made.publish(live(), 1), { status: 401, message: /can't be a token/ });
  }
});

test('an iterator of no channel is a mistake that is told', async () => {
  await assert.rejects(gate().events([]).next(), TypeError);
});

test('what is published carries its trace', async () => {
  const [made, kept, told] = [gate(), durable(), live()];
  const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', own = trace.replace('4bf9', '5bf9');
  const events = [];
  await new Promise((onOpen) => { made.on(kept, (_, event) => events.push(event.trace), { onOpen }); });
  await made.publish(kept, 1, { trace });
  await made.publish([{ channel: kept, data: 2, trace: own }, { channel: kept, data: 3 }]);
  assert.equal((await made.publish(told, 1, { trace })).status, 202);
  await until(() => events.length === 3, () => events);
  assert.deepEqual(events, [trace, own, undefined]);
});

test('a killed gateway: durable channels go on exactly, live ones have one gap', async () => {
  const [made, kept, told] = [gate(), durable(), live()];
  const [events, others] = await Promise.all([subscribed(made, kept), subscribed(made, told)]);
  for (const first of [1, 11]) {
    await stage.log(kept, ...texts(first, first + 4));
    await until(() => events.length === first + 4, () => events);
    await stage.kill();
    await stage.log(kept, ...texts(first + 5, first + 9));
    await stage.start();
    await until(() => events.length === first + 9, () => events);
  }
  await until(() => made.heard.gaps.length === 2, () => made.heard);
  assert.deepEqual(events, numbers(1, 20));
  assert.deepEqual(made.heard.gaps.map((gap) => [gap.reason, gap.channels]), Array(2).fill(['reconnect', [told]]));
  const [, { wait }] = made.heard.states.find(([state]) => state === 'waiting');
  assert.ok(wait >= 100 && wait <= 200, `retry: 100 and a random time on top, not ${wait}`);
  await stage.notify(told, '7');
  await until(() => others.length === 1, 'live goes on, too');
  assert.equal(made.state, 'open');
});

test('a restarted database', async () => {
  const [made, kept, told] = [gate(), durable(), live()];
  const [events, others] = await Promise.all([subscribed(made, kept), subscribed(made, told)]);
  await stage.log(kept, '1');
  await stage.restart_postgres();
  await stage.log(kept, '2', '3');
  await stage.notify(told, '4');
  await until(() => events.length === 3 && others.length === 1, () => [events, others]);
  assert.deepEqual(events, [1, 2, 3]);
  assert.deepEqual(made.heard.gaps.map((gap) => gap.channels), [[told]]);
});

test('a live stream that is cut goes on exactly, without a gap', async () => {
  const [made, channel] = [gate({}, urls.proxy), live()];
  const events = await subscribed(made, channel);
  for (const first of [1, 11, 21]) {
    await stage.notify(channel, ...texts(first, first + 4));
    assert.ok(await stage.cut() > 0);
    await stage.notify(channel, ...texts(first + 5, first + 9));
    await until(() => events.length === first + 9, () => events);
  }
  assert.deepEqual([events, made.heard.gaps], [numbers(1, 30), []]);
});

test('channels come and go under traffic: nothing is lost, repeated, or told as a gap; one stream is left', async () => {
  const [made, busy, kept] = [gate(), live(), durable()];
  const got = await subscribed(made, busy);
  let n = 0, isOver = false;
  const joins = live(), joined = [];
  const traffic = (async () => {
    while (!isOver) {
      const next = texts(n + 1, n += 5);
      await Promise.all([stage.notify(busy, ...next), stage.notify(joins, ...next)]);
    }
  })();
  const logged = [], fromNow = [];
  await stage.log(kept, ...texts(1, 50));
  made.on(kept, (data) => logged.push(data), { after: 'earliest' });
  for (let i = 0; i < 4; i++) {
    const channel = live(), mine = await subscribed(made, channel);
    await stage.notify(channel, 'first');
    await until(() => mine.length === 1, 'the new channel is live from its onOpen on');
    fromNow.push(...mine);
    if (i === 1) made.on(joins, (data) => joined.push(data));
    if (i % 2) made.off(channel);
  }
  await stage.log(kept, ...texts(51, 60));
  await until(async () => await stage.streams() === 1, 'one stream');
  isOver = true;
  await traffic;
  await until(() => got.length === n && logged.length === 60 && joined.at(-1) === n, () => [got.length, n, logged.length]);
  assert.deepEqual(joined, numbers(joined[0], n));
  assert.deepEqual(got, numbers(1, n));
  assert.deepEqual(logged, numbers(1, 60));
  assert.deepEqual([fromNow, made.heard.gaps, made.heard.errors], [Array(4).fill('first'), [], []]);
});

test('a channel that joins a stream that is idle is told no gap', async () => {
  const [made, first, second, other] = [gate(), live(), live(), live()];
  const got = [await subscribed(made, first)];
  const stranger = gate();
  await subscribed(stranger, other);
  await stage.notify(other, ...texts(1, 5));
  for (const channel of [second, live()]) {
    got.push(await subscribed(made, channel));
    await until(async () => await stage.streams() === 2, 'one stream each');
    await stage.notify(other, ...texts(1, 5));
  }
  await stage.notify(first, '1');
  await stage.notify(second, '2');
  await until(() => got.flat().length === 2, () => got);
  assert.deepEqual([got, made.heard.gaps], [[[1], [2], []], []]);
});

test('`now` is now: what was before is not told to whoever comes later to the same channel', async () => {
  const [made, channel] = [gate(), durable()];
  const early = await subscribed(made, channel);
  await made.publish(channel, 1);
  await until(() => early.length === 1, 'the gateway has read it');
  const late = await subscribed(made, channel);
  await made.publish(channel, 2);
  await until(() => early.length === 2 && late.length === 1, () => [early, late]);
  const back = [];
  made.on(channel, (data) => back.push(data), { after: 'earliest' });
  await until(() => back.length === 2, () => back);
  await until(async () => await stage.streams() === 1, 'one stream');
  await made.publish(channel, 3);
  await until(() => back.length === 3, () => back);
  assert.deepEqual([early, late, back], [[1, 2, 3], [2, 3], [1, 2, 3]]);
});

test('final errors are told with the sentence of the problem, to whom they concern', async () => {
  const [made, channel] = [gate(), live()];
  const own = [];
  const good = [];
  made.on(channel, (data) => good.push(data));
  made.on('elsewhere', () => {}, { onError: (error) => own.push(error) });
  made.on('a//b', () => {});
  await until(() => own.length === 1 && made.heard.errors.length === 1, () => [own, made.heard]);
  assert.ok(own[0] instanceof EventGateError && own[0].status === 404 && own[0].type === 'unknown-channel');
  assert.match(own[0].message, /^There is no channel "elsewhere"/);
  assert.deepEqual(own[0].channels, ['elsewhere']);
  assert.equal(made.heard.errors[0].status, 400);
  await until(() => made.state === 'open', 'the rest goes on');
  await made.publish(channel, 1);
  await until(() => good.length === 1, 'the rest goes on');
  await assert.rejects(made.publish('elsewhere', 1), { status: 404 });
  await assert.rejects(made.publish(channel, 1, { key: 'k' }), { status: 400, type: 'bad-parameter' });
});

test('the state is that of the channels that are left', async (t) => {
  let refuse;
  const url = await pretend(t, (request, answer) => {
    if (request.url.includes('channel=bad')) {
      refuse = () => answer.writeHead(404, { 'Content-Type': 'application/problem+json' }).end('{"detail":"No."}');
    } else if (request.url.includes('channel=good')) {
      answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
      answer.write('event: cursor\nid: 0~aaaaaaaaaa-1\ndata: {}\n\n');
    } // `slow` has no answer
  });
  const made = gate({}, url);
  const slow = () => {};
  await subscribed(made, 'good');
  assert.equal(made.state, 'open');
  made.on('bad', () => {}, { after: 'earliest' });
  await until(() => refuse && made.state === 'connecting', () => made.state);
  refuse();
  await until(() => made.state === 'open' && made.heard.errors.length === 1, () => made.heard);
  assert.deepEqual(made.heard.states.at(-1), ['open', { wait: undefined, reason: undefined, transport: 'fetch' }]);
  made.on('slow', slow, { after: 'earliest' });
  await until(() => made.state === 'connecting', () => made.state);
  made.off('slow', slow);
  assert.equal(made.state, 'open');
  made.off('good');
  assert.equal(made.state, 'idle');
});

test('an error of a handler stops nobody, and is not swallowed', async () => {
  const [made, channel] = [gate(), live()];
  const uncaught = [];
  const had = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => uncaught.push(error.message));
  made.on(channel, () => { throw new Error('by the handler'); });
  const got = await subscribed(made, channel);
  await made.publish(channel, 1);
  await until(() => got.length === 1 && uncaught.length === 1, () => [got, uncaught]);
  process.removeAllListeners('uncaughtException');
  had.forEach((each) => process.on('uncaughtException', each));
  assert.deepEqual(uncaught, ['by the handler']);
});

test('a token is asked for before it ends and when it is refused; nothing is missed', async () => {
  const channel = durable(), asked = [];
  const made = gate({
    token: async (why) => {
      asked.push(why.refresh);
      return asked.length === 1 ? 'nonsense' : stage.token([channel], [channel], 4);
    },
  }, urls.guarded);
  const events = await subscribed(made, channel);
  for (let i = 1; i <= 10; i++) {
    await made.publish(channel, i);
    await new Promise((resolve) => { setTimeout(resolve, 450); });
  }
  await until(() => events.length === 10, () => events);
  assert.deepEqual([events, made.heard.errors], [numbers(1, 10), []]);
  assert.ok(!made.heard.states.some(([state]) => state === 'waiting'), 'never without a stream');
  assert.ok(asked.length >= 3 && asked.length <= 6 && asked[0] === false && asked[1] === true, JSON.stringify(asked));
});

test('without a good token: 401; with one for something else: 403', async () => {
  const channel = durable();
  const [without, other] = [gate({}, urls.guarded), gate({ token: await stage.token(['d/other'], [], 60) }, urls.guarded)];
  const bad = gate({ token: 'bad' }, urls.guarded);
  for (const each of [without, other, bad]) each.on(channel, () => {});
  await until(() => [without, other, bad].every((each) => each.heard.errors.length === 1), 'errors');
  assert.deepEqual([without, other, bad].map((each) => each.heard.errors[0].status), [401, 403, 401]);
  assert.match(other.heard.errors[0].message, new RegExp(channel));
});

test('where streams do not get through, long-poll does', async () => {
  const [made, kept, told] = [gate({ streamTimeout: 500 }, urls.buffering), durable(), live()];
  const [events, others] = await Promise.all([subscribed(made, kept), subscribed(made, told)]);
  await stage.log(kept, ...texts(1, 30));
  await stage.notify(told, ...texts(1, 30));
  await until(() => events.length === 30 && others.length === 30, () => [events, others]);
  assert.deepEqual([events, others, made.heard.gaps], [numbers(1, 30), numbers(1, 30), []]);
});

test('an answer that is lost: published once', async () => {
  const [made, channel] = [gate({}, urls.buffering), durable()];
  await stage.lose_answers(2);
  assert.equal((await made.publish(channel, { n: 1 })).status, 201);
  assert.deepEqual(await stage.logged(channel), ['{"n":1}']);
  const told = live();
  await made.publish(told, 1);
  await stage.lose_answers(1);
  await assert.rejects(made.publish(told, 2), { type: 'outcome-unknown' });
});

test('publishing waits for a gateway that is away, and an AbortSignal ends the wait', async () => {
  const [made, channel] = [gate(), durable()];
  await stage.kill();
  const published = made.publish(channel, 1);
  const stop = new AbortController();
  const given = made.publish(channel, 2, { signal: stop.signal });
  setTimeout(() => stop.abort(), 200);
  await assert.rejects(given, { name: 'AbortError' });
  await stage.start();
  assert.equal((await published).status, 201);
  assert.deepEqual(await stage.logged(channel), ['1']);
});

test('an async iterator, with an AbortSignal', async () => {
  const [made, channel] = [gate(), durable()];
  await stage.log(channel, ...texts(1, 5));
  const got = [];
  for await (const event of made.events(channel, { after: 'earliest' })) {
    got.push(event.data);
    if (got.length === 5) break;
  }
  assert.deepEqual(got, numbers(1, 5));
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  const readAll = async (...given) => { for await (const event of made.events(...given)) got.push(event); };
  await assert.rejects(readAll(channel, { signal: stop.signal }), { name: 'AbortError' });
  await assert.rejects(readAll('elsewhere'), { status: 404 });
  const seen = [], aborter = new AbortController();
  made.on(channel, (data) => seen.push(data), { signal: aborter.signal, after: 'earliest' });
  await until(() => seen.length === 5, () => seen);
  aborter.abort();
  await until(async () => await stage.streams() === 0, 'no stream is left');
});

test('an async iterator that is read slowly keeps little, and misses nothing', sinceNode20, async () => {
  const [made, channel] = [gate(), durable()];
  await stage.flood(channel, 25000);
  let n = 0;
  for await (const event of made.events(channel, { after: 'earliest' })) {
    assert.equal(event.data, ++n);
    if (n === 1) await until(async () => await stage.streams() === 0, 'the stream is left while there is enough to read');
    if (n === 25000) break;
  }
});

test('places are kept in a storage: the next one goes on there', async () => {
  const kept = new Map(), channel = durable();
  const storage = { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value) };
  const first = gate({ resume: 'orders', storage });
  const events = await subscribed(first, channel);
  await first.publish(channel, 1);
  await until(() => events.length === 1, 'the first');
  first.close();
  assert.ok(JSON.parse(kept.get('eventgate:orders'))[channel]);
  await stage.log(channel, '2', '3');
  const second = await subscribed(gate({ resume: 'orders', storage }), channel);
  await until(() => second.length === 2, () => second);
  assert.deepEqual(second, [2, 3]);
});

test('closing ends it all', async () => {
  const stop = new AbortController();
  const [made, channel] = [gate({ signal: stop.signal }), live()];
  await subscribed(made, channel);
  stop.abort();
  assert.equal(made.state, 'closed');
  await until(async () => await stage.streams() === 0, 'no stream is left');
  assert.throws(() => made.on(channel, () => {}), /closed/);
});

/** A server that answers as it is told. */
async function pretend(t, answer) {
  const server = createServer(answer);
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

test('a stream in single bytes, with all kinds of line ends and characters', async (t) => {
  const texts = ['plain', '\u2028 😀 ü', ' two spaces: and a colon'];
  const lines = ['\ufeffretry: 1', '', 'event: cursor', 'id: 0~aaaaaaaaaa-1', 'data: {"cursor":"0~aaaaaaaaaa-1"}', '',
    ': a comment', ''];
  texts.forEach((text, i) => lines.push('data: {"channel":"c",',
    `data:"id":"aaaaaaaaaa-${i + 2}","data":${JSON.stringify(text)}}`, `id: 0~aaaaaaaaaa-${i + 2}`, ''));
  for (const end of ['\n', '\r\n', '\r']) {
    const url = await pretend(t, (_, answer) => {
      answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
      answer.socket.setNoDelay(true);
      const bytes = [...Buffer.from(lines.join(end) + end)];
      const next = () => { if (bytes.length > 0) answer.write(Buffer.from([bytes.shift()]), () => setImmediate(next)); };
      next();
    });
    const made = gate({}, url);
    const got = await subscribed(made, 'c');
    await until(() => got.length === texts.length, () => got);
    assert.deepEqual([got, made.heard.gaps, made.heard.errors], [texts, [], []]);
    made.close();
  }
});

test('Retry-After is waited for, by streams and by publishing', async (t) => {
  const asked = [];
  const url = await pretend(t, (request, answer) => {
    asked.push([request.method, Date.now()]);
    answer.writeHead(503, { 'Retry-After': '1', 'Content-Type': 'application/problem+json' });
    answer.end(JSON.stringify({ type: 'urn:pg-eventgate:problem:overloaded', detail: 'Busy.' }));
  });
  const made = gate({}, url);
  made.on('c', () => {});
  const failed = assert.rejects(made.publish('c', 1, { timeout: 3500 }), { status: 503, type: 'overloaded', message: 'Busy.' });
  const times = (method) => asked.filter(([one]) => one === method).map(([, at]) => at);
  await until(() => times('GET').length >= 2 && times('POST').length >= 2, 'both come again');
  for (const [first, second] of [times('GET'), times('POST')]) assert.ok(second - first >= 990 && second - first < 2500);
  await failed;
  assert.deepEqual(made.heard.errors, []);
});
