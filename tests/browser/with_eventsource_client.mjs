// eventsource-client. It doesn't look at the status: whatever the answer is, it comes back.
import { createEventSource } from 'eventsource-client';

export default function subscribe(url, token, print) {
  createEventSource({
    url,
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    onConnect: () => print('open'),
    onDisconnect: () => print('error'),
    onMessage: ({ event, data, id }) => print(event ?? 'message', data, id),
  });
}
