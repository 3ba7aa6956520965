/**
 * What has come over the streams, bounded: events, gaps, and notes of what happened to the connection.
 *
 * While it is paused nothing is added, so that what one looks at stays; what comes then is held apart, within the same
 * bounds, and added afterwards.
 */
import { Ring } from "./ring.js";

export const ENTRIES_KEPT = 10000;
export const CHARACTERS_KEPT = 16 * 2 ** 20; // of payloads

/**
 * @typedef {{ kind: "event", channel: string, id: string, type?: string, time: string, at: number, text: string,
 *   trace?: string, cursor: string }} EventEntry `text`: its data as JSON
 * @typedef {{ kind: "gap", reason: string, channels: string[], from: string | null, to: string, at: number }} GapEntry
 * @typedef {{ kind: "note", text: string, at: number }} NoteEntry
 * @typedef {EventEntry | GapEntry | NoteEntry} Entry
 */

const NOTE_WEIGHT = 100;
const weightOf = (entry) => (entry.kind === "event" ? entry.text.length : NOTE_WEIGHT);

/** A ring with a second bound: the characters in it. */
class Bounded {
  ring = new Ring(ENTRIES_KEPT);
  characters = 0;
  dropped = 0; // entries, for these bounds

  add(entry) {
    this.characters += weightOf(entry);
    const gone = this.ring.push(entry);
    if (gone) this.#drop(gone);
    while (this.characters > CHARACTERS_KEPT && this.ring.length > 1) this.#drop(this.ring.shift());
  }

  /** Drops the oldest until another entry of that weight has room. */
  makeRoom(weight) {
    while (this.ring.length > 1 && (this.ring.length >= ENTRIES_KEPT || this.characters + weight > CHARACTERS_KEPT)) this.#drop(this.ring.shift());
  }

  #drop(entry) {
    this.characters -= weightOf(entry);
    this.dropped++;
  }

  clear() {
    this.ring.clear();
    this.characters = this.dropped = 0;
  }
}

export class History {
  #shown = new Bounded();
  #held = new Bounded();
  isPaused = false;
  events = 0; // that have come, since the beginning or clear()
  gaps = 0;

  /** The entries that are shown, by place. */
  get ring() {
    return this.#shown.ring;
  }

  /** Have there been more than are kept? */
  get isCut() {
    return this.#shown.dropped > 0;
  }

  /** How many have come since the pause began. */
  get waiting() {
    return this.#held.ring.end;
  }

  /** @param {Entry} entry */
  add(entry) {
    if (entry.kind === "event") this.events++;
    if (entry.kind === "gap") this.gaps++;
    (this.isPaused ? this.#held : this.#shown).add(entry);
  }

  note(text) {
    this.add({ kind: "note", text, at: Date.now() });
  }

  pause() {
    this.isPaused = true;
  }

  resume() {
    const { ring } = this.#held;
    this.isPaused = false;
    if (ring.first > 0) {
      this.#held.makeRoom(NOTE_WEIGHT);
      this.#shown.add({ kind: "note", at: Date.now(),
        text: `While this was paused, more came than is kept: the first ${ring.first.toLocaleString("en")} are left out.` });
    }
    for (let place = ring.first; place < ring.end; place++) this.#shown.add(ring.at(place));
    this.#held = new Bounded();
  }

  clear() {
    this.#shown.clear();
    this.#held = new Bounded();
    this.events = this.gaps = 0;
  }
}
