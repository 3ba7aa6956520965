// Subscribes with a client of Node and prints what it hears, a JSON line each: node.mjs URL [CLIENT [TOKEN]]
const [url, client = 'npm_eventsource', token] = process.argv.slice(2);
const { default: subscribe } = await import(`./with_${client}.mjs`);

subscribe(url, token, (kind, data, id) => console.log(JSON.stringify({ kind, data, id })));
process.stdin.resume();
process.stdin.on('end', () => process.exit());
