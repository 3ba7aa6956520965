// Subscribes with the npm package `eventsource` and prints what it hears, a JSON line each: node.mjs URL
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
const print = (kind) => ({ data, lastEventId }) => console.log(JSON.stringify({ kind, data, id: lastEventId }));
for (const kind of ['open', 'message', 'gap', 'cursor', 'error']) {
  source.addEventListener(kind, print(kind));
}
process.stdin.resume();
process.stdin.on('end', () => source.close());
