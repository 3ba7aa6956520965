/** What stands there while nothing is subscribed to: what to do, and one click that does it. */
import { byId, copyButton, make, setText, tokenButton } from "./dom.js";

export const FIRST_DATA = { hello: "from the playground" };

/** A channel to begin with: rather one of a pattern, where nobody else is, than one that others use. */
function firstChannel({ data }) {
  if (!data) return null;
  const byPattern = ({ pattern, kind }) => ({ kind, name: pattern.replaceAll("**", "playground").replaceAll("*", "playground") });
  const { channels, patterns } = data, live = (one) => one.kind === "live";
  return [...patterns.filter(live).map(byPattern), ...channels.filter(live), ...patterns.map(byPattern), ...channels][0] ?? null;
}

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

/** What to say in psql, so that an event comes. */
function psqlLine({ name, kind }) {
  const payload = quoted('{"hello": "from psql"}');
  return kind === "live" ? `NOTIFY "${name.replaceAll('"', '""')}", ${payload};` : `SELECT eventgate.publish(${quoted(name)}, ${payload});`;
}

export class FirstSteps {
  #box = byId("first-steps");
  #shown = "";
  #onBegin;
  #onToken;

  /**
   * @param {(channel: string) => void} onBegin
   * @param {() => void} onToken
   */
  constructor(onBegin, onToken) {
    [this.#onBegin, this.#onToken] = [onBegin, onToken];
  }

  /** @param {{ isEmpty: boolean, subscribed: string[], isRefused: boolean, catalog: import("./catalog.js").Catalog }} now */
  show({ isEmpty, subscribed, isRefused, catalog }) {
    this.#box.hidden = !isEmpty;
    byId("stream-box").hidden = isEmpty;
    const first = subscribed.length > 0 ? chosen(subscribed, catalog) : firstChannel(catalog.channels);
    const now = JSON.stringify([first, subscribed.length > 0, isRefused, catalog.channels.problem]);
    if (!isEmpty || now === this.#shown) return;
    this.#shown = now;
    const [title, body] = subscribed.length > 0 ? ["Waiting for the first event", this.#waiting(first)]
      : isRefused ? ["What was subscribed to has been refused", [make("p", {}, "It begins by itself with a token that grants it.")]]
        : ["Nothing is subscribed to yet", this.#nothing(first, catalog.channels)];
    setText(byId("first-title"), title);
    byId("first-body").replaceChildren(...body);
  }

  #waiting(first) {
    if (!first) return [make("p", {}, "Whatever is published on these channels from now on is shown here.")];
    return [
      make("div", { class: "actions" }, make("button", { type: "button", class: "primary", onclick: () => this.#onBegin(first.name) },
        `Publish an event on ${first.name}`)), ...inPsql(first)];
  }

  #nothing(first, { problem, status }) {
    if (status === 401 || status === 403) {
      const why = status === 401 ? "The list of channels takes a token." : problem;
      return [make("p", {}, `${why} If you know the name of one, type it above.`), make("div", { class: "actions" }, tokenButton(this.#onToken))];
    }
    if (!first) return [make("p", {}, problem || "Type the name of a channel above, or choose one in the list of channels.")];
    return [
      make("p", {}, "Choose a channel in the list, type a name or a pattern above, or begin with this one:"),
      make("div", { class: "actions" }, make("button", { type: "button", class: "primary", onclick: () => this.#onBegin(first.name) },
        `Subscribe to ${first.name} and publish a first event`)),
      make("p", { class: "hint" }, "It publishes ", make("code", {}, JSON.stringify(FIRST_DATA)), " there, to everybody who is subscribed."),
      ...inPsql(first)];
  }
}

/** Of what is subscribed to, something that has a name of its own. */
function chosen(subscribed, catalog) {
  const name = subscribed.find((one) => !one.includes("*")) ?? subscribed[0].replaceAll("**", "playground").replaceAll("*", "playground");
  const kind = catalog.kindOf(name);
  return kind && { name, kind };
}

function inPsql(first) {
  const line = psqlLine(first);
  return [make("p", {}, "Or in psql, in the same database:"),
    make("div", { class: "line" }, make("code", {}, line), copyButton("Copy", line))];
}
