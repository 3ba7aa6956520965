"""Subscribers on all three transports. Each writes down what it is told, as it comes:

    ("open", time, transport, cursor)    a stream or poll has begun; the cursor that it resumed with, or None; transport
                                         "next poll" for a poll that goes on from the one before
    ("place", time, epoch)               its first cursor has come, or a later one: it is subscribed
    ("event", time, epoch, place, channel, publisher, number)
    ("gap", time, reason, from, to, channels)
    ("close", time)

A subscriber that loses its connection, or gives it up, goes on from its last cursor, on whatever transport comes next."""

import contextlib
import json
import random
import re
import socket
import struct
import threading
import time

import channels
from kit.http import Closed, Connection
from kit.streams import NdjsonParser, SseParser

EVENT = re.compile(r'\{"id":"([a-z2-7]+)-(\d+)","channel":"([^"]+)".*?"data":\{"p":(\d+),"n":(\d+)[,}]', re.DOTALL)
CURSOR = re.compile(r"(?:\d+~)?([a-z2-7]+)-(\d+)$")
HEADERS = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}


def epoch_and_place(cursor):
    found = CURSOR.search(cursor)
    return (found[1], int(found[2])) if found else (None, 0)


class Subscriber:
    """`transports`: which it uses, at random; `lives`: for how long at a time, in seconds, at random; `absences`: for
    how long it is away in between; `stops`: it stops reading now and then until the journal has passed it."""

    def __init__(self, name, names, transports=("sse",), lives=(1e9,), absences=(0.02,), version="1.1", stops=False):
        self.name, self.names = name, names
        self.transports, self.lives, self.absences = transports, lives, absences
        self.version, self.stops = version, stops
        self.random = random.Random(name)
        self.cursor = None
        self.record = []
        self.markers = set()
        self.connection = None
        self.life_ends = 0
        self.events = 0

    # --- what comes -------------------------------------------------------------------------------------------------

    def event(self, text, now):
        epoch, place, channel, publisher, number = EVENT.match(text).groups()
        self.record.append(("event", now, epoch, int(place), channel, int(publisher), int(number)))
        self.events += 1
        if publisher == "0":
            self.markers.add(channel)
        return f"{epoch}-{place}"

    def gap(self, gap, now):
        self.record.append(("gap", now, gap["reason"], gap["from"], gap["to"], tuple(gap["channels"])))

    def place(self, cursor, now):
        self.record.append(("place", now, epoch_and_place(cursor)[0]))
        self.cursor = cursor

    def item(self, item, now):
        if item.kind == "event":
            identity = self.event(item.text, now)
            self.cursor = item.id or identity  # NDJSON has no other
        elif item.kind == "gap":
            self.gap(json.loads(item.text), now)
            self.cursor = item.id or self.cursor
        else:
            value = json.loads(item.text)
            self.place(value["cursor"] if isinstance(value, dict) else value, now)

    # --- transports -------------------------------------------------------------------------------------------------

    def target(self, transport):
        query = "&".join(f"channel={name}" for name in self.names) + f"&format={transport}"
        headers = {}
        if self.cursor and transport == "sse" and self.random.random() < 0.7:
            headers["Last_Event_ID"] = self.cursor
        elif self.cursor:
            query += f"&after={self.cursor}"
        return f"/events?{query}", headers

    def read_stream(self, transport, shared):
        target, headers = self.target(transport)
        self.connection.request("GET", target, version=self.version, Accept=HEADERS[transport], **headers)
        head = self.connection.head()
        if head.status != 200:
            assert head.status in (429, 503), (head, self.connection.rest())
            return
        self.record.append(("open", time.monotonic(), transport, self.cursor))
        parser = SseParser() if transport == "sse" else NdjsonParser()
        chunked = head.header("transfer-encoding") == "chunked"
        stop_at = self.events + 200 if self.stops else None
        while not self.is_over(shared):
            data = self.bytes(chunked)
            now = time.monotonic()
            for item in parser.feed(data):
                self.item(item, now)
            if stop_at and self.events > stop_at and not shared.closing.is_set():
                self.stop_reading(shared)
                stop_at = self.events + 1000

    def bytes(self, chunked):
        self.connection.deadline = time.monotonic() + 20  # there is a heartbeat every second
        if chunked:
            data = self.connection.chunk()
            if not data:
                raise Closed()
            return data
        if not self.connection.buffer:
            self.connection.more()
        data, self.connection.buffer = self.connection.buffer, b""
        return data

    def stop_reading(self, shared):
        """Until the socket must be full and the journal past it: the other readers of this process see how far it is."""
        goal = shared.furthest_fat + 1200
        while shared.furthest_fat < goal and not shared.closing.is_set() and time.monotonic() < self.life_ends:
            shared.tick.wait(0.05)

    def poll(self, shared):
        transport = "poll"
        while not self.is_over(shared):
            target, headers = self.target("poll")
            began = time.monotonic()
            self.connection.request("GET", target + "&wait=2&limit=500", **headers)
            resumed = self.cursor
            self.connection.deadline = time.monotonic() + 20
            response = self.connection.response()
            now = time.monotonic()
            if response.status != 200:
                assert response.status in (429, 503), response
                return
            answer = response.text()
            body = json.loads(answer)
            self.record.append(("open", began, transport, resumed))
            transport = "next poll"
            if "gap" in body:
                self.gap(body["gap"], now)
            for found in EVENT.finditer(answer):
                self.event(found[0], now)
            assert len(EVENT.findall(answer)) == len(body["events"]), answer
            self.place(body["next"], now)
            self.record.append(("close", now))

    # --- life -------------------------------------------------------------------------------------------------------

    def is_over(self, shared):
        if self.markers.issuperset(self.names):
            return True
        return time.monotonic() > self.life_ends and not shared.closing.is_set()

    def live_once(self, shared):
        transport = self.random.choice(self.transports)
        self.life_ends = time.monotonic() + self.random.choice(self.lives)
        self.connection = Connection(shared.address, receive_buffer=4096 if self.stops else None)
        try:
            if transport == "poll":
                self.poll(shared)
            else:
                self.read_stream(transport, shared)
        finally:
            self.record.append(("close", time.monotonic()))
            self.connection.close()

    def run(self, shared):
        while not self.markers.issuperset(self.names):
            with contextlib.suppress(Closed, OSError):
                self.live_once(shared)
            absence = 0.02 if shared.closing.is_set() else self.random.choice(self.absences)
            shared.closing.wait(absence) or shared.tick.wait(0.02)

    def reset(self):
        """Closes the connection with RST, whatever it is in the middle of. Any thread."""
        connection = self.connection
        if connection:
            with contextlib.suppress(OSError):
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.socket.shutdown(socket.SHUT_RD)


