// The web application: the page, the state that it begins with, and its two buttons.
//     GATEWAY=http://127.0.0.1:8080 PGHOST=... node server.mjs
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const database = new pg.Pool().on('error', () => {}); // an idle connection was lost: the next query takes another
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const files = {
  '/': ['text/html', readFileSync(here('page.html'))],
  '/eventgate.js': ['text/javascript', readFileSync(createRequire(import.meta.url).resolve('pg-eventgate'))],
};

/** The last build, and the place behind which the page goes on: both by one statement, so of one moment. */
async function state() {
  const { rows: [row] } = await database.query(`SELECT eventgate.cursor() AS cursor,
    (SELECT to_json(build) FROM build ORDER BY id DESC LIMIT 1) AS build`);
  return { ...row, gateway: process.env.GATEWAY };
}

async function start(how) {
  const { rows: [{ id }] } = await database.query('INSERT INTO build DEFAULT VALUES RETURNING id');
  await database.query("SELECT step($1, 'started', 0)", [id]);
  spawn(process.execPath, [here('build.mjs'), id, how], { stdio: 'ignore', detached: true }).unref();
}

async function stop() {
  await database.query("SELECT step(id, 'stopped by hand', state => 'stopped') FROM build WHERE state = 'running'");
}

const actions = { '/start': () => start('well'), '/start-failing': () => start('badly'), '/stop': stop };

const server = createServer(async ({ method, url }, response) => {
  try {
    if (method === 'POST' && actions[url]) await actions[url]();
    else if (files[url]) response.setHeader('Content-Type', files[url][0]).write(files[url][1]);
    else if (url === '/state') response.write(JSON.stringify(await state()));
    else response.statusCode = 404;
  } catch (error) {
    response.statusCode = error.code === '23505' ? 409 : 500; // one is running already
  }
  response.end();
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
