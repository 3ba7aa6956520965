/** What went wrong, in the gateway's own words, until somebody has read it. */
import { byId, make, setText, tokenButton } from "./dom.js";
import { ownAdvice } from "./format.js";
import { namesOf } from "./gaps.js";

const MOST = 4;

/** @param {Error & { status?: number, type?: string, requestId?: string, channels?: string[] }} error */
export function notice(error) {
  const box = byId("notices"), sentence = ownAdvice(error.message);
  const same = [...box.children].find((one) => one.dataset.sentence === sentence);
  if (same) {
    same.dataset.times = String(Number(same.dataset.times) + 1);
    setText(same.querySelector(".times"), `${same.dataset.times} times`);
    return;
  }
  const more = [error.status ? `${error.status} ${error.type ?? ""}`.trim() : "", error.requestId ? `request ${error.requestId}` : ""];
  const one = add(sentence, make("p", { class: "hint" }, more.filter(Boolean).join(", "), " ", make("span", { class: "times" })));
  Object.assign(one.dataset, { sentence, times: "1" });
}

function add(sentence, ...others) {
  const box = byId("notices");
  const one = make("div", { class: "notice", role: "alert" }, make("p", {}, sentence), ...others,
    make("button", { type: "button", class: "quiet", "aria-label": "Dismiss this message", onclick: () => one.remove() }, "Dismiss"));
  box.append(one);
  if (box.children.length > MOST) box.firstElementChild.remove();
  return one;
}

/** What is refused for want of a token: one message for all channels. */
export function tokenNotice(channels, onToken) {
  const sentence = `Without a token this gateway refuses ${namesOf({ channels })}.`;
  const same = [...byId("notices").children].find((one) => "wantsToken" in one.dataset);
  if (same) setText(same.firstElementChild, sentence);
  else add(sentence, make("span", { class: "spring" }), tokenButton(onToken)).dataset.wantsToken = "";
}

/** Those of earlier attempts. */
export const clearNotices = () => byId("notices").replaceChildren();
