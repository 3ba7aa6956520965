// reconnecting-eventsource. It remembers the ids of events that addEventListener() is for, those of `onmessage` not.
import ReconnectingEventSource from 'reconnecting-eventsource';

export default function subscribe(url, token, print) {
  const address = new URL(url);
  if (token) address.searchParams.set('access_token', token);
  const source = new ReconnectingEventSource(address, { max_retry_time: 200 });
  source.onopen = () => print('open');
  source.onerror = () => print('error', source.readyState);
  for (const kind of ['message', 'gap', 'cursor']) {
    source.addEventListener(kind, ({ data, lastEventId }) => print(kind, data, lastEventId));
  }
}
