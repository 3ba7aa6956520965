"""Subscribers that come back until they have what they wait for, and believe nothing: every byte that they get is
parsed strictly, and what they have got is compared with what there was."""

import contextlib
import ssl
import time

from kit.http import Closed, Connection
from kit.streams import NdjsonParser, SseParser
from kit.wait import DEADLINE

REASONS = ("reconnect", "retention", "slow", "failover", "unknown")
RETURNS_MAX = 400  # how often one may have to come back
GOING_AWAY = {"overloaded", "database-away", "draining"}


class Client(Connection):
    """A connection over which TLS may be broken off: Closed. Until it has said something, by a handshake that comes to
    nothing in whatever way; from then on only by an alert or the end, and whatever else is wrong is an error."""

    def __init__(self, gateway, receive_buffer=None):
        self.has_spoken = False
        with self._hearing():
            super().__init__(gateway.address, receive_buffer=receive_buffer)

    @contextlib.contextmanager
    def _hearing(self):
        try:
            yield
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            reason = error.reason or ""
            assert not self.has_spoken or "_ALERT_" in reason or "EOF" in reason, error
            raise Closed() from error

    def send(self, data):
        with self._hearing():
            super().send(data)

    def more(self):
        with self._hearing():
            super().more()
        self.has_spoken = True


class StrictSseParser(SseParser):
    """Refuses what the standard lets pass: fields of other names are not ours."""

    def _field(self, line):
        name = line.partition(":")[0]
        assert name in ("", "data", "id", "event", "retry"), f"no field of ours: {line!r}"
        return super()._field(line)

    def _dispatch(self):
        assert self.name in ("", "cursor", "gap"), self.name
        return super()._dispatch()


class StrictNdjsonParser(NdjsonParser):
    def feed(self, data):
        items = super().feed(data)
        for item in items:
            assert item.kind in ("cursor", "gap") or {"id", "channel", "time", "data"} <= set(item.json()), item
        return items


def check_refusal(response):
    """An answer other than success must be the problem that says to come again."""
    assert response.status == 503, response
    name, sentence = response.problem()
    assert name in GOING_AWAY and sentence, response
    return name


