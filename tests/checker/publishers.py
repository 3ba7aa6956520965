"""Publishers, by SQL and by POST, each with a record of what it has published and what came of it.

An event is (channel, publisher, number): publishers count for each channel. A publisher waits for each answer before it
goes on, so its own numbers become visible in their order. Its record has a row for each event: the moment before it was
sent, and whether it was certainly committed, certainly not, or perhaps (the answer was lost)."""

import itertools
import json
import random
import threading
import time

import psycopg2

import channels
from kit.http import Closed, Connection

COMMITTED, PERHAPS, NEVER = "committed", "perhaps", "never"
PAUSES = (0, 0, 0.002, 0.01)


class Publisher:
    def __init__(self, number, seed, over):
        self.number = number
        self.random = random.Random(seed)
        self.over = over
        self.counters = {}
        self.rows = []  # (channel, number, sent at, outcome)
        self.pause = threading.Event()

    def next(self, channel=None):
        channel = channel or self.random.choice(channels.ALL)
        number = self.counters[channel] = self.counters.get(channel, 0) + 1
        return channel, number

    def payload(self, channel, number):
        event = {"p": self.number, "n": number}
        if channel == channels.FAT:
            event["pad"] = "x" * channels.FAT_BYTES
        return json.dumps(event, separators=(",", ":"))

    def note(self, events, sent_at, outcome):
        self.rows += [(channel, number, sent_at, outcome) for channel, number in events]

    def run(self):
        while not self.over.is_set():
            events = [self.next() for _ in range(self.random.choice((1, 1, 2, 5, 20)))]
            self.publish(events, time.monotonic())
            self.pause.wait(self.random.choice(PAUSES))
        self.close()


class SqlPublisher(Publisher):
    """NOTIFY by pg_notify(): single ones, several in a transaction, and transactions that are rolled back."""

    def __init__(self, number, seed, over, conninfo):
        super().__init__(number, seed, over)
        self.conninfo = conninfo
        self.connection = None

    def publish(self, events, sent_at):
        if not self.connect():
            return self.note(events, sent_at, NEVER)
        try:
            with self.connection.cursor() as cursor:
                for event in events:
                    cursor.execute("select pg_notify(%s, %s)", (event[0], self.payload(*event)))
        except psycopg2.Error:
            self.close()
            return self.note(events, sent_at, NEVER)
        if self.random.random() < 0.1:
            self.end(self.connection.rollback)
            return self.note(events, sent_at, NEVER)
        return self.note(events, sent_at, COMMITTED if self.end(self.connection.commit) else PERHAPS)

    def end(self, how):
        try:
            how()
            return True
        except psycopg2.Error:
            self.close()
            return False

    def connect(self):
        try:
            self.connection = self.connection or psycopg2.connect(self.conninfo, connect_timeout=2)
            return True
        except psycopg2.OperationalError:
            self.pause.wait(0.05)
            return False

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class PostPublisher(Publisher):
    """POST of single events and batches."""

    def __init__(self, number, seed, over, address):
        super().__init__(number, seed, over)
        self.address = address
        self.connection = None

    def publish(self, events, sent_at):
        try:
            self.connection = self.connection or Connection(self.address)
        except OSError:
            self.pause.wait(0.05)
            return self.note(events, sent_at, NEVER)
        try:
            response = self.post(events)
        except (Closed, OSError):
            self.close()
            return self.note(events, sent_at, PERHAPS)
        if response.header("connection") == "close":
            self.close()
        answer = response.json()
        if "results" not in answer:
            return self.note(events, sent_at, self.outcome(answer["status"], answer))
        for event, row in zip(events, answer["results"], strict=True):
            self.note([event], sent_at, self.outcome(row["status"], row.get("problem")))
        return None

    def post(self, events):
        if len(events) == 1:
            channel, number = events[0]
            self.connection.request("POST", f"/channels/{channel}", self.payload(channel, number),
                                    Content_Type="application/json")
        else:
            batch = [f'{{"channel":"{channel}","data":{self.payload(channel, number)}}}' for channel, number in events]
            self.connection.request("POST", "/events", "[" + ",".join(batch) + "]", Content_Type="application/json")
        return self.connection.response()

    def outcome(self, status, problem):
        if status == 202:
            return COMMITTED
        if problem["type"].endswith(":outcome-unknown"):
            return PERHAPS
        assert status in (429, 503), problem
        self.pause.wait(0.02)
        return NEVER

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def run(seed, conninfo, address, sql_count, post_count, over):
    """Publishes in threads of this process until `over`; returns {publisher: rows}."""
    numbers = itertools.count(1)
    made = [SqlPublisher(next(numbers), f"{seed} sql {i}", over, conninfo) for i in range(sql_count)]
    made += [PostPublisher(next(numbers), f"{seed} post {i}", over, address) for i in range(post_count)]
    failures = []

    def guarded(publisher):
        try:
            publisher.run()
        except BaseException as error:  # noqa: B902, a thread's failure is the checker's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(publisher,)) for publisher in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {publisher.number: publisher.rows for publisher in made}
