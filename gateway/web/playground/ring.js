/** The last so many of a sequence. Each item has a place, counted from 0, which it keeps. */
export class Ring {
  #items = [];
  #capacity;
  first = 0; // the place of the oldest that is kept
  end = 0; // behind the newest

  /** @param {number} capacity */
  constructor(capacity) {
    this.#capacity = capacity;
  }

  get length() {
    return this.end - this.first;
  }

  /** Keeps an item; returns the one that had to go for it, if any. */
  push(item) {
    const slot = this.end % this.#capacity;
    const gone = this.length === this.#capacity ? this.#items[slot] : undefined;
    this.#items[slot] = item;
    this.end++;
    if (gone !== undefined) this.first++;
    return gone;
  }

  /** The item at that place; undefined where none is kept. */
  at(place) {
    return place >= this.first && place < this.end ? this.#items[place % this.#capacity] : undefined;
  }

  /** Takes the oldest away, and returns it. */
  shift() {
    const slot = this.first % this.#capacity, item = this.#items[slot];
    this.#items[slot] = undefined;
    this.first++;
    return item;
  }

  /** Forgets all items; places go on. */
  clear() {
    this.#items = [];
    this.first = this.end;
  }
}
