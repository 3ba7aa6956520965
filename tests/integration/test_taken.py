"""Taken sockets: what goes over them from the head to the end, and that everything is given back, whoever ends them."""

import itertools
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

from kit.crowd import Crowd
from kit.gateway import RELEASE, environment
from kit.http import Connection
from kit.streams import NdjsonParser, SseParser, Stream
from kit.wait import DEADLINE, until

PARSERS = {"sse": SseParser, "ndjson": NdjsonParser}
END_OF_FRAME = {"sse": b"\n\n", "ndjson": b"\n"}
SOME = 20
BATCH = 50
LARGE = 7000

by_format = pytest.mark.parametrize("form", ["sse", "ndjson"])
by_version = pytest.mark.parametrize("version", ["1.0", "1.1"])


def request(method, target, body=b"", version="1.1"):
    head = f"{method} {target} HTTP/{version}\r\nHost: gateway.test\r\n"
    if version == "1.0":
        head += "Connection: keep-alive\r\n"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def chunks(wire):
    """The data of each chunk, and how long the wire is up to the end of each; fails unless the wire ends with a chunk."""
    found, ends, at = [], [], 0
    while at < len(wire):
        line_end = wire.index(b"\r\n", at)
        size = int(wire[at:line_end], 16)
        start, at = line_end + 2, line_end + 2 + size + 2
        assert at <= len(wire) and wire[at - 2:at] == b"\r\n", "a chunk is cut"
        found.append(wire[start:at - 2])
        ends.append(at)
    return found, ends


# --- HTTP/1.0 and 1.1


@by_version
@by_format
def test_a_stream_from_its_head_to_its_end(start_gateway, postgres, channel, form, version):
    gateway = start_gateway().wait_ready()
    payloads = [f'"{n} {"é" * n}"' for n in range(200)]
    with Connection(gateway.address) as connection:
        connection.send(request("GET", f"/channels/{channel}?format={form}", version=version))
        head = connection.head()
        postgres.notify(channel, *payloads)
        while payloads[-1].encode() not in connection.buffer:
            connection.more()
        gateway.process.send_signal(signal.SIGTERM)
        wire = connection.rest()
    assert head.header("connection") == "close" and head.header("content-length") is None
    assert head.header("transfer-encoding") == ("chunked" if version == "1.1" else None)
    if version == "1.1":
        *whole, last = chunks(wire)[0]
        assert last == b"", "the end is said"
        assert all(chunk.endswith(END_OF_FRAME[form]) for chunk in whole), "a chunk is a number of whole frames"
        wire = b"".join(whole)
    parser = PARSERS[form]()
    events = [item.json()["data"] for item in parser.feed(wire) if item.kind == "event"]
    assert [f'"{data}"' for data in events] == payloads
    assert not parser.pending, "it ends with a whole frame"


@by_version
@pytest.mark.parametrize("pipelined", [False, True], ids=["in-turn", "pipelined"])
def test_requests_before_it_are_answered_on_the_same_connection(gateway, postgres, channel, version, pipelined):
    requests = [request("GET", "/livez", version=version),
                request("POST", f"/channels/{channel}/other", b"1", version=version),
                request("GET", f"/channels/{channel}", version=version)]
    with Connection(gateway.address) as connection:
        if pipelined:
            connection.send(b"".join(requests))
        for one, status in zip(requests, (200, 202)):
            if not pipelined:
                connection.send(one)
            assert connection.response().status == status
        if not pipelined:
            connection.send(requests[-1])
        stream = Stream.on(connection)
        assert stream.cursor() and stream.chunked == (version == "1.1")
        postgres.notify(channel, "2")
        assert stream.event().data == 2


# --- bytes after the request


def counted(gateway):
    """What a request would change that is executed or refused, and what streams add to it themselves."""
    metrics = gateway.metrics()
    names = ("eventgate_published_total", "eventgate_subscriptions_total", 'eventgate_http_responses_total{class="4xx"}')
    return [sum(value for key, value in metrics.items() if key.startswith(name)) for name in names]


