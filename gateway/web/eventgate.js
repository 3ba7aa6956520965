/**
 * The client of pg_eventgate, for browsers and Node: subscribes to channels, publishes, and tells of gaps.
 *
 *     import { EventGate } from "/eventgate.js";
 *     const gate = new EventGate();
 *     gate.on("order/**", (data, event) => console.log(event.channel, data));
 *     await gate.publish("chat/lobby", { text: "hello" });
 *
 * How it is built, from the bottom: a *transport* reads one connection. A *line* is one stream of several channels that
 * comes back by itself and goes on at its cursor. A *hub* holds the lines of everybody who shares them, and joins those
 * that have met: the tabs of a browser have theirs in a SharedWorker, or in the tab that leads. An *EventGate* is what
 * an application holds; it talks to its hub in messages, and remembers its places, so that another hub can take over.
 * @module
 */

const VERSION = "0.1.0"; // tabs share a stream with those of the same version
const FIRST_CURSOR_MS = 5000; // a stream that has brought no cursor by then may be held back by a proxy
const SILENCE_MS = 50000; // three heartbeats and a little
const LONGEST_WAIT_MS = 60000;
const POLLING_MS = 600000; // after so long with long-poll a stream is tried again
const QUEUE = 10000; // events that an async iterator keeps for a slow reader

/** What the gateway, or this client, has to say for good: `status` and the sentence of its problem. */
export class EventGateError extends Error {
  /** `problem`: by RFC 9457. */
  constructor(problem, channels = [], retryAfter = 0) {
    super(problem.detail || problem.title || `The gateway answered ${problem.status}.`);
    this.name = "EventGateError";
    this.status = problem.status ?? 0;
    this.type = (problem.type ?? "").replace("urn:pg-eventgate:problem:", "");
    this.requestId = (problem.instance ?? "").replace("urn:pg-eventgate:request:", "");
    this.channels = channels;
    this.retryAfter = retryAfter;
  }

  /** Will asking again not help? */
  get isFinal() {
    return this.status >= 400 && this.status < 500 && ![408, 425, 429].includes(this.status);
  }
}

// --- cursors and patterns --------------------------------------------------------------------------------------------

/**
 * A cursor is TAG.POSITION~EPOCH-N; each half may be absent, as in the ids of events. Halves of the same log and of the
 * same epoch can be compared.
 * @param {string | null | undefined} text
 */
function parseCursor(text) {
  const found = /^(?:(?:([a-z0-9]+)\.)?(\d+)(?:~|$))?(?:([a-z2-7]{10})-(\d+))?$/.exec(text ?? "");
  if (!found || !text) return null;
  const [, tag = "", position = -1, epoch = "", place = -1] = found;
  return { tag, position: Number(position), epoch, place: Number(place) };
}

/** Does `at` lie at or behind `id` in each half that `id` has? */
function covers(at, id) {
  const [a, b] = [parseCursor(at), parseCursor(id)];
  return a !== null && b !== null && (b.position < 0 || (a.tag === b.tag && a.position >= b.position)) &&
    (b.place < 0 || (a.epoch === b.epoch && a.place >= b.place));
}

function comparable(first, second) {
  const [a, b] = [parseCursor(first), parseCursor(second)];
  return a !== null && b !== null && a.tag === b.tag && a.epoch === b.epoch;
}

/** The lower, or higher, of both halves; where they can't be compared, `first`'s. */
function combine(first, second, pick) {
  const [a, b] = [parseCursor(first), parseCursor(second)];
  if (!a || !b) return first ?? second;
  const position = a.tag === b.tag && b.position >= 0 ? pick(a.position, b.position) : a.position;
  const place = a.epoch === b.epoch ? pick(a.place, b.place) : a.place;
  return `${a.tag ? `${a.tag}.` : ""}${position}${a.epoch ? `~${a.epoch}-${place}` : ""}`;
}

/** `*` is one level, `**` at the end one or more. */
function matches(pattern, name) {
  if (pattern === name) return true;
  const [want, have] = [pattern.split("/"), name.split("/")];
  const open = want[want.length - 1] === "**";
  if (open ? have.length < want.length : have.length !== want.length) return false;
  return want.every((level, i) => level === "*" || level === have[i] || (open && i === want.length - 1));
}

/** Can it be an URL and headers? `.` and `..` lead elsewhere in an URL, and not all keys can be a header. */
function fitsAlone({ channel, key = "k", trace = "t" }) {
  return !/(^|\/)\.{0,2}(\/|$)/.test(channel) && isHeader(key) && isHeader(trace);
}

function isHeader(text) {
  return /^[!-~]([ -~]*[!-~])?$/.test(text);
}

/** Tells an error that nobody has asked for, as any that isn't caught. */
function report(error) {
  if (typeof reportError === "function") reportError(error);
  else queueMicrotask(() => { throw error; });
}

/** When does a JSON Web Token end (ms), if it says so? */
function expiryOf(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
    return typeof claims.exp === "number" ? claims.exp * 1000 : Infinity;
  } catch {
    return Infinity;
  }
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(undefined); }, { once: true });
  });
}

/** As long as the gateway says, and a random time on top, longer the more attempts have failed. */
function waitOf(base, failures) {
  return Math.min(base + Math.random() * base * 2 ** Math.min(failures, 10), Math.max(base, LONGEST_WAIT_MS));
}

