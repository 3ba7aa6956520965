// What both kinds of tests use: the stage, and waiting.
import assert from 'node:assert/strict';

/** Has the stage do something: stage.kill(), stage.notify(channel, "1") ... */
export const stage = new Proxy({}, {
  get: (_, name) => async (...given) => {
    const answer = await fetch(`${process.env.STAGE}/${name}`, { method: 'POST', body: JSON.stringify(given) });
    const said = await answer.json();
    assert.equal(answer.status, 200, said);
    return said;
  },
});

export async function until(condition, what, timeout = 20000) {
  for (const end = Date.now() + timeout; ;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail(`${typeof what === 'function' ? JSON.stringify(what()) : what} didn't happen in time`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

export const numbers = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
export const texts = (first, last) => numbers(first, last).map(String);
