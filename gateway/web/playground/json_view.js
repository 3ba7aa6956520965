/** JSON, indented, its parts in colours. */
import { make } from "./dom.js";

const COLOURED = 50000; // characters; what is longer stands there in one colour
const SHOWN = 500000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)/g;

/** @returns {DocumentFragment} */
export function jsonView(value) {
  const text = JSON.stringify(value, null, 2), view = document.createDocumentFragment();
  if (text.length > SHOWN) {
    view.append(text.slice(0, SHOWN), `\n… ${(text.length - SHOWN).toLocaleString("en")} more characters: copy it to see them.`);
    return view;
  }
  if (text.length > COLOURED) {
    view.append(text);
    return view;
  }
  let end = 0;
  for (const found of text.matchAll(TOKEN)) {
    const [whole, string, colon, word] = found;
    view.append(text.slice(end, found.index));
    end = found.index + whole.length;
    if (string) view.append(make("span", { class: colon ? "json-name" : "json-string" }, string), colon ?? "");
    else view.append(make("span", { class: word ? "json-word" : "json-number" }, whole));
  }
  view.append(text.slice(end));
  return view;
}

/** Is a number in there that JavaScript cannot have read exactly? */
export function hasRoundedNumber(value) {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  return typeof value === "object" && value !== null && Object.values(value).some(hasRoundedNumber);
}

/** Reads JSON for publishing: its numbers keep all their digits where the browser can have that. */
export function parseExactly(text) {
  return JSON.parse(text, (_, value, context) => (typeof value === "number" && context?.source && JSON.rawJSON
    ? JSON.rawJSON(context.source) : value));
}
