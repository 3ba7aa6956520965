// The publisher: a forum says what its users do, as Activity Streams 2.0, and knows of nobody who listens. Its topics are
// forum/BOARD/THREAD/VERB:
//     GATEWAY=http://127.0.0.1:8080 node forum.mjs COUNT
import { EventGate } from 'pg-eventgate';

const gate = new EventGate(process.env.GATEWAY);
const site = 'https://forum.example';
const boards = ['tea', 'garden', 'bikes'], users = ['ann', 'bob', 'cid', 'dan', 'eve'], verbs = ['Create', 'Like', 'Like', 'Delete'];

/** https://www.w3.org/TR/activitystreams-core/#activities */
const activity = (number, type, thread) => ({
  '@context': 'https://www.w3.org/ns/activitystreams',
  id: `${site}/activities/${number}`,
  type,
  actor: `${site}/users/${users[number % users.length]}`,
  published: new Date().toISOString(),
  object: type === 'Create' ? { type: 'Note', content: `What ${number} has to say`, context: thread } : `${thread}/notes/${number - 1}`,
});

for (let number = 1; number <= Number(process.argv[2]); number++) {
  const board = boards[number % 3], thread = 1 + number % 5, type = verbs[number % 4];
  const data = activity(number, type, `${site}/${board}/${thread}`);
  const { id } = await gate.publish(`forum/${board}/${thread}/${type.toLowerCase()}`, data, { key: data.id });
  console.log(JSON.stringify({ published: id }));
}
