"""The set checker's live scene: one gateway, one set of live channels. What is published to, by whom, and who reads."""

from faults import Faults
from judge_live import LiveJudge
from publishers import COMMITTED, PostPublisher, SqlPublisher
from world import World

# Listed by name; `fat` has large payloads, so that a reader that stops reading fills its socket.
LISTED = [f"listed/{i}" for i in range(6)]
FAT = "listed/fat"
# Given by a pattern: LISTENed when somebody subscribes, UNLISTENed LINGER_S after the last one has gone.
CHOSEN = [f"chosen/{i}" for i in range(6)]
# Only those who come and go read these, so that they really are UNLISTENed.
LEFT = [f"left/{i}" for i in range(3)]
ALL = [*LISTED, FAT, *CHOSEN, *LEFT]

LINGER_S = 0.5
JOURNAL_EVENTS = 4000
FAT_BYTES = 7000

CONFIGURATION = f"""
[gateway]
workers = 2
heartbeat = 1s
retry = 100ms
drain_timeout = 3s
max_header = 16kB

[set checked]
postgres = {{conninfo}}
live = {",".join(LISTED)},{FAT},chosen/*,left/*
linger = {int(LINGER_S * 1000)}ms
journal_events = {{journal_events}}
postgres_heartbeat = 500ms
query_timeout = 1s
connect_timeout = 1s
"""


def cast():
    """Who there is, for one of the processes."""
    listed, chosen = LISTED, CHOSEN
    streams, anything = ("sse", "ndjson"), ("sse", "ndjson", "poll")
    people = [dict(live=[name]) for name in listed[:3]]
    people += [dict(live=listed[3:6], version="1.0"), dict(live=listed[:2] + chosen[:1], transports=("ndjson",))]
    people += [dict(live=[chosen[1]], transports=("ndjson",)), dict(live=chosen[2:4], transports=("poll",))]
    people += [dict(live=[listed[0]], transports=("poll",)), dict(live=[FAT], leads=True)]
    people += [dict(live=[FAT], stops=1200), dict(live=[FAT], transports=("ndjson",), stops=1200)]
    people += [dict(live=[name], transports=anything, lives=(0.05, 0.3, 1, 3)) for name in (*listed[1:4], *chosen[3:])]
    people += [dict(live=listed[4:6] + chosen[4:5], transports=anything, lives=(0.1, 0.5, 2), absences=(0.02, 0.2, 2))]
    people += [dict(live=[name], transports=streams, lives=(0.3, 1), absences=(0.1, 1.5)) for name in LEFT]
    return people


class LiveWorld(World):
    # Least numbers of a run that proves something.
    LEAST = {"events": 50_000, "faults": 15, "kinds of faults": 5, "exact resumes": 1, "gaps": 1}
    GATEWAYS = 1
    CONFIGURATION, JOURNAL_EVENTS = CONFIGURATION, JOURNAL_EVENTS
    LIVE = ALL
    Faults = Faults

    def publishers(self):
        options = dict(names=ALL, fat=[(FAT, FAT_BYTES)])
        sql, post = dict(conninfo=self.postgres.conninfo), dict(addresses=self.addresses)
        return [(SqlPublisher, options | sql)] * 4 + [(PostPublisher, options | post)] * 4

    def cast(self):
        return [cast(), cast()]

    def judge(self, verdict, published, told, faults):
        LiveJudge(verdict, published, told, faults, JOURNAL_EVENTS, LINGER_S, ("chosen/", "left/")).judge()
        return sum(outcome == COMMITTED for rows in published.values() for *_, outcome, _ in rows)
