/** The channel sets, and how their connections to PostgreSQL are. */
import { byId, copyButton, make, setText } from "./dom.js";
import { counted, rate } from "./format.js";

const MOST = 50;

export class SetsPanel {
  #catalog;
  #shown = "";

  /** @param {import("./catalog.js").Catalog} catalog */
  constructor(catalog) {
    this.#catalog = catalog;
  }

  show() {
    const { data, problem, status } = this.#catalog.sets;
    const rows = (data?.sets ?? []).slice(0, MOST).map((set) => ({ ...set, rate: this.#rateOf(set.name) }));
    const denied = status === 401 || status === 403;
    setText(byId("sets-note"), denied ? "For operators. Everything else works without it." : status === 0 && data ? "" : problem);
    const now = JSON.stringify([rows, status === 0]);
    if (now === this.#shown) return;
    this.#shown = now;
    const focused = document.activeElement?.closest("#sets") !== null;
    if (!focused) byId("sets").replaceChildren(...rows.map((set) => setRow(set, status === 0))); // a button that has the focus stays
  }

  #rateOf(set) {
    const own = (this.#catalog.channels.data?.channels ?? []).filter((one) => one.set === set);
    const known = own.map(({ name }) => this.#catalog.rates.get(name) ?? null).filter((value) => value !== null);
    return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) : null;
  }
}

function setRow(set, isStale) {
  const works = ["listening", "publishing", "reading", "appending"].filter((name) => name in set);
  const bad = works.filter((name) => !set[name]);
  const said = [...new Set([set.problem, set.log_problem])].filter(Boolean).map((text) => make("p", { class: "bad" }, text));
  return make("li", {},
    make("div", { class: "set-head" }, make("strong", {}, set.name), make("span", { class: "rate" }, `${rate(set.rate)}/s`)),
    make("p", { class: isStale ? "state more" : bad.length > 0 ? "state bad" : "state good" },
      (isStale ? "last known: " : "") + (bad.length > 0 ? `not ${bad.join(", not ")}` : works.join(", "))),
    make("p", { class: "more" }, `${counted(set.journal.events, "event")} in the journal, ${counted(set.reconnects, "reconnect")}`),
    ...said,
    set.head ? make("div", { class: "head" }, make("code", { title: "Head: the cursor of the newest place" }, set.head),
      copyButton("Copy", set.head)) : make("p", { class: "more" }, "Nothing has been read yet."));
}
