"""Rows: clients that are slow, half open, gone, or far too many."""

import contextlib
import itertools
import os
import resource
import socket
import threading

from kit.crowd import Crowd
from kit.http import Closed, Connection
from kit.wait import until
from scene import row


def limited(scene, option):
    return scene.metric(f'eventgate_limited_total{{limit="{option}"}}')


def shut(connection):
    connection.socket.shutdown(socket.SHUT_WR)


# --- half of a connection


@row("a subscriber closes its sending side", "its stream ends; the others go on", shared=True)
def stream_half_closed(scene):
    stream = scene.stream(f"/channels/{scene.live}")
    stream.cursor()
    before = scene.metric("eventgate_streams")
    shut(stream.connection)
    assert stream.until_closed() == []
    until(lambda: scene.metric("eventgate_streams") < before, "the stream is gone")


@row("a publisher closes its sending side behind its POST", "it is answered, and let go at once", shared=True)
def post_half_closed(scene):
    connection = scene.connect().request("POST", f"/channels/{scene.durable}", "1")
    shut(connection)
    assert connection.response().status == 201 and connection.is_closed()
    assert scene.in_log(scene.durable) == ["1"]


@row("a long-poll's client closes its sending side", "the wait ends", shared=True)
def poll_half_closed(scene):
    cursor = scene.gateway.poll(f"/channels/{scene.live}")["next"]
    before = scene.metric("eventgate_streams")
    connection = scene.connect().request("GET", f"/channels/{scene.live}?wait=60&after={cursor}")
    until(lambda: scene.metric("eventgate_streams") == before + 1, "the poll waits")
    shut(connection)
    connection.rest()
    until(lambda: scene.metric("eventgate_streams") == before, "the poll is gone")


@row("a subscriber's network falls silent, and nobody tells the gateway (half open)",
     "others get everything; what the socket doesn't take is not queued")
def half_open(scene):
    scene.start("--journal-bytes", "1MB", "--workers", "1")
    network = scene.proxy(scene.gateway.address)
    far = Connection(network.address, receive_buffer=4096).request("GET", f"/channels/{scene.live}")
    scene.cleanup.callback(far.close)
    far.head()
    network.stall()
    quick = scene.stream(f"/channels/{scene.live}")
    quick.cursor()
    for first in range(0, 2500, 500):
        scene.postgres.flood(scene.live, first, 500, 7000)
        assert [event.data["n"] for event in quick.events(500)] == list(range(first, first + 500))
    assert scene.metric("eventgate_journal_bytes") < 1_200_000
    network.cut()
    network.flow()
    until(lambda: scene.metric("eventgate_streams") == 2, "the silent one is gone")


# --- slow


@row("a subscriber reads nothing while megabytes are published", "a gap or its end for it; others get everything")
def slow_reader(scene):
    scene.start("--journal-bytes", "1MB", "--workers", "1")
    slow = scene.stream(f"/channels/{scene.live}", receive_buffer=4096)
    slow.cursor()
    quick = scene.stream(f"/channels/{scene.live}")
    quick.cursor()
    for first in range(0, 1500, 500):
        scene.postgres.flood(scene.live, first, 500, 7000)
        quick.events(500)
    with contextlib.suppress(Closed):
        while slow.next().kind != "gap":
            pass


@row("a client sends its head a byte now and then", "408 after header_timeout, however many bytes come")
def slow_head(scene):
    scene.start("--header-timeout", "300ms")
    connection = scene.connect()
    connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    drip(connection)
    assert connection.rest().startswith((b"HTTP/1.1 408 ", b"")) and limited(scene, "header_timeout") == 1


@row("a client sends the head of a second request a byte now and then", "the first is answered, then 408")
def slow_second_head(scene):
    scene.start("--header-timeout", "300ms")
    connection = scene.connect().request("POST", f"/channels/{scene.durable}", "1")
    assert connection.response().status == 201
    connection.send(b"POST /")
    drip(connection)
    assert limited(scene, "header_timeout") == 1
    assert scene.in_log(scene.durable) == ["1"]


@row("a client sends its body a byte now and then", "408 after body_timeout; nothing is published")
def slow_body(scene):
    scene.start("--body-timeout", "300ms")
    connection = scene.connect().request("POST", f"/channels/{scene.durable}", Content_Length="100000")
    drip(connection)
    assert limited(scene, "body_timeout") == 1
    assert scene.in_log(scene.durable) == []


