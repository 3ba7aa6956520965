"""Each stated limit holds, says so, and is counted."""

import re

import pytest

from kit.http import Connection
from kit.wait import until


def limited(gateway, option):
    return gateway.metric(f'eventgate_limited_total{{limit="{option}"}}')


def test_connections(start_gateway, channel):
    gateway = start_gateway("--max-connections", "40").wait_ready()
    opened = []
    try:
        refusal = None
        while refusal is None and len(opened) < 60:
            opened.append(Connection(gateway.address).request("GET", f"/channels/{channel}"))
            head = opened[-1].head()
            assert head.status == 200
            first = opened[-1].chunk() if head.header("transfer-encoding") else opened[-1].rest()
            refusal = first if b"cursor" not in first else None
        assert refusal and re.match(rb"retry: \d+\n", refusal), "EventSource is told when to come again"
        assert gateway.get("/livez").status == 200, "probes have a reserve"
        assert limited(gateway, "max_connections") >= 1
    finally:
        for connection in opened:
            connection.close()
    until(lambda: gateway.metric("eventgate_streams") == 0, "all streams are gone")
    with gateway.stream(f"/channels/{channel}") as stream:
        assert stream.cursor()


def test_connections_of_one_address(start_gateway, channel):
    gateway = start_gateway("--max-connections-per-address", "5").wait_ready()
    streams = [gateway.stream(f"/channels/{channel}", source="127.0.0.2") for _ in range(5)]
    with Connection(gateway.address, source="127.0.0.2") as sixth:
        answer = sixth.response()
        assert answer.status == 429 and answer.header("retry-after") and answer.problem()[0] == "too-many"
    with gateway.stream(f"/channels/{channel}", source="127.0.0.3") as other:
        assert other.cursor(), "another address is not concerned"
    assert limited(gateway, "max_connections_per_address") == 1
    for stream in streams:
        stream.close()
    until(lambda: gateway.metric("eventgate_streams") == 0, "all streams are gone")
    with gateway.stream(f"/channels/{channel}", source="127.0.0.2") as stream:
        assert stream.cursor()


def test_channels_of_one_stream(start_gateway, channel):
    gateway = start_gateway("--max-channels-per-stream", "3").wait_ready()
    names = "&".join(f"channel={channel}/{n}" for n in range(3))
    with gateway.stream(f"/events?{names}") as stream:
        stream.cursor()
    answer = gateway.get(f"/events?{names}&channel={channel}/3")
    assert answer.status == 400 and "3" in answer.problem()[1]
    assert limited(gateway, "max_channels_per_stream") == 1


def test_channels_of_a_set(start_gateway, channel):
    gateway = start_gateway("--max-channels", "3").wait_ready()
    streams = [gateway.stream(f"/channels/{channel}/{n}") for n in range(3)]
    for stream in streams:
        stream.cursor()
    answer = gateway.get(f"/channels/{channel}/3?format=ndjson")
    assert answer.status == 503 and answer.problem()[1]
    for stream in streams:
        stream.close()


def test_request_head(start_gateway, channel):
    gateway = start_gateway("--max-header", "4kB").wait_ready()
    assert gateway.get("/livez", X_Filler="x" * 3000).status == 200
    answer = gateway.get("/livez", X_Filler="x" * 5000)
    assert answer.status == 431 and answer.problem()[0] == "header-too-large"
    answer = gateway.get(f"/channels/{channel}?x=" + "x" * 5000)
    assert answer.status == 414
    assert limited(gateway, "max_header") == 2


def test_body(start_gateway, channel):
    gateway = start_gateway("--max-body", "10kB").wait_ready()
    with Connection(gateway.address) as connection:
        connection.request("POST", "/events", Content_Length=str(11 * 1024))
        answer = connection.response()
        assert answer.status == 413 and answer.problem()[0] == "too-large", "before a byte of it has come"
    with Connection(gateway.address) as connection:
        connection.request("POST", "/events", Transfer_Encoding="chunked")
        connection.send((b"1000\r\n" + b" " * 4096 + b"\r\n") * 3)
        assert connection.response().status == 413
    assert limited(gateway, "max_body") == 2


