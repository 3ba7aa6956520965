"""Compares what was published with what each subscriber was told.

Lost: an event that was certainly committed after a subscriber was told that it was subscribed, or after its last gap, and
that it never got; and a change of the LISTEN session that it was not told of. Duplicated: told twice. Unordered: an event
after a later one of the same publisher, or after a later place of the same LISTEN session; or one id for two events.
Phantom: an event that was certainly not committed. A gap is false unless something can be missing:

    reconnect            its two cursors are of different LISTEN sessions, and a fault that can end one lies between
    retention, slow      the gateway had read so many events that the journal cannot have held the gap's last one; or
                         the channel had been left by everybody for as long as it lingers
    any other            always false here"""

import bisect
import collections

import channels
from subscribers import epoch_and_place

SLACK_S = 3.0
Offence = collections.namedtuple("Offence", "kind subscriber text")


class Judge:
    def __init__(self, published, told, faults):
        """`published`: {publisher: [(channel, number, sent at, outcome)]}; `told`: {subscriber: (names, record)};
        `faults`: [(kind, begin, end, whether it can end a LISTEN session)]."""
        self.told = told
        self.faults = faults
        self.rows = collections.defaultdict(dict)
        for publisher, rows in published.items():
            for channel, number, sent_at, outcome in rows:
                self.rows[channel, publisher][number] = (sent_at, outcome)
        self.publishers = sorted(published, reverse=True)
        self.offences = []
        self.counts = collections.Counter()
        self.gaps = collections.Counter()
        self.heads = {}
        self.identities = {}
        self.readers = {}

    def offend(self, kind, subscriber, text):
        self.counts[kind] += 1
        self.offences.append(Offence(kind, subscriber, text))

    def judge(self):
        self.look_at_all()
        for name, (names, record) in self.told.items():
            Walk(self, name, names, record).walk()
        return self

    # --- what all of them saw together ---------------------------------------------------------------------------------

    def look_at_all(self):
        seen = collections.defaultdict(set)
        open_at = collections.defaultdict(list)
        for name, (names, record) in self.told.items():
            began = None
            for row in record:
                if row[0] == "event":
                    _, _, epoch, place, channel, publisher, number = row
                    seen[epoch].add((self.rows[channel, publisher].get(number, (0, None))[0], place))
                    known = self.identities.setdefault((epoch, place), (channel, publisher, number))
                    if known != (channel, publisher, number):
                        self.offend("unordered", name, f"id {epoch}-{place} is {known} elsewhere and {row[4:]} here")
                elif row[0] == "open" and began is None:
                    began = row[1]
                elif row[0] == "close" and began is not None:
                    for channel in names:
                        open_at[channel].append((began, row[1]))
                    began = None
        processes = collections.defaultdict(list)
        for epoch, pairs in seen.items():
            processes[self.gateway_of(min(pairs)[0])].append(epoch)
        for epochs in processes.values():
            greatest, times, heads = 0, [], []
            for sent_at, place in sorted(pair for epoch in epochs for pair in seen[epoch]):
                if place > greatest:
                    greatest = place
                    times.append(sent_at)
                    heads.append(place)
            self.heads |= dict.fromkeys(epochs, (times, heads))
        self.readers = {channel: sorted(spans) for channel, spans in open_at.items()}

    def gateway_of(self, moment):
        """Which of the gateways, one after the other, ran then."""
        return sum(kind.startswith("gateway") and begin <= moment for kind, begin, _, _ in self.faults)

    def head_at(self, epoch, now):
        """The furthest place of an event that was sent by then, as far as anybody has ever seen it. Places count up
        through all sessions of one gateway."""
        times, heads = self.heads.get(epoch, ((), ()))
        at = bisect.bisect_right(times, now)
        return heads[at - 1] if at else 0

    def was_left(self, channel, begin, end):
        """Had the channel, in between, no reader for as long as it lingers?"""
        covered = begin - channels.LINGER_S
        for opened, closed in self.readers.get(channel, ()):
            if min(opened, end) - covered >= channels.LINGER_S:
                return True
            covered = max(covered, closed)
            if opened > end:
                break
        return end - covered >= channels.LINGER_S

    def gap_is_justified(self, row, before):
        _, now, reason, begin, end, names = row
        begin_epoch, begin_place = epoch_and_place(begin or "")
        end_epoch, end_place = epoch_and_place(end)
        if reason == "reconnect":
            return begin_epoch and begin_epoch != end_epoch and any(
                ends and first <= now and before <= last + SLACK_S for _, first, last, ends in self.faults)
        if reason not in ("retention", "slow") or begin_place >= end_place:
            return False
        if reason == "retention" and any(channel.startswith(("chosen/", "left/")) and
                                         self.was_left(channel, before, now) for channel in names):
            return True
        channel = self.identities.get((end_epoch, end_place), (None,))[0]
        if channel and channel not in names:
            return False
        return self.head_at(end_epoch, now) >= end_place + channels.JOURNAL_EVENTS