@by_version
@pytest.mark.parametrize("when", ["with-the-request", "later"])
@pytest.mark.parametrize("behind", ["garbage", "half a head", "a GET", "a POST", "a POST too large", "junk"])
def test_what_follows_the_request_is_not_executed(gateway, channel, behind, when, version):
    target = f"/channels/{channel}"
    more = {"garbage": b"\x00\xff: no HTTP\r\n\r\n",
            "half a head": b"GET /livez HT",
            "a GET": request("GET", target),
            "a POST": request("POST", target, b'"planted"'),
            "a POST too large": f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n".encode(),
            "junk": os.urandom(1 << 20)}[behind]
    published, subscribed, refused = counted(gateway)
    with Connection(gateway.address) as connection:
        wanted = request("GET", target, version=version)
        connection.send(wanted + more if when == "with-the-request" else wanted)
        stream = Stream.on(connection)
        stream.cursor()
        if when == "later":
            connection.send(more)
        # POSTs are published in the order in which they come: a planted one would stand before this one.
        assert gateway.publish(channel, '"ours"').status == 202
        assert stream.event().data == "ours", "the stream goes on"
        assert counted(gateway) == [published + 1, subscribed + 1, refused]


def test_junk_leaves_memory_as_it_is(start_gateway, channel):
    gateway = start_gateway(binary=RELEASE).wait_ready()
    junk = os.urandom(1 << 20)
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        stream.connection.send(junk)
        before = gateway.resident_bytes()
        for _ in range(64):
            stream.connection.send(junk)
        assert gateway.publish(channel, "1").status == 202
        assert stream.event().data == 1
        assert gateway.resident_bytes() - before < 1 << 20


# --- the client ends it


def half_close(connection):
    connection.socket.shutdown(socket.SHUT_WR)
    connection.rest()  # the other side closes, too
    connection.close()


def close(connection):
    connection.close()


def reset(connection):
    connection.reset()


by_ending = pytest.mark.parametrize("end", [half_close, close, reset])


def wait_given_back(gateway, descriptors):
    until(lambda: gateway.metric("eventgate_streams") == 0, "eventgate_streams is 0")
    until(lambda: gateway.metric("eventgate_connections") == 1, "no connection is left but the one that asks")
    assert gateway.metric("eventgate_streams_blocked") == 0
    until(lambda: gateway.descriptors() <= descriptors, "the descriptors are given back")


@pytest.fixture
def idle(start_gateway):
    """A gateway of this test's own without connections, and how many descriptors it has then."""
    gateway = start_gateway("--workers", "2").wait_ready()
    until(lambda: gateway.metric("eventgate_connections") == 1, "no connection is left but the one that asks")
    return gateway, gateway.descriptors()


@pytest.mark.threads
@by_ending
@by_format
def test_the_client_ends_a_stream(idle, channel, form, end):
    gateway, descriptors = idle
    streams = [gateway.stream(f"/channels/{channel}?format={form}") for _ in range(SOME)]
    for stream in streams:
        stream.cursor()
    assert gateway.metric("eventgate_streams") == SOME and gateway.descriptors() >= descriptors + SOME - 1
    for stream in streams:
        end(stream.connection)
    wait_given_back(gateway, descriptors)


@pytest.mark.threads
@by_ending
def test_the_client_ends_right_behind_its_request(idle, channel, end):
    gateway, descriptors = idle
    for _ in range(SOME):
        end(Connection(gateway.address).request("GET", f"/channels/{channel}"))
    wait_given_back(gateway, descriptors)


@pytest.mark.threads
@by_ending
def test_the_client_ends_before_the_head_is_out(start_gateway, make_proxy, postgres, channel, end):
    """The head waits for a LISTEN that the database doesn't answer."""
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "60s", "--subscribe-timeout", "60s",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    until(lambda: gateway.metric("eventgate_connections") == 1, "no connection is left but the one that asks")
    descriptors = gateway.descriptors()
    proxy.stall()
    connections = [Connection(gateway.address).request("GET", f"/channels/{channel}") for _ in range(SOME)]
    until(lambda: gateway.metric("eventgate_connections") == SOME + 1, "all are waiting")
    for connection in connections:
        end(connection)
    wait_given_back(gateway, descriptors)
    proxy.flow()


# --- the end in the middle of an event


def block(gateway, postgres, channel, version="1.1", form="sse", published=lambda count: None):
    """A stream whose socket is full, since nobody reads more than its head. Publishes events from 0 on, and calls
    `published` with their number as it grows."""
    connection = Connection(gateway.address, receive_buffer=4096)
    connection.send(request("GET", f"/channels/{channel}?format={form}", version=version))
    assert connection.head().status == 200
    blocked, count = gateway.metric("eventgate_streams_blocked"), itertools.count(0, BATCH)

    def one_more_is_blocked():
        first = next(count)
        postgres.flood(channel, first, BATCH, LARGE)
        published(first + BATCH)
        return gateway.metric("eventgate_streams_blocked") > blocked

    until(one_more_is_blocked, "its socket is full")
    return connection


