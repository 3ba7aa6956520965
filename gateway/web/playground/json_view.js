/** JSON, its parts in colours. */
import { make, visible } from "./dom.js";

const COLOURED = 50000; // characters; what is longer stands there in one colour
const SHOWN = 500000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)/g;

/** @returns {DocumentFragment} */
export function jsonView(text) {
  const view = document.createDocumentFragment();
  if (text.length > SHOWN) {
    view.append(visible(text.slice(0, SHOWN)), `\n… ${(text.length - SHOWN).toLocaleString("en")} more characters: copy it to see them.`);
    return view;
  }
  if (text.length > COLOURED) {
    view.append(visible(text));
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
