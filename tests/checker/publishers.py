"""Publishers, by SQL and by POST, each with a record of what it has published and what came of it.

An event is (channel, publisher, number): publishers count for each channel. A publisher waits for each answer before it
goes on, so its own numbers become visible in their order. Its record has a row for each event: the moment before it was
sent, whether it was certainly committed, certainly not, or perhaps (the answer was lost), and the id that it was given.
Who has keys repeats what wasn't answered, until it is."""

import itertools
import json
import random
import threading
import time

import psycopg2
import psycopg2.extensions

from kit.http import Closed, Connection

COMMITTED, PERHAPS, NEVER = "committed", "perhaps", "never"
# What a server says that goes away, comes up, or is in recovery, and what SERIALIZABLE says: no fault of the log's.
EXCUSED = ("57", "08", "40001", "25006")
UNANSWERED_S = 60


class Publisher:
    """`names`: the channels, as often as they are to be chosen; `apart`: those of them that don't share a batch with the
    others; `fat`: the size of payloads of some of them; `pauses`: in seconds, at random."""

    def __init__(self, number, seed, over, names, apart=(), fat=(), pauses=(0, 0, 0.002, 0.01)):
        self.number = number
        self.random = random.Random(f"{seed} publisher {number}")
        self.over = over
        self.names, self.apart, self.fat, self.pauses = names, apart, dict(fat), pauses
        self.counters = {}
        self.rows = []  # (channel, number, sent at, outcome, id)
        self.refusals = []  # (time, text)
        self.unanswered = []  # the same: no connection, no answer, or "try again"
        self.pause = threading.Event()

    def next(self, channel=None):
        channel = channel or self.random.choice(self.names)
        number = self.counters[channel] = self.counters.get(channel, 0) + 1
        return channel, number

    def payload(self, channel, number):
        event = {"p": self.number, "n": number}
        if channel in self.fat:
            event["pad"] = "x" * self.fat[channel]
        return json.dumps(event, separators=(",", ":"))

    def note(self, events, sent_at, outcome, ids=itertools.repeat(None)):
        self.rows += [(channel, number, sent_at, outcome, id)
                      for (channel, number), id in zip(events, ids, strict=False)]

    def refused(self, text):
        self.refusals.append((time.monotonic(), f"publisher {self.number}: {text}"))

    def not_answered(self, text):
        self.unanswered.append((time.monotonic(), f"publisher {self.number}: {text}"))

    def run(self):
        while not self.over.is_set():
            events = [self.next() for _ in range(self.random.choice((1, 1, 2, 5, 20)))]
            for apart in (True, False):
                if some := [event for event in events if (event[0] in self.apart) == apart]:
                    self.publish(some, time.monotonic())
            self.pause.wait(self.random.choice(self.pauses))
        self.close()


class SqlPublisher(Publisher):
    """NOTIFY by pg_notify(): single ones, several in a transaction, and transactions that are rolled back."""

    def __init__(self, *arguments, conninfo, **options):
        super().__init__(*arguments, **options)
        self.conninfo = conninfo
        self.connection = None

    def publish(self, events, sent_at):
        return self.note(events, sent_at, self.attempt(events, self.random.random() < 0.1))

    def attempt(self, events, roll_back=False):
        if not self.connect():
            return NEVER
        try:
            with self.connection.cursor() as cursor:
                self.send(cursor, events)
        except psycopg2.Error as error:
            self.complain(error)
            self.close()
            return NEVER
        if roll_back:
            self.end(self.connection.rollback)
            return NEVER
        return self.end(self.connection.commit)

    def send(self, cursor, events):
        for event in events:
            cursor.execute("select pg_notify(%s, %s)", (event[0], self.payload(*event)))

    def end(self, how):
        try:
            how()
            return COMMITTED
        except psycopg2.Error as error:
            self.complain(error)
            refused = error.pgcode and not self.connection.closed  # an error of the transaction, that has ended it
            self.close()
            return NEVER if refused else PERHAPS

    def complain(self, error):
        if error.pgcode and not error.pgcode.startswith(EXCUSED):
            self.refused(f"{error.pgcode} {error}")

    def connect(self):
        try:
            self.connection = self.connection or self.prepared(psycopg2.connect(self.conninfo, connect_timeout=2))
            return True
        except psycopg2.Error:
            self.pause.wait(0.05)
            return False

    def prepared(self, connection):
        return connection

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class DurableSqlPublisher(SqlPublisher):
    """eventgate.publish(): with and without keys, at each level of isolation, after savepoints that were rolled back,
    and with synchronous_commit off, which must not matter."""

    LEVELS = (psycopg2.extensions.ISOLATION_LEVEL_READ_COMMITTED, psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ,
              psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE)
    keys = None

    def prepared(self, connection):
        with connection.cursor() as cursor:
            cursor.execute("set synchronous_commit = off")
        connection.commit()
        connection.set_session(isolation_level=self.random.choice(self.LEVELS))
        return connection

    def publish(self, events, sent_at):
        if self.random.random() < 0.5:
            self.keys = None
            return self.note(events, sent_at, self.attempt(events, self.random.random() < 0.1))
        self.keys = [f"{self.number}-{number}" for _, number in events]  # the scope of a key is its channel
        deadline = time.monotonic() + UNANSWERED_S
        while (outcome := self.attempt(events)) != COMMITTED and time.monotonic() < deadline:
            self.pause.wait(0.02)
        if outcome != COMMITTED:
            self.refused(f"no answer to {events}")
        return self.note(events, sent_at, outcome if outcome == COMMITTED else PERHAPS)

    def send(self, cursor, events):
        if self.random.random() < 0.1:
            cursor.execute("savepoint mistaken")
            cursor.execute("select eventgate.publish(%s, %s)", (events[0][0], '{"p":0,"n":0}'))
            cursor.execute("rollback to mistaken")
        for event, key in zip(events, self.keys or itertools.repeat(None)):
            cursor.execute("select eventgate.publish(%s, %s, key => %s)", (event[0], self.payload(*event), key))


