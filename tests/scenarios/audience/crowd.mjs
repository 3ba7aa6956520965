// Visitors, each with a connection of its own: crowd.mjs URL COUNT. Tells when all are there, and when all have heard
// "bye"; for a line of input, what each has heard.
import { createInterface } from 'node:readline';
import { EventGate } from 'pg-eventgate';

const [url, count] = [process.argv[2], Number(process.argv[3])];
const tell = (what) => console.log(JSON.stringify(what));
let here = 0, gone = 0;

const heard = Array.from({ length: count }, () => {
  const talk = [];
  const gate = new EventGate(url, { transport: 'fetch', onGap: (gap) => tell({ gap }) });
  gate.on('stage/talk', (said) => {
    talk.push(said);
    if (said === 'bye' && ++gone === count) tell({ gone });
  }, { onOpen: () => ++here === count && tell({ here }) });
  return talk;
});
createInterface(process.stdin).on('line', () => tell({ answer: heard }));
