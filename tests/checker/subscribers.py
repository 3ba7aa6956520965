"""Subscribers on all three transports. Each writes down what it is told, as it comes:

    ("open", time, transport, cursor, gateway)    a stream or poll has begun; the cursor that it resumed with, or None;
                                                  transport "next poll" for a poll that goes on from the one before; the
                                                  number of the gateway
    ("place", time, cursor)                       its first cursor has come, or a later one: it is subscribed
    ("event", time, epoch, place, channel, publisher, number)                   of a live channel
    ("row", time, tag, position, epoch, place, channel, publisher, number)      of a durable one; epoch: None if not told
    ("gap", time, reason, from, to, channels)
    ("stuck", time, text)                         it gives up waiting for the end
    ("unanswered", time, text)                    it got no connection, or was told to try again
    ("close", time)

A subscriber that loses its connection, or gives it up, goes on from its last cursor, on whatever transport and gateway
come next."""

import contextlib
import json
import random
import re
import socket
import struct
import threading
import time

from cursors import parse
from judge import Told
from kit.http import Closed, Connection
from kit.streams import NdjsonParser, SseParser

EVENT = re.compile(r'\{"id":"([^"]+)","channel":"([^"]+)".*?"data":\{"p":(\d+),"n":(\d+)[,}]', re.DOTALL)
HEADERS = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}
END_S = 60


class Subscriber:
    """`live`, `durable`: what it asks for; `transports`: which it uses, at random; `lives`: for how long at a time, in
    seconds, at random; `absences`: for how long it is away in between; `stops`: it stops reading now and then until the
    journal has passed it, which is when its fellows have had so many events more; `sleeps`: it is away until it is waked,
    comes for one life, and sleeps again; `gateway`: the number of the only one that it uses;
    `leads`: those who stop see by its events how far the journal is."""

    def __init__(self, name, shared, live=(), durable=(), transports=("sse",), lives=(1e9,), absences=(0.02,),
                 version="1.1", stops=0, sleeps=False, gateway=None, after=None, leads=False):
        self.name, self.shared, self.live, self.durable = name, shared, live, durable
        self.transports, self.lives, self.absences = transports, lives, absences
        self.version, self.stops, self.sleeps, self.gateway, self.after = version, stops, sleeps, gateway, after
        self.random = random.Random(name)
        self.cursor = None
        self.position = 0  # of the cursor, in the log
        self.record = []
        self.markers = set()
        self.connection = None
        self.life_ends = 0
        self.events = 0
        self.asleep, self.told, self.slept_at = False, 0, 0
        self.leads = leads

    # --- what comes -------------------------------------------------------------------------------------------------

    def event(self, match, cursor, now):
        id, channel, *numbers = match.groups()
        publisher, number = map(int, numbers)
        own, full = parse(id), parse(cursor or id)
        self.events += 1
        if own.position is None:
            self.record.append(("event", now, own.epoch, own.place, channel, publisher, number))
            if publisher == 0:
                self.markers.add(channel)
        else:
            self.record.append(("row", now, own.tag, own.position, full.epoch, full.place, channel, publisher, number))
        if cursor and self.durable and full.position != (own.position or self.position):
            self.record.append(("place", now, cursor))  # it tells of the log behind the event, too
        self.resume_with(cursor or id)

    def resume_with(self, cursor):
        self.told += 1
        self.cursor = cursor
        self.position = parse(cursor).position or self.position

    def gap(self, gap, now):
        self.record.append(("gap", now, gap["reason"], gap["from"], gap["to"], tuple(gap["channels"])))

    def place(self, cursor, now):
        self.record.append(("place", now, cursor))
        self.resume_with(cursor)

    def item(self, item, now):
        if item.kind == "event":
            self.event(EVENT.match(item.text), item.id, now)  # NDJSON has no other cursor than its id
        elif item.kind == "gap":
            gap = json.loads(item.text)
            self.gap(gap, now)
            self.resume_with(item.id or gap["to"])
        else:
            value = json.loads(item.text)
            self.place(value["cursor"] if isinstance(value, dict) else value, now)

    # --- transports -------------------------------------------------------------------------------------------------

    def target(self, transport):
        query = "&".join(f"channel={name}" for name in (*self.live, *self.durable)) + f"&format={transport}"
        headers = {}
        if self.cursor and transport == "sse" and self.random.random() < 0.7:
            headers["Last_Event_ID"] = self.cursor
        elif self.cursor or self.after:
            query += f"&after={self.cursor or self.after}"
        return f"/events?{query}", headers

    def read_stream(self, transport, gateway):
        target, headers = self.target(transport)
        self.connection.request("GET", target, version=self.version, Accept=HEADERS[transport], **headers)
        head = self.connection.head()
        if head.status != 200:
            assert head.status in (429, 503), (head, self.connection.rest())
            self.record.append(("unanswered", time.monotonic(), f"{transport}: {head.status}"))
            return
        self.record.append(("open", time.monotonic(), transport, self.cursor, gateway))
        parser = SseParser() if transport == "sse" else NdjsonParser()
        chunked = head.header("transfer-encoding") == "chunked"
        stop_at = self.events + 200 if self.stops else None
        while not self.is_over():
            data = self.bytes(chunked)
            now = time.monotonic()
            for item in parser.feed(data):
                self.item(item, now)
            if stop_at and self.events > stop_at and not self.shared.closing.is_set():
                self.stop_reading()
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

    def stop_reading(self):
        """Until the socket must be full and the journal past it: the other readers of this process see how far it is."""
        goal = self.shared.furthest_fat + self.stops
        while (self.shared.furthest_fat < goal and not self.shared.closing.is_set() and
               time.monotonic() < self.life_ends):
            self.shared.tick.wait(0.05)

    def poll(self, gateway):
        transport = "poll"
        while not self.is_over():
            target, headers = self.target("poll")
            began = time.monotonic()
            self.connection.request("GET", target + "&wait=2&limit=500", **headers)
            resumed = self.cursor
            self.connection.deadline = time.monotonic() + 20
            response = self.connection.response()
            now = time.monotonic()
            if response.status != 200:
                assert response.status in (429, 503), response
                self.record.append(("unanswered", now, f"poll: {response.text()}"))
                return
            answer = response.text()
            body = json.loads(answer)
            self.record.append(("open", began, transport, resumed, gateway))
            transport = "next poll"
            if "gap" in body:
                self.gap(body["gap"], now)
            for found in EVENT.finditer(answer):
                self.event(found, None, now)
            assert len(EVENT.findall(answer)) == len(body["events"]), answer
            self.place(body["next"], now)
            self.record.append(("close", now))

    # --- life -------------------------------------------------------------------------------------------------------

    def has_all(self):
        """Markers on its live channels, and a place behind the last event of the durable ones."""
        goal = self.shared.goal.value
        return self.markers.issuperset(self.live) and (not self.durable or (goal and self.position >= goal))

    def is_over(self):
        if self.shared.closing.is_set():
            return self.has_all() or self.shared.has_expired()
        return time.monotonic() > self.life_ends

    def live_once(self):
        transport = self.random.choice(self.transports)
        self.life_ends = time.monotonic() + self.random.choice(self.lives)
        number = self.random.randrange(len(self.shared.addresses)) if self.gateway is None else self.gateway
        try:
            self.connection = Connection(self.shared.addresses[number], receive_buffer=4096 if self.stops else None)
        except OSError as error:
            self.record.append(("unanswered", time.monotonic(), f"no connection: {error}"))
            raise
        try:
            if transport == "poll":
                self.poll(number)
            else:
                self.read_stream(transport, number)
        finally:
            self.record.append(("close", time.monotonic()))
            self.connection.close()

    def run(self):
        while not (self.shared.closing.is_set() and self.has_all()):
            if self.shared.has_expired():
                self.record.append(("stuck", time.monotonic(), f"stuck at {self.cursor}, with markers {self.markers}"))
                return
            with contextlib.suppress(Closed, OSError):
                self.live_once()
            self.be_away()

    def be_away(self):
        closing = self.shared.closing
        if self.sleeps and self.told > self.slept_at:
            wakes = self.shared.wakes.value
            self.asleep = True
            while self.shared.wakes.value == wakes and not closing.wait(0.02):
                pass
            self.asleep, self.slept_at = False, self.told
        absence = 0.02 if closing.is_set() else self.random.choice(self.absences)
        closing.wait(absence) or self.shared.tick.wait(0.02)

    def reset(self):
        """Closes the connection with RST, whatever it is in the middle of. Any thread."""
        connection = self.connection
        if connection:
            with contextlib.suppress(OSError):
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.socket.shutdown(socket.SHUT_RD)


