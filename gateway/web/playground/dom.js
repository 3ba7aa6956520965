/** Making and finding elements. Text is always text here: nothing that comes from outside is read as HTML. */

/** The element of that id, which index.html has. */
export const byId = (id) => document.getElementById(id);

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
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Writes a text only where it is another, so that nothing is laid out in vain. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for an attribute; null takes it away. */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Calls `work` in the next animation frame, once, however often it is asked for. */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame((now) => {
      asked = false;
      work(now);
    });
  };
}

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
