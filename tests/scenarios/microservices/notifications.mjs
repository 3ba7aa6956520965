// Notifications, a service that came later and has no database: tells customers what has been shipped and billed. It begins
// with the first event that there ever was. Killed before it has written its place down, it publishes an event again, which
// its key makes the same one.
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { EventGate } from 'pg-eventgate';

const file = process.argv[2];
const gate = new EventGate(process.env.GATEWAY, { onGap: (gap) => { throw new Error(`events are missing: ${gap.reason}`); } });
const childOf = (trace) => trace.replace(/[0-9a-f]{16}(-..)$/, `${randomBytes(8).toString('hex')}$1`);
const after = existsSync(file) ? readFileSync(file, 'utf8') : 'earliest';

console.log(JSON.stringify({ ready: true }));
for await (const { id, channel, data, trace } of gate.events('invoice/*', { after })) {
  const order = channel.split('/')[1];
  await gate.publish(`notice/${order}`, { text: `Your parcel is on its way. You owe us ${data.cents} cents.` },
    { type: 'customer_told', key: id, trace: childOf(trace) });
  writeFileSync(`${file}.new`, id);
  renameSync(`${file}.new`, file);
}