class QuietPublisher(DurableSqlPublisher):
    """One event to each of its names, and then one to a name of the first half every few seconds."""

    def run(self):
        self.publish([self.next(name) for name in self.names], time.monotonic())
        while not self.over.is_set():
            self.over.wait(self.random.choice(self.pauses))
            self.publish([self.next(self.random.choice(self.names[:len(self.names) // 2]))], time.monotonic())
        self.close()


class PostPublisher(Publisher):
    """POST of single events and batches."""

    keys = None

    def __init__(self, *arguments, addresses, **options):
        super().__init__(*arguments, **options)
        self.addresses = addresses
        self.connection = None

    def publish(self, events, sent_at):
        outcome, answers = self.attempt(events)
        if answers is None:
            return self.note(events, sent_at, outcome)
        for event, answer in zip(events, answers, strict=True):
            self.note([event], sent_at, self.outcome(answer), [answer.get("id")])
        return None

    def attempt(self, events):
        """An outcome for all of them, and no answers; or an answer for each."""
        try:
            self.connection = self.connection or Connection(self.random.choice(self.addresses))
        except OSError as error:
            self.not_answered(f"no connection: {error}")
            self.pause.wait(0.05)
            return NEVER, None
        try:
            response = self.post(events)
        except (Closed, OSError) as error:
            self.not_answered(f"no answer to {events}: {error!r}")
            self.close()
            return PERHAPS, None
        if response.header("connection") == "close":
            self.close()
        answer = response.json()
        if "results" in answer:
            return None, answer["results"]
        if response.status in (201, 202):
            return None, [answer | {"status": response.status}]
        return self.outcome(answer), None

    def post(self, events):
        if len(events) == 1:
            channel, number = events[0]
            key = {"Idempotency_Key": self.keys[0]} if self.keys else {}
            self.connection.request("POST", f"/channels/{channel}", self.payload(channel, number),
                                    Content_Type="application/json", **key)
        else:
            batch = [f'{{"channel":"{channel}","data":{self.payload(channel, number)}{key}}}'
                     for (channel, number), key in zip(events, self.key_members())]
            self.connection.request("POST", "/events", "[" + ",".join(batch) + "]", Content_Type="application/json")
        return self.connection.response()

    def key_members(self):
        return [f',"key":"{key}"' for key in self.keys] if self.keys else itertools.repeat("")

    def outcome(self, answer):
        """`answer`: a row of a batch, or a problem."""
        if answer["status"] in (201, 202):
            return COMMITTED
        problem = answer.get("problem", answer)
        self.not_answered(str(problem))
        if problem["type"].endswith(":outcome-unknown"):
            return PERHAPS
        if problem["status"] not in (429, 503):
            self.refused(str(problem))
        self.pause.wait(0.02)
        return NEVER

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class KeyedPostPublisher(PostPublisher):
    """Repeats what wasn't answered with the same keys until it is, at whichever gateway; and some of what was."""

    def publish(self, events, sent_at):
        self.keys = [f"{self.number}-{number}" for _, number in events]
        answers = self.insist(events)
        if answers and self.random.random() < 0.05:
            self.close()  # another gateway, perhaps
            answers = self.insist(events) or answers
        if answers is None:
            self.refused(f"no answer to {events}")
            return self.note(events, sent_at, PERHAPS)
        return self.note(events, sent_at, COMMITTED, [answer["id"] for answer in answers])

    def insist(self, events):
        deadline = time.monotonic() + UNANSWERED_S
        while time.monotonic() < deadline:
            _, answers = self.attempt(events)
            if answers and all(self.outcome(answer) == COMMITTED for answer in answers):
                return answers
            if answers is None:
                self.close()
                self.pause.wait(0.02)
        return None


def run(seed, specifications, over, acknowledged):
    """Publishes in threads of this process until `over`; `specifications`: [(class, options)]; counts up
    `acknowledged`. Returns ({publisher: rows}, refusals, what wasn't answered)."""
    made = [kind(number, seed, over, **options) for number, (kind, options) in enumerate(specifications, 1)]
    failures, tick = [], threading.Event()

    def guarded(publisher):
        try:
            publisher.run()
        except BaseException as error:  # noqa: B902, a thread's failure is the checker's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(publisher,), daemon=True) for publisher in made]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not failures:
        acknowledged.value = sum(len(publisher.rows) for publisher in made)
        tick.wait(0.02)
    if failures:
        raise failures[0]
    refusals = [refusal for publisher in made for refusal in publisher.refusals]
    unanswered = [row for publisher in made for row in publisher.unanswered]
    return {publisher.number: publisher.rows for publisher in made}, refusals, unanswered
