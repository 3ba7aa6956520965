/** The playground: makes its parts and joins them. */
import { readAddress, writeAddress } from "./address.js";
import { Announcer } from "./announcer.js";
import { Catalog } from "./catalog.js";
import { ChannelsPanel } from "./channels_panel.js";
import { showConnection } from "./connection.js";
import { DetailPanel } from "./detail_panel.js";
import { byId, setAttribute, setText } from "./dom.js";
import { FIRST_DATA, FirstSteps } from "./first_steps.js";
import { counted } from "./format.js";
import { gapTitle } from "./gaps.js";
import { History } from "./history.js";
import { Matches } from "./matches.js";
import { Meters, SAMPLE_MS } from "./meters.js";
import { clearNotices, notice } from "./notices.js";
import { Plots } from "./plots.js";
import { PublishPanel } from "./publish_panel.js";
import { Session } from "./session.js";
import { SetsPanel } from "./sets_panel.js";
import { keptText, StreamView } from "./stream_view.js";
import { SubscribePanel } from "./subscribe_panel.js";
import { TokenPanel } from "./token_panel.js";

const history = new History();
const matches = new Matches(history);
const meters = new Meters();
const announcer = new Announcer();

// --- what comes

function hearEvent({ id, channel, type, time, trace, data }, cursor) {
  const at = Date.now(), sent = Date.parse(time), age = sent >= session.openedAt ? at - sent : null;
  history.add({ kind: "event", id, channel, type, time, trace, at, age, cursor, text: JSON.stringify(data) });
  meters.add(age);
  announcer.event(channel);
  changed();
}

function hearGap(gap) {
  history.add({ kind: "gap", ...gap, at: Date.now() });
  announcer.say("gap", `Gap: ${gapTitle(gap)}.`);
  changed();
}

const token = new TokenPanel(() => {
  clearNotices();
  if (token.token && session.transport === "eventsource") session.transport = "auto"; // which can't send one
  session.restart();
  catalog.refresh();
  showControls();
});
const session = new Session({
  onEvent: hearEvent,
  onGap: hearGap,
  onError: (error) => notice(error),
  onNote: (text) => {
    history.note(text);
    changed();
  },
  onChange: () => {
    writeAddress(session.channels.keys(), session.transport);
    showControls();
  },
}, () => token.token);
const catalog = new Catalog(() => token.token, () => {
  channels.show();
  sets.show();
  subscribing.suggest(catalog.channels);
  publishing.showKind();
  showControls();
});

// --- what one does

function subscribe(names, after = "now") {
  clearNotices();
  for (const name of names) session.subscribe(name, after);
}

function resume(cursor) {
  clearNotices();
  if (session.channels.size > 0) session.resumeFrom(cursor);
  view.follow();
}

async function begin(channel) {
  if (session.wanted.length === 0) subscribe([channel]);
  try {
    await session.opened();
    await session.publish(channel, FIRST_DATA, { key: catalog.kindOf(channel) === "live" ? null : undefined });
  } catch (error) {
    notice(error);
  }
}

function pause() {
  if (history.isPaused) history.resume();
  else history.pause();
  announcer.say("pause", history.isPaused ? "Paused." : "Goes on.");
  if (!history.isPaused) view.follow();
  changed();
}

function clear() {
  history.clear();
  matches.search(byId("search").value.trim());
  view.reset();
  changed();
}

const channels = new ChannelsPanel(catalog, session, {
  onName: (pattern) => subscribing.name(pattern),
  onToggle: (name, wanted) => (wanted ? subscribe([name]) : session.unsubscribe(name)),
});
const sets = new SetsPanel(catalog);
const subscribing = new SubscribePanel(session, {
  onSubscribe: subscribe,
  onEnd: (name) => session.unsubscribe(name),
  onResume: resume,
  onTransport: (transport) => session.useTransport(transport),
});
const publishing = new PublishPanel(catalog, (...given) => session.publish(...given));
const detail = new DetailPanel({ onResume: resume, onReuse: (entry) => publishing.fill(entry) });
const view = new StreamView(history, matches, { onSelect: (entry, wanted) => detail.show(entry, wanted), onPause: pause });
const firstSteps = new FirstSteps(begin);
const plots = new Plots(meters);

byId("pause").addEventListener("click", pause);
byId("clear").addEventListener("click", clear);
byId("json").addEventListener("click", () => {
  const isJson = byId("json").getAttribute("aria-pressed") !== "true";
  setAttribute(byId("json"), "aria-pressed", String(isJson));
  view.showJson(isJson);
});
byId("search").addEventListener("input", () => {
  matches.search(byId("search").value.trim());
  view.reset();
  changed();
});

// --- what is shown

function changed() {
  const isEmpty = history.ring.length === 0 && history.events === 0 && !history.isPaused;
  if (isEmpty === byId("first-steps").hidden) showControls();
  view.draw();
}

function showControls() {
  channels.show();
  subscribing.show({ hasToken: token.token !== "" });
  firstSteps.show({ isEmpty: history.ring.length === 0 && !history.isPaused, subscribed: session.wanted, catalog });
}

let said = "";
function showNumbers() {
  setText(byId("kept"), keptText(history));
  setAttribute(byId("pause"), "aria-pressed", String(history.isPaused));
  setText(byId("pause"), history.isPaused ? "Resume" : "Pause");
  setText(byId("waiting"), history.isPaused ? `Paused: ${counted(history.waiting, "entry").replace("entrys", "entries")} waiting` : "");
  setText(byId("found"), matches.isSearching ? counted(matches.places.length, "match").replace("matchs", "matches") : "");
  const state = showConnection(session, catalog.channels.status !== 0);
  if (byId("connection").dataset.state !== said) announcer.say("connection", `${state}.`);
  said = byId("connection").dataset.state;
}

setInterval(showNumbers, 250);
setInterval(() => {
  meters.sample({ rate: catalog.channels.status === 200 ? catalog.rate : null, streams: catalog.streams.data });
  const { problem, status } = catalog.streams;
  if (!document.hidden) plots.show(status === 401 || status === 403 ? problem : "");
}, SAMPLE_MS);

const { channels: named, transport, after } = readAddress();
session.transport = ["eventsource", "fetch", "poll"].includes(transport) ? transport : "auto";
subscribe(named, after);
showControls();
showNumbers();
catalog.refresh();
