/** Publishes one event, or a batch, and shows what the gateway answered. */
import { byId, inFrame, make, setText } from "./dom.js";
import { isKept, mayDiffer, parseExactly } from "./exact.js";
import { count, counted, duration, ownAdvice } from "./format.js";

const ROWS_SHOWN = 50;
const PATIENCE_MS = 10000;
const CHANGED = "Not published as it stands: JavaScript rounds its numbers, or changes the order of its keys. With curl it stays as it is.";
const DOUBTFUL = "The gateway no longer has this event: JavaScript may have rounded its numbers, or changed the order of its keys.";
const CHECK_MS = 300; // between two looks at what is typed

/** What isn't JSON is a text. */
function dataOf(text) {
  try {
    return parseExactly(text);
  } catch {
    return text;
  }
}

/** A JSON array, or a line for each. */
function itemsOf(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[")) return parseExactly(trimmed);
  return trimmed.split("\n").filter((line) => line.trim() !== "").map((line, i) => {
    try {
      return parseExactly(line);
    } catch (error) {
      throw new Error(`Line ${i + 1} is no JSON: ${error.message}`, { cause: error });
    }
  });
}

/** Will the page publish that JSON as it stands? Text, and what is no JSON, it will. */
function isExact(text) {
  try {
    return isKept(text);
  } catch {
    return true;
  }
}

function checkItems(items) {
  const isItem = (item) => typeof item === "object" && item !== null && typeof item.channel === "string" && "data" in item;
  const bad = items.findIndex((item) => !isItem(item));
  if (items.length === 0) throw new Error("A batch has at least one event.");
  if (bad >= 0) throw new Error(`Event ${bad + 1} needs "channel", a text, and "data".`);
  return items;
}

const inWords = ({ status, id, replayed }) => `${status}${id ? `, id ${id}` : ", committed"}` +
  (replayed ? ". The key was known: this is the earlier event." : "");

export class PublishPanel {
  #channel = byId("publish-channel");
  #data = byId("publish-data");
  #batch = byId("publish-batch");
  #answer = byId("publish-answer");
  #catalog;
  #publish;
  #doubtful = null; // an earlier event's data that the gateway no longer has as it was published
  #check = inFrame(() => this.#showChanges(), CHECK_MS);

  /**
   * @param {import("./catalog.js").Catalog} catalog
   * @param {(...given: any[]) => Promise<any>} publish as EventGate.publish
   */
  constructor(catalog, publish) {
    [this.#catalog, this.#publish] = [catalog, publish];
    for (const radio of document.getElementsByName("publish-what")) radio.addEventListener("change", () => this.#switch());
    this.#channel.addEventListener("input", () => this.showKind());
    for (const field of [this.#data, this.#batch]) field.addEventListener("input", () => this.#check());
    byId("publish-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("publish-form").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.send();
    });
    this.showKind();
  }

  get #isBatch() {
    return byId("publish-what-batch").checked;
  }

  fill({ channel, text, source, type = "" }) {
    byId("publish-what-one").checked = true;
    this.#switch();
    this.#channel.value = channel;
    this.#data.value = source ?? text;
    this.#doubtful = source === undefined && mayDiffer(JSON.parse(text)) ? this.#data.value : null;
    byId("publish-type").value = type;
    byId("publish-key").value = "";
    this.showKind();
    this.#check();
    this.#data.focus();
  }

  /** Said before it happens. */
  #showChanges() {
    const texts = this.#isBatch ? this.#batch.value.split(this.#batch.value.trim().startsWith("[") ? /$^/ : "\n") : [this.#data.value];
    setText(byId("publish-changes"), !texts.every(isExact) ? CHANGED : this.#data.value === this.#doubtful && !this.#isBatch ? DOUBTFUL : "");
  }

  /** Live channels have no type and no key. */
  showKind() {
    const kind = this.#catalog.kindOf(this.#channel.value.trim());
    setText(byId("publish-kind"), { live: "A live channel: not stored, no type and no key.",
      durable: "A durable channel: kept in the log." }[kind] ?? "");
    for (const id of ["publish-type", "publish-key"]) byId(id).disabled = kind === "live";
  }

  async send() {
    const button = byId("publish"), begun = performance.now();
    if (button.disabled) return;
    button.disabled = true;
    try {
      const answer = this.#isBatch ? await this.#sendBatch() : await this.#sendOne();
      const took = `, ${duration(performance.now() - begun)}`;
      if (Array.isArray(answer)) this.#showRows(answer, took);
      else this.#show("good", inWords(answer) + took);
    } catch (error) {
      const id = error.requestId ? ` (request ${error.requestId})` : "";
      this.#show("bad", `${error.status ? `${error.status}: ` : ""}${ownAdvice(error.message)}${id}`);
    } finally {
      button.disabled = false;
    }
  }

  #sendOne() {
    const channel = this.#channel.value.trim();
    if (!channel) throw new Error("Which channel?");
    const given = (id) => (byId(id).disabled ? undefined : byId(id).value.trim() || undefined);
    return this.#publish(channel, dataOf(this.#data.value), { type: given("publish-type"),
      key: given("publish-key") ?? this.#noKey(channel), timeout: PATIENCE_MS });
  }

  #sendBatch() {
    const items = checkItems(itemsOf(this.#batch.value));
    return this.#publish(items.map((item) => ({ ...item, key: item.key ?? this.#noKey(item.channel) })), { timeout: PATIENCE_MS });
  }

  /** Live channels take none (null); for others the client makes one. */
  #noKey(channel) {
    return this.#catalog.kindOf(channel) === "live" ? null : undefined;
  }

  #switch() {
    byId("publish-one-fields").hidden = this.#isBatch;
    byId("publish-batch-fields").hidden = !this.#isBatch;
    this.#check();
  }

  #show(kind, text, ...more) {
    this.#answer.replaceChildren(make("p", { class: kind }, text), ...more);
  }

  #showRows(rows, took) {
    const refused = rows.filter((row) => row.problem).length;
    const list = make("ol", {}, ...rows.slice(0, ROWS_SHOWN).map((row) => make("li", { class: row.problem ? "bad" : "good" },
      row.problem ? `${row.status}: ${row.problem.detail ?? row.problem.title}` : inWords(row))));
    const left = rows.length - ROWS_SHOWN;
    this.#show(refused > 0 ? "bad" : "good",
      (refused > 0 ? `${count(refused)} of ${counted(rows.length, "event")} refused` : `${counted(rows.length, "event")} published`) + took,
      list, ...(left > 0 ? [make("p", { class: "hint" }, `and ${count(left)} more`)] : []));
  }
}
