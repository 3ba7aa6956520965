/** Measures what comes: events per second, and how old they are on arrival; keeps a minute of it, twice a second. */

export const SAMPLE_MS = 500;
const SAMPLES = 121;

export class Meters {
  /** Seconds, wall time. */
  times = [];
  here = []; // events/s over this page's streams
  gateway = []; // events/s of the whole gateway
  streams = [];
  median = []; // ms from an event's own time to its arrival here
  worst = []; // the 99th percentile
  #ages = [];
  #count = 0;
  #recent = [0];
  #at = performance.now();

  /** @param {number | null} age ms; null: it is an old one that is read again */
  add(age) {
    this.#count++;
    if (age !== null) this.#ages.push(age);
  }

  /** To be called every SAMPLE_MS. While the connection is lost nothing is known of what would have come. */
  sample({ rate, streams, isLost = false }) {
    const now = performance.now(), ages = this.#ages.sort((a, b) => a - b);
    this.#recent = [...this.#recent.slice(-1), this.#count * 1000 / Math.max(1, now - this.#at)];
    const here = this.#recent.reduce((sum, value) => sum + value, 0) / this.#recent.length;
    const row = [Date.now() / 1000, isLost ? null : here, rate, streams,
      ages[Math.floor(ages.length / 2)] ?? null, ages[Math.floor(ages.length * 0.99)] ?? null];
    [this.times, this.here, this.gateway, this.streams, this.median, this.worst].forEach((series, i) => {
      series.push(row[i]);
      if (series.length > SAMPLES) series.shift();
    });
    [this.#ages, this.#count, this.#at] = [[], 0, now];
  }
}
