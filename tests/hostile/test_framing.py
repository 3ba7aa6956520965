"""Each case of framing.py over a bare socket: as the first request of a connection, on one that is kept alive, and pipelined
behind a good POST; in one segment and byte by byte. A request that would publish is planted behind (or in) each."""

import contextlib
import itertools
import re
import socket
import struct

import pytest

from framing import CASES
from kit.http import Connection

numbers = itertools.count(1)


class Witness:
    """A subscriber that was there before, and sees whatever is published to the channel."""

    def __init__(self, gateway):
        self.gateway, self.channel = gateway, "t/framing"
        self.stream = gateway.stream(f"/channels/{self.channel}?payload=raw")
        self.stream.cursor()

    def published(self):
        """All that has been published since the last time."""
        mark = f"mark {next(numbers)}"
        assert self.gateway.publish(self.channel, mark).status == 202
        seen = []
        while not seen or seen[-1] != mark:
            seen.append(self.stream.event().text)
        return seen[:-1]


@pytest.fixture(scope="module")
def witness(gateway):
    opened = Witness(gateway)
    yield opened
    opened.stream.close()


def publishing(channel, payload):
    return (f"POST /channels/{channel} HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {len(payload)}\r\n\r\n"
            f"{payload}").encode()


def fill(case, channel, payload):
    """The bytes of the case, with the planted request behind it or in it."""
    plant = publishing(channel, payload)
    wire = case.request.replace(b"{channel}", channel.encode())
    wire = wire.replace(b"{plant_length}", b"%d" % len(plant)).replace(b"{plant_chunk}", b"%x" % len(plant))
    return wire.replace(b"{plant}", plant) if case.kind == "hidden" else wire + plant


def feed(connection, wire, piece):
    """In pieces; a gateway that has refused it may have closed before the last one."""
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for at in range(0, len(wire), piece):
            connection.send(wire[at:at + piece])


def statuses_of(rest):
    """The statuses of what looks like an answer in these bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", rest)]


def see_refusal(case, connection):
    answer = connection.response()
    assert answer.status in case.statuses, answer
    assert answer.problem()[1].endswith(".") and answer.header("connection") == "close"
    assert connection.is_closed(), "nothing behind it is read"


def see_taken(case, connection):
    assert connection.response(case.method).status in case.statuses
    assert connection.response().status == 202, "the planted request is the next one"


def see_hidden(case, connection):
    """Whether the connection stays open or not, there is no second answer."""
    while (answer := connection.head()).status == 100:
        pass
    assert answer.status in case.statuses, answer
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_WR)
    rest = connection.rest()
    assert statuses_of(rest) == [], rest


SEE = {"refused": see_refusal, "taken": see_taken, "hidden": see_hidden}


def run(gateway, channel, case, position, fed):
    """One request of the case, at this place of a connection; returns what must have been published."""
    payload = f"planted {position} {fed}"
    wire = fill(case, channel, payload)
    expected = [] if position == "first" else ["before"]
    with Connection(gateway.address) as connection:
        if position == "kept alive":
            connection.send(publishing(channel, "before"))
            assert connection.response().status == 202
        elif position == "pipelined":
            wire = publishing(channel, "before") + wire
        feed(connection, wire, case.piece if fed == "bytewise" else len(wire))
        if position == "pipelined":
            assert connection.response().status == 202, "the good request before it is answered"
        SEE[case.kind](case, connection)
    if case.kind == "taken":
        expected += ([] if case.publishes is None else [case.publishes]) + [payload]
    return expected


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_framing(gateway, witness, case):
    expected = []
    for position in ("first", "kept alive", "pipelined"):
        for fed in ("at once", "bytewise"):
            expected += run(gateway, witness.channel, case, position, fed)
    assert witness.published() == expected


def cut_off(connection, wire):
    """What comes back when the client closes its side behind these bytes."""
    connection.send(wire)
    connection.socket.shutdown(socket.SHUT_WR)
    return connection.rest()


def test_a_request_cut_off_anywhere_is_not_executed(gateway, witness):
    """The sending side is closed, or the connection reset, behind each byte of a POST but the last: it ends at once."""
    wire = publishing(witness.channel, "cut")
    for end in range(len(wire)):
        with Connection(gateway.address) as connection:
            assert cut_off(connection, wire[:end]) == b"", "not after the deadline, which would be 408"
        with Connection(gateway.address) as connection:
            connection.send(wire[:end])
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert witness.published() == []


def test_a_chunked_request_cut_off_anywhere_is_not_executed(gateway, witness):
    wire = (f"POST /channels/{witness.channel} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\ncut\r\n0\r\n\r\n").encode()
    for end in range(len(wire)):
        with Connection(gateway.address) as connection:
            assert cut_off(connection, wire[:end]) == b""
    assert witness.published() == []


def test_who_closes_its_side_behind_a_request_is_answered_and_let_go(gateway, witness):
    for n in range(50):
        with Connection(gateway.address) as connection:
            assert statuses_of(cut_off(connection, publishing(witness.channel, str(n)))) == [202]
    assert witness.published() == [str(n) for n in range(50)]