// --- transports ------------------------------------------------------------------------------------------------------

/** What an answer that isn't 2xx says; proxies answer in HTML. */
async function problemOf(response, channels) {
  const { status, statusText, headers } = response;
  const problem = { detail: `The answer was ${status} ${statusText}.`, ...await response.json().catch(() => ({})) };
  const seconds = Number(headers.get("Retry-After") ?? "");
  return new EventGateError({ ...problem, status }, channels, seconds > 0 ? seconds * 1000 : 0);
}

/** Server-sent events, as the HTML standard reads them; takes text in any pieces. */
function makeParser(hear) {
  let rest = "", data = [], kind = "", id = "", isHalf = false;
  return (piece) => {
    const text = isHalf && piece[0] === "\n" ? piece.slice(1) : piece; // the other half of a line's end
    isHalf = text.endsWith("\r");
    const lines = (rest + text).split(/\r\n|\n|\r/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const colon = line.indexOf(":"), field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
      if (field === "data") data.push(value);
      else if (field === "event") kind = value;
      else if (field === "id") id = value;
      else if (field === "retry" && /^\d+$/.test(value)) hear({ kind: "retry", retry: Number(value) });
      if (line !== "") continue;
      if (data.length > 0) hear({ kind: kind || "message", id, data: data.join("\n") });
      [data, kind] = [[], ""];
    }
  };
}

/** A stream by fetch(), which can carry headers. Ends when the stream does. */
async function readFetch(url, request, hear, signal) {
  const attempt = new AbortController();
  const stop = () => attempt.abort(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  let watch;
  const awake = () => {
    clearTimeout(watch);
    watch = setTimeout(() => attempt.abort(new Error("The stream was silent for too long.")), SILENCE_MS);
  };
  try {
    awake();
    const headers = { ...request.headers, Accept: "text/event-stream" };
    const response = await fetch(url, { ...request, headers, cache: "no-store", signal: attempt.signal });
    if (!response.ok) throw await problemOf(response, request.channels);
    if (!response.body || !/^text\/event-stream/.test(response.headers.get("Content-Type") ?? "")) {
      throw new Error("Something between here and the gateway answered, and not with a stream.");
    }
    const [reader, decoder, parse] = [response.body.getReader(), new TextDecoder(), makeParser(hear)];
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      awake();
      parse(decoder.decode(value, { stream: true }));
    }
  } finally {
    clearTimeout(watch);
    signal.removeEventListener("abort", stop);
    attempt.abort();
  }
}

/**
 * The browser's own EventSource. It alone knows `retry:` here, so when a stream ends, the first attempt to come back is
 * left to it (with Last-Event-ID); when that fails, or the status was none of 200, this ends.
 */
function readEventSource(url, request, hear, signal) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(url, { withCredentials: request.credentials === "include" });
    let opened = false;
    const end = (settle, value) => { source.close(); settle(value); };
    signal.addEventListener("abort", () => end(resolve), { once: true });
    source.onopen = () => { opened = true; };
    for (const kind of ["message", "cursor", "gap"]) {
      source.addEventListener(kind, ({ data, lastEventId }) => signal.aborted || hear({ kind, id: lastEventId, data }));
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) end(reject, new Error("REFUSED"));
      else if (!opened) end(reject, new Error("The gateway cannot be reached."));
      else hear({ kind: "lost" });
      opened = false;
    };
  });
}

/** One answer of a long-poll, told as a stream would tell it. */
async function readPoll(url, request, hear, signal) {
  const response = await fetch(url, { ...request, cache: "no-store", signal });
  if (!response.ok) throw await problemOf(response, request.channels);
  const answer = await response.json();
  if (signal.aborted) return;
  if (answer.gap) hear({ kind: "gap", id: "", data: JSON.stringify(answer.gap) });
  for (const event of answer.events) hear({ kind: "event", event });
  hear({ kind: "cursor", id: answer.next });
}

