// Passengers, each with a connection of its own: passengers.mjs URL COUNT TAXIS REPORTS. Each watches one taxi. Tells when all
// are there, and when all have seen the last report of theirs; for a line of input, what each has seen.
import { createInterface } from 'node:readline';
import { EventGate } from 'pg-eventgate';

const [count, taxis, reports] = process.argv.slice(3).map(Number);
const tell = (what) => console.log(JSON.stringify(what));
let here = 0, done = 0;

const seen = Array.from({ length: count }, (_, passenger) => {
  const taxi = passenger % taxis, own = [];
  const gate = new EventGate(process.argv[2], { transport: 'fetch', onGap: (gap) => tell({ gap }) });
  gate.on(`taxi/${taxi}`, (report) => {
    own.push(report);
    if (report === `${taxi}:${reports - 1}` && ++done === count) tell({ done });
  }, { onOpen: () => ++here === count && tell({ here }) });
  return own;
});
createInterface(process.stdin).on('line', () => tell({ answer: seen }));
