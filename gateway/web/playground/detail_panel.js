/** The entry that is selected: an event as JSON with its cursor, or what a gap means. */
import { byId, copyButton, make } from "./dom.js";
import { clock, duration } from "./format.js";
import { gapReason, namesOf } from "./gaps.js";
import { hasRoundedNumber, jsonView } from "./json_view.js";
import { eventOf } from "./stream_view.js";

const CHANNELS_SHOWN = 200;
const calmly = matchMedia("(prefers-reduced-motion: reduce)");

function facts(rows) {
  const list = make("dl", { class: "facts" });
  for (const [name, value] of rows) if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  return list;
}

export class DetailPanel {
  #panel = byId("detail");
  #calls;

  /** @param {{ onResume: (cursor: string) => void, onReuse: (entry: any) => void }} calls */
  constructor(calls) {
    this.#calls = calls;
    this.show(undefined);
  }

  /** @param {boolean} [wanted] go there, as somebody has asked for it */
  show(entry, wanted = false) {
    const content = { event: () => this.#event(entry), gap: () => this.#gap(entry), note: () => [make("p", {}, entry.text)] };
    this.#panel.replaceChildren(...(content[entry?.kind] ?? nothing)());
    if (!wanted) return;
    this.#panel.focus({ preventScroll: true });
    this.#panel.scrollIntoView({ block: "nearest", behavior: calmly.matches ? "auto" : "smooth" });
  }

  #event(entry) {
    const event = eventOf(entry), { cursor } = entry;
    const json = () => JSON.stringify(event, null, 2);
    const rounded = hasRoundedNumber(event.data) ? [make("p", { class: "hint" },
      "A number here has more digits than JavaScript keeps. The gateway sends them all: look with curl.")] : [];
    return [
      make("h3", { class: "name" }, entry.channel),
      facts([["Type", entry.type], ["Time", entry.time], ["Arrived", arrival(entry)], ["Trace", entry.trace], ["Cursor", cursor]]),
      make("div", { class: "actions" }, this.#resumeButton(cursor), copyButton("Copy cursor", cursor),
        copyButton("Copy JSON", json), make("button", { type: "button", class: "quiet", onclick: () => this.#calls.onReuse(entry) },
          "Publish again…")),
      ...rounded,
      make("pre", { tabindex: "0", role: "region", "aria-label": "The event as JSON" }, jsonView(event)),
    ];
  }

  #gap(gap) {
    return [
      make("h3", { class: "gap-title" }, "Gap: this is not an event"),
      make("p", {}, `${gapReason(gap)} Load the state of these channels anew.`),
      facts([["Reason", gap.reason], ["Channels", namesOf(gap, CHANNELS_SHOWN)], ["From", gap.from ?? "unknown"], ["To", gap.to],
        ["Told at", clock(gap.at)]]),
      make("div", { class: "actions" }, this.#resumeButton(gap.to), copyButton("Copy cursor", gap.to)),
    ];
  }

  #resumeButton(cursor) {
    return make("button", { type: "button", onclick: () => this.#calls.onResume(cursor) }, "Resume from here");
  }
}

function arrival({ at, age }) {
  return age === null ? `${clock(at)}, as an old one` : `${clock(at)}, after ${duration(age)}`;
}

const nothing = () => [make("p", { class: "hint" }, "Select an event to see it as JSON, and to go on from its cursor.")];
