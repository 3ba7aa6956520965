"""What the judges of live and of durable channels share: offences, counts, and the walk through a subscriber's record.

Each judge looks at the channels of its kind only; both look at every record (see subscribers.py for what stands in it)."""

import bisect
import collections

OFFENCES = ("lost", "duplicated", "unordered", "phantom", "false gaps", "refused", "unanswered")
# What no client may notice but by its stream's end, or not at all.
UPGRADED, RELOADED = "gateway upgraded", "configuration reloaded"
SLACK_S = 10.0  # until everybody has heard of a fault's end, on a busy machine
Offence = collections.namedtuple("Offence", "kind subscriber text")
# What a subscriber brings home: the live names and the durable names and patterns that it asked for, and its record.
Told = collections.namedtuple("Told", "live durable record")
# `ends_listen`: can it end a LISTEN session? `gateway`: the number of the one that it ended, else None.
Fault = collections.namedtuple("Fault", "kind begin end ends_listen gateway", defaults=(False, None))


class Verdict:
    def __init__(self):
        self.offences = []
        self.counts = collections.Counter()
        self.gaps = collections.Counter()

    def offend(self, kind, subscriber, text):
        self.counts[kind] += 1
        self.offences.append(Offence(kind, subscriber, text))

    def tally(self, told):
        """Counts what came, of whatever kind."""
        for name, (live, durable, record) in told.items():
            resumed = False
            for row in record:
                kind = row[0]
                if kind == "open":
                    resumed = row[3] is not None and row[2] != "next poll"
                elif kind == "stuck":
                    self.offend("lost", name, row[2])
                elif kind == "close":
                    resumed = False
                else:
                    self.counts["exact"] += resumed and kind != "gap"
                    resumed = False
                    self.counts["deliveries"] += kind in ("event", "row")
                if kind == "gap":
                    self.gaps[row[2]] += 1
                    if not row[5] or not {*row[5]} <= {*live, *durable}:
                        self.offend("false gaps", name, f"{row} names other channels than were asked for")
        return self


def look_at_answers(verdict, unanswered, told, faults):
    """Without a fault, in an upgrade, and in a reload everybody gets a connection and an answer. `unanswered`: [(time, text)]."""
    excuses = [(fault.begin, fault.end + SLACK_S) for fault in faults if fault.kind not in (UPGRADED, RELOADED)]
    rows = [("publisher", *row) for row in unanswered]
    rows += [(name, *row[1:]) for name, one in told.items() for row in one.record if row[0] == "unanswered"]
    for name, now, text in rows:
        if not any(begin <= now <= end for begin, end in excuses):
            verdict.offend("unanswered", name, f"{text} (at {now:.3f})")


class Walk:
    """One subscriber's record, from its beginning to its end: a method for each kind of row."""

    def __init__(self, judge, name, names, record):
        self.judge, self.name, self.names, self.record = judge, name, names, record
        self.known_at = None  # when it was last told anything
        self.gateway = 0

    def offend(self, kind, text):
        self.judge.verdict.offend(kind, self.name, text)

    def walk(self):
        for row in self.record:
            getattr(self, row[0])(row)
            if row[0] in ("event", "row", "gap", "place"):
                self.known_at = row[1]
        self.finish()

    def ignore(self, row):
        pass

    def open(self, row):
        self.gateway = row[4]

    event = row = gap = place = close = stuck = unanswered = ignore


def at_most(ascending, value):
    """How many of the values are at most this one."""
    return bisect.bisect_right(ascending, value)
