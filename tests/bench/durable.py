"""Durable channels beside PostgreSQL itself: what plain programs do by libpq alone on the same server."""

import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from runs import run_works
from servers import BUILD, CPUS, GATEWAY, LOAD, EventGateway, Server, load, pinned
from works import PAYLOAD, Figure, Work, at_least, at_most

CONNECTIONS = 32
BATCH = 64
CLIENTS = 1000
EACH = 1000  # events that a client resumes
WATCHERS, WATCHED_RATE = 100, 200  # live streams beside it, and their events a second
LIVE_MOST_MS = 10
RESULTS = BUILD / "durable.json"
COLUMNS = "pos, channel, type, time, trace, data"


class DurableGateway(EventGateway):
    """As it runs by default, with a worker a processor: PostgreSQL, which it is compared with, has them all, too.
    `live`: a live channel beside the durable ones, in the same set."""

    live = False

    def __init__(self, postgres, channels=1):
        super().__init__(postgres, channels, pin=False, workers=0)
        self.spent = []

    def cpu_seconds(self):
        self.spent.append(self.spent_now())
        return super().cpu_seconds()

    def spent_now(self):
        """Seconds of processor time of each thread of the gateway, and of each process of PostgreSQL that serves it."""
        threads = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        spent = {f"gateway: {(thread / 'comm').read_text().strip()}": scheduled(thread) for thread in threads}
        for pid, purpose in self.postgres.sql("SELECT pid, split_part(application_name, ' ', 3) FROM pg_stat_activity"
                                              " WHERE application_name LIKE 'pg_eventgate %%'"):
            spent[f"PostgreSQL: {purpose}"] = scheduled(pathlib.Path(f"/proc/{pid}"))
        return spent

    def arguments(self):
        arguments = ["--postgres", self.postgres.conninfo, "--durable", "bench/*,history,user/*"]
        return arguments + (["--live", "live/0"] if self.live else [])

    def publish_how(self):
        return f"http:127.0.0.1:{self.port}/channels/%s"


def scheduled(folder):
    return int((folder / "schedstat").read_text().split()[0]) / 1e9


class GatewayWithLive(DurableGateway):
    live = True


class RawPosts(Server):
    """A bare loop of one thread that appends what it is POSTed, without looking at it."""

    name = "raw"
    label = "raw loop"

    def __init__(self, postgres, channels=1):
        super().__init__(postgres, channels, pin=False)

    def start(self):
        self.run(BUILD / "tests" / "bench_raw_posts", f"127.0.0.1:{self.port}", self.postgres.conninfo, "bench/0",
                 stderr=subprocess.DEVNULL)

    def post_at(self):
        return f"127.0.0.1:{self.port}/channels/bench/0"


class Plain(Server):
    """No server at all but PostgreSQL: what is measured are programs that use it."""

    name = "plain"
    label = "PostgreSQL: INSERT and NOTIFY, psql"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def cpu_seconds(self):
        return 0.0

    def publish_how(self):
        return f"postgres:{self.postgres.conninfo}"


class Append(Plain):
    name = "append"
    label = f"PostgreSQL: eventgate.append(), {BATCH} at a time"


# --- works -----------------------------------------------------------------------------------------------------------


def posts(make, seconds):
    with make() as server:
        if isinstance(server, (DurableGateway, RawPosts)):
            result = load("post", server, "--connections", CONNECTIONS, "--payload", PAYLOAD, "--seconds", seconds,
                          publish=False)
            if isinstance(server, RawPosts):
                return result
            before, after = server.spent
            count = result["posts_per_s"] * (result["end_s"] - result["begin_s"])
            return result | {f"spent {who}": (after[who] - before[who]) / count for who in after if who in before}
        work = "append" if isinstance(server, Append) else "insert"
        return load(work, server, "--connections", CONNECTIONS, "--batch", BATCH, "--payload", PAYLOAD, "--seconds", seconds)


def one_at_a_time(make, seconds):
    with make() as server:
        if isinstance(server, DurableGateway):
            return load("one", server, "--payload", PAYLOAD, "--seconds", seconds, streams=1)
        return load("listen", server, "--payload", PAYLOAD, "--seconds", seconds)


def psql(server, *statements):
    """Seconds that psql takes to run these and throw away what they return."""
    begin = time.monotonic()
    subprocess.run([*pinned(CPUS[0]), "psql", "-XAtq", "-o", "/dev/null", server.postgres.conninfo], check=True, text=True,
                   input="".join(f"{statement};\n" for statement in statements))
    return time.monotonic() - begin


def drain(server, aims):
    """Streams that each end when they have had their events; `aims`: (events, target) of each."""
    path = pathlib.Path(server.folder, "aims")
    path.write_text("".join(f"{events} {target}\n" for events, target in aims))
    return load("drain", server, "--aims", path, streams=len(aims), publish=False)


