/** Channels and transport stand in the page's address, behind `#`, so that it can be kept and sent. No token does. */

/** @returns {{ channels: string[], transport: string, after: string }} */
export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  return { channels: given.getAll("channel").filter(Boolean), transport: given.get("transport") ?? "auto",
    after: given.get("after") ?? "now" };
}

export function writeAddress(channels, transport) {
  const written = new URLSearchParams();
  for (const channel of channels) written.append("channel", channel);
  if (transport !== "auto") written.set("transport", transport);
  const hash = written.toString().replaceAll("%2F", "/");
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}
