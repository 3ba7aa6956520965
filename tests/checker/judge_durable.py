"""Compares what the log has held with what was published on durable channels, and with what each subscriber was told.

Lost: an acknowledged event that the log doesn't have (unless it was in a tail that the log lost, or retention dropped it);
an event of the log between two places of a subscriber that it wasn't given, unless a gap that is true says so; a lost
tail, or events dropped, without that gap; a subscriber that never comes to the end. Duplicated: an event told twice, or
twice in the log. Unordered: an event or a cursor before an earlier one, one position for two events, or the events of one
publisher in the log in another order than it published them. Phantom: an event that is not in the log as it was told, or
that was certainly not committed. Refused: an answer to a publisher that no fault explains. A gap is false unless

    failover     its beginning lies inside of a jump of the log, that is in a tail that was lost
    retention    something of its channels was dropped between its beginning and its end
    any other    always false here"""

import bisect
import collections

from cursors import matches, parse
from judge import Walk, at_most

SLACK_S = 10.0  # from the end of a fault to the last answer that it explains: the machine may be busy


class Truth:
    """What the log has held: `rows`: {position: (channel, publisher, number)} of all that was ever committed; `jumps`:
    [(from, to)]; `floors`: [(time, position)]: what lay before that position had been dropped then; `log`: the positions
    that it holds in the end; `pruned`: {channel: position}, as it says itself; `end`: its last position; `tag`."""

    def __init__(self, rows, jumps, floors, log, pruned, end, tag):
        self.rows, self.log, self.pruned, self.end, self.tag = rows, log, pruned, end, tag
        self.jumps = merged(jumps)
        self.jump_begins = [begin for begin, _ in self.jumps]
        self.floors = sorted(floors)
        self.channels = collections.defaultdict(list)
        self.selections = {}
        for position in sorted(rows):
            self.channels[rows[position][0]].append(position)

    def jump_around(self, position):
        """The jump that has the position strictly inside, or None: of a lost tail."""
        at = bisect.bisect_left(self.jump_begins, position) - 1
        return self.jumps[at] if at >= 0 and position < self.jumps[at][1] else None

    def floor_at(self, now):
        """What lies at or beyond this position had not been dropped then, as far as it was looked at."""
        floor = 0
        for time, position in self.floors:
            floor = max(floor, position)
            if time >= now:
                break
        return floor

    def of(self, names):
        """All positions of the selection, in order; and those alone that were not lost with a tail."""
        if names not in self.selections:
            everything = sorted(position for channel, positions in self.channels.items()
                                if any(matches(name, channel) for name in names) for position in positions)
            kept = [position for position in everything if not self.jump_around(position)]
            self.selections[names] = everything, kept
        return self.selections[names]


def merged(jumps):
    result = []
    for begin, end in sorted(jumps):
        if result and begin < result[-1][1]:
            result[-1] = result[-1][0], max(result[-1][1], end)
        else:
            result.append((begin, end))
    return result


def between(positions, begin, end):
    """Those in (begin, end]."""
    return positions[at_most(positions, begin):at_most(positions, end)]


class DurableJudge:
    def __init__(self, verdict, published, told, faults, truth, refusals=()):
        """`published`: {publisher: [(channel, number, sent at, outcome, id)]}, of durable channels; `refusals`: [(time,
        text)] of answers to publishers that may only come while something is wrong."""
        self.verdict, self.published, self.faults, self.truth, self.refusals = verdict, published, faults, truth, refusals
        self.told = {name: one for name, one in told.items() if one.durable}

    def judge(self):
        self.look_at_publishers()
        self.look_at_log()
        for name, one in self.told.items():
            DurableWalk(self, name, tuple(one.durable), one.record).walk()

    def look_at_publishers(self):
        known = collections.defaultdict(list)
        for position, identity in self.truth.rows.items():
            known[identity].append(position)
        for publisher, rows in self.published.items():
            last = {}
            for channel, number, sent_at, outcome, id in rows:
                positions = known.pop((channel, publisher, number), [])
                self.look_at_event(f"publisher {publisher}", (channel, number, outcome, id), positions)
                kept = [position for position in positions if not self.truth.jump_around(position)]
                if outcome == "committed" and kept:
                    if min(kept) < last.get(channel, 0):
                        self.verdict.offend("unordered", f"publisher {publisher}",
                                            f"{channel}: event {number} at {min(kept)} is before an earlier one")
                    last[channel] = max(kept)
        for identity, positions in known.items():
            self.verdict.offend("phantom", "log", f"{identity} at {positions} was never published")
        for now, text in self.refusals:
            if not any(fault.begin <= now <= fault.end + SLACK_S for fault in self.faults):
                self.verdict.offend("refused", "publisher", f"{text} (at {now:.3f})")

    def look_at_event(self, who, event, positions):
        channel, number, outcome, id = event
        kept = [position for position in positions if not self.truth.jump_around(position)]
        if outcome == "committed" and not positions:
            self.verdict.offend("lost", who, f"{channel}: event {number} was acknowledged and isn't in the log")
        if outcome == "never" and positions:
            self.verdict.offend("phantom", who, f"{channel}: event {number} was not committed, and is at {positions}")
        if len(kept) > 1:
            self.verdict.offend("duplicated", who, f"{channel}: event {number} is in the log at {kept}")
        if id and not (parse(id).tag == self.truth.tag and parse(id).position in positions):
            self.verdict.offend("unordered", who, f"{channel}: event {number} was acknowledged as {id}, and is at "
                                                  f"{positions}")

    def look_at_log(self):
        dropped = collections.defaultdict(int)
        for position, (channel, _, _) in self.truth.rows.items():
            if position not in self.truth.log and not self.truth.jump_around(position):
                dropped[channel] = max(dropped[channel], position)
                if position > self.truth.pruned.get(channel, 0):
                    self.verdict.offend("lost", "log", f"{channel}: {position} isn't there any more, and wasn't dropped")
        for channel, pruned in self.truth.pruned.items():
            if pruned > dropped[channel]:
                self.verdict.offend("false gaps", "log", f"{channel}: says that {pruned} was dropped, but the last one was "
                                                         f"{dropped[channel]}")
        for position in self.truth.log - self.truth.rows.keys():
            self.verdict.offend("phantom", "log", f"{position} is not known")


