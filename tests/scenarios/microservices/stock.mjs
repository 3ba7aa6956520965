// The stock, in Node, with a plain PostgreSQL of its own: takes off the shelf what was shipped. What it takes and how far it
// has read are one transaction, so each order is taken once, whenever this is killed.
import { EventGate } from 'pg-eventgate';
import pg from 'pg';

const database = new pg.Client({ database: 'stock' });
await database.connect();
const gate = new EventGate(process.env.GATEWAY, { onGap: (gap) => { throw new Error(`events are missing: ${gap.reason}`); } });

console.log(JSON.stringify({ ready: true }));
const { rows: [{ place }] } = await database.query('SELECT place FROM progress');
for await (const { id, type, data: order } of gate.events('order/*', { after: place })) {
  if (type !== 'order_shipped') continue;
  await database.query('BEGIN');
  await database.query('INSERT INTO movement (order_id, item) VALUES ($1, $2)', [order.id, order.item]);
  await database.query('UPDATE progress SET place = $1', [id]);
  await database.query('COMMIT');
}
