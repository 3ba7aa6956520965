/**
 * The subscriptions of this page, over one EventGate of its own (no other tab's), so that what one sees is one's own stream.
 *
 * Another transport or token means another gate; each channel then goes on at the place that it had.
 */
import { EventGate } from "../eventgate.js";

const REMEMBERED = 10000; // ids, by which an event that two streams bring is known

/** Have I had this one? Remembers at least so many, at most twice as many. */
class Recent {
  #young = new Set();
  #old = new Set();

  isNew(id) {
    if (this.#young.has(id) || this.#old.has(id)) return false;
    this.#young.add(id);
    if (this.#young.size >= REMEMBERED) [this.#old, this.#young] = [this.#young, new Set()];
    return true;
  }

  clear() {
    this.#young.clear();
    this.#old.clear();
  }
}

/**
 * @typedef {object} Listener
 * @property {(event: object, cursor: string) => void} onEvent
 * @property {(gap: object) => void} onGap
 * @property {(error: Error) => void} onError
 * @property {(note: string) => void} onNote
 * @property {() => void} onChange channels, or the state, are others
 */
export class Session {
  /**
   * By channel or pattern: where it goes on (`after`), and whether it has begun. Until the gateway has taken a place that
   * somebody wanted, `before` is the one to go back to, and `wish` what to note then.
   */
  channels = new Map();
  transport = "auto";
  /** What carries the stream: `eventsource`, `fetch` or `poll`; null before it is open. */
  carrier = null;
  state = "idle";
  wait = 0; // ms until the next attempt, from `since` on
  since = 0;
  reason = "";
  openedAt = 0; // wall time (ms): what is older has been replayed
  #listener;
  #gate = null;
  #token;
  #recent = new Recent();
  #lastGap = null;
  #wasLost = false;
  #awaiting = []; // for channels to begin

  /**
   * @param {Listener} listener
   * @param {() => string} token the token to use, "" for none
   */
  constructor(listener, token) {
    this.#listener = listener;
    this.#token = token;
  }

  subscribe(channel, after = "now") {
    const before = this.channels.get(channel)?.after ?? "now";
    if (this.channels.has(channel)) this.#gate?.off(channel);
    if (after !== "now") this.#recent.clear(); // old ones are wanted again
    this.channels.set(channel, { after, before: after === before ? null : before, wish: null, isOpen: false, refusal: "" });
    this.#gate ??= this.#open();
    this.#on(channel);
    this.#tell();
  }

  unsubscribe(channel) {
    if (!this.channels.delete(channel)) return;
    if (this.wanted.length === 0) this.#close();
    else this.#gate?.off(channel);
    this.#tell();
  }

  /** Were they connected, and aren't now? */
  get isLost() {
    return this.#wasLost;
  }

  /** What is subscribed to, or will be: all but what was refused for want of a right, which another token may give. */
  get wanted() {
    return [...this.channels.keys()].filter((name) => !this.channels.get(name).refusal);
  }

  /** All channels again, from that cursor (or `earliest`) on. */
  resumeFrom(cursor) {
    const wish = { note: `Resumed from ${cursor}` };
    this.#recent.clear();
    for (const one of this.channels.values()) Object.assign(one, { before: one.before ?? one.after, after: cursor, wish });
    this.restart();
  }

  useTransport(transport) {
    if (transport === this.transport) return;
    this.transport = transport;
    this.restart();
  }

  /** Goes on with another gate, as after a change of the token. */
  restart() {
    this.#close();
    if (this.channels.size > 0) {
      this.#gate = this.#open();
      for (const one of this.channels.values()) one.refusal = "";
      for (const channel of this.channels.keys()) this.#on(channel);
    }
    this.#tell();
  }

  /** Resolves when all channels have begun, or have been refused. */
  async opened() {
    while (this.wanted.some((name) => !this.channels.get(name).isOpen)) await new Promise((resolve) => { this.#awaiting.push(resolve); });
  }

  /** Publishes by way of the same client; an EventGate that only publishes has no stream. */
  async publish(...given) {
    const gate = this.#gate ?? this.#make({});
    try {
      return await gate.publish(...given);
    } finally {
      if (gate !== this.#gate) gate.close();
    }
  }

  #tell() {
    for (const resolve of this.#awaiting.splice(0)) resolve();
    this.#listener.onChange();
  }

  #make(more) {
    const token = this.#token() ? { token: () => this.#token() } : {};
    return new EventGate(undefined, { shared: false, transport: this.transport, onError: (error) => this.#listener.onError(error),
      ...token, ...more });
  }

  #open() {
    const gate = this.#make({ onState: (state, detail) => this.#gate === gate && this.#changed(state, detail) });
    [this.state, this.since] = ["connecting", performance.now()];
    return gate;
  }

  #close() {
    const gate = this.#gate;
    this.#gate = null;
    gate?.close();
    [this.state, this.carrier, this.#wasLost] = ["idle", null, false];
    for (const one of this.channels.values()) one.isOpen = false;
  }

  #on(channel) {
    const one = this.channels.get(channel), gate = this.#gate;
    const isMine = () => this.#gate === gate && this.channels.get(channel) === one;
    gate.on(channel, (_, event, cursor) => {
      if (!isMine()) return;
      this.#taken(one);
      one.after = cursor;
      if (this.#recent.isNew(event.id)) this.#listener.onEvent(event, cursor);
    }, {
      after: one.after,
      onOpen: (cursor) => {
        if (!isMine()) return;
        this.#taken(one);
        [one.after, one.isOpen] = [cursor, true];
        this.#tell();
      },
      onGap: (gap) => {
        if (!isMine()) return;
        this.#taken(one);
        if (gap === this.#lastGap) return; // told for each channel
        this.#lastGap = gap;
        this.#listener.onGap(gap);
      },
      onError: (error) => {
        if (!isMine()) return;
        one.isOpen = false;
        if (error.status === 401 || error.status === 403) one.refusal = error.message;
        else if (one.before !== null) this.#goBack(channel, one);
        else this.channels.delete(channel);
        if (this.wanted.length === 0) this.#close();
        this.#listener.onError(error);
        this.#tell();
      },
    });
  }

  /** The gateway has taken the place where it was to begin. */
  #taken(one) {
    if (one.wish?.note) this.#listener.onNote(one.wish.note);
    if (one.wish) one.wish.note = ""; // once for all channels
    [one.before, one.wish] = [null, null];
  }

  /** It hasn't: on from where it was. */
  #goBack(channel, one) {
    [one.after, one.before, one.wish] = [one.before, null, null];
    this.#on(channel);
  }

  #changed(state, { wait = 0, reason = "", transport = null }) {
    [this.state, this.wait, this.reason, this.since] = [state, wait, reason, performance.now()];
    if (state === "open") {
      this.carrier = transport;
      this.openedAt = Date.now();
      if (this.#wasLost) this.#listener.onNote("Connected again");
      this.#wasLost = false;
    } else if (state === "waiting") {
      if (!this.#wasLost) this.#listener.onNote(`Connection lost. ${reason}`);
      this.#wasLost = true;
    }
    this.#tell();
  }
}
