"""The set checker's durable scene: two gateways on one database, which has a standby. One set has durable channels alone
and a small journal, so that who was away is served from the log; one has channels of both kinds."""

import concurrent.futures
import contextlib
import threading
import time

import psycopg2

from durable_faults import DurableFaults
from judge_durable import DurableJudge, Truth
from judge_live import LiveJudge
from kit.postgres import Standby
from kit.proxy import Proxy
from kit.schema import script
from kit.wait import until
from publishers import (COMMITTED, DurableSqlPublisher, KeyedPostPublisher, PostPublisher, QuietPublisher, SqlPublisher)
from world import World

BUSY = "busy"
FAT = "fat"
STEADY = [f"steady/{i}" for i in range(6)]
QUIET = [f"quiet/{i}" for i in range(200)]
MIXED = [f"mixed/{i}" for i in range(2)]
LIVE = ["live/a", "live/b"]
# As often as they are chosen; the quiet ones have a publisher of their own.
CHOICE = [BUSY] * 6 + [FAT] + STEADY + MIXED * 2

FAT_BYTES = 20_000
# What is sabotaged when the log is read has to happen soon.
SMALL_JOURNAL, SABOTAGED_JOURNAL, LARGE_JOURNAL = 500, 32, 1_000_000
PAUSES = (0, 0.005, 0.01, 0.04)
# Fewer than there are, so that some are forgotten.
MAX_CHANNELS = 40

CONFIGURATION = f"""
[gateway]
workers = 2
heartbeat = 500ms
retry = 100ms
drain_timeout = 3s
max_header = 16kB

[set pure]
postgres = {{conninfo}}
durable = {BUSY},{FAT},steady/*,quiet/*
max_channels = {MAX_CHANNELS}
journal_events = {{journal_events}}
postgres_heartbeat = 500ms
query_timeout = 2s
connect_timeout = 1s

[set both]
postgres = {{conninfo}}
live = {",".join(LIVE)}
durable = mixed/*
journal_events = {LARGE_JOURNAL}
postgres_heartbeat = 500ms
query_timeout = 2s
connect_timeout = 1s
"""

ARCHIVE = """
create schema checker;
create table checker.archive (pos bigint, channel text, publisher integer, number integer);
create function checker.archive() returns trigger language plpgsql security definer as $$
begin
    insert into checker.archive select pos, channel, (data->>'p')::integer, (data->>'n')::integer from added;
    return null;
end $$;
create trigger archive after insert on eventgate.log referencing new table as added
    for each statement execute function checker.archive();
alter table eventgate.log enable always trigger archive;
create role gateway login in role eventgate_gateway;
create role app login in role eventgate_publish;
"""


def cast(process):
    """Who there is, for one of the processes."""
    streams, anything = ("sse", "ndjson"), ("sse", "ndjson", "poll")
    hops = dict(transports=anything, lives=(0.05, 0.3, 1, 3), absences=(0.02, 0.2, 2))
    people = [dict(durable=[BUSY], gateway=process), dict(durable=STEADY[:3], gateway=process, version="1.0")]
    people += [dict(durable=["steady/*", BUSY], gateway=process, transports=("ndjson",))]
    people += [dict(durable=[FAT], leads=True), dict(durable=[FAT], stops=200), dict(durable=[FAT, BUSY], stops=200)]
    people += [dict(durable=[STEADY[3]], transports=("poll",)), dict(durable=["steady/**"], transports=("poll",))]
    people += [dict(durable=[name], **hops) for name in (BUSY, *STEADY[3:5])]
    people += [dict(durable=STEADY[:4], after="earliest", **hops), dict(durable=["quiet/**", STEADY[5]], **hops)]
    # Away for long: the quiet ones have missed nothing, whatever was dropped meanwhile.
    sleeps = dict(transports=anything, lives=(0.5,), sleeps=True)
    people += [dict(durable=[name], **sleeps) for name in (BUSY, QUIET[process], QUIET[150 + process], QUIET[199])]
    people += [dict(durable=QUIET[100:], **sleeps), dict(durable=[*QUIET[:20], BUSY], **sleeps)]
    people += [dict(durable=QUIET[process * 100:][:100], gateway=process), dict(durable=QUIET[2:4], **hops)]
    people += [dict(durable=["quiet/*"], transports=streams, lives=(1, 3)), dict(durable=[QUIET[198]])]
    people += [dict(live=LIVE[:1], durable=MIXED[:1]), dict(live=LIVE, durable=["mixed/*"], transports=("poll",))]
    people += [dict(live=LIVE, durable=MIXED, **hops | dict(transports=("sse", "poll"))), dict(durable=MIXED, **hops)]
    people += [dict(live=LIVE[1:], transports=("ndjson",), gateway=process)]
    return people


