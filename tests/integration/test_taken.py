"""Taken sockets: what goes over them from the head to the end, and that everything is given back, whoever ends them."""

import os
import signal

import pytest

from kit.http import Closed, Connection
from kit.streams import NdjsonParser, SseParser, Stream
from kit.wait import until

PARSERS = {"sse": SseParser, "ndjson": NdjsonParser}
END_OF_FRAME = {"sse": b"\n\n", "ndjson": b"\n"}
SOME = 20

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
