/** Numbers and times as they are shown. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const pad = (value, digits = 2) => String(value).padStart(digits, "0");

export const count = (value) => whole.format(value);

/** `1 event`, `2 events`. */
export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Per second: 0, 0.4, 12.3, 1,234. */
export function rate(value) {
  if (value === null || Number.isNaN(value)) return "–";
  return value < 100 && value % 1 !== 0 ? value.toFixed(1) : count(value);
}

/** Milliseconds: 0.4 ms, 12 ms, 1.2 s, 3 min. */
export function duration(ms) {
  if (ms === null || Number.isNaN(ms)) return "–";
  const size = Math.abs(ms);
  if (size < 10) return `${Number(ms.toFixed(1))} ms`;
  if (size < 1000) return `${Math.round(ms)} ms`;
  if (size < 120000) return `${(ms / 1000).toFixed(size < 10000 ? 1 : 0)} s`;
  if (size < 7200000) return `${Math.round(ms / 60000)} min`;
  return size < 172800000 ? `${Math.round(ms / 3600000)} h` : `${Math.round(ms / 86400000)} days`;
}

/** The time of day here, with milliseconds. */
export function clock(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return "";
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

/** The gateway's advice on tokens is for programs; here it is a button. */
export const ownAdvice = (sentence) => sentence.replace(/Send a token that may: .*$/, "The button “Token” takes one that may.");

/** At most so many characters, with an ellipsis if there were more. */
export const shortened = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);
