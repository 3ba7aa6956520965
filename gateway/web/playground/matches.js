/**
 * The entries of a history that a search finds, as places, in order; found a little at a time, so that a search through
 * everything holds nothing up. Gaps and notes are always among them: what was missed might have matched.
 */
import { ENTRIES_KEPT } from "./history.js";
import { Ring } from "./ring.js";

const SLICE = 64; // entries between two looks at the clock

export class Matches {
  #history;
  #pattern = null;
  #next = 0; // the place that is looked at next
  #others = []; // of these places, those of gaps and notes
  places = new Ring(ENTRIES_KEPT);

  constructor(history) {
    this.#history = history;
  }

  /** @param {string} text what entries must contain, in whatever case; "" for all */
  search(text) {
    this.#pattern = text ? new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i") : null;
    this.places.clear();
    this.#others = [];
    this.#next = this.#history.ring.first;
  }

  get isSearching() {
    return this.#pattern !== null;
  }

  /** How many events it has found. */
  get events() {
    return this.places.length - this.#others.length;
  }

  /** The place of the first gap behind that one, or, behind the last, of the very first; undefined if there is none. */
  gapAfter(place) {
    const gaps = this.#others.filter((one) => this.#history.ring.at(one)?.kind === "gap");
    return gaps.find((one) => one > place) ?? gaps[0];
  }

  /** Goes on for at most `budget` ms; returns whether it is done. */
  advance(budget) {
    const { ring } = this.#history, until = performance.now() + budget;
    this.#next = Math.max(this.#next, ring.first);
    while (this.places.length > 0 && this.places.at(this.places.first) < ring.first) this.places.shift();
    while (this.#others.length > 0 && this.#others[0] < ring.first) this.#others.shift();
    while (this.#next < ring.end) {
      const slice = Math.min(this.#next + SLICE, ring.end);
      for (; this.#next < slice; this.#next++) {
        const entry = ring.at(this.#next);
        if (entry.kind !== "event") this.#others.push(this.#next);
        if (this.#finds(entry)) this.places.push(this.#next);
      }
      if (performance.now() > until) break;
    }
    return this.#next >= ring.end;
  }

  #finds(entry) {
    const pattern = this.#pattern;
    if (!pattern || entry.kind !== "event") return true;
    return pattern.test(entry.text) || pattern.test(entry.channel) || pattern.test(entry.id) ||
      (entry.type !== undefined && pattern.test(entry.type));
  }
}