class DurableWalk(Walk):
    """`at`: the place up to which the subscriber has been told everything of its channels."""

    def __init__(self, judge, name, names, record):
        super().__init__(judge, name, names, record)
        self.truth = judge.truth
        self.everything, self.kept = judge.truth.of(names)
        self.at = None
        self.seen = set()
        self.missing = {}

    def finish(self):
        if self.at is None or self.at < self.truth.end:
            self.offend("lost", f"came to {self.at} only, and not to the end, {self.truth.end}")
        for position, after in self.missing.items():
            self.offend("lost", f"{self.truth.rows[position]} at {position} never came (after {after})")

    def miss(self, positions):
        for position in positions:
            if position not in self.seen:
                self.missing.setdefault(position, self.at)

    def advance(self, to):
        """It has been told all up to here."""
        jump = self.at is not None and self.truth.jump_around(self.at)
        if jump and jump[1] <= to:
            self.offend("lost", f"from {self.at} to {to}: no gap tells of the lost tail, {jump}")
        elif self.at is not None:
            self.miss(between(self.kept, self.at, to))
        self.at = to

    def row(self, row):
        _, _, tag, position, _, _, *identity = row
        if not any(matches(name, identity[0]) for name in self.names):
            return self.offend("phantom", f"{row}: not subscribed to")
        if tag != self.truth.tag or self.truth.rows.get(position) != tuple(identity):
            return self.offend("phantom", f"{row}: is {self.truth.rows.get(position)} in the log")
        if position in self.seen:
            self.offend("duplicated", f"{row} came twice")
        elif self.at is not None and position <= self.at:
            self.missing.pop(position, None)
            self.offend("unordered", f"{row} came after {self.at}")
        self.seen.add(position)
        if self.at is None or position > self.at:
            self.advance(position)
        return None

    def place(self, row):
        cursor = parse(row[2])
        if cursor.position is None or cursor.tag != self.truth.tag:
            return self.offend("unordered", f"{row}: no cursor of this log")
        if self.at is not None and cursor.position < self.at:
            return self.offend("unordered", f"{row}: a cursor that went back, from {self.at}")
        return self.advance(cursor.position)

    def gap(self, row):
        _, now, reason, begin, end, names = row
        begin, end = parse(begin).position, parse(end).position
        mine = tuple(sorted({*names} & {*self.names}))
        if not mine:
            return None
        if begin is None or end is None or reason not in ("failover", "retention"):
            return self.offend("false gaps", f"{row}: durable channels have no such gap")
        if self.at is not None and begin < self.at:
            self.offend("false gaps", f"{row}: begins before {self.at}, which it had")
        elif self.at is not None and begin > self.at:
            self.advance(begin)
        floor = self.truth.floor_at(now) if reason == "retention" else 0
        if reason == "failover" and not self.truth.jump_around(begin):
            self.offend("false gaps", f"{row}: no tail was lost there")
        if reason == "retention":
            dropped = between(self.truth.of(mine)[0], begin, min(end, floor - 1))
            if not dropped:
                self.offend("false gaps", f"{row}: nothing of these channels was dropped there")
        # What is still there must come, whatever the gap says.
        self.miss(position for position in between(self.kept, begin, end) if position >= floor)
        self.at = end
        return None
