/** The channels and patterns that there are, each with its rate, and a box to subscribe to it. */
import { byId, make, setAttribute, setText } from "./dom.js";
import { count, counted, rate } from "./format.js";

const SHOWN = 200; // rows; a filter finds the others
const byName = new Intl.Collator("en", { numeric: true }).compare;

export class ChannelsPanel {
  #list = byId("channels");
  #filter = byId("channel-filter");
  #rows = new Map();
  #catalog;
  #session;
  #calls;

  /**
   * @param {import("./catalog.js").Catalog} catalog
   * @param {import("./session.js").Session} session
   * @param {{ onName: (pattern: string) => void, onToggle: (name: string, wanted: boolean) => void }} calls
   */
  constructor(catalog, session, calls) {
    [this.#catalog, this.#session, this.#calls] = [catalog, session, calls];
    this.#filter.addEventListener("input", () => this.show());
  }

  show() {
    const { data, problem, status } = this.#catalog.channels, filter = this.#filter.value.trim().toLowerCase();
    const all = data ? [...data.patterns.map((one) => ({ ...one, name: one.pattern, isPattern: true })), ...data.channels] : [];
    const found = all.filter(({ name }) => name.toLowerCase().includes(filter)).sort((a, b) => byName(a.name, b.name));
    const shown = found.slice(0, SHOWN), more = found.length - shown.length + (data?.not_shown ?? 0);
    for (const [key, row] of this.#rows) {
      if (shown.some((one) => keyOf(one) === key)) continue;
      row.item.remove();
      this.#rows.delete(key);
    }
    shown.forEach((one, i) => this.#place(one, i));
    this.#list.classList.toggle("stale", status === 0);
    setText(byId("channels-note"), status === 0 ? `${problem}${data ? " This is what was known last." : ""}`
      : this.#note(problem, status, all.length, more));
  }

  #note(problem, status, known, more) {
    if (status === 401 || status === 403) return `The list has nothing that you may see. What you know by name can still be subscribed to.`;
    if (problem) return problem;
    if (more > 0) return `${count(more)} more: filter by name, or type the name above.`;
    return known === 0 ? "No channel has been configured, or has had an event." : "";
  }

  #place(one, index) {
    const key = keyOf(one), row = this.#rows.get(key) ?? this.#make(one, key);
    if (this.#list.children[index] !== row.item) this.#list.insertBefore(row.item, this.#list.children[index] ?? null);
    if (row.box) row.box.checked = this.#session.channels.has(one.name);
    const now = this.#catalog.rates.get(one.name) ?? null;
    setText(row.rate, one.isPattern ? "" : `${rate(now)}/s`);
    setAttribute(row.rate, "class", now ? "rate busy" : "rate");
    setText(row.more, describe(one));
  }

  #make(one, key) {
    const { name, kind, isPattern } = one;
    const made = { rate: make("span", { class: "rate" }), more: make("p", { class: "more" }), box: null, item: null };
    const label = make("span", { class: "channel-name", title: name }, name);
    const badge = make("span", { class: `kind ${kind}` }, kind);
    if (isPattern && kind === "live") { // PostgreSQL can't LISTEN to a pattern
      made.item = make("li", {}, make("button", { type: "button", class: "name-one", title: "Name one of these channels",
        onclick: () => this.#calls.onName(name) }, label), badge, made.rate, made.more);
    } else {
      made.box = make("input", { type: "checkbox", onchange: () => this.#calls.onToggle(name, made.box.checked) });
      made.item = make("li", {}, make("label", {}, made.box, label), badge, made.rate, made.more);
    }
    this.#rows.set(key, made);
    return made;
  }
}

const keyOf = ({ name, set, kind }) => JSON.stringify([name, set, kind]);

function describe({ isPattern, kind, subscribers, listening }) {
  if (isPattern) return kind === "live" ? "name one of them to subscribe" : "";
  const streams = subscribers ? counted(subscribers, "subscriber") : "";
  return listening ? streams : `the database is away${streams && `, ${streams}`}`;
}
