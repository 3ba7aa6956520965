// A build: a process of its own, which knows the database and nothing else. Ends when somebody has stopped it.
//     PGHOST=... node build.mjs ID well|badly
import { setTimeout as work } from 'node:timers/promises';
import pg from 'pg';

const [id, how] = process.argv.slice(2);
const database = new pg.Client();
await database.connect();

/** False: stopped. */
async function step(...given) {
  const { rows: [{ step: goesOn }] } = await database.query('SELECT step($1, $2, $3, $4)', [id, ...given]);
  return goesOn;
}

for (let percent = 5; ; percent += 5) {
  await work(150);
  const part = percent <= 50 ? `compiled part ${percent / 5} of 10` : `test ${percent / 5 - 10} of 10 passed`;
  if (percent === 70 && how === 'badly') await step('test 4 of 10 failed', percent, 'failed');
  else if (percent < 100 && await step(part, percent, 'running')) continue;
  else if (percent === 100) await step('all tests passed', percent, 'passed');
  break;
}
await database.end();