def drip(connection):
    """A byte now and then, until the gateway answers or closes."""
    connection.socket.settimeout(0.02)
    for _ in range(1000):
        try:
            connection.send(b"x")
            if connection.socket.recv(65536):
                return
        except TimeoutError:
            continue
        except OSError:
            return
    raise AssertionError("still taken after 20 s")


@row("clients connect and say nothing", "closed after header_timeout; everybody else is served")
def silent_clients(scene):
    scene.start("--header-timeout", "500ms")
    silent = [scene.connect() for _ in range(50)]
    scene.posts(scene.durable)
    assert all(connection.is_closed() for connection in silent)


@row("a client asks and never reads its answers", "the others are served meanwhile", shared=True)
def answers_unread(scene):
    connection = scene.connect(receive_buffer=4096)
    connection.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(3000):
            connection.socket.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(10):
        scene.posts(scene.durable)


@row("connections are kept and not used", "closed after idle_timeout; streams are spared")
def idle_connections(scene):
    scene.start("--idle-timeout", "300ms", "--header-timeout", "300ms")
    idle = [scene.connect().request("GET", "/livez") for _ in range(20)]
    assert all(connection.response().status == 200 for connection in idle)
    assert all(connection.is_closed() for connection in idle)


# --- gone


@row("clients are gone before they have sent a head", "nothing", shared=True)
def gone_before_the_head(scene):
    for data in (b"", b"G", b"GET / HT"):
        for _ in range(50):
            connection = Connection(scene.gateway.address)
            connection.send(data)
            connection.reset()
    until(lambda: scene.metric("eventgate_connections") <= 4, "no connection is left over")


@row("a publisher is reset in the middle of its body", "nothing of it is published", shared=True)
def reset_in_the_body(scene):
    for sent in (0, 1, 500, 999):
        connection = Connection(scene.gateway.address)
        connection.request("POST", f"/channels/{scene.durable}", Content_Length="1000")
        connection.send(b"x" * sent)
        connection.reset()
    scene.posts(scene.durable)
    assert scene.in_log(scene.durable) == ["1"]


@row("a publisher is reset while its POST waits for the commit", "published, or not, but once; the others are answered")
def reset_while_committing(scene):
    proxy = scene.proxy()
    gateway = scene.launch("--query-timeout", "60s",
                           conninfo=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    proxy.stall()
    leaving = Connection(gateway.address).request("POST", f"/channels/{scene.durable}", "1")
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "the first waits")
    staying = scene.connect(gateway).request("POST", f"/channels/{scene.durable}", "2")
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 2, "both wait")
    leaving.reset()
    proxy.flow()
    assert staying.response().status == 201
    assert sorted(scene.in_log(scene.durable)) == ["1", "2"]
    scene.watch(gateway)


@row("subscribers are gone as soon as they have asked", "nothing; no stream is left over", shared=True)
def gone_before_the_cursor(scene):
    before = scene.metric("eventgate_streams")
    for form in ("sse", "ndjson", "poll"):
        for _ in range(30):
            connection = Connection(scene.gateway.address)
            connection.request("GET", f"/events?channel={scene.live}&channel={scene.durable}&format={form}")
            connection.reset()
    until(lambda: scene.metric("eventgate_streams") <= before, "no stream is left over")


# --- too many


@row("one address opens more connections than it may", "429 with Retry-After for it; others are served")
def too_many_of_one_address(scene):
    scene.start("--max-connections-per-address", "5")
    held = [scene.connect(source="127.0.0.2") for _ in range(5)]
    until(lambda: scene.metric("eventgate_connections") >= 7, "they are accepted")
    scene.refused(scene.connect(source="127.0.0.2").response(), 429, "too-many")
    scene.posts(scene.durable)
    assert limited(scene, "max_connections_per_address") == 1 and held


@row("more streams are opened than max_connections", "EventSource gets 200, retry: and the end; probes are served")
def too_many_connections(scene):
    scene.start("--max-connections", "40")
    refused = 0
    for _ in range(60):
        connection = scene.connect().request("GET", f"/channels/{scene.live}")
        head = connection.head()
        assert head.status == 200
        first = connection.chunk() if head.header("transfer-encoding") else connection.rest()
        refused += b"cursor" not in first and b"retry: " in first
        if refused:
            break
    assert refused and scene.gateway.get("/livez").status == 200
    scene.posts(scene.durable)


def first_free(gateway):
    """The descriptor that the gateway would open next."""
    taken = {int(name) for name in os.listdir(f"/proc/{gateway.pid}/fd")}
    return next(fd for fd in itertools.count() if fd not in taken)


