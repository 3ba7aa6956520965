/**
 * JSON as it was written. JavaScript rounds numbers of many digits, and puts keys that are whole numbers first: what came
 * over a stream has been through that, so where it may matter the gateway is asked for the event again, as text.
 */
const DIGITS = 15; // that every number keeps
const PATIENCE_MS = 3000;
const STRING = String.raw`"[^"\\]*(?:\\.[^"\\]*)*"`;

/** May a value that JavaScript has read have been written otherwise? */
export function mayDiffer(value) {
  if (typeof value === "number") return Math.abs(value).toString().replace(/e.*|\D/g, "").replace(/^0+|0+$/g, "").length > DIGITS ||
    (Number.isInteger(value) && !Number.isSafeInteger(value));
  if (typeof value !== "object" || value === null) return false;
  const keys = Array.isArray(value) ? [] : Object.keys(value);
  return (keys.length > 1 && /^\d+$/.test(keys[0])) || Object.values(value).some(mayDiffer);
}

/** Reads JSON for publishing: its numbers keep all their digits where the browser can have that. */
export function parseExactly(text) {
  return JSON.parse(text, (_, value, context) => (typeof value === "number" && context?.source && JSON.rawJSON
    ? JSON.rawJSON(context.source) : value));
}

/** Is a JSON text the same, but for spaces, when it has been read and written again? */
export function isKept(text) {
  const plain = text.replace(new RegExp(`${STRING}|\\s+`, "g"), (part) => (part[0] === '"' ? JSON.stringify(JSON.parse(part)) : ""));
  return JSON.stringify(parseExactly(text)) === plain;
}

/** The text of `data` in an answer of a long-poll with one event; null where there is none. */
export function dataIn(answer) {
  let depth = 0, key = "", start = -1;
  for (const { 0: token, index } of answer.matchAll(new RegExp(`${STRING}|[{}[\\],:]`, "g"))) {
    if (start >= 0 && depth === 3 && (token === "," || token === "}")) return answer.slice(start, index).trim();
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (token !== ":") key = token;
    else if (depth === 3 && key === '"data"' && start < 0) start = index + 1;
  }
  return null;
}

/** The place just before an event's, by its id: TAG.POSITION or EPOCH-N. */
const before = (id) => id.replace(/\d+$/, (digits) => String(BigInt(digits) - 1n));

/** An event's data as it was published, if the gateway still has it; else null. */
export async function sourceOf({ id, channel }, token) {
  const url = new URL("../events", import.meta.url);
  url.search = new URLSearchParams({ channel, after: before(id), format: "poll", wait: "0", limit: "1" }).toString();
  try {
    const answer = await fetch(url, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    const text = await answer.text();
    return answer.ok && JSON.parse(text).events[0]?.id === id ? dataIn(text) : null;
  } catch {
    return null; // out of reach
  }
}
