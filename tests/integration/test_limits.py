"""Each stated limit holds, says so, and is counted."""

import json
import re
import urllib.parse

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


def test_a_body_that_drips(start_gateway, channel):
    gateway = start_gateway("--body-timeout", "300ms").wait_ready()
    for headers in ({"Content_Length": "1000"}, {"Transfer_Encoding": "chunked"}):
        with Connection(gateway.address) as connection:
            connection.request("POST", f"/channels/{channel}", **headers)
            if "Transfer_Encoding" in headers:
                connection.send(b"3e8\r\n")
            until(lambda: trickle(connection), "the connection is ended although bytes keep coming")
            answer = connection.rest()
            assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""
    assert limited(gateway, "body_timeout") == 2
    assert gateway.metric("eventgate_published_total") == 0


def test_a_body_that_is_too_large_is_not_asked_for(start_gateway, channel):
    gateway = start_gateway("--max-body", "10kB").wait_ready()
    for target in ("/events", f"/channels/{channel}"):
        with Connection(gateway.address) as connection:
            connection.request("POST", target, Content_Length=str(10 * 1024 + 1), Expect="100-continue")
            answer = connection.response()
            assert answer.status == 413 and answer.header("connection") == "close", "and no 100 before it"
            assert connection.is_closed()
    with Connection(gateway.address) as connection:
        connection.request("POST", "/nothing", Content_Length="10", Expect="100-continue")
        assert connection.response().status == 404, "nor where nothing can be published"
    with Connection(gateway.address) as connection:
        connection.request("POST", f"/channels/{channel}", Content_Length="4", Expect="100-continue")
        assert connection.head().status == 100
        connection.send(b"1234")
        assert connection.response().status == 202


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "identity, gzip",
                                    "gzip, identity", "GZIP", "gzip;q=0", "*", "aes128gcm"])
def test_bodies_that_are_compressed(gateway, channel, coding):
    answer = gateway.publish(channel, "1", Content_Encoding=coding)
    assert answer.status == 415 and answer.problem()[0] == "unsupported-type"


def test_bodies_that_are_compressed_by_a_second_header(gateway, channel):
    with Connection(gateway.address) as connection:
        connection.send(f"POST /channels/{channel} HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\n"
                        "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n1".encode())
        assert connection.response().status in (400, 415)


def nested(levels):
    return "[" * levels + "]" * levels


def test_nesting_of_one_event(durable_gateway, channel, durable_channel):
    gateway = durable_gateway
    for name in (channel, durable_channel):
        assert gateway.publish(name, nested(2048), Content_Type="application/json").status in (201, 202)
        for levels in (2049, 3900):
            answer = gateway.publish(name, nested(levels), Content_Type="application/json")
            assert answer.status == 400 and answer.problem()[0] == "bad-body" and "2,048" in answer.problem()[1]
    answer = gateway.publish(durable_channel, "[" * 100_000, Content_Type="application/json")
    assert answer.status == 400
    answer = gateway.publish(durable_channel, nested(100_000))
    assert answer.status == 201, "what doesn't say that it is JSON is text then"


def test_nesting_in_batches(durable_gateway, channel, durable_channel):
    for name in (channel, durable_channel):
        for kind, form in (("application/json", "[{}]"), ("application/x-ndjson", "{}\n")):
            for levels, status in ((2000, (201, 202)), (2049, (400,)), (100_000, (400,))):
                body = form.replace("{}", f'{{"channel":"{name}","data":{nested(levels)}}}')
                answer = durable_gateway.call("POST", "/events", body, Content_Type=kind)
                assert answer.status in status, (kind, levels, answer)
                if status == (400,):
                    assert "2,048" in answer.problem()[1]


def test_nesting_from_the_database(durable_gateway, postgres, channel, durable_channel):
    """NOTIFY takes 3,999 levels, publish() what PostgreSQL's parser does: both arrive as they are, or as text."""
    with durable_gateway.stream(f"/channels/{channel}") as live, \
            durable_gateway.stream(f"/channels/{durable_channel}") as durable:
        live.cursor(), durable.cursor()
        postgres.notify(channel, nested(3999), "1")
        assert live.event().data == nested(3999) and live.event().data == 1
        text = "repeat('[', 3000) || repeat(']', 3000)"
        postgres.sql(f"select eventgate.publish('{durable_channel}', ({text})::json)")
        postgres.sql(f"select eventgate.publish('{durable_channel}', to_json(repeat('[', 100000)))")
        assert nested(3000) in durable.next().text
        assert durable.event().data == "[" * 100_000


@pytest.mark.parametrize("text", ["\x01", "a\nb", "a\rb", "\t", "\x1b[31m", "\x7f", "\x80", "\x9b", "a\u0085"])
def test_control_characters(durable_gateway, durable_channel, text):
    quoted = urllib.parse.quote(text)
    answers = [durable_gateway.publish(f"{durable_channel}?type={quoted}", "1"),
               durable_gateway.get(f"/channels/{durable_channel}?wait=0&after={quoted}")]
    for member in ("type", "key", "id"):
        item = json.dumps({"channel": durable_channel, "data": 1, member: text})
        answers.append(durable_gateway.call("POST", "/events", f"[{item}]", Content_Type="application/json"))
    with Connection(durable_gateway.address) as connection:
        connection.send(f"POST /channels/{durable_channel} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                        f"Idempotency-Key: a{text}b\r\n\r\n1".encode())
        answers.append(connection.response())
    assert [answer.status for answer in answers] == [400] * len(answers), answers


def test_separators_of_lines_are_no_control_characters(durable_gateway, durable_channel):
    with durable_gateway.stream(f"/channels/{durable_channel}?event=type") as stream:
        stream.cursor()
        assert durable_gateway.publish(f"{durable_channel}?type=a%E2%80%A8b", '"x\u2029y"').status == 201
        event = stream.event()
        assert event.data == "x\u2029y" and event.json()["type"] == "a\u2028b"


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