class Shared:
    """What the subscribers of one process share."""

    def __init__(self, address, closing):
        self.address = address
        self.closing = closing
        self.tick = threading.Event()  # never set: for short pauses
        self.furthest_fat = 0


def cast():
    """Who there is, for one of the processes."""
    listed, chosen = channels.LISTED, channels.CHOSEN
    streams, anything = ("sse", "ndjson"), ("sse", "ndjson", "poll")
    people = [dict(names=[name]) for name in listed[:3]]
    people += [dict(names=listed[3:6], version="1.0"), dict(names=listed[:2] + chosen[:1], transports=("ndjson",))]
    people += [dict(names=[chosen[1]], transports=("ndjson",)), dict(names=chosen[2:4], transports=("poll",))]
    people += [dict(names=[listed[0]], transports=("poll",)), dict(names=[channels.FAT])]
    people += [dict(names=[channels.FAT], stops=True), dict(names=[channels.FAT], transports=("ndjson",), stops=True)]
    people += [dict(names=[name], transports=anything, lives=(0.05, 0.3, 1, 3)) for name in (*listed[1:4], *chosen[3:])]
    people += [dict(names=listed[4:6] + chosen[4:5], transports=anything, lives=(0.1, 0.5, 2), absences=(0.02, 0.2, 2))]
    people += [dict(names=[name], transports=streams, lives=(0.3, 1), absences=(0.1, 1.5)) for name in channels.LEFT]
    return people


def run(process, address, closing, resets):
    """Subscribes in threads of this process until each has seen a marker on each of its channels; `resets` counts up
    whenever all connections are to be reset. Returns {subscriber: record}."""
    shared = Shared(address, closing)
    everybody = [Subscriber(f"{process}.{i} {'+'.join(person['names'])}", **person)
                 for i, person in enumerate(cast())]
    failures = []

    def guarded(subscriber):
        try:
            subscriber.run(shared)
        except BaseException as error:  # noqa: B902, a thread's failure is the checker's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(subscriber,), daemon=True) for subscriber in everybody]
    for thread in threads:
        thread.start()
    seen, deadline = 0, None
    fat = [subscriber for subscriber in everybody if subscriber.names == [channels.FAT] and not subscriber.stops]
    while any(thread.is_alive() for thread in threads) and not failures:
        shared.furthest_fat = max(subscriber.events for subscriber in fat)
        if resets.value > seen:
            seen = resets.value
            for subscriber in everybody:
                subscriber.reset()
        if closing.is_set():
            deadline = deadline or time.monotonic() + 60
            late = [s.name for s, thread in zip(everybody, threads) if thread.is_alive()]
            assert time.monotonic() < deadline, f"no marker has reached {late}"
        shared.tick.wait(0.02)
    if failures:
        raise failures[0]
    return {subscriber.name: (subscriber.names, subscriber.record) for subscriber in everybody}
