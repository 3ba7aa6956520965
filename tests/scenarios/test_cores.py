"""A gateway on every core, instead of Node's cluster module or PM2 with sticky sessions and an adapter.

A supervisor starts as many processes as there are cores, all on one port. Each of them is killed once, under load.
"""

import contextlib
import os
import signal

from counting import Count
from kit import http
from kit.gateway import BINARY
from kit.ports import free_port
from kit.wait import until

CORES = min(4, max(2, os.cpu_count()))
TAXIS, REPORTS, PASSENGERS = 20, 60, 400


class Gateways:
    """One for each core, and their supervisor."""

    def __init__(self, launch, conninfo):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.admins = [f"127.0.0.{2 + core}:{port}" for core in range(CORES)]
        self.supervisor = launch("cores/supervisor.py", f"127.0.0.1:{port}", ",".join(self.admins), BINARY, "--workers", 1,
                                 "--retry", "300ms", "--postgres", conninfo, "--durable", "taxi/*")
        self.wait_started(CORES)

    def wait_started(self, count):
        """Until so many have been started in all, and are ready."""
        self.supervisor.wait("started", count)
        for admin in self.admins:
            until(lambda: ask(admin, "/readyz"), "a gateway is ready")

    def pids(self):
        return list({started["admin"]: started["pid"] for started in self.supervisor.of("started")}.values())

    def streams(self):
        return [sum(int(line.split()[-1]) for line in ask(admin, "/metrics").splitlines()
                    if line.startswith("eventgate_streams{")) for admin in self.admins]


def ask(admin, path):
    """What one of the processes says; None while it doesn't."""
    host, port = admin.split(":")
    try:
        answer = http.call((host, int(port)), "GET", path)
    except (OSError, http.Closed):
        return None
    return answer.text() if answer.status == 200 else None


def test_cores(database, launch, tell):
    gateways = Gateways(launch, database.conninfo)
    passengers = launch("cores/passengers.mjs", gateways.url, PASSENGERS, TAXIS, REPORTS)
    passengers.wait("here", timeout=120)
    before = gateways.streams()
    taxis = launch("cores/taxis.mjs", gateways.url, TAXIS, REPORTS)
    for killed, pid in enumerate(gateways.pids(), 1):
        taxis.wait("told", killed * TAXIS * REPORTS // 100 // (CORES + 1), timeout=120)
        os.kill(pid, signal.SIGKILL)
        gateways.wait_started(CORES + killed)
    published = taxis.wait("parked", timeout=120)[0]
    with contextlib.suppress(AssertionError):  # who has missed the last report is counted
        passengers.wait("done")
    count = Count()
    for passenger, seen in enumerate(passengers.ask(None)):
        count.add([f"{passenger % TAXIS}:{report}" for report in range(REPORTS)], seen)
    after = gateways.streams()
    tell(f"cores: {CORES} gateways with {' and '.join(map(str, before))} connections, each of them killed once, in the end "
         f"with {' and '.join(map(str, after))}; {published} reports, {count.delivered} deliveries: {count}")
    assert count.is_exact and sum(before) == count.receivers == PASSENGERS
    assert not passengers.of("gap")
