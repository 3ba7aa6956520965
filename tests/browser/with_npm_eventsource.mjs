// The npm package `eventsource`, whose `fetch` may set headers.
import { EventSource } from 'eventsource';

export default function subscribe(url, token, print) {
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  const source = new EventSource(url, {
    fetch: (address, init) => fetch(address, { ...init, headers: { ...init.headers, ...authorization } }),
  });
  source.onopen = () => print('open');
  source.onerror = () => print('error', source.readyState);
  for (const kind of ['message', 'gap', 'cursor']) {
    source.addEventListener(kind, ({ data, lastEventId }) => print(kind, data, lastEventId));
  }
}