async function post(url, request, channels, signal, timeout) {
  const attempt = new AbortController();
  const stop = () => attempt.abort(signal.reason);
  const timer = setTimeout(() => attempt.abort(new Error("No answer came in time.")), timeout);
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    const response = await fetch(url, { ...request, signal: attempt.signal });
    if (!response.ok) throw await problemOf(response, channels);
    const answer = await response.json();
    return response.headers.get("Idempotency-Replayed") === "true" ? { ...answer, replayed: true } : answer;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

// --- lines -----------------------------------------------------------------------------------------------------------

/**
 * One stream of the gateway. What it brings goes to those of its subscriptions that the channel matches, and whose own
 * place, `floor`, does not lie behind it already.
 */
class Line {
  constructor(hub, subscriptions, cursor) {
    this.hub = hub;
    this.subscriptions = new Set(subscriptions);
    for (const subscription of subscriptions) subscription.line = this;
    this.cursor = cursor; // where it goes on: a cursor, `earliest`, or `now`
    this.first = null; // from where on its channels have been listened to
    this.apart = new Set(); // channels that can't be in one stream with these
    this.parts = null; // what has been joined, until the gateway has accepted it
    this.joining = null; // the line that is being taken over
    this.isOpen = false;
    this.isNear = cursor === "now"; // has it nothing old to read any more?
    this.count = 0; // of its events
    this.failures = 0;
    this.retry = 3000;
    this.ended = new AbortController();
    this.attempt = new AbortController();
    this.#run();
  }

  get channels() {
    return [...new Set([...this.subscriptions].map((subscription) => subscription.channel))].sort();
  }

  /** Comes again at once, at its cursor. */
  restart() {
    this.isOpen = false;
    this.attempt.abort();
  }

  stop() {
    this.ended.abort();
    this.restart();
  }

  /** Takes over what another line has: at once, if that only wants later events of the same channels. */
  absorb(other) {
    other.stop();
    other.#raiseFloors();
    if (covers(other.cursor, this.cursor) && other.channels.every((channel) => this.channels.includes(channel))) {
      for (const subscription of other.subscriptions) this.#add(subscription);
    } else {
      this.joining = other;
      this.restart();
    }
  }

  /** Each subscription has had what lies before this line's place, whatever line it is in from now on. */
  #raiseFloors() {
    for (const one of this.subscriptions) one.floor = combine(this.cursor, one.floor, Math.max);
  }

  #add(subscription) {
    subscription.line = this;
    this.subscriptions.add(subscription);
  }

  async #run() {
    await undefined; // whoever made it finishes first
    for (let refreshed = false; !this.ended.signal.aborted;) {
      const { signal } = (this.attempt = new AbortController());
      let error = null, brought = false;
      const hear = (message) => { brought ||= message.kind === "cursor"; this.#hear(message); };
      try {
        if (this.joining) await this.#takeOver(signal);
        if (this.subscriptions.size === 0) break;
        this.hub.tell(this, { state: "connecting" });
        await this.#read(hear, signal);
      } catch (reason) {
        error = reason;
      }
      this.isOpen = false;
      if (!signal.aborted) this.isNear = false;
      if (brought) [this.failures, refreshed] = [0, false];
      if (signal.aborted) continue; // restarted, or stopped
      try {
        if (error?.message === "REFUSED") await this.#poll(() => {}, signal, 0); // which says why
      } catch (reason) {
        error = reason;
      }
      if (signal.aborted) continue;
      if (error?.status === 401 && this.hub.config.hasToken && !refreshed) {
        try {
          await this.hub.refresh();
          refreshed = true;
          continue;
        } catch (reason) {
          error = reason;
        }
      }
      if (error instanceof EventGateError && error.isFinal) {
        this.#refused(error);
        continue;
      }
      const wait = waitOf(error?.retryAfter || this.retry, this.failures++);
      this.hub.tell(this, { state: "waiting", wait, reason: error?.message ?? "The stream has ended." });
      await sleep(wait, signal);
    }
    this.hub.drop(this);
  }

  /** Reads by the transport that gets through. */
  async #read(hear, signal) {
    while (this.hub.transport === "poll" && !signal.aborted) await this.#poll(hear, signal, this.isOpen ? 25 : 0);
    const begun = new AbortController();
    const probe = this.#probe(begun.signal);
    try {
      const request = await this.hub.request(this.channels);
      if (signal.aborted) return;
      const read = this.hub.transport === "eventsource" ? readEventSource : readFetch;
      await read(this.#url(), request, (message) => {
        if (message.kind === "cursor") begun.abort();
        if (!signal.aborted) hear(message);
      }, signal);
    } finally {
      begun.abort();
      await probe;
    }
  }

  /** Where a stream has brought no cursor in time, but a short answer gets through, a proxy holds the stream back. */
  async #probe(begun) {
    await sleep(this.hub.config.streamTimeout, begun);
    if (begun.aborted || this.hub.config.transport !== "auto") return;
    try {
      await this.#poll(() => {}, begun, 0);
    } catch {
      return; // it isn't the stream
    }
    if (begun.aborted) return;
    this.hub.pollUntil = Date.now() + POLLING_MS;
    this.restart();
  }

  async #poll(hear, signal, wait) {
    const request = await this.hub.request(this.channels);
    await readPoll(this.#url({ format: "poll", wait, limit: 1000 }), request, hear, signal);
  }

  #url(more = {}) {
    const url = new URL("events", this.hub.config.url);
    for (const channel of this.channels) url.searchParams.append("channel", channel);
    if (this.cursor !== "now") url.searchParams.set("after", this.cursor);
    for (const [name, value] of Object.entries(more)) url.searchParams.set(name, String(value));
    return url.href;
  }

  /**
   * Before other channels come in, this line's own place is brought up to where the others have been listened to from,
   * or they would be told a gap there.
   */
  async #takeOver(signal) {
    const other = this.joining;
    for (let i = 0; i < 20 && this.subscriptions.size > 0 && !covers(this.cursor, other.first); i++) {
      try {
        await this.#poll((message) => this.#hear(message), signal, 0);
      } catch {
        break; // the stream will say what is wrong
      }
    }
    this.joining = null;
    this.isOpen = false;
    this.parts = [this.channels, other.channels];
    this.#raiseFloors();
    for (const subscription of other.subscriptions) this.#add(subscription);
    for (const channel of other.apart) this.apart.add(channel);
    this.cursor = combine(this.cursor, other.cursor, Math.min);
  }

  #hear({ kind, id = "", data = "", retry = 0, event = null }) {
    if (kind === "retry") this.retry = retry;
    else if (kind === "lost") this.#lost();
    else if (kind === "gap") this.#gap(JSON.parse(data), id);
    else if (kind === "cursor") this.#moved(id);
    else this.#event(event ?? JSON.parse(data), id);
  }

  #lost() {
    this.isOpen = this.isNear = false;
    this.hub.tell(this, { state: "waiting", wait: this.retry, reason: "The stream has ended." });
  }

  #event(event, id) {
    const to = [...this.subscriptions].filter(({ channel, floor }) => matches(channel, event.channel) &&
      !covers(floor, event.id));
    this.count++;
    if (id) this.cursor = id; // an answer of a long-poll has one cursor, at its end
    this.hub.deliver(to, { event }, id);
    if (id && this.isOpen) this.hub.meet(this);
  }

  #gap(gap, id) {
    const to = [...this.subscriptions].filter(({ channel, floor }) => !covers(floor, gap.to) &&
      gap.channels.some((name) => name === channel || matches(channel, name)));
    if (id) this.cursor = id;
    this.hub.deliver(to, { gap }, id);
  }

  #moved(id) {
    this.cursor = id;
    if (!this.isOpen) {
      this.isOpen = true;
      if (!comparable(this.first, id)) this.first = id;
      this.parts = null;
      this.hub.tell(this, { state: "open", transport: this.hub.transport });
      if (!this.isNear) this.#settle(this.attempt.signal);
    }
    this.hub.deliver([...this.subscriptions], {}, id);
    this.hub.meet(this);
  }

  /** After half a second without an event there is nothing old left. */
  async #settle(signal) {
    while (this.isOpen && !this.isNear && !signal.aborted) {
      const before = this.count;
      await sleep(500, signal);
      if (!this.isOpen || signal.aborted) return;
      this.isNear ||= before === this.count;
    }
    this.hub.meet(this);
  }

  /** The gateway won't have it: who is refused is found by asking for the halves. */
  #refused(error) {
    this.stop();
    const channels = this.channels;
    const [mine, others] = this.parts ??
      [channels.slice(0, channels.length / 2), channels.slice(channels.length / 2)];
    if (channels.length < 2 || (error.status === 401 && this.hub.config.hasToken)) {
      this.hub.fail([...this.subscriptions], error);
      return;
    }
    for (const [part, apart] of [[mine, others], [others, mine]]) {
      const subscriptions = [...this.subscriptions].filter(({ channel }) => part.includes(channel));
      if (subscriptions.length === 0) continue;
      const line = this.hub.add(subscriptions, this.cursor);
      line.first = this.first;
      line.apart = new Set(this.apart);
      if (this.parts) for (const channel of apart) line.apart.add(channel);
    }
  }
}