class DurableWorld(World):
    # Reached by every run, however slow the machine: the faults are so many and wait for enough to happen.
    LEAST = {"events": 2_000, "deliveries": 10_000, "exact resumes": 20, "gaps failover": 2, "gaps retention": 2,
             "kinds of faults": len(DurableFaults.ENDS_LISTEN)}
    GATEWAYS = 2
    CONFIGURATION = CONFIGURATION
    LIVE = LIVE
    Faults = DurableFaults
    SETTINGS = ("wal_keep_size=512MB", "max_wal_senders=10", "synchronous_commit=on")
    ROLE = "gateway"

    def make(self):
        self.rows, self.jumps, self.floors, self.maintained = {}, [], [], []
        self.standby = self.making_standby = None
        self.helper = concurrent.futures.ThreadPoolExecutor(1)
        self.stack.callback(self.remove_standby)
        super().make()
        self.app = self.stack.enter_context(contextlib.closing(Proxy(self.postgres.socket)))
        self.replication = self.stack.enter_context(contextlib.closing(Proxy(self.postgres.socket)))
        if not self.options.faults or "failover" in self.options.faults:
            self.make_standby()
        self.watching = threading.Event()
        self.watcher = threading.Thread(target=self.watch_floor, daemon=True)
        self.watcher.start()
        self.stack.callback(self.stop_watching)

    def journal_events(self):
        return SABOTAGED_JOURNAL if self.options.sabotage else SMALL_JOURNAL

    def install(self):
        self.postgres.sql(script())
        self.postgres.sql(ARCHIVE)

    def publishers(self):
        options = dict(names=CHOICE, apart=MIXED, fat=[(FAT, FAT_BYTES)], pauses=PAUSES)
        sql = dict(conninfo=f"host=127.0.0.1 port={self.app.port} user=app dbname=postgres")
        post = dict(addresses=self.addresses)
        return [(DurableSqlPublisher, options | sql), (DurableSqlPublisher, options | sql),
                (KeyedPostPublisher, options | post), (KeyedPostPublisher, options | post),
                (KeyedPostPublisher, options | post), (PostPublisher, options | post),
                (QuietPublisher, dict(names=QUIET, pauses=(1, 2)) | sql),
                (SqlPublisher, dict(names=LIVE, pauses=PAUSES[1:]) | sql)]

    def cast(self):
        """A sabotaged gateway is to be found out by its durable channels."""
        live_too = not self.options.sabotage
        return [[person for person in cast(process) if live_too or not person.get("live")] for process in range(2)]

    # --- the database, and its standby --------------------------------------------------------------------------------

    def make_standby(self):
        """In the background: it has time until the next failover. Other faults may come between the copying."""
        way = f"host=127.0.0.1 port={self.replication.port} user=postgres"

        def made():
            with contextlib.suppress(AssertionError):
                return Standby(self.postgres, way).start()

        self.making_standby = self.helper.submit(lambda: until(made, "a standby", 120))

    def remove_standby(self):
        if self.making_standby:
            self.making_standby.result().remove()
        self.helper.shutdown()

    def move_to(self, server):
        """What goes through the network goes to another server now."""
        self.postgres = server
        for proxy in (*self.proxies, self.app, self.replication):
            proxy.target = server.socket
            proxy.cut()

    # --- what the log has held ----------------------------------------------------------------------------------------

    def archived(self, server=None, beyond=0):
        """The number of rows beyond a position that were ever committed, and the highest position."""
        return (server or self.postgres).sql("select count(*), coalesce(max(pos), 0) from checker.archive where pos > %s",
                                             beyond)[0]

    def read_archive(self, server):
        for position, *identity in server.sql("select pos, channel, publisher, number from checker.archive"):
            known = self.rows.setdefault(position, tuple(identity))
            if known != tuple(identity):
                self.refusals.append((0, f"position {position} is {known} and {identity}"))

    def floor(self, server=None):
        """What lies before it has been dropped."""
        query = "select coalesce((select min(pos) from eventgate.log), eventgate.position() + 1)"
        return (server or self.postgres).sql(query)[0][0]

    def watch_floor(self):
        while not self.watching.wait(0.1):
            now = time.monotonic()
            with contextlib.suppress(psycopg2.Error):
                self.floors.append((now, self.floor()))

    def stop_watching(self):
        self.watching.set()
        self.watcher.join()

    def settle(self):
        until(self.postgres.accepts, "the database is there")
        self.signals.goal.value = self.postgres.sql("select eventgate.position()")[0][0]

    def look(self):
        self.stop_watching()
        self.floors.append((time.monotonic(), self.floor()))
        self.read_archive(self.postgres)
        self.jumps = self.postgres.sql("select jump_from, jump_to from eventgate.incarnation where jump_to > 0")
        self.final = {position for (position,) in self.postgres.sql("select pos from eventgate.log")}
        self.pruned = dict(self.postgres.sql("select name, pruned from eventgate.channel where pruned > 0"))
        self.tag = self.postgres.sql("select tag from eventgate.attach(0)")[0][0]

    def judge(self, verdict, published, told, faults):
        truth = Truth(self.rows, self.jumps, self.floors, self.final, self.pruned, self.signals.goal.value, self.tag)
        live = {publisher: [row for row in rows if row[0] in LIVE] for publisher, rows in published.items()}
        durable = {publisher: [row for row in rows if row[0] not in LIVE] for publisher, rows in published.items()}
        DurableJudge(verdict, durable, told, faults, truth, self.refusals).judge()
        LiveJudge(verdict, live, told, faults, LARGE_JOURNAL, 60).judge()
        return sum(outcome == COMMITTED for rows in published.values() for *_, outcome, _ in rows)
