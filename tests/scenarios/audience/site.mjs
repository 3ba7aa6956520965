// A worker of the site: gives out the page, and takes what visitors say. Where the others are connected it need not know.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { EventGate } from 'pg-eventgate';

const gate = new EventGate(process.env.GATEWAY);
const page = await readFile(new URL('page.html', import.meta.url));
const server = createServer(async (request, response) => {
  if (request.method === 'GET') {
    response.setHeader('Content-Type', 'text/html; charset=utf-8').end(page);
    return;
  }
  let said = '';
  for await (const piece of request.setEncoding('utf8')) said += piece;
  const { id } = await gate.publish('stage/talk', said);
  response.end(JSON.stringify({ id, worker: process.pid }));
});
server.listen(process.env.PORT ?? 0, '127.0.0.1', () => console.log(JSON.stringify({ listening: server.address().port })));
