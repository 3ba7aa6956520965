/** The state of the connection, in the header. */
import { byId, setAttribute, setText } from "./dom.js";

const CARRIERS = { eventsource: "EventSource", fetch: "fetch stream", poll: "long-poll" };
const PATIENCE_MS = 400; // a stream that comes again within that time has not been away

/**
 * @param {import("./session.js").Session} session
 * @param {boolean} isReachable does the gateway answer at all?
 */
export function showConnection(session, isReachable) {
  const [kind, text] = describe(session, isReachable);
  setAttribute(byId("connection"), "data-state", kind);
  setText(byId("connection-text"), text);
  return text;
}

function describe({ state, carrier, wait, since, reason }, isReachable) {
  const passed = performance.now() - since;
  if (!isReachable && state !== "open") return ["lost", "The gateway cannot be reached"];
  if (state === "idle") return ["idle", "Not subscribed"];
  if (state === "open" || (state === "connecting" && carrier && passed < PATIENCE_MS)) {
    return ["open", `Connected by ${CARRIERS[carrier] ?? "stream"}`];
  }
  if (state === "waiting") {
    const left = Math.ceil((wait - passed) / 1000);
    return ["lost", left > 0 ? `Connection lost, again in ${left} s` : `Connection lost. ${reason}`];
  }
  return ["connecting", "Connecting…"];
}