// --- the hub ---------------------------------------------------------------------------------------------------------

/** Holds the lines of all who share them. Those are its ports: each has a `send`, and calls receive(). */
class Hub {
  constructor(config, signal = undefined) {
    this.config = config;
    this.ports = new Map();
    this.lines = [];
    this.pollUntil = 0;
    this.token = null;
    this.refreshing = null;
    this.asked = new Map();
    this.questions = 0;
    this.timer = undefined;
    this.dirty = new Set(); // lines that have lost a channel
    globalThis.addEventListener?.("online", () => this.lines.forEach((line) => line.restart()), { signal });
    signal?.addEventListener("abort", () => [...this.ports.keys()].forEach((id) => this.detach(id)), { once: true });
  }

  get transport() {
    const { transport, hasToken } = this.config;
    if (transport !== "auto") return transport;
    if (Date.now() < this.pollUntil) return "poll";
    return !hasToken && typeof EventSource === "function" ? "eventsource" : "fetch";
  }

  attach(id, send) {
    this.detach(id);
    this.ports.set(id, { send, subscriptions: new Map() });
  }

  detach(id) {
    const port = this.ports.get(id);
    if (port) this.#end(port, [...port.subscriptions.keys()]);
    this.ports.delete(id);
    if (this.ports.size === 0) clearTimeout(this.timer);
  }

  receive(id, message) {
    const port = this.ports.get(id);
    if (message.do === "token") this.asked.get(message.question)?.(message);
    else if (message.do === "bye") this.detach(id);
    else if (port && message.do === "end") this.#end(port, message.ids);
    else if (port && message.do === "subscribe") this.#subscribe(port, message.subscriptions);
  }