class Follower:
    """Follows channels from where `after` says. `truths`: for each channel the numbers that there are to get, in order;
    they grow with what is published. `got`: pairs of channel and number, and None for a gap. `headers`: of its requests,
    beside those of all that the gateway is asked."""

    def __init__(self, gateway, target, truths, format="sse", after=None, headers=None, receive_buffer=None):
        self.gateway, self.target, self.truths, self.format = gateway, target, truths, format
        self.cursor, self.start = after, None
        self.headers, self.receive_buffer = gateway.headers | (headers or {}), receive_buffer
        self.got, self.gaps = [], 0
        self.connection, self.returns = None, 0

    # --- connections

    def _request(self, more=""):
        url = f"{self.target}{'&' if '?' in self.target else '?'}format={self.format}{more}"
        headers = dict(self.headers)
        if self.cursor is not None:
            if self.format == "sse" and self.cursor != "earliest":
                headers["Last_Event_ID"] = self.cursor
            else:
                url += f"&after={self.cursor}"
        self.close()
        self.connection = Client(self.gateway, self.receive_buffer)
        return self.connection.request("GET", url, Connection=None, **headers)

    def _connect(self):
        """True if there is a stream now."""
        try:
            self._request()
            head = self.connection.head()
        except (Closed, ConnectionError):
            self.close()
            return False
        if head.status != 200:
            head.body = self.connection.take(int(head.header("content-length")))
            check_refusal(head)
            self.close()
            return False
        kind = head.header("content-type")
        assert kind.startswith({"sse": "text/event-stream", "ndjson": "application/x-ndjson"}[self.format]), head
        self.parser = StrictSseParser() if self.format == "sse" else StrictNdjsonParser()
        self.length = head.header("content-length")  # of one that is sent away
        self.chunked = head.header("transfer-encoding") == "chunked"
        return True

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _come_back(self):
        self.returns += 1
        assert self.returns < RETURNS_MAX, (self.target, self.format, "comes back for ever")

    def _bytes(self):
        if self.length is not None:
            data, self.length = self.connection.take(int(self.length)), "0"
        elif self.chunked:
            data = self.connection.chunk()
        else:
            self.connection.more()
            data, self.connection.buffer = self.connection.buffer, b""
        if not data:
            raise Closed()
        return data

    def _read(self):
        """Takes what one read of a stream gives; false if it has ended, or could not be had."""
        if not self.connection and not self._connect():
            return False
        self.connection.deadline = time.monotonic() + DEADLINE
        try:
            items = self.parser.feed(self._bytes())
        except (Closed, ConnectionError):
            self.close()
            return False
        for item in items:
            self._take(item)
        return True

    # --- what comes

    def _take(self, item):
        if item.kind == "cursor":
            cursor = item.json()["cursor"] if item.text.startswith("{") else item.json()
        elif item.kind == "gap":
            cursor = self._gap(item.json())
        else:
            cursor = self._event(item.json())
        if self.format == "sse":
            assert item.kind != "cursor" or item.id == cursor, item
            cursor = item.id
        self._place(cursor)

    def _place(self, cursor):
        assert cursor and isinstance(cursor, str)
        self.cursor = cursor
        if self.start is None:
            self.start = self._ends()

    def _ends(self):
        return {channel: len(numbers) for channel, numbers in self.truths.items()}

    def _gap(self, gap):
        assert gap["reason"] in REASONS, gap
        assert gap["channels"] and not any(name.startswith("d/") for name in gap["channels"]), ("of what is kept", gap)
        self.gaps += 1
        self.got.append(None)
        return gap["to"]

    def _event(self, event):
        assert event["channel"] in self.truths, event
        self.got.append((event["channel"], event["data"]["n"]))
        return event["id"]

    def _poll(self):
        try:
            self._request("&wait=2")
            response = self.connection.response()
        except (Closed, ConnectionError):
            self.close()
            return False
        self.close()
        if response.status != 200:
            check_refusal(response)
            return False
        answer = response.json()
        if "gap" in answer:
            self._gap(answer["gap"])
        for event in answer["events"]:
            self._event(event)
        self._place(answer["next"])
        return True

    def _steps(self, are_enough, what):
        deadline = time.monotonic() + DEADLINE
        while not are_enough():
            assert time.monotonic() < deadline, ("doesn't come", what, self)
            self._step()

    def _step(self):
        if not (self._poll() if self.format == "poll" else self._read()):
            self._come_back()

    # --- what the scenarios ask for

    def begin(self):
        """Until it has a place from which it goes on."""
        self._steps(lambda: self.start is not None, "a place")
        return self

    def until(self, channel, number):
        """Until it has this one; or a gap, which may stand for it."""
        seen = len(self.got)
        self._steps(lambda: (channel, number) in self.got or None in self.got[seen:], (channel, number))

    def verify(self, *last):
        """These (channel and number) were published last, and nothing fails any more: they come, and what came before
        them came once and in order, or a gap stands in its place."""
        self._steps(lambda: set(last) <= set(self.got), last)
        for channel, numbers in self.truths.items():
            self._verify(channel, numbers[self.start[channel]:])
        self.start, self.got = self._ends(), []

    def _verify(self, channel, truth):
        at, may_skip = 0, False
        for one in self.got:
            if one is None:
                may_skip = True
            elif one[0] == channel:
                assert one[1] in truth[at:], ("again, or out of order", one, self)
                there = truth.index(one[1], at)
                assert there == at or may_skip, ("lost", channel, truth[at:there], self)
                at, may_skip = there + 1, False
        assert at == len(truth) or may_skip, ("lost at the end", channel, truth[at:], self)

    def __repr__(self):
        return f"{self.format} of {self.target}: got {self.got[-20:]} of {self.truths}, from {self.start}"
