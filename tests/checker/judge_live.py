"""Compares what was published on live channels with what each subscriber was told.

Lost: an event that was certainly committed after a subscriber was told that it was subscribed, or after its last gap, and
that it never got; and a change of the LISTEN session that it was not told of. Duplicated: told twice by one process.
Unordered: an event after a later one of the same publisher, or after a later place of the same LISTEN session; or one id
for two events.
Phantom: an event that was certainly not committed. A gap is false unless something can be missing:

    reconnect            its two cursors are of different LISTEN sessions, and a fault that can end one lies between, or
                         they are of two gateways; or the subscriber came without a session
    retention, slow      the gateway had read so many events that the journal cannot have held the gap's last one; or
                         the channel had been left by everybody for as long as it lingers
    any other            always false here"""

import collections

from cursors import parse
from judge import SLACK_S, Walk, at_most


class LiveJudge:
    def __init__(self, verdict, published, told, faults, journal_events, linger_s, lingering=()):
        """`published`: {publisher: [(channel, number, sent at, outcome, id)]}; `told`: {subscriber: Told}; `lingering`:
        beginnings of the names that are given by a pattern."""
        self.verdict = verdict
        self.told = {name: one for name, one in told.items() if one.live}
        self.faults = faults
        self.journal_events, self.linger_s, self.lingering = journal_events, linger_s, tuple(lingering)
        self.rows = collections.defaultdict(dict)
        for publisher, rows in published.items():
            for channel, number, sent_at, outcome, _ in rows:
                self.rows[channel, publisher][number] = (sent_at, outcome)
        self.publishers = sorted(published, reverse=True)
        self.heads = {}
        self.identities = {}
        self.readers = {}
        self.gateways = {}  # of each LISTEN session
        self.processes = {}  # the same, and which of the gateway's processes
        self.heard = {}  # when anybody first heard of it

    def judge(self):
        self.look_at_all()
        for name, one in self.told.items():
            LiveWalk(self, name, one.live, one.record).walk()

    # --- what all of them saw together ---------------------------------------------------------------------------------

    def look_at_all(self):
        seen = collections.defaultdict(set)
        open_at = collections.defaultdict(list)
        for name, one in self.told.items():
            self.look_at(name, one, seen, open_at)
        processes = collections.defaultdict(list)
        for epoch in seen:
            gateway = self.gateways[epoch]
            self.processes[epoch] = gateway, self.process_of(gateway, self.heard[epoch])
            processes[self.processes[epoch]].append(epoch)
        for epochs in processes.values():
            greatest, times, heads = 0, [], []
            for sent_at, place in sorted(pair for epoch in epochs for pair in seen[epoch]):
                if place > greatest:
                    greatest = place
                    times.append(sent_at)
                    heads.append(place)
            self.heads |= dict.fromkeys(epochs, (times, heads))
        self.readers = {channel: sorted(spans) for channel, spans in open_at.items()}

    def look_at(self, name, one, seen, open_at):
        began, gateway = None, 0
        for row in one.record:
            if row[0] in ("event", "row"):
                epoch, place, channel, publisher, number = row[-5:]
                if epoch is None:
                    continue
                self.gateways.setdefault(epoch, gateway)
                self.heard[epoch] = min(row[1], self.heard.get(epoch, row[1]))
                seen[epoch].add((self.rows[channel, publisher].get(number, (0, None))[0], place))
                if row[0] == "row":
                    continue  # its place is where live events go on: many rows may come in between
                known = self.identities.setdefault((epoch, place), (channel, publisher, number))
                if known != (channel, publisher, number):
                    self.verdict.offend("unordered", name, f"id {epoch}-{place} is {known} elsewhere and {row} here")
            elif row[0] == "place":
                self.gateways.setdefault(parse(row[2]).epoch, gateway)
            elif row[0] == "open":
                gateway = row[4]
                began = row[1] if began is None else began
            elif row[0] == "close" and began is not None:
                for channel in one.live:
                    open_at[channel].append((began, row[1]))
                began = None

    def process_of(self, gateway, moment):
        """Which of this gateway's processes, one after the other, ran then."""
        return sum(fault.gateway == gateway and fault.begin <= moment for fault in self.faults)

    def head_at(self, epoch, now):
        """The furthest place of an event that was sent by then, as far as anybody has ever seen it. Places count up
        through all sessions of one gateway."""
        times, heads = self.heads.get(epoch, ((), ()))
        at = at_most(times, now)
        return heads[at - 1] if at else 0

    def was_left(self, channel, begin, end):
        """Had the channel, in between, no reader for as long as it lingers?"""
        covered = begin - self.linger_s
        for opened, closed in self.readers.get(channel, ()):
            if min(opened, end) - covered >= self.linger_s:
                return True
            covered = max(covered, closed)
            if opened > end:
                break
        return end - covered >= self.linger_s

    def gap_is_justified(self, row, names, before):
        """A gap of both kinds of channels has the reason of the durable ones."""
        _, now, reason, begin, end, all_names = row
        begin, end = parse(begin), parse(end)
        if len(all_names) > len(names):
            reason = "retention" if begin.epoch == end.epoch else "reconnect"
        if reason == "reconnect":
            if begin.epoch == end.epoch:
                return False
            if begin.epoch is None:
                return begin.tag is not None  # the id of a durable event
            if self.gateways.get(begin.epoch) != self.gateways.get(end.epoch):
                return True
            return any(fault.ends_listen and fault.begin <= now and before <= fault.end + SLACK_S
                       for fault in self.faults)
        if reason not in ("retention", "slow") or begin.place >= end.place:
            return False
        if reason == "retention" and any(channel.startswith(self.lingering) and self.was_left(channel, before, now)
                                         for channel in names if self.lingering):
            return True
        channel = self.identities.get((end.epoch, end.place), (None,))[0]
        if channel and channel not in names:
            return False
        return self.head_at(end.epoch, now) >= end.place + self.journal_events