@row("no descriptor is left", "503 for new clients; streams, POSTs of those connected and the database go on")
def no_descriptors(scene):
    scene.start("--workers", "1")
    posting = scene.connect().request("POST", f"/channels/{scene.durable}", "1")
    assert posting.response().status == 201
    hard = resource.prlimit(scene.gateway.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(scene.gateway.pid, resource.RLIMIT_NOFILE, (first_free(scene.gateway), hard))
    for _ in range(20):
        scene.refused(scene.connect().response(), 503, "overloaded")
    scene.witness.publish(10)
    assert posting.request("POST", f"/channels/{scene.durable}", "2").response().status == 201
    resource.prlimit(scene.gateway.pid, resource.RLIMIT_NOFILE, (hard, hard))
    scene.posts(scene.durable, "3")
    assert scene.in_log(scene.durable) == ["1", "2", "3"]


@row("the bodies of all requests together are more than max_bodies", "503 for the one too many; the others are taken")
def too_many_bodies(scene):
    scene.start("--max-body", "100kB", "--max-bodies", "150kB")
    first, second = scene.connect(), scene.connect()
    first.request("POST", f"/channels/{scene.durable}", Content_Length="100000", Expect="100-continue")
    assert first.head().status == 100
    scene.refused(second.request("POST", f"/channels/{scene.durable}", Content_Length="100000").response(), 503,
                  "overloaded")
    first.send(b'"' + b"x" * 99_998 + b'"')
    assert first.response().status == 201
    assert len(scene.in_log(scene.durable)) == 1


@row("a thousand requests are pipelined on one connection", "all are answered in order; others are served", shared=True)
def pipelined(scene):
    connection = scene.connect()
    connection.deadline += 60
    wire = b"".join(b"POST /channels/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                    % (scene.durable.encode(), len(str(n)), str(n).encode()) for n in range(1000))
    sender = threading.Thread(target=connection.send, args=(wire,))
    sender.start()
    scene.posts(scene.live)
    assert [connection.response().status for _ in range(1000)] == [201] * 1000
    sender.join()
    assert scene.in_log(scene.durable) == [str(n) for n in range(1000)]


@row("a client goes on sending behind its stream's request", "its bytes are thrown away; the stream goes on or ends",
     shared=True)
def sending_behind_a_stream(scene):
    stream = scene.stream(f"/channels/{scene.live}")
    stream.cursor()
    before = scene.gateway.resident_bytes()
    with contextlib.suppress(OSError):
        for _ in range(200):
            stream.connection.send(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
    assert scene.gateway.resident_bytes() - before < 20_000_000
    scene.posts(scene.durable)


@row("five hundred clients come back at once, each with a cursor", "all are served; those connected get everything",
     shared=True)
def reconnect_storm(scene):
    cursor = scene.witness.returns.last_id
    crowd = Crowd(scene.gateway, f"/events?channel={scene.witness.live}&channel={scene.witness.durable}&after={cursor}",
                  500)
    scene.cleanup.callback(crowd.kill)
    scene.witness.publish(20)
    crowd.wait_open()


@row("a stream asks for more channels than it may", "400 that names the limit")
def too_many_channels_of_a_stream(scene):
    scene.start("--max-channels-per-stream", "3")
    names = "&".join(f"channel={scene.live}/{n}" for n in range(4))
    assert "3" in scene.refused(scene.gateway.get(f"/events?{names}"), 400, "too-many-channels")


@row("more channels are asked for than a set may LISTEN to", "503 for the one too many; the others go on")
def too_many_channels_of_a_set(scene):
    scene.start("--max-channels", "3")
    for n in range(2):
        scene.stream(f"/channels/{scene.live}/{n}").cursor()
    answer = scene.gateway.get(f"/channels/{scene.live}/one-too-many?format=ndjson")
    assert answer.status == 503 and answer.problem()[1]


@row("more is published than the queue takes", "503 overloaded for what doesn't fit; what waits is published")
def queue_full(scene):
    proxy = scene.proxy()
    gateway = scene.launch("--publish-queue", "10", "--query-timeout", "20s",
                           conninfo=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    proxy.stall()
    waiting = [scene.connect(gateway).request("POST", f"/channels/{scene.live}", str(n)) for n in range(10)]
    until(lambda: gateway.metric("eventgate_publish_queue_items") == 10, "ten wait")
    scene.refused(gateway.publish(scene.live, "one too many"), 503, "overloaded")
    proxy.flow()
    assert [connection.response().status for connection in waiting] == [202] * 10
    scene.watch(gateway)