def frames(wire, form, version):
    """What was sent whole, in HTTP/1.1 a chunk at a time, and how long the wire is up to the end of each."""
    if version == "1.1":
        return chunks(wire)
    mark = END_OF_FRAME[form]
    *found, rest = wire.split(mark)
    assert rest == b"", "a frame is cut"
    found = [frame + mark for frame in found]
    return found, list(itertools.accumulate(len(frame) for frame in found))


@pytest.mark.threads
@by_version
@by_format
def test_a_drain_completes_a_half_sent_event(start_gateway, postgres, channel, form, version):
    gateway = start_gateway("--drain-timeout", "1min").wait_ready()
    with block(gateway, postgres, channel, version, form) as connection:
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("draining")
        sent = gateway.metric("eventgate_sent_bytes_total")
        found, ends = frames(connection.rest(), form, version)
    assert sent < ends[-1] and sent not in ends, "an event is half sent when the drain begins"
    later = [frame for frame, end in zip(found, ends) if end > sent]
    assert [b'"n"' in frame for frame in later].count(True) == 1 and b'"n"' in later[0], "it alone follows"
    if version == "1.1":
        assert found.pop() == b"", "the end is said"
    items = PARSERS[form]().feed(b"".join(found))
    numbers = [item.data["n"] for item in items if item.kind == "event"]
    assert numbers == list(range(len(numbers)))
    assert gateway.ended() == 0


@pytest.mark.threads
def test_the_drain_does_not_wait_for_a_reader_that_is_stuck(start_gateway, postgres, channel):
    gateway = start_gateway("--drain-timeout", "300ms").wait_ready()
    with block(gateway, postgres, channel) as connection:
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.ended() == 0
        assert gateway.wait_log("drain deadline.*streams=1")
        with pytest.raises(AssertionError, match="a chunk is cut"):
            chunks(connection.rest())


@pytest.mark.threads
@by_ending
@by_format
def test_the_client_ends_in_the_middle_of_an_event(idle, postgres, channel, form, end):
    gateway, descriptors = idle
    stuck = [block(gateway, postgres, f"{channel}/{n}", form=form) for n in range(3)]
    assert gateway.metric("eventgate_streams_blocked") == gateway.metric("eventgate_streams") == 3
    for connection in stuck:
        end(connection)
    wait_given_back(gateway, descriptors)


# --- a reader that is stuck


class Audience:
    """A stuck reader, one that reads everything, and one of a channel on which nothing happens."""

    def __init__(self, gateway, postgres, channel):
        self.gateway, self.postgres, self.channel = gateway, postgres, channel
        self.quick = gateway.stream(f"/channels/{channel}")
        self.quiet = gateway.stream(f"/channels/{channel}/quiet?format=ndjson")
        self.count = 0
        # What the quick reader has read the gateway has tried to send to the other, too.
        self.stuck = block(gateway, postgres, channel, published=self.read_up_to)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in (self.quick, self.quiet, self.stuck):
            connection.close()

    def read_up_to(self, count):
        for number in range(self.count, count):
            assert self.quick.event().data["n"] == number
        self.count = count

    def publish(self, count):
        self.postgres.flood(self.channel, self.count, count, LARGE)
        self.read_up_to(self.count + count)

    def thousands_have_passed(self):
        """Publishes, too."""
        self.publish(100)
        return self.count >= 5000

    def stuck_was_let_go(self):
        return self.gateway.metric("eventgate_stuck_streams_closed_total") == 1

    def assert_let_go(self):
        """Nothing of the stuck reader is left, and it can tell that an event was cut."""
        assert self.gateway.metric("eventgate_streams") == 2 and self.gateway.metric("eventgate_streams_blocked") == 0
        with pytest.raises(AssertionError, match="a chunk is cut"):
            chunks(self.stuck.rest())


def test_a_stuck_reader_is_let_go_after_two_heartbeats(start_gateway, postgres, channel):
    gateway = start_gateway("--heartbeat", "300ms", "--journal-bytes", "1MB", "--workers", "1",
                            binary=RELEASE).wait_ready()
    with Audience(gateway, postgres, channel) as audience:
        while audience.quiet.parser.comments < 4:
            audience.quiet.parser.feed(audience.quiet.connection.chunk())
        assert gateway.metric("eventgate_streams") == 3, "what the journal still has costs nothing"
        audience.publish(200)
        before = gateway.resident_bytes()
        until(audience.thousands_have_passed, "5,000 events", timeout=60)
        until(audience.stuck_was_let_go, "its half-sent event is let go")
        assert gateway.resident_bytes() - before < 2 << 20
        audience.assert_let_go()