class History:
    """What is in the log before anything is measured: `events` in one channel, and as many in those of CLIENTS users."""

    def __init__(self, postgres, events):
        self.postgres = postgres
        self.events = events
        self.each = max(1, events // CLIENTS)
        self.fill(f"'user/' || n % {CLIENTS}")
        self.fill("'history'")
        postgres.sql("VACUUM ANALYZE eventgate.log")
        postgres.sql("CHECKPOINT")
        os.sync()  # else the disk is still at it when the first is measured
        self.tag = postgres.sql("SELECT tag FROM eventgate.state")[0][0]

    def fill(self, channel, at_once=10_000):
        data = f"'{{\"t\":1,\"n\":' || n || ',\"pad\":\"' || rpad('', {PAYLOAD} - 21 - length(n::text), 'x') || '\"}}'"
        for first in range(0, self.events, at_once):
            self.postgres.sql(
                f"SELECT count(*) FROM (SELECT array_agg(({channel})::text ORDER BY n) AS channels, array_agg(({data})::text ORDER BY n) AS datas"
                f" FROM generate_series({first}, {min(first + at_once, self.events) - 1}) AS n) AS s,"
                " eventgate.append('bench', NULL, s.channels, NULL, s.datas, NULL, NULL)")

    def replay(self, make, _):
        with make() as server:
            if isinstance(server, DurableGateway):
                return drain(server, [(self.events, f"/channels/history?after={self.tag}.0")])
            seconds = psql(server, f"SELECT {COLUMNS} FROM eventgate.log WHERE channel = 'history' ORDER BY pos")
            return {"seconds": seconds, "deliveries_per_s": self.events / seconds}

    def resume_own(self, make, _):
        """Each client has a channel of its own, and resumes all that is in it: no two read the same."""
        firsts = self.postgres.sql("SELECT channel, min(pos) - 1 FROM eventgate.log WHERE channel LIKE 'user/%' GROUP BY 1")
        aims = [(self.each, f"/channels/{channel}?after={self.tag}.{after}") for channel, after in firsts]
        selects = [f"SELECT {COLUMNS} FROM eventgate.log WHERE channel = '{channel}' AND pos > {after} ORDER BY pos LIMIT 1000"
                   for channel, after in firsts]
        return self.resume(make, aims, selects)

    def resume_same(self, make, _):
        """All clients were at the end of one channel, give or take a hundred events."""
        least = min(EACH, self.events // 2)
        places = self.postgres.sql(f"SELECT pos FROM eventgate.log WHERE channel = 'history' ORDER BY channel DESC, pos DESC"
                                   f" OFFSET {least} LIMIT 100")
        aims = [(least + client % len(places), f"/channels/history?after={self.tag}.{places[client % len(places)][0]}")
                for client in range(CLIENTS)]
        return self.resume(make, aims, ())

    def resume(self, make, aims, selects):
        with make() as server:
            if not isinstance(server, DurableGateway):
                seconds = psql(server, *selects)
                return {"seconds": seconds, "deliveries_per_s": sum(events for events, _ in aims) / seconds}
            with Watchers(server) as watchers:
                watchers.forget()
                deliveries = Deliveries(server)
                time.sleep(2)
                before, served_before_ms = watchers.ages(), deliveries.p99_ms()
                peak = Peak(server)
                result = drain(server, aims)
                during, served_during_ms = watchers.ages(), deliveries.p99_ms()
                result["grown_mib"] = peak.grown_bytes() / 2**20
            assert before["gaps"] == during["gaps"] == 0, (before, during)
            excess = max(served_during_ms - max(LIVE_MOST_MS, 2 * served_before_ms), 0)
            return result | {"before_p99_ms": before["p99_ms"], "during_p99_ms": during["p99_ms"],
                             "served_before_p99_ms": served_before_ms, "served_during_p99_ms": served_during_ms,
                             "excess_ms": excess}


def ahead():
    """What has a program run before the others on its processor, where that is permitted."""
    return ["nice", "-n", "-10"] if os.geteuid() == 0 else []


class Watchers:
    """Live streams, and their events' ages. They run ahead of the load, so that it's the gateway that is measured."""

    def __init__(self, server):
        command = [*ahead(), *pinned(CPUS[0]), str(LOAD), "watch", "--server", f"127.0.0.1:{server.port}/channels/live/%u", "--channel",
                   "live/%u", "--publish", f"postgres:{server.postgres.conninfo}", "--streams", str(WATCHERS), "--rate",
                   str(WATCHED_RATE), "--payload", str(PAYLOAD)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        json.loads(self.process.stdout.readline())
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ages(self):
        """Of the events since the last call."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    forget = ages


class Deliveries:
    """Of live events, as the gateway itself measures them: from the wake-up by PostgreSQL to the subscriber's socket."""

    def __init__(self, server):
        self.server = server
        self.before = self.read()

    def read(self):
        """{upper bound in ms: deliveries within it}"""
        rows = re.findall(r'^eventgate_delivery_seconds_bucket\{.*le="(.*)"\} (\d+)$',
                          self.server.gateway.get("/metrics").text(), re.MULTILINE)
        return {float(bound) * 1e3: int(count) for bound, count in rows}

    def p99_ms(self):
        """Since the last call, interpolated within its bucket, as Prometheus' histogram_quantile() does."""
        now = self.read()
        counts = {bound: now[bound] - self.before[bound] for bound in sorted(now)}
        self.before = now
        wanted, least, below = 0.99 * counts[math.inf], 0.0, 0
        for bound, count in counts.items():
            if count >= wanted and count > below:
                return least + (bound - least) * (wanted - below) / (count - below) if bound < math.inf else least
            least, below = bound, count
        raise ValueError("nothing has been delivered")


class Peak:
    """How much more memory a server has had at most than when this was made."""

    def __init__(self, server):
        self.folder = pathlib.Path(f"/proc/{server.process.pid}")
        self.folder.joinpath("clear_refs").write_text("5")
        self.before = self.read("VmRSS")

    def read(self, what):
        for line in self.folder.joinpath("status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1]) * 1024
        raise KeyError(what)

    def grown_bytes(self):
        return self.read("VmHWM") - self.before


# --- the table -------------------------------------------------------------------------------------------------------


def works(history):
    rate = Figure("deliveries_per_s", "events", "k/s", "plain", 1e-3)
    resumed = [rate, Figure("seconds", "until the last has all", "s", digits=2),
               Figure("grown_mib", "gateway's memory, at most more", "MiB"),
               Figure("before_p99_ms", "p99 of live events before, publisher to client", "ms", digits=2),
               Figure("during_p99_ms", "the same meanwhile", "ms", digits=2),
               Figure("served_before_p99_ms", "p99 before, server side", "ms", digits=2),
               Figure("served_during_p99_ms", "the same meanwhile", "ms", digits=2),
               Figure("excess_ms", "beyond twice that and 10 ms", "ms", digits=2, goal=lambda value: value == 0,
                      goal_text="server side at most doubled, or 10 ms")]
    return [
        Work("post", f"POST over {CONNECTIONS} connections; {CONNECTIONS} sessions that INSERT and NOTIFY", posts,
             [DurableGateway, RawPosts, Plain, Append],
             [Figure("posts_per_s", "events", "k/s", "plain", 1e-3, 1, at_least(6), "≥ 6 × one by one"),
              Figure("posts_per_s", "the same", "k/s", "append", 1e-3, 1, at_least(0.4), f"≥ 0.4 × {BATCH} at a time"),
              Figure("posts_per_s", "the same", "k/s", "raw", 1e-3, 1),
              Figure("p99_ms", "p99 of an answer", "ms", "plain", digits=2)]),
        Work("one", "End to end, one at a time: POST to SSE; INSERT and NOTIFY to LISTEN", one_at_a_time,
             [DurableGateway, Plain],
             [Figure("p50_ms", "p50", "ms", "plain", 1, 3, at_most(2.5), "≤ 2.5 × LISTEN"),
              Figure("p99_ms", "p99", "ms", "plain", 1, 3, at_most(3), "≤ 3 × LISTEN")]),
        Work("replay", f"Replay of {history.events:,} events to one client; psql, the same SELECT", history.replay,
             [DurableGateway, Plain],
             [Figure("deliveries_per_s", "events", "k/s", "plain", 1e-3, 0, at_least(0.6), "≥ 0.6 × psql")]),
        Work("resume-own", f"{CLIENTS:,} clients resume {history.each:,} events each, of channels of their own; psql, the "
             "same SELECTs one after the other", history.resume_own, [GatewayWithLive, Plain], resumed),
        Work("resume-same", f"{CLIENTS:,} clients resume 1,000 to 1,100 events each, of one channel", history.resume_same,
             [GatewayWithLive], resumed),
    ]


def print_costs(path):
    """Where the processor time of a POST goes: medians."""
    runs = json.loads(path.read_text()).get("post", {}).get("gateway", [])
    rows = {who.removeprefix("spent "): statistics.median(run[who] * 1e6 for run in runs if who in run)
            for who in sorted({who for run in runs for who in run if who.startswith("spent ")})}
    print("| a POST | µs of processor time |\n|---|---|")
    for who, cost in rows.items():
        if cost >= 0.05:
            print(f"| {who} | {cost:.1f} |")
    print(f"| **all** | **{sum(rows.values()):.1f}** |\n")


def measure(postgres, options):
    subprocess.run([str(GATEWAY), "schema", "install", "--postgres", postgres.conninfo], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    postgres.sql('CREATE TABLE bench_plain (channel text, data json)')
    print(f"filling the log with 2 x {options.events:,} events", file=sys.stderr, flush=True)
    history = History(postgres, options.events)
    settings = ", ".join(f"{name} = {postgres.sql(f'show {name}')[0][0]}" for name in
                         ("fsync", "synchronous_commit", "shared_buffers", "wal_sync_method", "max_wal_size"))
    print(f"Durable channels. PostgreSQL: {settings}; all else as it is by default.\n")
    run_works(works(history), options, postgres, (DurableGateway, RawPosts, Plain, Append), RESULTS)
    print_costs(RESULTS)
