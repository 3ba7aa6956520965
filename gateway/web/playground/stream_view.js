/**
 * The list of events: only the rows that can be seen are in the document, and they are used again and again.
 *
 * A listbox: arrow keys, Home, End, Page Up and Page Down select, Enter goes to the details, Space pauses. While its end
 * is seen it follows what comes.
 */
import { byId, inFrame, make, setAttribute, setText } from "./dom.js";
import { clock, count, counted, shortened } from "./format.js";
import { gapLine } from "./gaps.js";

const SPARE = 2; // rows beyond those that fit
const LEAST_MS = 60; // between two drawings while events pour in
const BUDGET_MS = 6; // for searching, in a frame
const SHOWN = 400; // characters of a payload in its row
const narrow = matchMedia("(max-width: 759px)");

export class StreamView {
  #list = byId("events");
  #sizer = byId("events-size");
  #layer = byId("events-rows");
  #newest = byId("newest");
  #history;
  #matches;
  #rows = [];
  #height = 0; // of a row
  #visible = 0; // px
  #following = true;
  #scrolled = 0;
  #first = 0; // of the matches, when it was last drawn
  #seen = 0; // the end of the matches when it last followed
  #selected = null; // a place of the history
  #isJson = false;
  #onSelect;
  draw = inFrame(() => this.#frame(), LEAST_MS);

  /**
   * @param {import("./history.js").History} history
   * @param {import("./matches.js").Matches} matches
   * @param {{ onSelect: (entry: any, wanted: boolean) => void, onPause: () => void }} calls
   */
  constructor(history, matches, { onSelect, onPause }) {
    this.#history = history;
    this.#matches = matches;
    this.#onSelect = onSelect;
    this.#list.addEventListener("scroll", () => this.#moved(), { passive: true });
    this.#list.addEventListener("keydown", (event) => this.#key(event, onPause));
    this.#list.addEventListener("click", (event) => this.#click(event));
    this.#list.addEventListener("wheel", ({ deltaY }) => { if (deltaY < 0) this.#following = false; }, { passive: true });
    this.#newest.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#resized()).observe(this.#list);
    narrow.addEventListener("change", () => {
      this.#resized();
      this.#refill();
    });
  }

  get selected() {
    return this.#selected === null ? undefined : this.#history.ring.at(this.#selected);
  }

  showJson(isJson) {
    this.#isJson = isJson;
    this.#refill();
  }

  #refill() {
    for (const row of this.#rows) row.entry = null;
    this.draw();
  }

  follow() {
    this.#following = true;
    this.draw(true);
  }

  /** Everything is another: a search, or an empty history. */
  reset() {
    if (this.#selected !== null && !this.selected) this.select(null);
    this.#first = this.#matches.places.first;
    this.follow();
  }

  /** @param {number | null} place of the history */
  select(place, wanted = false) {
    this.#selected = place;
    this.#onSelect(this.selected, wanted);
    this.draw(true);
  }

  // --- drawing

  #resized() {
    this.#height = narrow.matches ? 46 : 26;
    this.#visible = this.#list.clientHeight;
    const wanted = Math.ceil(this.#visible / this.#height) + SPARE;
    while (this.#rows.length < wanted) this.#rows.push(makeRow(this.#rows.length));
    while (this.#rows.length > wanted) this.#rows.pop().box.remove();
    this.#layer.append(...this.#rows.map(({ box }) => box));
    this.draw(true);
  }

  #frame() {
    if (!this.#matches.advance(BUDGET_MS)) this.draw(true);
    if (this.#visible === 0) return; // it is hidden: its size will be told
    const { places } = this.#matches;
    const gone = places.first - this.#first;
    this.#first = places.first;
    this.#sizer.style.height = `${places.length * this.#height}px`;
    const bottom = Math.max(0, places.length * this.#height - this.#visible);
    const wanted = this.#following ? bottom : Math.min(bottom, Math.max(0, this.#scrolled - gone * this.#height));
    if (Math.abs(wanted - this.#scrolled) >= 1) this.#list.scrollTop = wanted;
    this.#scrolled = wanted;
    if (this.#following) this.#seen = places.end;
    const start = Math.max(0, Math.min(Math.floor(wanted / this.#height), places.length - this.#rows.length + SPARE));
    this.#layer.style.transform = `translateY(${start * this.#height}px)`;
    let active = null;
    this.#rows.forEach((row, i) => {
      const place = places.at(places.first + start + i);
      if (this.#fill(row, place, start + i)) active = row.box.id;
    });
    setAttribute(this.#list, "aria-activedescendant", active);
    const unseen = places.end - Math.max(this.#seen, places.first);
    this.#newest.hidden = this.#following || bottom === 0;
    if (!this.#newest.hidden) setText(this.#newest, unseen > 0 ? `${count(unseen)} newer ↓` : "To the newest ↓");
  }

  /** Returns whether it is the one that is selected. */
  #fill(row, place, index) {
    const { box } = row, entry = place === undefined ? undefined : this.#history.ring.at(place);
    box.hidden = entry === undefined;
    if (entry === undefined) {
      row.entry = null;
      return false;
    }
    row.place = place;
    if (row.entry !== entry) {
      row.entry = entry;
      if (entry.kind === "event") this.#fillEvent(row, entry);
      else fillOther(row, entry);
    }
    const isSelected = place === this.#selected;
    setAttribute(box, "aria-selected", String(isSelected));
    if (document.activeElement === this.#list) {
      setAttribute(box, "aria-setsize", String(this.#matches.places.length));
      setAttribute(box, "aria-posinset", String(index + 1));
    }
    return isSelected;
  }

  #fillEvent({ box, time, channel, type, data }, entry) {
    setAttribute(box, "class", this.#isJson ? "row event json" : "row event");
    setText(time, this.#isJson ? "" : clock(entry.at));
    setText(channel, this.#isJson ? "" : entry.channel);
    setText(type, this.#isJson ? "" : entry.type ?? "");
    setText(data, shortened(this.#isJson ? jsonOf(entry) : entry.text, SHOWN));
  }

  // --- what the user does

  #moved() {
    const { scrollTop: top, scrollHeight, clientHeight } = this.#list, isAtEnd = top >= scrollHeight - clientHeight - 2;
    if (!isAtEnd && top < this.#scrolled - 1) this.#following = false;
    if (isAtEnd && top >= this.#scrolled) this.#following = true;
    this.#scrolled = top;
    this.draw(true);
  }

  #click(event) {
    const row = this.#rows.find(({ box }) => box.contains(event.target));
    if (!row?.entry) return;
    this.#following = row.place === this.#matches.places.at(this.#matches.places.end - 1); // who looks at one is left there
    this.select(row.place, narrow.matches);
  }

  #key(event, onPause) {
    const { places } = this.#matches;
    const page = Math.max(1, Math.floor(this.#visible / this.#height) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step !== undefined) this.#step(step, places);
    else if (event.key === "Enter" && this.selected) this.#onSelect(this.selected, true);
    else if (event.key === "Escape") this.select(null);
    else if (event.key === " ") onPause();
    else if (event.key === "g") this.toGap();
    else return;
    event.preventDefault();
  }

  #step(step, places) {
    if (places.length === 0) return;
    const now = this.#indexOf(this.#selected, places);
    const from = now ?? (step > 0 ? places.first - 1 : places.end);
    this.#go(Math.min(places.end - 1, Math.max(places.first, from + step)), places);
  }

  /** To the next gap behind what is selected; from the last to the first. */
  toGap() {
    const { places } = this.#matches, gap = this.#matches.gapAfter(this.#selected ?? -1);
    if (gap !== undefined) this.#go(this.#indexOf(gap, places), places);
  }

  #go(to, places) {
    this.#following = to === places.end - 1;
    const top = (to - places.first) * this.#height, view = this.#scrolled;
    if (top < view) this.#scrolled = this.#list.scrollTop = top;
    else if (top + this.#height > view + this.#visible) this.#scrolled = this.#list.scrollTop = top + this.#height - this.#visible;
    this.select(places.at(to));
  }

  /** Which of the matches is that place? They are in order. */
  #indexOf(place, places) {
    if (place === null) return null;
    let [low, high] = [places.first, places.end];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (places.at(middle) < place) low = middle + 1;
      else high = middle;
    }
    return places.at(low) === place ? low : null;
  }
}

/** An event as the gateway sends it; where there is little room, its data first. */
function jsonOf({ id, channel, type, time, trace, text }) {
  const head = JSON.stringify({ id, channel, type, time, trace }).slice(1, -1), data = `"data":${text.slice(0, SHOWN + 1)}`;
  return narrow.matches ? `{${data},${head}}` : `{${head},${data}}`;
}

function makeRow(number) {
  const [time, channel, type, data] = ["time", "channel", "type", "data"].map((name) => make("span", { class: name }));
  const box = make("div", { role: "option", id: `row-${number}`, class: "row", "aria-selected": "false" }, time, channel, type, data);
  return { box, time, channel, type, data, entry: null, place: 0 };
}

/** Gaps and notes look like what they are, and are read out so. */
function fillOther({ box, time, channel, type, data }, entry) {
  setAttribute(box, "class", `row ${entry.kind}`);
  setText(time, clock(entry.at));
  setText(channel, entry.kind === "gap" ? "Gap" : "");
  setText(type, "");
  setText(data, entry.kind === "gap" ? gapLine(entry) : entry.text);
}

/** The line below the list. */
export function showKept({ ring, events, gaps, isCut }) {
  setText(byId("kept-events"), `${counted(events, "event")}, `);
  setText(byId("to-gap"), counted(gaps, "gap"));
  byId("to-gap").disabled = gaps === 0;
  setText(byId("kept-entries"), isCut ? `, the last ${count(ring.length)} entries are kept` : "");
}
