/** What a screen reader says by itself: never more than one sentence in three seconds, and how many events came, in ten. */
import { byId, setText } from "./dom.js";
import { counted } from "./format.js";

const EVERY_MS = 3000;
const SUMMARY_MS = 10000;

export class Announcer {
  #region = byId("announcements");
  #waiting = [];
  #timer = 0;
  #events = 0;
  #channel = "";

  constructor() {
    setInterval(() => this.#summarise(), SUMMARY_MS);
  }

  /** Of several that wait, each kind is said once, its newest. */
  say(kind, text) {
    this.#waiting = [...this.#waiting.filter((one) => one.kind !== kind), { kind, text }];
    if (this.#timer === 0) this.#speak();
  }

  event(channel) {
    this.#events++;
    this.#channel = channel;
  }

  #speak() {
    this.#timer = 0;
    if (this.#waiting.length === 0) return;
    setText(this.#region, this.#waiting.map(({ text }) => text).join(" "));
    this.#waiting = [];
    this.#timer = setTimeout(() => this.#speak(), EVERY_MS);
  }

  #summarise() {
    if (this.#events > 0) this.say("events", `${counted(this.#events, "event")}, the last on ${this.#channel}.`);
    this.#events = 0;
  }
}
