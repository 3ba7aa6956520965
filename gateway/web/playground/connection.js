/** The state of the connection, in the header. */
import { namesOf } from "./gaps.js";
import { byId, setAttribute, setText } from "./dom.js";

const CARRIERS = { eventsource: "EventSource", fetch: "fetch stream", poll: "long-poll" };
const PATIENCE_MS = 400; // a stream that comes again within that time has not been away

/**
 * @param {import("./session.js").Session} session
 * @param {import("./catalog.js").Catalog} catalog
 */
export function showConnection(session, catalog) {
  const [kind, text] = withDatabases(describe(session, !catalog.isAway), catalog.setsAway);
  setAttribute(byId("connection"), "data-state", kind);
  setText(byId("connection-text"), text);
  return text;
}

/** A gateway that answers may have lost a database. */
function withDatabases([kind, text], away) {
  if (away.length === 0 || (kind !== "open" && kind !== "idle")) return [kind, text];
  return ["away", `${text}, but the database of ${namesOf({ channels: away }, 3)} is away`];
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
