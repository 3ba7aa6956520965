// The browser's own EventSource. It can set no header: a token stands in the URL, or in a cookie.
export default function subscribe(url, token, print) {
  const address = new URL(url);
  if (token) address.searchParams.set('access_token', token);
  const source = new EventSource(address);
  source.onopen = () => print('open');
  source.onerror = () => print('error', source.readyState);
  for (const kind of ['message', 'gap', 'cursor']) {
    source.addEventListener(kind, ({ data, lastEventId }) => print(kind, data, lastEventId));
  }
  return source;
}