@pytest.mark.long
def test_a_reader_is_stuck_for_a_minute(start_gateway, postgres, channel):
    gateway = start_gateway("--workers", "1", binary=RELEASE).wait_ready()
    with Audience(gateway, postgres, channel) as audience:
        began = time.monotonic()
        before, let_go_after = None, None
        while (now := time.monotonic() - began) < 60:
            audience.publish(1000)
            if before is None and audience.count > 20_000:
                before = gateway.resident_bytes()  # the journal is full
            if let_go_after is None and audience.stuck_was_let_go():
                let_go_after = now
            until(lambda: time.monotonic() - began >= now + 1, "one round a second")
        assert let_go_after and 29 < let_go_after < 50, "two heartbeats"
        assert gateway.resident_bytes() < before * 1.1
        audience.assert_let_go()


# --- many of them, time and again


@pytest.mark.big
def test_ten_thousand_ten_times_over(start_gateway, channel):
    gateway = start_gateway("--workers", "2", binary=RELEASE).wait_ready()
    until(lambda: gateway.metric("eventgate_connections") == 1, "no connection is left but the one that asks")
    descriptors = gateway.descriptors()
    resident = []
    for _ in range(10):
        crowd = Crowd(gateway, f"/channels/{channel}", 10_000)
        try:
            crowd.wait_open()
            assert gateway.metric("eventgate_streams") == 10_000 and gateway.descriptors() > 10_000
        finally:
            crowd.kill()
        until(lambda: gateway.metric("eventgate_streams") == 0, "eventgate_streams is 0")
        wait_given_back(gateway, descriptors)
        resident.append(gateway.resident_bytes())
    # 50 bytes a stream that weren't given back would be a quarter more at the end.
    assert min(resident[-3:]) < max(resident[:3]) * 1.2, resident


# --- the check at the start that the library in use leaves taken sockets alone


def library_in_use():
    """The file of libmicrohttpd that the program loads."""
    listed = subprocess.run(["ldd", RELEASE], capture_output=True, text=True, check=True).stdout
    return pathlib.Path(re.search(r"libmicrohttpd\S* => (\S+)", listed)[1])


def rename_import(library, old, new):
    """An ELF-64 library that calls the function `new`, which it calls anyway, wherever it called `old`."""
    library = bytearray(library)
    table, = struct.unpack_from("<Q", library, 0x28)
    size, count = struct.unpack_from("<HH", library, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", library, table + n * size) for n in range(count)]
    symbols = next(section for section in sections if section[1] == 11)  # SHT_DYNSYM
    names = sections[symbols[6]][4]
    places = {}
    for place in range(symbols[4], symbols[4] + symbols[5], 24):
        start = names + struct.unpack_from("<I", library, place)[0]
        places[bytes(library[start:library.index(0, start)])] = place
    library[places[old]:places[old] + 4] = library[places[new]:places[new] + 4]
    return library


def start_with(conninfo, *arguments, listen="127.0.0.1:0", **variables):
    """Starts the program; its exit code and log. Where it gets as far as serving, it is ended."""
    command = [RELEASE, "--postgres", conninfo, "--live", "t/**", "--listen", listen, "--workers", "1", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(**variables)) as process:
        log = ""
        for line in process.stderr:
            log += line
            if "listening address=" in line:
                process.send_signal(signal.SIGTERM)
        return process.wait(DEADLINE), log


@pytest.mark.parametrize("reads_with", [b"recv", b"read"])
def test_it_starts_only_if_the_library_reads_through_the_check(postgres, tmp_path, reads_with):
    """A copy of the library in use whose import of recv() is that of read()."""
    library = library_in_use()
    (tmp_path / library.name).write_bytes(rename_import(library.read_bytes(), b"recv", reads_with))
    code, log = start_with(postgres.conninfo, LD_LIBRARY_PATH=str(tmp_path))
    if reads_with == b"recv":
        assert code == 0 and "listening" in log, log
    else:
        assert code == 1 and "does not read sockets by recv()" in log and "listening" not in log, log


def test_it_does_not_start_with_a_library_that_shuts_taken_sockets_down(postgres):
    preloaded = pathlib.Path(RELEASE).parent / "tests" / "libno_turbo.so"
    code, log = start_with(postgres.conninfo, LD_PRELOAD=str(preloaded))
    assert code == 1 and "it shuts a socket down that has been taken" in log and "listening" not in log, log