  /** Those that begin at the same place share a line from the first. */
  #subscribe(port, wanted) {
    const groups = new Map();
    for (const { id, channel, after } of wanted) {
      const subscription = { id, channel, port, floor: null, line: null };
      port.subscriptions.set(id, subscription);
      groups.set(after, [...(groups.get(after) ?? []), subscription]);
    }
    for (const [after, subscriptions] of groups) this.add(subscriptions, after);
  }

  #end(port, ids) {
    for (const id of ids) {
      const subscription = port.subscriptions.get(id);
      if (!subscription) continue;
      port.subscriptions.delete(id);
      const { line } = subscription, before = line.channels.length;
      line.subscriptions.delete(subscription);
      if (line.subscriptions.size === 0 && !line.joining) line.stop();
      else if (line.channels.length < before) this.#changed(line);
    }
  }

  /** Leaves out, a little later, what nobody wants any more: others may be about to go. */
  #changed(line) {
    if (this.dirty.size === 0) {
      setTimeout(() => {
        for (const each of this.dirty) each.restart();
        this.dirty.clear();
      }, 100);
    }
    this.dirty.add(line);
  }

  add(subscriptions, cursor) {
    const line = new Line(this, subscriptions, cursor);
    this.lines.push(line);
    return line;
  }

  drop(line) {
    this.lines = this.lines.filter((other) => other !== line);
  }

  /** Joins two lines of one order when neither has old events to read, for which the other would have to wait. */
  meet(line) {
    for (const other of this.lines) {
      const [elder, younger] = this.lines.indexOf(other) < this.lines.indexOf(line) ? [other, line] : [line, other];
      if (other === line || elder.joining || !elder.isOpen || !younger.isOpen ||
        !comparable(elder.cursor, younger.cursor) || younger.channels.some((name) => elder.apart.has(name))) continue;
      if (elder.isNear && covers(younger.cursor, elder.cursor)) younger.isNear = true;
      if (younger.isNear && covers(elder.cursor, younger.cursor)) elder.isNear = true;
      if (!elder.isNear || !younger.isNear) continue;
      this.drop(younger);
      elder.absorb(younger);
      return;
    }
  }

  /** Tells each port once, with the place up to which it then has everything, if that is known. */
  deliver(subscriptions, message, cursor) {
    const packets = new Map();
    for (const { id, port, floor } of subscriptions) {
      const place = cursor && floor ? combine(cursor, floor, Math.max) : cursor;
      const places = packets.get(port) ?? packets.set(port, new Map()).get(port);
      places.set(place, [...(places.get(place) ?? []), id]);
    }
    for (const [port, places] of packets) {
      for (const [place, ids] of places) port.send({ ...message, ids, place });
    }
  }

  tell(line, message) {
    for (const port of this.ports.values()) {
      const ids = [...line.subscriptions].filter((one) => one.port === port).map((one) => one.id);
      if (ids.length > 0) port.send({ ...message, ids });
    }
  }

  fail(subscriptions, error) {
    const { status, type, message, requestId } = error;
    for (const { id, port, channel } of subscriptions) {
      port.subscriptions.delete(id);
      port.send({ ids: [id], problem: { status, type, detail: message, instance: requestId }, channel });
    }
  }

  async request(channels) {
    const headers = {};
    if (this.config.hasToken) headers.Authorization = `Bearer ${this.token ?? await this.refresh(false)}`;
    return { headers, channels, credentials: this.config.credentials ? "include" : "same-origin" };
  }

  /** A token from whoever came last and answers; it is asked for again before it ends. */
  refresh(isNew = true) {
    this.refreshing ??= this.#askAll(isNew).finally(() => { this.refreshing = null; });
    return this.refreshing;
  }

  async #askAll(isNew) {
    let error = new Error("Nobody is there to give a token.");
    for (const [id, port] of [...this.ports].reverse()) {
      const answer = await this.#ask(port, isNew);
      if (answer?.token) {
        this.token = answer.token;
        this.#watchExpiry();
        return answer.token;
      }
      error = answer?.isFinal ? new EventGateError({ status: 401, detail: answer.error }) :
        new Error(answer?.error ?? `No token came from ${id}.`);
    }
    throw error;
  }

  #ask(port, isNew) {
    const question = ++this.questions;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 10000, null);
      this.asked.set(question, (answer) => { clearTimeout(timer); this.asked.delete(question); resolve(answer); });
      port.send({ question, isNew });
    });
  }

  #watchExpiry() {
    const left = expiryOf(this.token) - Date.now();
    clearTimeout(this.timer);
    const ahead = left - Math.min(30000, Math.max(1000, left / 5));
    if (left === Infinity || ahead <= 0 || this.ports.size === 0) return;
    this.timer = setTimeout(async () => {
      const before = this.token;
      await this.refresh().catch(() => {}); // the stream's 401 asks again
      if (this.token !== before) for (const line of this.lines) line.restart();
    }, Math.min(ahead, 2 ** 31 - 1));
  }
}

/** In a SharedWorker this module is the hub of all tabs. A tab that is gone has let go of its lock. */
function serveTabs(scope) {
  let hub, held;
  scope.onconnect = ({ ports: [port] }) => {
    port.onmessage = ({ data: hello }) => {
      hub ??= new Hub(hello.config);
      held ??= new Promise((resolve) => {
        scope.navigator.locks.request(`${hello.key}:hub`, () => { resolve(); return new Promise(() => {}); });
      });
      port.onmessage = ({ data }) => hub.receive(hello.id, data);
      held.then(() => serve(hub, hello, (message) => port.postMessage(message)));
    };
  };
}

function serve(hub, { id, key }, send) {
  hub.attach(id, send);
  navigator.locks.request(`${key}:${id}`, () => hub.detach(id));
  send({ welcome: true });
}

// --- the gate --------------------------------------------------------------------------------------------------------

/** See eventgate.d.ts and the README for what its options mean. */
export class EventGate {
  #url;
  #options;
  #id = randomKey();
  #subscriptions = new Map();
  #waiting = [];
  #count = 0;
  #send = null;
  #gone = new AbortController();
  #token = null;
  #live = new Map(); // channel: was it found to be live?
  #states = new Map();
  #transport;
  #places = {}; // by channel: what is stored
  #saving;

