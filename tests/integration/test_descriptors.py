"""Out of file descriptors: new streams are sent away, what is connected lives on, PostgreSQL's connections have theirs."""

import os
import resource
import subprocess
import time

from kit.gateway import BINARY, environment
from kit.http import Connection
from kit.wait import until

WORKERS = ("--workers", "2")


def with_limit(number):
    return {"wrapper": ("prlimit", f"--nofile={number}:{number}")}


def set_limit(gateway, number):
    """Changes the limit of the running process, and returns the one before."""
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    return resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (number, hard))[0]


def ticks(gateway):
    with open(f"/proc/{gateway.pid}/stat") as stat:
        return sum(int(field) for field in stat.read().rpartition(")")[2].split()[11:13])


def asked_for(gateway, channel, form="sse"):
    """A connection whose stream has been asked for, and the head of its answer; None if it has been turned away."""
    connection = Connection(gateway.address).request("GET", f"/channels/{channel}?format={form}")
    head = connection.head()
    is_stream = head.status == 200 and head.header("content-length") is None
    return (connection if is_stream else None), head, connection


def test_a_low_limit(start_gateway, fragile_postgres, channel):
    """PostgreSQL's connections are made anew although clients have all that they can get."""
    gateway = start_gateway(*WORKERS, "--retry", "100ms", database=fragile_postgres, **with_limit(120)).wait_ready()
    assert "max_connections lowered" in gateway.log_text()
    streams, refused = [], 0
    while refused < 5:
        stream, head, connection = asked_for(gateway, channel)
        if stream:
            streams.append(stream)
            continue
        assert head.status == 200 and connection.take(int(head.header("content-length"))).startswith(b"retry: ")
        refused += 1
    assert len(streams) > 20
    _, head, connection = asked_for(gateway, channel, "ndjson")
    assert head.status == 503 and head.header("retry-after")
    # Idle connections take the rest of what clients may have, but some for this test's own requests.
    idle = []
    while not idle or idle[-1].request("GET", "/livez").response().status == 200:
        assert len(idle) < 100
        idle.append(Connection(gateway.address))
    for _ in range(4):
        idle.pop().close()
    fragile_postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                         "pg_eventgate %")
    until(lambda: gateway.status_of("/readyz") == 200 and
          gateway.log_text().count("listening to PostgreSQL") == 2, "it listens again")
    until(lambda: gateway.publish(channel, '"alive"').status == 202, "it publishes again")
    for stream in streams:
        while b'"alive"' not in stream.buffer:
            stream.more()
    for connection in [*streams, *idle]:
        connection.close()
    until(lambda: gateway.metric("eventgate_streams") == 0, "all are gone")
    stream, _, _ = asked_for(gateway, channel)
    assert stream, "there is room again"


def test_a_limit_that_leaves_none_for_clients(postgres):
    done = subprocess.run(["prlimit", "--nofile=60:60", BINARY, "--postgres", postgres.conninfo, "--live", "t/**",
                           *WORKERS, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30, check=False,
                          env=environment())
    assert done.returncode == 1 and "limit of open files" in done.stderr and "needed=82" in done.stderr, done.stderr


def test_the_kernels_table_has_room_for_all_connections(start_gateway):
    """From the start: when it grows, all threads stand still for 10 ms and more."""
    def slots(gateway):
        with open(f"/proc/{gateway.pid}/status") as status:
            return int(next(line.split()[1] for line in status if line.startswith("FDSize:")))

    assert slots(start_gateway("--max-connections", "3000", **with_limit(20000)).wait_ready()) >= 3000
    assert 1000 <= slots(start_gateway(**with_limit(1000)).wait_ready()) < 3000, "no larger than the limit needs"


def test_accepting_without_descriptors(start_gateway, channel):
    """The reserve is enough to say 503."""
    gateway = start_gateway(*WORKERS).wait_ready()
    until(lambda: gateway.metric("eventgate_connections") == 1, "no connection is left but the one that asks")
    taken = {int(name) for name in os.listdir(f"/proc/{gateway.pid}/fd")}
    limit = set_limit(gateway, max(taken) + 4)
    opened, answer = [], None
    while not answer:
        assert len(opened) < 100
        opened.append(Connection(gateway.address).request("GET", "/livez"))
        response = opened[-1].response()
        if response.status != 200:
            answer = response
    assert answer.status == 503 and "file descriptors" in answer.problem()[1] and answer.header("retry-after")
    assert opened[0].request("GET", "/livez").response().status == 200, "who is connected is served"
    for connection in opened:
        connection.close()
    until(lambda: gateway.status_of("/livez") == 200, "it recovers by itself")
    set_limit(gateway, limit)
    stream, _, _ = asked_for(gateway, channel)
    assert stream


def test_no_descriptor_at_all(start_gateway, postgres, channel):
    """Not even the reserve helps: the listening sockets rest instead of waking the loop for ever."""
    gateway = start_gateway(*WORKERS, "--retry", "100ms").wait_ready()
    kept = [Connection(gateway.address) for _ in range(3)]
    for connection in kept:
        assert connection.request("GET", "/livez").response().status == 200
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        limit = set_limit(gateway, 3)
        waiting = [Connection(gateway.address).request("GET", "/livez") for _ in range(20)]
        gateway.wait_log("no descriptors or memory for new connections")
        before, until_then = ticks(gateway), time.monotonic() + 1
        while time.monotonic() < until_then:
            assert kept[0].request("GET", "/livez").response().status == 200
            time.sleep(0.05)  # a pause between probes, in the second for which the processor time is measured
        assert ticks(gateway) - before < 0.4 * os.sysconf("SC_CLK_TCK"), "it doesn't spin"

        head = kept[1].request("GET", f"/channels/{channel}").head()
        assert head.status == 200 and head.header("transfer-encoding") == "chunked"
        assert kept[1].chunk().startswith(b"retry: ") and kept[1].chunk() == b"", "EventSource comes again"
        head = kept[2].request("GET", f"/channels/{channel}?format=ndjson").head()
        assert head.status == 200 and kept[2].chunk() == b""
        assert gateway.wait_log("no descriptor for a stream")
        postgres.notify(channel, "1")
        assert stream.event().data == 1, "who is connected gets its events"
        assert kept[0].request("GET", "/readyz").response().status == 200

        set_limit(gateway, limit)
        for connection in waiting:
            assert connection.response().status == 200, "they were waiting in the kernel"
        until(lambda: gateway.metric("eventgate_streams") == 1, "of the failed streams nothing is left")
        with gateway.stream(f"/channels/{channel}") as other:
            other.cursor()
    for connection in [*kept, *waiting]:
        connection.close()