def test_items_of_a_batch(start_gateway, channel):
    gateway = start_gateway("--max-batch-items", "2").wait_ready()
    item = f'{{"channel":"{channel}","data":1}}'
    assert gateway.call("POST", "/events", f"[{item},{item}]", Content_Type="application/json").status == 202
    answer = gateway.call("POST", "/events", f"[{item},{item},{item}]", Content_Type="application/json")
    assert answer.status == 413 and "2" in answer.problem()[1]
    assert limited(gateway, "max_batch_items") == 1


def test_all_bodies_together(start_gateway, channel):
    gateway = start_gateway("--max-body", "100kB", "--max-bodies", "150kB").wait_ready()
    with Connection(gateway.address) as first, Connection(gateway.address) as second:
        first.request("POST", f"/channels/{channel}", Content_Length=str(100 * 1024), Expect="100-continue")
        assert first.head().status == 100
        second.request("POST", f"/channels/{channel}", Content_Length=str(100 * 1024))
        assert second.response().status == 503
    assert limited(gateway, "max_bodies") == 1


@pytest.mark.parametrize("start", [b"", b"GET /liv", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_time_for_a_head(start_gateway, start):
    gateway = start_gateway("--header-timeout", "300ms").wait_ready()
    with Connection(gateway.address) as connection:
        connection.send(start)
        if start:
            until(lambda: trickle(connection), "the connection is ended although bytes keep coming")
        answer = connection.rest()
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""
    assert limited(gateway, "header_timeout") == 1


def trickle(connection):
    """Sends one byte more; true when there is an answer, or nobody takes it."""
    connection.socket.settimeout(0.02)
    try:
        connection.send(b"x")
        connection.buffer += connection.socket.recv(65536)
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def test_time_for_a_body(start_gateway, channel):
    gateway = start_gateway("--body-timeout", "300ms").wait_ready()
    with Connection(gateway.address) as connection:
        connection.request("POST", f"/channels/{channel}", Content_Length="10")
        connection.send(b"x")
        answer = connection.rest()
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""
    assert limited(gateway, "body_timeout") == 1


def test_idle_connections_are_closed(start_gateway):
    gateway = start_gateway("--idle-timeout", "300ms").wait_ready()
    with Connection(gateway.address) as connection:
        assert connection.request("GET", "/livez").response().status == 200
        assert connection.is_closed()


def test_idle_timeout_spares_streams_and_polls(start_gateway, postgres, channel):
    gateway = start_gateway("--idle-timeout", "300ms", "--header-timeout", "300ms").wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        cursor = stream.cursor()
        answer = gateway.poll(f"/channels/{channel}?wait=2&after={cursor}")
        assert answer["events"] == []
        postgres.notify(channel, "1")
        assert stream.event().data == 1


@pytest.mark.parametrize("head", [
    b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /livez HTTP/1.1\nHost: a\n\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET http://other/livez HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
])
def test_heads_that_are_not_http_as_everybody_reads_it(gateway, head):
    with Connection(gateway.address) as connection:
        connection.send(head + b"GET /livez HTTP/1.1\r\nHost: smuggled\r\n\r\n")
        answer = connection.response()
        assert answer.status in (400, 501, 505) and answer.problem()
        assert answer.header("connection") == "close"
        assert connection.is_closed(), "what follows a bad head is not read"


def test_a_closed_connection_in_the_middle_of_everything_harms_nobody(gateway, channel):
    for data in (b"", b"G", b"GET /", b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[",
                 f"GET /channels/{channel} HTTP/1.1\r\nHost: a\r\n\r\n".encode()):
        connection = Connection(gateway.address)
        connection.send(data)
        connection.reset()
    assert gateway.get("/livez").status == 200
