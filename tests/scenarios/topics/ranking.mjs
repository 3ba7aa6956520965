// A subscriber that somebody adds later: which threads are liked most? It keeps nothing, and begins with what the log has.
import { EventGate } from 'pg-eventgate';

const gate = new EventGate(process.env.GATEWAY);
const likes = new Map();

for await (const { id, channel, data } of gate.events('forum/*/*/like', { after: 'earliest' })) {
  const thread = channel.split('/').slice(1, 3).join('/');
  likes.set(thread, (likes.get(thread) ?? 0) + 1);
  console.log(JSON.stringify({ heard: id, activity: data, ranking: [...likes].sort((a, b) => b[1] - a[1]).slice(0, 3) }));
}
