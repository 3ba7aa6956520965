/** What went wrong, in the gateway's own words, until somebody has read it. */
import { byId, make, setText } from "./dom.js";

const MOST = 4;

/** @param {Error & { status?: number, type?: string, requestId?: string, channels?: string[] }} error */
export function notice(error) {
  const box = byId("notices"), sentence = error.message;
  const same = [...box.children].find((one) => one.dataset.sentence === sentence);
  if (same) {
    same.dataset.times = String(Number(same.dataset.times) + 1);
    setText(same.querySelector(".times"), `${same.dataset.times} times`);
    return;
  }
  const more = [error.status ? `${error.status} ${error.type ?? ""}`.trim() : "", error.requestId ? `request ${error.requestId}` : ""];
  const one = make("div", { class: "notice", role: "alert" },
    make("p", {}, sentence),
    make("p", { class: "hint" }, more.filter(Boolean).join(", "), " ", make("span", { class: "times" })),
    make("button", { type: "button", class: "quiet", "aria-label": "Dismiss this message", onclick: () => one.remove() }, "Dismiss"));
  Object.assign(one.dataset, { sentence, times: "1" });
  box.append(one);
  if (box.children.length > MOST) box.firstElementChild.remove();
}

/** Those of earlier attempts. */
export const clearNotices = () => byId("notices").replaceChildren();
