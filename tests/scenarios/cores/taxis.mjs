// Taxis: taxis.mjs URL COUNT REPORTS. Each tells where it is, again and again: the next report when one has been answered.
import { EventGate } from 'pg-eventgate';

const [url, count, reports] = process.argv.slice(2);
const gate = new EventGate(url);
let told = 0;

async function drive(taxi) {
  for (let i = 0; i < Number(reports); i++) {
    await gate.publish(`taxi/${taxi}`, `${taxi}:${i}`, { timeout: 300000 });
    if (++told % 100 === 0) console.log(JSON.stringify({ told }));
  }
}

await Promise.all(Array.from({ length: Number(count) }, (_, taxi) => drive(taxi)));
console.log(JSON.stringify({ parked: told }));