  constructor(url = undefined, options = {}) {
    const here = /^https?:/.test(import.meta.url) ? import.meta.url : globalThis.location?.href;
    if (url && typeof url === "object" && !(url instanceof URL))
      throw new TypeError("new EventGate(url, options): the URL comes first; undefined means where eventgate.js is from.");
    if (!url && !here) throw new TypeError("new EventGate(url): the URL of the gateway is needed here.");
    this.#url = new URL(url ?? ".", here);
    if (!this.#url.pathname.endsWith("/")) this.#url.pathname += "/";
    this.#options = { transport: "auto", shared: true, streamTimeout: FIRST_CURSOR_MS, ...options };
    this.state = "idle";
    if (options.signal?.aborted) this.#gone.abort();
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    if (options.resume) this.#places = this.#stored();
    if (options.resume) globalThis.addEventListener?.("pagehide", () => this.#save(), { signal: this.#gone.signal });
    this.#reach().catch((error) => this.#fail(error));
  }

  // --- subscribing

  on(channel, handler, options = {}) {
    if (typeof handler !== "function") throw new TypeError("on(channel, handler): the handler must be a function.");
    this.#subscribe(channel, { ...options, handler });
    return this;
  }

  once(channel, handler, options = {}) {
    return this.on(channel, handler, { ...options, once: true, isForgotten: true });
  }

  off(channel, handler = undefined) {
    this.#end([...this.#subscriptions.values()].filter((one) => one.channel === channel &&
      (!handler || one.handler === handler)));
    return this;
  }

