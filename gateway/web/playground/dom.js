/** Making and finding elements. Text is always text here: nothing that comes from outside is read as HTML. */

/** The element of that id, which index.html has. */
export const byId = (id) => document.getElementById(id);

const HIDDEN = /(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\uFE0F])\u200D|(?![\n\t\u200D])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const escaped = (character) => (character.codePointAt(0) > 0xFFFF ? `\\u{${character.codePointAt(0).toString(16)}}`
  : `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);

/** Characters that aren't seen, or turn others around, are shown as escapes. */
export const visible = (text) => text.replace(HIDDEN, escaped);

/**
 * An element with attributes (`class`, `aria-label`; `onclick` and its like are listeners) and children.
 * @param {string} name
 * @param {Record<string, any>} [attributes] those that are null, undefined or false are left out
 * @param {...(Node | string | null)} children
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else setAttribute(element, key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null).map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

/** Writes a text only where it is another, so that nothing is laid out in vain; its node stays the same. */
export function setText(element, wanted) {
  const { firstChild } = element, text = visible(wanted);
  if (firstChild === null || firstChild !== element.lastChild || firstChild.nodeType !== Node.TEXT_NODE) element.textContent = text;
  else if (firstChild.data !== text) firstChild.data = text;
}

/** The same for an attribute; null takes it away. */
export function setAttribute(element, name, given) {
  const value = given !== null && (name === "title" || name === "aria-label") ? visible(given) : given;
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Calls `work` in an animation frame, once, however often it is asked for: in the next one (`soon`), or in the first that
 * comes `least` ms after the last time.
 */
export function inFrame(work, least) {
  let asked = "", timer = 0, last = 0;
  const frame = () => requestAnimationFrame((now) => {
    [asked, last] = ["", now];
    work();
  });
  return (soon = false) => {
    if (asked === "frame" || (asked && !soon)) return;
    clearTimeout(timer);
    const left = soon ? 0 : last + least - performance.now();
    asked = left > 0 ? "timer" : "frame";
    if (left > 0) {
      timer = setTimeout(() => {
        asked = "frame";
        frame();
      }, left);
    } else {
      frame();
    }
  };
}

/** A button that asks for a token. */
export const tokenButton = (onclick) => make("button", { type: "button", onclick }, "Token…");

/** A button that copies a text, and says so. */
export function copyButton(label, text) {
  const button = make("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      setText(button, "Copied");
    } catch {
      setText(button, "Not allowed here");
    }
    setTimeout(() => setText(button, label), 1500);
  });
  return button;
}
