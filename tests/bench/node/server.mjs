// Server-sent events from LISTEN/NOTIFY as they are commonly written for Node: one LISTEN connection, a set of responses
// for each channel, a pool for publishing. It does what the gateway does with an event: looks whether the payload is
// JSON, and makes one JSON object of it, once for all subscribers. server.mjs PORT CHANNELS POSTGRES-SOCKET-FOLDER
import http from 'node:http';
import pg from 'pg';

const [port, channels, host] = process.argv.slice(2);
const database = { host, user: 'postgres', database: 'postgres' };
const subscribers = new Map(channels.split(',').map((channel) => [channel, new Set()]));
let id = 0;

const listener = new pg.Client(database);
await listener.connect();
function parsed(payload) {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}

listener.on('notification', ({ channel, payload }) => {
  const event = { id: String(++id), channel, time: new Date().toISOString(), data: parsed(payload) };
  const frame = `id: ${id}\ndata: ${JSON.stringify(event)}\n\n`;
  for (const response of subscribers.get(channel)) response.write(frame);
});
for (const channel of subscribers.keys()) await listener.query(`LISTEN ${pg.escapeIdentifier(channel)}`);

const pool = new pg.Pool({ ...database, max: 10 });

async function publish(channel, request, response) {
  let body = '';
  for await (const part of request.setEncoding('utf8')) body += part;
  try {
    JSON.parse(body);
  } catch {
    response.writeHead(400).end();
    return;
  }
  await pool.query('SELECT pg_notify($1, $2)', [channel, body]);
  response.writeHead(202).end();
}

function subscribe(channel, request, response) {
  const responses = subscribers.get(channel);
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.flushHeaders();
  responses.add(response);
  request.on('close', () => responses.delete(response));
}

const server = http.createServer((request, response) => {
  const channel = new URL(request.url, 'http://localhost').searchParams.get('channel');
  if (!subscribers.has(channel)) response.writeHead(404).end();
  else if (request.method === 'POST') publish(channel, request, response);
  else subscribe(channel, request, response);
});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
