/** The playground: makes its parts and joins them. */
import { readAddress, watchAddress, writeAddress } from "./address.js";
import { Announcer } from "./announcer.js";
import { Catalog } from "./catalog.js";
import { ChannelsPanel } from "./channels_panel.js";
import { showConnection } from "./connection.js";
import { DetailPanel } from "./detail_panel.js";
import { byId, inFrame, setAttribute, setText } from "./dom.js";
import { sourceOf } from "./exact.js";
import { FIRST_DATA, FirstSteps } from "./first_steps.js";
import { counted } from "./format.js";
import { gapTitle } from "./gaps.js";
import { History } from "./history.js";
import { Matches } from "./matches.js";
import { Meters, SAMPLE_MS } from "./meters.js";
import { clearNotices, notice, tokenNotice } from "./notices.js";
import { Plots } from "./plots.js";
import { PublishPanel } from "./publish_panel.js";
import { Session } from "./session.js";
import { SetsPanel } from "./sets_panel.js";
import { showKept, StreamView } from "./stream_view.js";
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
  onError: (error) => {
    if (error.status === 401 && !token.token) tokenNotice(refused(), () => token.open());
    else notice(error);
  },
  onNote: (text) => {
    history.note(text);
    changed();
  },
  onChange: inFrame(() => {
    writeAddress(session.channels.keys(), session.transport);
    showControls();
  }, 0), // once, however many channels there are
}, () => token.token);
const catalog = new Catalog(() => token.token, () => {
  channels.show();
  sets.show();
  subscribing.suggest(catalog.channels);
  publishing.showKind();
  showControls();
});

// --- what one does

const transportOf = (given) => (["eventsource", "fetch", "poll"].includes(given) ? given : "auto");

function subscribe(names, after = "now") {
  clearNotices();
  for (const name of names) session.subscribe(name, after);
}

function resume(cursor) {
  clearNotices();
  if (session.channels.size > 0) session.resumeFrom(cursor);
  view.follow();
}

/** What another token may get. */
const refused = () => [...session.channels].filter(([, { refusal }]) => refusal).map(([name]) => name);

/** Somebody has given the page another address; null: it is none. */
function follow(address) {
  if (!address) return writeAddress(session.channels.keys(), session.transport);
  const { channels: wanted, transport, after } = address;
  for (const name of session.channels.keys()) if (!wanted.includes(name)) session.unsubscribe(name);
  session.useTransport(transportOf(transport));
  subscribe(wanted.filter((name) => after !== "now" || !session.channels.has(name)), after);
}

/** Asks for an event's data as it was published, once. */
async function findSource(entry) {
  if (entry.source === undefined) entry.source = await sourceOf(entry, token.token) ?? undefined;
}

async function reuse(entry) {
  await findSource(entry);
  publishing.fill(entry);
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
const detail = new DetailPanel({ onResume: resume, onReuse: reuse, onSource: findSource });
const view = new StreamView(history, matches, { onSelect: (entry, wanted) => detail.show(entry, wanted), onPause: pause });
const firstSteps = new FirstSteps(begin, () => token.open());
const plots = new Plots(meters);

byId("pause").addEventListener("click", pause);
byId("clear").addEventListener("click", clear);
byId("json").addEventListener("click", () => {
  const isJson = byId("json").getAttribute("aria-pressed") !== "true";
  setAttribute(byId("json"), "aria-pressed", String(isJson));
  view.showJson(isJson);
});
byId("to-gap").addEventListener("click", () => view.toGap());
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
  firstSteps.show({ isEmpty: history.ring.length === 0 && !history.isPaused, subscribed: session.wanted,
    isRefused: session.channels.size > 0, catalog });
}

let said = "";
function showNumbers() {
  showKept(history);
  setAttribute(byId("pause"), "aria-pressed", String(history.isPaused));
  setText(byId("pause"), history.isPaused ? "Resume" : "Pause");
  setText(byId("waiting"), history.isPaused ? `Paused: ${counted(history.waiting, "entry").replace("entrys", "entries")} waiting` : "");
  setText(byId("found"), matches.isSearching ? counted(matches.events, "match").replace("matchs", "matches") : "");
  const state = showConnection(session, catalog);
  if (byId("connection").dataset.state !== said) announcer.say("connection", `${state}.`);
  said = byId("connection").dataset.state;
}

setInterval(showNumbers, 250);
setInterval(() => {
  meters.sample({ rate: catalog.channels.status === 200 ? catalog.rate : null,
    streams: catalog.streams.status === 200 ? catalog.streams.data : null, isLost: session.isLost });
  const { status } = catalog.streams;
  if (!document.hidden) plots.show(status === 401 || status === 403 ? "for operators" : "");
}, SAMPLE_MS);

const { channels: named, transport, after } = readAddress();
session.transport = transportOf(transport);
subscribe(named, after);
watchAddress(follow);
showControls();
showNumbers();
catalog.refresh();
