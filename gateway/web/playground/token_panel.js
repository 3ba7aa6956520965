/**
 * The token: kept for this tab (a reload has it, another tab doesn't), and in this browser only if one asks for that.
 * What it says is shown as it says it; whether it is good, the gateway knows.
 */
import { byId, make, setText } from "./dom.js";

const NAME = "eventgate:playground:token";

function stored(storage) {
  try {
    return storage().getItem(NAME) ?? "";
  } catch {
    return ""; // forbidden here
  }
}

function store(storage, token) {
  try {
    if (token) storage().setItem(NAME, token);
    else storage().removeItem(NAME);
  } catch { /* forbidden here: it is kept by this page alone */ }
}

const tab = () => globalThis.sessionStorage;
const browser = () => globalThis.localStorage;

/** The claims of a JSON Web Token; null if it is none. */
export function claimsOf(token) {
  try {
    const bytes = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0))));
  } catch {
    return null;
  }
}

function inWords(token) {
  const claims = claimsOf(token);
  if (!claims) return ["This is no JSON Web Token."];
  const { sub, exp, eventgate = {} } = claims;
  const list = (names) => (Array.isArray(names) && names.length > 0 ? names.join(", ") : "nothing");
  return [sub ? `For ${sub}.` : "For nobody in particular.",
    typeof exp === "number" ? `${exp * 1000 > Date.now() ? "Ends" : "Ended"} ${new Date(exp * 1000).toLocaleString()}.` : "Never ends.",
    `Subscribe: ${list(eventgate.subscribe)}.`, `Publish: ${list(eventgate.publish)}.`, ...(eventgate.admin === true ? ["Admin."] : [])];
}

export class TokenPanel {
  #dialog = byId("token-dialog");
  #input = byId("token");
  #keep = byId("token-keep");
  token = stored(tab) || stored(browser);

  /** @param {() => void} onChange */
  constructor(onChange) {
    const use = (token) => {
      this.token = token;
      store(tab, token);
      store(browser, this.#keep.checked ? token : "");
      this.#show();
      onChange();
    };
    byId("token-open").addEventListener("click", () => this.open());
    byId("token-close").addEventListener("click", () => this.#dialog.close());
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      use(this.#typed());
      this.#dialog.close();
    });
    byId("token-forget").addEventListener("click", () => {
      this.#input.value = "";
      this.#keep.checked = false;
      use("");
    });
    this.#input.addEventListener("input", () => this.#describe());
    this.#show();
  }

  open() {
    this.#input.value = this.token;
    this.#keep.checked = stored(browser) !== "";
    this.#describe();
    this.#dialog.showModal();
  }

  #show() {
    setText(byId("token-open"), this.token ? "Token: set" : "Token: none");
  }

  /** What was pasted may be broken into lines. */
  #typed() {
    return this.#input.value.replace(/\s+/g, "");
  }

  #describe() {
    const token = this.#typed();
    this.#input.setCustomValidity(/^[!-~]*$/.test(token) ? "" : "This can’t be a token: it has characters that no header takes.");
    byId("token-claims").replaceChildren(...(token ? inWords(token) : []).map((line) => make("li", {}, line)));
  }
}