class Walk:
    """One subscriber's record, from its beginning to its end."""

    def __init__(self, judge, name, names, record):
        self.judge, self.name, self.names, self.record = judge, name, names, record
        self.since = dict.fromkeys(names)  # what is committed later must come
        self.epoch = dict.fromkeys(names)
        self.last = {}
        self.seen = collections.defaultdict(set)
        self.missing = {}
        self.furthest = (None, 0)
        self.known_at = None  # when it was last told anything
        self.resumed = False

    def offend(self, kind, text):
        self.judge.offend(kind, self.name, text)

    def walk(self):
        for row in self.record:
            getattr(self, row[0])(row)
            if row[0] in ("event", "gap", "place"):
                self.known_at = row[1]
        for channel in self.names:
            for publisher in self.judge.publishers[:-1]:  # the last one is the markers': one is enough
                self.must_have_come(channel, publisher, None)
        for (channel, publisher, number), after in self.missing.items():
            self.offend("lost", f"{channel}: publisher {publisher}'s event {number} never came (after {after})")

    def open(self, row):
        self.resumed = row[3] is not None and row[2] != "next poll"

    def close(self, _):
        self.resumed = False

    def told(self, is_gap):
        if self.resumed and not is_gap:
            self.judge.counts["exact"] += 1
        self.resumed = False

    def same_session(self, channel, epoch):
        if self.epoch[channel] and epoch != self.epoch[channel]:
            self.offend("lost", f"{channel}: from LISTEN session {self.epoch[channel]} to {epoch} without a gap")
        self.epoch[channel] = epoch

    def must_come_from(self, channel, now):
        self.since[channel] = now

    def must_have_come(self, channel, publisher, before):
        """Notes what is missing of a publisher's events up to number `before`, or all of them."""
        rows = self.judge.rows.get((channel, publisher), {})
        since = self.since[channel]
        first = self.last.get((channel, publisher), 0) + 1
        stop = before if before is not None else max(rows, default=0) + 1
        for number in range(first, stop):
            sent_at, outcome = rows.get(number, (0, None))
            if outcome == "committed" and since is not None and sent_at > since:
                self.missing[channel, publisher, number] = f"{self.furthest[0]}-{self.furthest[1]}"

    def event(self, row):
        _, _, epoch, place, channel, publisher, number = row
        self.told(False)
        self.judge.counts["deliveries"] += 1
        if channel not in self.names:
            return self.offend("phantom", f"{row}: not subscribed to")
        if self.judge.rows[channel, publisher].get(number, (0, "never"))[1] == "never":
            self.offend("phantom", f"{row}: was not published")
        self.same_session(channel, epoch)
        seen, key = self.seen[channel, publisher], (channel, publisher)
        if number in seen:
            self.offend("duplicated", f"{row} came twice")
        elif number < self.last.get(key, 0):
            self.missing.pop((channel, publisher, number), None)
            self.offend("unordered", f"{row} came after event {self.last[key]} of the same publisher")
        elif epoch == self.furthest[0] and place <= self.furthest[1]:
            self.offend("unordered", f"{row} came after place {self.furthest[1]}")
        else:
            self.must_have_come(channel, publisher, number)
            self.last[key] = number
        seen.add(number)
        self.furthest = (epoch, max(place, self.furthest[1]) if epoch == self.furthest[0] else place)
        return None

    def gap(self, row):
        _, now, reason, _, end, names = row
        self.told(True)
        self.judge.gaps[reason] += 1
        if not set(names) <= set(self.names):
            self.offend("false gaps", f"{row} names channels that were not asked for")
        elif not self.judge.gap_is_justified(row, self.known_at or now):
            self.offend("false gaps", f"{row}: nothing can be missing there")
        for channel in set(names) & set(self.names):
            self.must_come_from(channel, now)
            self.epoch[channel] = epoch_and_place(end)[0]

    def place(self, row):
        _, now, epoch = row
        self.told(False)
        for channel in self.names:
            if self.since[channel] is None:
                self.must_come_from(channel, now)
            self.same_session(channel, epoch)

