/** Channels and transport stand in the page's address, behind `#`, so that it can be kept and sent. No token does. */

let written = null;

/** @returns {{ channels: string[], transport: string, after: string }} */
export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  return { channels: given.getAll("channel").filter(Boolean), transport: given.get("transport") ?? "auto",
    after: given.get("after") ?? "now" };
}

/** Calls `follow` when somebody has given the page another address; a place in the page (`#stream`) is none. */
export function watchAddress(follow) {
  addEventListener("hashchange", () => {
    written = null;
    follow(location.hash === "" || location.hash.includes("=") ? readAddress() : null);
  });
}

export function writeAddress(channels, transport) {
  const given = new URLSearchParams();
  for (const channel of channels) given.append("channel", channel);
  if (transport !== "auto") given.set("transport", transport);
  const hash = given.toString().replaceAll("%2F", "/");
  if (hash === written) return;
  written = hash;
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}
