// @microsoft/fetch-event-source. Who throws in `onclose` comes back behind a stream that has ended in order.
import { fetchEventSource } from '@microsoft/fetch-event-source';

class Refused extends Error {}

export default function subscribe(url, token, print) {
  return fetchEventSource(url, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    async onopen(response) {
      if (response.status >= 400 && response.status < 500) throw new Refused(await response.text());
      if (!response.ok) throw new Error(`status ${response.status}`);
      print('open');
    },
    onmessage({ event, data, id }) {
      if (data) print(event || 'message', data, id); // `retry:` and comments come as messages without data
    },
    onclose() {
      throw new Error('the stream has ended');
    },
    onerror(error) {
      if (error instanceof Refused) throw error;
      print('error', error.message);
    },
  });
}
