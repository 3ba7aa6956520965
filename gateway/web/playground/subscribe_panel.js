/** Where one says what to subscribe to, from where on, and by which transport; and what is subscribed to. */
import { byId, make, setAttribute, setText } from "./dom.js";

const SUGGESTED = 100;

export class SubscribePanel {
  #session;
  #channel = byId("channel");
  #from = byId("from");
  #cursor = byId("cursor");
  #transport = byId("transport");
  #chips = byId("subscriptions");
  #suggested = "";

  /**
   * @param {import("./session.js").Session} session
   * @param {{ onSubscribe: (names: string[], after: string) => void, onEnd: (name: string) => void,
   *   onResume: (cursor: string) => void, onTransport: (transport: string) => void }} calls
   */
  constructor(session, { onSubscribe, onEnd, onResume, onTransport }) {
    this.#session = session;
    byId("subscribe-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const names = this.#channel.value.split(",").map((name) => name.trim()).filter(Boolean), { after } = this;
      if (names.length > 0) onSubscribe(names, after);
      else if (session.channels.size > 0 && after !== "now") onResume(after);
      else this.#channel.focus();
      this.#channel.value = "";
      this.#begin("now");
    });
    this.#from.addEventListener("change", () => {
      this.#begin(this.#from.value);
      if (this.#from.value === "cursor") this.#cursor.focus();
    });
    for (const field of [this.#channel, this.#cursor]) field.addEventListener("input", () => this.#showVerb());
    this.#transport.addEventListener("change", () => onTransport(this.#transport.value));
    this.#chips.addEventListener("click", ({ target, pointerType }) => {
      const button = target.closest("button[data-channel]");
      if (button) this.#end(button, onEnd, pointerType === "touch");
    });
  }

  /** Where a subscription begins: `now`, `earliest`, or the cursor in the box. */
  get after() {
    return this.#from.value === "cursor" ? this.#cursor.value.trim() || "now" : this.#from.value;
  }

  /** The focus goes to the next one, or to where one names others, for which a screen that is touched would bring up keys. */
  #end(button, onEnd, isTouched) {
    const buttons = [...this.#chips.querySelectorAll("button")], at = buttons.indexOf(button);
    onEnd(button.dataset.channel);
    const next = [...buttons.slice(at), ...buttons.slice(0, at).reverse()].find((one) => this.#session.channels.has(one.dataset.channel));
    if (next || !isTouched) (next ?? this.#channel).focus();
  }

  /** Puts the beginning of a name there, to be gone on with. */
  name(pattern) {
    this.#channel.value = pattern.slice(0, pattern.indexOf("*"));
    this.#channel.focus();
  }

  #begin(from) {
    this.#from.value = from;
    byId("cursor-field").hidden = from !== "cursor";
    this.#showVerb();
  }

  /** Without a name, what is subscribed to begins again elsewhere. */
  #showVerb() {
    const isAgain = this.#session.channels.size > 0 && this.after !== "now" && this.#channel.value === "";
    setText(byId("subscribe"), isAgain ? "Resume" : "Subscribe");
  }

  show({ hasToken }) {
    const { channels, transport, isLost } = this.#session;
    this.#transport.value = transport;
    const eventsource = this.#transport.querySelector('[value="eventsource"]');
    eventsource.disabled = hasToken;
    setText(eventsource, hasToken ? "EventSource (can't send a token)" : "EventSource");
    this.#showVerb();
    const old = new Map([...this.#chips.children].map((chip) => [chip.dataset.channel, chip]));
    for (const [name, chip] of old) if (!channels.has(name)) chip.remove();
    for (const [name, { isOpen, refusal }] of channels) {
      const chip = old.get(name) ?? this.#chips.appendChild(makeChip(name));
      setAttribute(chip, "class", isOpen && !isLost ? "chip open" : refusal ? "chip refused" : "chip");
      setAttribute(chip, "title", refusal || null);
      setText(chip.firstElementChild, refusal ? `${name}: refused` : name);
    }
    this.#chips.hidden = channels.size === 0;
  }

  suggest({ data }) {
    const names = data ? [...data.channels.map((one) => one.name),
      ...data.patterns.filter((one) => one.kind === "durable").map((one) => one.pattern)].slice(0, SUGGESTED) : [];
    const now = names.join("\n");
    if (now === this.#suggested) return;
    this.#suggested = now;
    byId("known-channels").replaceChildren(...names.map((value) => make("option", { value })));
  }
}

function makeChip(name) {
  return make("li", { class: "chip", "data-channel": name }, make("span", {}, name),
    make("button", { type: "button", "data-channel": name, "aria-label": `Unsubscribe from ${name}`, title: "Unsubscribe" }, "×"));
}
