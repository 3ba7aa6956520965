// One of several instances of a shop behind a load balancer, none of which knows the others:
//     node instance.mjs FILE    with GATEWAY and what PostgreSQL's driver wants (PGHOST ...) in the environment
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import pg from 'pg';
import { Bus } from './bus.mjs';

const [file] = process.argv.slice(2);
const database = new pg.Pool().on('error', () => {}); // an idle connection was lost: the next query takes another
const bus = new Bus(process.env.GATEWAY);
const sessions = new Map();
const cache = new Map(); // of products; a promise each
const index = new Map(); // product -> its text

bus.on('session', ({ id, data }) => sessions.set(id, data));
bus.on('product', ({ id }) => cache.delete(id));
bus.on('product', ({ id, text }) => index.set(id, text));
bus.on('gap', () => { rmSync(file); process.exit(1); }); // away for longer than the log reaches back: begins anew
bus.open(file);

async function load(id) {
  const { rows } = await database.query('SELECT text FROM product WHERE id = $1', [id]);
  return rows[0]?.text ?? null;
}

const read = {
  session: (id) => sessions.get(id) ?? null,
  product: (id) => cache.get(id) ?? cache.set(id, load(id)).get(id),
  search: (word) => [...index].filter(([, text]) => text.includes(word)).map(([id]) => id).sort(),
};

const write = {
  session: (id, data, key) => bus.emit('session', { id, data }, { key }),
  // What belongs to a transaction is published in it: the index hears of changes in the order in which they were made.
  product: (id, text) => database.query(`
    WITH saved AS (INSERT INTO product VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = $2 RETURNING *)
    SELECT eventgate.publish('app/product', to_json(saved)) FROM saved`, [id, text]),
};

const server = createServer(async (request, response) => {
  const [, kind, id] = request.url.split('/');
  try {
    if (request.method === 'PUT') await write[kind](id, await json(request), request.headers['idempotency-key']);
    response.end(request.method === 'PUT' ? 'null' : JSON.stringify(await read[kind](id)));
  } catch (error) {
    cache.delete(id); // what failed to load isn't kept
    response.writeHead(500).end(JSON.stringify(error.message));
  }
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
