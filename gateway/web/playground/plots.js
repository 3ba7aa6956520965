/** The three plots: events per second, open streams, and how old events are when they arrive. Drawn by uPlot. */
import uPlot from "./uPlot.esm.js";
import { byId, setAttribute, setText } from "./dom.js";
import { count, duration, rate } from "./format.js";

const SECONDS = 60;
const HEIGHT = 76;

const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function line(name) {
  return { stroke: colour(name), width: 1.5, points: { show: true, size: 4, fill: colour(name), filter: alone } };
}

/** The places of values that have no neighbour, and so are in no line. */
function alone(plot, series) {
  const values = plot.data[series];
  return values.flatMap((value, i) => (value !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null ? [i] : []));
}

/** The scale begins at 0 and leaves room above. */
function upwards(_, low, high) {
  return [Math.min(0, low ?? 0), Math.max(1, (high ?? 0) * 1.15)];
}

function makePlot(box, colours, label) {
  const quiet = { stroke: colour("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false },
    grid: { stroke: colour("--line"), width: 1 } };
  const plot = new uPlot({
    width: Math.max(80, box.clientWidth), height: HEIGHT, padding: [4, 0, 4, 0],
    cursor: { show: false }, legend: { show: false }, select: { show: false },
    scales: { x: { time: false, range: () => [Date.now() / 1000 - SECONDS, Date.now() / 1000] }, y: { range: upwards } },
    axes: [{ show: false }, { ...quiet, size: 44, gap: 4, space: 26, values: (_, values) => values.map(label) }],
    series: [{}, ...colours.map(line)],
  }, [[], ...colours.map(() => [])], box);
  new ResizeObserver(() => plot.setSize({ width: Math.max(80, box.clientWidth), height: HEIGHT })).observe(box);
  return plot;
}

const last = (series) => series.at(-1) ?? null;

export class Plots {
  #meters;
  #rates = makePlot(byId("rate-plot"), ["--plot-2", "--plot-1"], (value) => rate(value));
  #streams = makePlot(byId("streams-plot"), ["--plot-1"], (value) => (value % 1 === 0 ? count(value) : ""));
  #latency = makePlot(byId("latency-plot"), ["--plot-2", "--plot-1"], (value) => duration(value));

  /** @param {import("./meters.js").Meters} meters */
  constructor(meters) {
    this.#meters = meters;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** @param {string} missing why the number of streams isn't known, if it isn't */
  show(missing) {
    const { here, gateway, streams, median, worst } = this.#meters;
    this.#draw();
    setText(byId("rate-value"), rate(last(here)));
    setText(byId("rate-gateway"), last(gateway) === null ? "" : `gateway ${rate(last(gateway))}`);
    setText(byId("streams-value"), last(streams) === null ? "–" : count(last(streams)));
    setText(byId("streams-missing"), missing);
    setText(byId("latency-value"), duration(lastKnown(median)));
    setText(byId("latency-worst"), lastKnown(worst) === null ? "" : `99 %: ${duration(lastKnown(worst))}`);
    setAttribute(byId("rate-plot"), "aria-label", `Events per second, the last minute: now ${rate(last(here))}`);
    setAttribute(byId("streams-plot"), "aria-label", `Open streams, the last minute: now ${last(streams) ?? "unknown"}`);
    setAttribute(byId("latency-plot"), "aria-label", `Latency, the last minute: now ${duration(lastKnown(median))}`);
  }

  #draw() {
    const { times, here, gateway, streams, median, worst } = this.#meters;
    this.#rates.setData([times, gateway, here]);
    this.#streams.setData([times, streams]);
    this.#latency.setData([times, worst, median]);
  }
}

/** Of the last seconds: where nothing has come, there is nothing to be old. */
function lastKnown(series) {
  return series.slice(-6).findLast((value) => value !== null) ?? null;
}