class LiveWalk(Walk):
    def __init__(self, judge, name, names, record):
        super().__init__(judge, name, names, record)
        self.since = dict.fromkeys(names)  # what is committed later must come
        self.epoch = dict.fromkeys(names)
        self.last = {}
        self.seen = collections.defaultdict(dict)  # {number: epoch}
        self.missing = {}
        self.furthest = (None, 0)

    def finish(self):
        for channel in self.names:
            for publisher in self.judge.publishers[:-1]:  # the last one is the markers': one is enough
                self.must_have_come(channel, publisher, None)
        for (channel, publisher, number), after in self.missing.items():
            self.offend("lost", f"{channel}: publisher {publisher}'s event {number} never came (after {after})")

    def same_session(self, channel, epoch):
        if self.epoch[channel] and epoch != self.epoch[channel]:
            self.offend("lost", f"{channel}: from LISTEN session {self.epoch[channel]} to {epoch} without a gap")
        self.epoch[channel] = epoch

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

    def may_lag(self, epoch, before):
        """PostgreSQL tells each process in its own time: behind a gap, another one may begin with what was had before."""
        return self.judge.processes.get(epoch) != self.judge.processes.get(before)

    def event(self, row):
        _, _, epoch, place, channel, publisher, number = row
        if channel not in self.names:
            return self.offend("phantom", f"{row}: not subscribed to")
        if self.judge.rows[channel, publisher].get(number, (0, "never"))[1] == "never":
            self.offend("phantom", f"{row}: was not published")
        self.same_session(channel, epoch)
        seen, key = self.seen[channel, publisher], (channel, publisher)
        if number in seen:
            if not self.may_lag(epoch, seen[number]):
                self.offend("duplicated", f"{row} came twice")
        elif number < self.last.get(key, 0):
            self.missing.pop((channel, publisher, number), None)
            # One whose answer was lost may be committed when its publisher has gone on: the network held it back.
            if self.judge.rows[key].get(number, (0, None))[1] != "perhaps":
                self.offend("unordered", f"{row} came after event {self.last[key]} of the same publisher")
        elif epoch == self.furthest[0] and place <= self.furthest[1]:
            self.offend("unordered", f"{row} came after place {self.furthest[1]}")
        else:
            self.must_have_come(channel, publisher, number)
            self.last[key] = number
        seen[number] = epoch
        self.furthest = (epoch, max(place, self.furthest[1]) if epoch == self.furthest[0] else place)
        return None

    def gap(self, row):
        _, now, _, _, end, names = row
        mine = {*names} & {*self.names}
        if not mine:
            return
        if not self.judge.gap_is_justified(row, mine, self.known_at or now):
            self.offend("false gaps", f"{row}: nothing can be missing there")
        for channel in mine:
            self.since[channel] = now
            self.epoch[channel] = parse(end).epoch

    def place(self, row):
        _, now, cursor = row
        for channel in self.names:
            if self.since[channel] is None:
                self.since[channel] = now
            self.same_session(channel, parse(cursor).epoch)