class Signals:
    """What the checker says to all subscribers: `closing`: read on to the end; `goal`: the log's last position, known
    when closing; `wakes` and `resets` count up when sleepers are to wake, and when all connections are to be reset."""

    def __init__(self, processes):
        self.closing = processes.Event()
        self.goal = processes.Value("q", 0)
        self.wakes, self.resets = processes.Value("i", 0), processes.Value("i", 0)


class Gauges:
    """What a process of subscribers says while it runs: how many are asleep, the highest position that anybody has
    had, and how many events came."""

    def __init__(self, processes):
        self.asleep, self.furthest, self.deliveries = (processes.Value("q", 0) for _ in range(3))


class Shared:
    """What the subscribers of one process share."""

    def __init__(self, addresses, signals):
        self.addresses = addresses
        self.closing, self.goal, self.wakes = signals.closing, signals.goal, signals.wakes
        self.tick = threading.Event()  # never set: for short pauses
        self.furthest_fat = 0
        self.deadline = None

    def has_expired(self):
        return self.deadline is not None and time.monotonic() > self.deadline


def watch(everybody, threads, shared, signals, gauges, failures):
    """Until all of them have ended, or one has failed."""
    resets = 0
    fat = [subscriber for subscriber in everybody if subscriber.leads]
    while any(thread.is_alive() for thread in threads) and not failures:
        shared.furthest_fat = max(subscriber.events for subscriber in fat)
        gauges.asleep.value = sum(subscriber.asleep for subscriber in everybody)
        gauges.furthest.value = max(subscriber.position for subscriber in everybody)
        gauges.deliveries.value = sum(subscriber.events for subscriber in everybody)
        if signals.resets.value > resets:
            resets = signals.resets.value
            for subscriber in everybody:
                subscriber.reset()
        if signals.closing.is_set():
            shared.deadline = shared.deadline or time.monotonic() + END_S
        shared.tick.wait(0.02)


def run(process, people, addresses, signals, gauges):
    """Subscribes in threads of this process until each has come to the end of its channels. Returns {subscriber: Told}."""
    shared = Shared(addresses, signals)
    everybody = []
    for number, person in enumerate(people):
        names = "+".join([*person.get("live", ()), *person.get("durable", ())])
        everybody.append(Subscriber(f"{process}.{number} {names[:60]}", shared, **person))
    failures = []

    def guarded(subscriber):
        try:
            subscriber.run()
        except BaseException as error:  # noqa: B902, a thread's failure is the checker's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(subscriber,), daemon=True) for subscriber in everybody]
    for thread in threads:
        thread.start()
    watch(everybody, threads, shared, signals, gauges, failures)
    if failures:
        raise failures[0]
    return {one.name: Told(tuple(one.live), tuple(one.durable), one.record) for one in everybody}
