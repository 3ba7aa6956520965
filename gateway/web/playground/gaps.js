/** Gaps in words. */

const REASONS = {
  reconnect: "The gateway had to listen anew, or another one answers now. Live events of that time are not stored.",
  retention: "What came after that place is no longer kept.",
  slow: "Events came faster than this page has read them.",
  failover: "The log has lost its end: another server took over, or a backup was restored.",
  unknown: "That place cannot be read, or is of another log.",
};

export const gapTitle = (gap) => `Events may be missing on ${namesOf(gap)}`;

/** All of it in a row: the reason and the channels come first. */
export const gapLine = (gap) => `${gap.reason}: ${namesOf(gap)} – events may be missing here. ${gapReason(gap)}`;

export const gapReason = ({ reason }) => REASONS[reason] ?? reason;

/** At most a few names: there may be thousands. */
export function namesOf({ channels }, most = 5) {
  const names = channels.slice(0, most).join(", ");
  return channels.length > most ? `${names} and ${channels.length - most} more` : names;
}
