// An EventEmitter for all instances of an application: what one of them emits, the listeners in every instance hear, once
// and in the same order. An instance that was down hears it when it is back.
import { EventEmitter } from 'node:events';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { EventGate } from 'pg-eventgate';

export class Bus extends EventEmitter {
  #gate;

  constructor(url) {
    super();
    this.#gate = new EventGate(url, { onGap: (gap) => super.emit('gap', gap) });
  }

  /**
   * `file`: what this instance has heard so far. Its listeners hear that first, and then what came behind the last line. It
   * may be removed while the instance is down, which then begins with what the log still has.
   */
  open(file) {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [''];
    if (lines.pop()) writeFileSync(file, lines.map((line) => `${line}\n`).join('')); // the last was cut off by a crash
    const heard = lines.map((line) => JSON.parse(line));
    for (const event of heard) this.#hear(event);
    this.#gate.on('app/**', (_, event) => {
      appendFileSync(file, `${JSON.stringify(event)}\n`); // with its id: whatever happens now, it isn't asked for again
      this.#hear(event);
    }, { after: heard.at(-1)?.id ?? 'earliest' });
  }

  #hear({ channel, data }) {
    super.emit(channel.slice('app/'.length), data);
  }

  /** Resolves when it is in the log. An emit that is repeated with the same `key` is heard once. */
  emit(topic, data, { key } = {}) {
    return this.#gate.publish(`app/${topic}`, data, { key });
  }
}
