/** The entry that is selected: an event as JSON with its cursor, or what a gap means. */
import { byId, copyButton, make, setText } from "./dom.js";
import { clock, duration } from "./format.js";
import { gapReason, namesOf } from "./gaps.js";
import { isKept, mayDiffer, parseExactly } from "./exact.js";
import { jsonView } from "./json_view.js";

const CHANNELS_SHOWN = 200;
const ROUNDED = "JavaScript may have rounded numbers here, or changed the order of keys. The gateway sends it as it was published: look with curl.";
const calmly = matchMedia("(prefers-reduced-motion: reduce)");

function facts(rows) {
  const list = make("dl", { class: "facts" });
  for (const [name, value] of rows) if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  return list;
}

export class DetailPanel {
  #panel = byId("detail");
  #calls;

  /**
   * @param {{ onResume: (cursor: string) => void, onReuse: (entry: any) => void, onSource: (entry: any) => Promise<void> }} calls
   *   `onSource` asks for the event's data as it was published
   */
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
    const { cursor } = entry;
    const doubt = make("p", { class: "hint" });
    const view = make("pre", { tabindex: "0", role: "region", "aria-label": "The event as JSON" }, jsonView(eventJson(entry)));
    if (entry.source === undefined && mayDiffer(JSON.parse(entry.text))) this.#askFor(entry, doubt, view);
    return [
      make("h3", { class: "name" }, entry.channel),
      facts([["Type", entry.type], ["Time", entry.time], ["Arrived", arrival(entry)], ["Trace", entry.trace], ["Cursor", cursor]]),
      make("div", { class: "actions" }, this.#resumeButton(cursor), copyButton("Copy cursor", cursor),
        copyButton("Copy JSON", () => eventJson(entry)), make("button", { type: "button", class: "quiet", onclick: () => this.#calls.onReuse(entry) },
          "Publish again…")),
      doubt,
      view,
    ];
  }

  async #askFor(entry, doubt, view) {
    setText(doubt, ROUNDED);
    await this.#calls.onSource(entry);
    if (entry.source === undefined) return;
    setText(doubt, "");
    view.replaceChildren(jsonView(eventJson(entry)));
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

/** An event as the gateway sends it, indented; its data as it was published, if that is known. */
function eventJson({ id, channel, type, time, trace, text, source }) {
  const head = { id, channel, type, time, trace };
  if (source === undefined) return JSON.stringify({ ...head, data: JSON.parse(text) }, null, 2);
  if (isKept(source)) return JSON.stringify({ ...head, data: parseExactly(source) }, null, 2);
  return `${JSON.stringify(head, null, 2).slice(0, -2)},\n  "data": ${source}\n}`;
}

function arrival({ at, age }) {
  return age === null ? `${clock(at)}, as an old one` : `${clock(at)}, after ${duration(age)}`;
}

const nothing = () => [make("p", { class: "hint" }, "Select an event to see it as JSON, and to go on from its cursor.")];
