"""Readers of the gateway's streams, written from the standards and not from its code."""

import dataclasses
import json
import time

from kit.http import Closed, Connection
from kit.wait import DEADLINE


@dataclasses.dataclass
class Item:
    """What a stream said: kind is `event`, `cursor` or `gap`."""

    kind: str
    text: str
    id: str = ""  # SSE: the last event id
    name: str = ""  # SSE: the `event:` field

    def json(self):
        return json.loads(self.text)

    @property
    def data(self):
        return self.json()["data"]


class SseParser:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""

    def __init__(self):
        self.pending = ""
        self.raw = b""
        self.data, self.name, self.id = [], "", ""
        self.retry = None
        self.comments = 0

    def feed(self, data):
        """The items that these bytes complete."""
        self.raw += data
        good = len(self.raw)
        while good and len(self.raw) - good < 4:
            try:
                text = self.raw[:good].decode()
                break
            except UnicodeDecodeError:
                good -= 1
        else:
            assert good == 0, "not UTF-8"
            text = ""
        self.raw = self.raw[good:]
        self.pending += text
        items = []
        while (line := self._line()) is not None:
            item = self._field(line) if line else self._dispatch()
            if item:
                items.append(item)
        return items

    def _line(self):
        ends = [at for at in (self.pending.find("\r"), self.pending.find("\n")) if at >= 0]
        if not ends or (self.pending[min(ends)] == "\r" and min(ends) + 1 == len(self.pending)):
            return None  # a lone CR at the end may be the first half of CRLF
        end = min(ends)
        after = end + (2 if self.pending[end:end + 2] == "\r\n" else 1)
        line, self.pending = self.pending[:end], self.pending[after:]
        return line

    def _field(self, line):
        if line.startswith(":"):
            self.comments += 1
            return
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self.data.append(value)
        elif name == "event":
            self.name = value
        elif name == "id" and "\0" not in value:
            self.id = value
        elif name == "retry" and value.isdecimal():
            self.retry = int(value)

    def _dispatch(self):
        data, name = self.data, self.name
        self.data, self.name = [], ""
        if not data:
            return None
        kind = name if name in ("cursor", "gap") else "event"
        return Item(kind, "\n".join(data), self.id, name)


class NdjsonParser:
    def __init__(self):
        self.pending = b""
        self.comments = 0

    def feed(self, data):
        *lines, self.pending = (self.pending + data).split(b"\n")
        items = []
        for line in lines:
            if not line:
                self.comments += 1
                continue
            value = json.loads(line)
            kind = next((key for key in ("cursor", "gap") if key in value and "channel" not in value), "event")
            items.append(Item(kind, line.decode() if kind == "event" else json.dumps(value[kind])))
        return items


class Stream:
    """A subscription: sends the request, reads its head, and then items one by one."""

    def __init__(self, address, target, version="1.1", source=None, receive_buffer=None, tls=None, **headers):
        connection = Connection(address, source, receive_buffer, tls)
        self._begin(connection.request("GET", target, version=version, **headers))

    @classmethod
    def on(cls, connection):
        """The stream that has been asked for on this connection."""
        stream = cls.__new__(cls)
        stream._begin(connection)
        return stream

    def _begin(self, connection):
        self.connection = connection
        self.head = self.connection.head()
        assert self.head.status == 200, (self.head, self.connection.rest())
        self.chunked = self.head.header("transfer-encoding") == "chunked"
        kind = self.head.header("content-type")
        self.parser = SseParser() if kind.startswith("text/event-stream") else NdjsonParser()
        self.items = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, timeout=DEADLINE):
        """The next item; Closed at the end of the stream."""
        self.connection.deadline = time.monotonic() + timeout
        while not self.items:
            self.items += self.parser.feed(self._bytes())
        return self.items.pop(0)

    def _bytes(self):
        if self.chunked:
            chunk = self.connection.chunk()
            if not chunk:
                raise Closed()
            return chunk
        if not self.connection.buffer:
            self.connection.more()
        data, self.connection.buffer = self.connection.buffer, b""
        return data

    def cursor(self):
        """The next item, which must be a cursor; returns it as a string."""
        item = self.read()
        assert item.kind == "cursor", item
        return item.json()["cursor"] if item.text.startswith("{") else item.json()

    def event(self):
        """The next item that is no cursor, which must be an event."""
        item = self.next()
        assert item.kind == "event", item
        return item

    def events(self, count):
        return [self.event() for _ in range(count)]

    def gap(self):
        """The next item that is no cursor, which must be a gap; returns what it says."""
        item = self.next()
        assert item.kind == "gap", item
        return item.json()

    def next(self):
        item = self.read()
        while item.kind == "cursor":
            item = self.read()
        return item

    def until_closed(self):
        """What comes before the end of the stream."""
        items = []
        try:
            while True:
                items.append(self.read())
        except Closed:
            return items

    def close(self):
        self.connection.close()