  async* events(channels, options = {}) {
    const queue = [];
    let taken = [], full = false, failure, last, wake = () => {};
    const stop = (error) => { failure ??= { error }; wake(); };
    const handler = (_, event) => {
      if (event === last) return; // by another of these patterns
      queue.push(last = event);
      if (queue.length >= QUEUE && !full) queueMicrotask(() => this.#end(taken)); // goes on when it has been read
      full ||= queue.length >= QUEUE;
      wake();
    };
    const start = () => {
      full = false;
      taken = [channels].flat().map((channel, i) => this.#subscribe(channel, { ...options, signal: undefined, handler,
        after: taken[i]?.place ?? options.after ?? "now", isForgotten: true, onError: stop }));
    };
    const abort = () => stop(options.signal.reason);
    const closed = () => wake();
    if ([channels].flat().length === 0) throw new TypeError("events(channels): there is no channel.");
    options.signal?.throwIfAborted();
    options.signal?.addEventListener("abort", abort, { once: true });
    this.#gone.signal.addEventListener("abort", closed, { once: true });
    try {
      start();
      while (!this.#gone.signal.aborted) {
        while (queue.length > 0 && !failure) yield queue.shift();
        if (failure) throw failure.error;
        if (full) start();
        if (queue.length === 0) await new Promise((resolve) => { wake = resolve; });
      }
    } finally {
      options.signal?.removeEventListener("abort", abort);
      this.#gone.signal.removeEventListener("abort", closed);
      this.#end(taken);
    }
  }

  #subscribe(channel, options) {
    if (this.#gone.signal.aborted) throw new Error("This EventGate is closed.");
    const one = { id: ++this.#count, channel, place: null, ...options };
    if (options.signal?.aborted) return one;
    one.after ??= (one.isForgotten ? null : this.#places[channel]) ?? "now";
    options.signal?.addEventListener("abort", () => this.#end([one]), { once: true });
    this.#subscriptions.set(one.id, one);
    if (this.#waiting.push(one) === 1) queueMicrotask(() => this.#flush());
    return one;
  }

  /** All that were added in one turn start together. */
  #flush() {
    const wanted = this.#waiting.filter((one) => this.#subscriptions.has(one.id));
    if (!this.#send) return; // welcome() sends them
    this.#waiting = [];
    if (wanted.length > 0) this.#sendSubscriptions(wanted);
  }

  #sendSubscriptions(wanted) {
    const subscriptions = wanted.map(({ id, channel, place, after }) => ({ id, channel, after: place ?? after }));
    this.#send?.({ do: "subscribe", subscriptions });
  }

  #end(ended) {
    const ids = ended.filter((one) => this.#subscriptions.delete(one.id)).map((one) => one.id);
    for (const id of ids) this.#states.delete(id);
    if (ids.length > 0) this.#stateChanged();
    for (const { channel, isForgotten } of ended) if (!isForgotten) delete this.#places[channel];
    if (ids.length > 0) this.#send?.({ do: "end", ids });
    if (this.#options.resume && !this.#gone.signal.aborted) this.#saveSoon();
  }

  close() {
    if (this.#gone.signal.aborted) return;
    this.#save();
    this.#send?.({ do: "bye" });
    this.#gone.abort();
    this.#subscriptions.clear();
    this.#setState("closed");
  }

  // --- what the hub says

  #hear(message) {
    if (this.#gone.signal.aborted) return;
    if (message.question) this.#answer(message);
    else if (message.ids) for (const id of message.ids) this.#hearFor(this.#subscriptions.get(id), message);
    if (message.state || message.problem) this.#stateChanged(message);
  }

  #hearFor(one, { event, gap, problem, state, place }) {
    if (!one) return;
    const behind = place || (event && one.place ? combine(one.place, event.id, Math.max) : null); // of a long-poll
    if (event) {
      if (one.once) this.#end([one]);
      this.#call(() => one.handler(event.data, event, behind ?? event.id));
    }
    if (gap) this.#call(() => (one.onGap ?? this.#options.onGap)?.(gap));
    if (problem) {
      this.#subscriptions.delete(one.id);
      this.#states.delete(one.id);
      this.#fail(new EventGateError(problem, [one.channel]), one.onError);
    }
    if (state) this.#states.set(one.id, state);
    if (behind) one.place = behind;
    if (!place) return;
    if (!event && !gap && !one.isOpen) {
      one.isOpen = true;
      this.#call(() => one.onOpen?.(place));
    }
    if (this.#options.resume) this.#saveSoon();
  }

  #call(callback) {
    try {
      const result = callback();
      if (typeof result?.catch === "function") result.catch(report);
    } catch (error) {
      report(error);
    }
  }

  #fail(error, onError = undefined) {
    const tell = onError ?? this.#options.onError;
    if (tell) this.#call(() => tell(error));
    else report(error);
  }

  /** The worst of those that are left. */
  #stateChanged({ wait, reason, transport = this.#transport } = {}) {
    const states = new Set(this.#states.values());
    this.#transport = transport;
    if (this.#subscriptions.size === 0) this.#setState("idle");
    else if (states.size > 0) {
      const state = ["waiting", "connecting"].find((one) => states.has(one)) ?? "open";
      this.#setState(state, { wait, reason, transport: state === "open" ? transport : undefined });
    }
  }

  #setState(state, detail = {}) {
    if (state === this.state) return;
    this.state = state;
    if (this.#options.onState) this.#call(() => this.#options.onState(state, detail));
  }

  // --- where the hub is

  async #reach() {
    const { shared, transport, streamTimeout, credentials, token } = this.#options;
    const config = { url: this.#url.href, transport, streamTimeout, credentials, hasToken: token !== undefined };
    const who = shared === true ? "" : `:${shared}`;
    const hello = { id: this.#id, key: `eventgate:${VERSION}:${JSON.stringify(config)}${who}`, config };
    if (shared && typeof document === "object" && globalThis.navigator?.locks) {
      await new Promise((held) => {
        navigator.locks.request(`${hello.key}:${hello.id}`, () => { held(); return this.#whenGone(); });
      });
      if (typeof SharedWorker === "function" && shared !== "leader" && await this.#joinWorker(hello)) return;
      if (typeof BroadcastChannel === "function") return void this.#joinTabs(hello);
    }
    this.#lead(hello);
  }

  #whenGone() {
    const { signal } = this.#gone;
    return new Promise((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", resolve, { once: true });
    });
  }

  /** Whatever was subscribed to goes on at its places. */
  #welcome(send) {
    this.#send = send;
    this.#waiting = [];
    if (this.#subscriptions.size > 0) this.#sendSubscriptions([...this.#subscriptions.values()]);
  }

  #lead(hello) {
    const hub = new Hub(hello.config, this.#gone.signal);
    hub.attach(hello.id, (message) => this.#hear(message));
    this.#welcome((message) => hub.receive(hello.id, message));
    return hub;
  }

  /** The hub in a SharedWorker, if one can be had; when its lock becomes free, it is no more. */
  async #joinWorker(hello) {
    let worker;
    try {
      worker = new SharedWorker(import.meta.url, { type: "module", name: hello.key });
    } catch {
      return false; // a module of another origin
    }
    const { port } = worker;
    const welcomed = await new Promise((resolve) => {
      worker.onerror = () => resolve(false);
      setTimeout(resolve, 3000, false);
      port.onmessage = ({ data }) => (data.welcome ? resolve(true) : this.#hear(data));
      port.postMessage(hello);
    });
    if (!welcomed) {
      port.close();
      return false;
    }
    if (this.#gone.signal.aborted) return port.postMessage({ do: "bye" }), true;
    this.#welcome((message) => port.postMessage(message));
    navigator.locks.request(`${hello.key}:hub`, { mode: "shared", signal: this.#gone.signal }, () => {
      this.#send = null;
      port.close();
      this.#joinWorker(hello).then((again) => again || this.#joinTabs(hello));
    }).catch(() => {}); // closed
    return true;
  }

  /** The hub in the tab that has the lock; the others talk to it, and one of them is the next. */
  #joinTabs(hello) {
    const channel = new BroadcastChannel(hello.key);
    const post = (message) => channel.postMessage(message);
    let hub = null;
    channel.onmessage = ({ data: { from, to, leads, message } }) => {
      if (hub && from && message.config) serve(hub, message, (answer) => post({ to: from, message: answer }));
      else if (hub && from) hub.receive(from, message);
      else if (leads) post({ from: hello.id, message: hello });
      else if (to === hello.id && message.welcome) this.#welcome((said) => post({ from: hello.id, message: said }));
      else if (to === hello.id) this.#hear(message);
    };
    post({ from: hello.id, message: hello });
    navigator.locks.request(`${hello.key}:leader`, { signal: this.#gone.signal }, () => {
      hub = this.#lead(hello);
      post({ leads: true });
      return this.#whenGone();
    }).catch(() => {}).finally(() => channel.close()); // closed
  }

  // --- tokens

  async #answer({ question, isNew }) {
    try {
      this.#send?.({ do: "token", question, token: await this.#freshToken(isNew) });
    } catch (error) {
      const isFinal = error instanceof EventGateError;
      this.#send?.({ do: "token", question, error: String(error?.message ?? error), isFinal });
    }
  }

  /** The token; asked for again when it is refused (`isNew`) or about to end. */
  async #freshToken(isNew = false) {
    const token = await this.#anyToken(isNew);
    if (isHeader(String(token).trim())) return String(token).trim();
    throw new EventGateError({ status: 401, detail: "This can't be a token: it has characters that no header takes." });
  }

  async #anyToken(isNew) {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    const old = this.#token && await this.#token.catch(() => "");
    if (isNew || !old || expiryOf(old) - Date.now() < 1000) {
      this.#token = Promise.resolve(token({ refresh: isNew }));
      this.#token.catch(() => { this.#token = null; });
    }
    return this.#token;
  }

  // --- publishing

  async emit(channel, data, options = {}) {
    try {
      return await this.publish(channel, data, options);
    } catch (error) {
      this.#fail(error); // nobody need wait for it
      return undefined;
    }
  }

  async publish(channel, data = undefined, options = {}) {
    const batch = Array.isArray(channel);
    const more = (batch ? data : options) ?? {};
    const items = batch ? channel : [{ channel, data, type: more.type, key: more.key, trace: more.trace }];
    const sent = items.map((item) => ({ ...item, made: item.key === undefined,
      key: item.key === null ? undefined : item.key ?? (this.#live.get(item.channel) ? undefined : randomKey()) }));
    const inBatch = batch || !fitsAlone(sent[0]);
    const answer = await this.#deliver(sent, inBatch, more);
    const rows = inBatch ? answer.results : [answer];
    rows.forEach(({ status }, i) => [201, 202].includes(status) && this.#live.set(items[i].channel, status === 202));
    return batch ? rows : rows[0];
  }

  /** Sends until there is an answer. What may have been published is sent again only with the key that it had. */
  async #deliver(items, batch, { signal, timeout = 60000 }) {
    const until = Date.now() + timeout, channels = items.map((item) => item.channel);
    for (let failures = 0, refreshed = false; ; failures++) {
      const keyed = items.every((item) => item.key !== undefined);
      const [url, request] = await this.#request(items, batch);
      try {
        const patience = Math.min(keyed ? 15000 : timeout, until - Date.now());
        return await post(url, request, channels, signal, Math.max(1, patience));
      } catch (error) {
        if (signal?.aborted) throw error;
        const isUnknown = !error.status || error.type === "outcome-unknown" || [500, 502, 504].includes(error.status);
        const wait = waitOf(error.retryAfter || 500, Math.min(failures, 5));
        if (error.status === 401 && typeof this.#options.token === "function" && !refreshed) {
          refreshed = true;
          await this.#freshToken(true);
        } else if (error.type === "bad-parameter" && items.some((item) => item.made && item.key)) {
          for (const item of items) if (item.made) item.key = undefined; // live channels take none
        } else if (isUnknown && (!keyed || Date.now() + wait > until)) {
          throw new EventGateError({ status: error.status, type: "outcome-unknown",
            detail: `It may or may not have been published: ${error.message}` }, channels);
        } else if (error.isFinal || Date.now() + wait > until) {
          throw error;
        } else {
          await sleep(wait, signal);
          signal?.throwIfAborted();
        }
      }
    }
  }

  async #request(items, batch) {
    const [one] = items, { credentials, token } = this.#options;
    const path = batch ? "events" : `channels/${one.channel.split("/").map(encodeURIComponent).join("/")}`;
    const url = new URL(path, this.#url);
    const headers = { "Content-Type": "application/json" };
    if (!batch && one.type !== undefined) url.searchParams.set("type", one.type);
    if (!batch && one.key !== undefined) headers["Idempotency-Key"] = one.key;
    if (!batch && one.trace !== undefined) headers.traceparent = one.trace;
    if (token !== undefined) headers.Authorization = `Bearer ${await this.#freshToken()}`;
    const rows = items.map(({ channel, data = null, type, key, trace }) => ({ channel, data, type, key, trace }));
    const body = JSON.stringify(batch ? rows : rows[0].data);
    return [url, { method: "POST", headers, body, credentials: credentials ? "include" : "same-origin" }];
  }

  // --- places that outlive the page

  get #storage() {
    return this.#options.storage ?? globalThis.sessionStorage;
  }

  get #name() {
    const { resume } = this.#options;
    return `eventgate:${resume === true ? this.#url.href : resume}`;
  }

  #stored() {
    try {
      return JSON.parse(this.#storage.getItem(this.#name) ?? "{}");
    } catch {
      return {}; // somebody else's
    }
  }

  #saveSoon() {
    this.#saving ??= setTimeout(() => this.#save(), 200);
  }

  #save() {
    clearTimeout(this.#saving);
    this.#saving = undefined;
    if (!this.#options.resume || this.#gone.signal.aborted) return;
    const places = {};
    for (const { channel, place, isForgotten } of this.#subscriptions.values()) {
      if (place && !isForgotten) places[channel] = combine(place, places[channel], Math.min);
    }
    Object.assign(this.#places, places);
    try {
      this.#storage.setItem(this.#name, JSON.stringify(this.#places));
    } catch (error) {
      this.#fail(error); // full, or forbidden
    }
  }
}

function randomKey() {
  const digits = () => Math.random().toString(36).slice(2);
  return globalThis.crypto?.randomUUID?.() ?? digits() + digits() + digits(); // only secure pages have the former
}

if (globalThis.SharedWorkerGlobalScope && globalThis instanceof globalThis.SharedWorkerGlobalScope) serveTabs(globalThis);
