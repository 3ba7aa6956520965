/**
 * What the gateway says of itself, asked for every two seconds while the page is seen: channels, sets, streams. Each of
 * these has its own answer: where one takes a right that isn't there, its sentence is kept, and it is not asked for again
 * before something has changed.
 */
const EVERY_MS = 2000;
const SLOWEST_MS = 10000;

/** @typedef {{ data: any, problem: string, status: number }} Answer `status` 0: the gateway cannot be reached */

const nothing = () => ({ data: null, problem: "", status: 200 });

/** Open streams by the text of /metrics. */
function streamsIn(metrics) {
  let sum = 0;
  for (const [, value] of metrics.matchAll(/^eventgate_streams\{[^}]*\} (\S+)$/gm)) sum += Number(value);
  return sum;
}

export class Catalog {
  /** @type {Answer} */
  channels = nothing();
  /** @type {Answer} */
  sets = nothing();
  /** @type {Answer} `data`: the number of open streams */
  streams = nothing();
  /** Events per second, by channel; null where that isn't known yet. */
  rates = new Map();
  #before = { at: 0, events: new Map() };
  #token;
  #onChange;
  #timer = 0;
  #failures = 0;
  #round = 0; // answers of an earlier one are too late

  /**
   * @param {() => string} token
   * @param {() => void} onChange
   */
  constructor(token, onChange) {
    this.#token = token;
    this.#onChange = onChange;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
  }

  /** Asks for everything now, what was refused too. */
  refresh() {
    for (const one of [this.channels, this.sets, this.streams]) one.status = 200;
    return this.#ask(++this.#round);
  }

  /** Is a channel of that name live or durable, as far as one can tell? */
  kindOf(name) {
    const { channels = [], patterns = [] } = this.channels.data ?? {};
    const found = channels.find((one) => one.name === name) ?? patterns.find(({ pattern }) => covers(pattern, name));
    return found?.kind ?? null;
  }

  /** Is what is known only what was known last? */
  get isAway() {
    return this.channels.status === 0;
  }

  /** The names of the sets whose database is away, as far as one may know. */
  get setsAway() {
    const rows = ({ data, status }, member) => (status === 200 ? data?.[member] ?? [] : []);
    const names = [...rows(this.sets, "sets").filter((set) => set.listening === false || set.reading === false).map((set) => set.name),
      ...rows(this.channels, "channels").filter((one) => one.listening === false).map((one) => one.set ?? "this gateway")];
    return [...new Set(names)].sort();
  }

  get rate() {
    const known = [...this.rates.values()].filter((value) => value !== null);
    return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) : null;
  }

  async #ask(round) {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    const [channels, sets, streams] = await Promise.all([this.#get(this.channels, "../channels", (answer) => answer.json()),
      this.#get(this.sets, "../sets", (answer) => answer.json()),
      this.#get(this.streams, "../metrics", async (answer) => streamsIn(await answer.text()))]);
    if (round !== this.#round) return;
    [this.channels, this.sets, this.streams] = [channels, sets, streams];
    this.#failures = channels.status === 0 ? this.#failures + 1 : 0;
    if (this.isAway) this.rates = new Map();
    if (channels.data && channels.status === 200) this.#measure(channels.data.channels);
    this.#onChange();
    this.#timer = setTimeout(() => this.#ask(round), Math.min(EVERY_MS * 2 ** Math.min(this.#failures, 4), SLOWEST_MS));
  }

  /** @returns {Promise<Answer>} what is known stays when there is no answer */
  async #get(before, path, read) {
    if (before.status === 401 || before.status === 403) return before;
    const headers = this.#token() ? { Authorization: `Bearer ${this.#token()}` } : {};
    try {
      const answer = await fetch(new URL(path, import.meta.url), { headers, cache: "no-store" });
      if (answer.ok) return { data: await read(answer), problem: "", status: 200 };
      const { detail = `The answer was ${answer.status}.` } = await answer.json().catch(() => ({}));
      return { data: [401, 403].includes(answer.status) ? null : before.data, problem: detail, status: answer.status };
    } catch {
      return { ...before, problem: "The gateway cannot be reached.", status: 0 };
    }
  }

  #measure(channels) {
    const at = performance.now(), seconds = (at - this.#before.at) / 1000, events = new Map();
    this.rates = new Map();
    for (const { name, events: now } of channels) {
      const past = this.#before.events.get(name) ?? (this.#before.at > 0 ? 0 : now);
      events.set(name, now);
      this.rates.set(name, this.#before.at > 0 && now >= past ? (now - past) / seconds : null);
    }
    this.#before = { at, events };
  }
}

/** `*` is one level, `**` at the end one or more. */
export function covers(pattern, name) {
  const [want, have] = [pattern.split("/"), name.split("/")];
  const open = want.at(-1) === "**";
  if (open ? have.length < want.length : have.length !== want.length) return false;
  return want.every((level, i) => level === "*" || level === have[i] || (open && i === want.length - 1));
}
