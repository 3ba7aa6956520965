"""A gateway whose allocations fail when told to, its database, and what is known of both."""

import contextlib
import itertools
import json
import pathlib

from allocations import Allocations, describe, read_maps
from followers import Client, check_refusal
from kit.gateway import BINARY, Gateway, install_schema
from kit.http import Closed
from kit.wait import until

TORTURED = str(pathlib.Path(BINARY).parent / "tests" / "pg_eventgate_tortured")
LEAKS = {"LSAN_OPTIONS": f"print_suppressions=0:suppressions={pathlib.Path(__file__).parent / 'leaks.supp'}"}
OPTIONS = ("--live", "listed/a,listed/b,t/**", "--durable", "d/**", "--workers", "1", "--linger", "0s",
           "--drain-timeout", "5s", "--heartbeat", "1s")


class Tally:
    """What has failed so far, in all worlds."""

    def __init__(self):
        self.failed, self.runs, self.places = 0, 0, set()

    def __str__(self):
        return f"{self.failed} allocations failed in {self.runs} runs, at {len(self.places)} places"


class World:
    """`options`: of the Gateway."""

    def __init__(self, postgres, tally, *arguments, **options):
        self.postgres, self.tally = postgres, tally
        install_schema(postgres.conninfo)
        self.allocations = Allocations()
        self.numbers = itertools.count(1)
        self.session = postgres.connect()
        self.arguments, self.options = arguments, options
        self.begin()

    def begin(self):
        """Starts the gateway."""
        self.gateway = Gateway("--postgres", self.postgres.conninfo, *OPTIONS, *self.arguments, binary=TORTURED,
                               variables=self.allocations.variables | LEAKS, **self.options)
        self.gateway.wait_ready()
        self.descriptors = self.gateway.descriptors()
        self.maps = read_maps(self.gateway.pid)

    # --- failing

    @contextlib.contextmanager
    def failing(self, first, count, thread):
        """Meanwhile `count` allocations fail from the `first` on; what goes wrong with that is told with the place."""
        self.allocations.arm(first, count, thread)
        try:
            yield
            self.lives()
        except BaseException as error:
            self.allocations.disarm()
            place = describe(self.maps, self.allocations.callers)
            self.gateway.process.poll()
            raise AssertionError(f"allocations {first} to {first + count - 1} of {thread or 'any'} thread: {error!r}\n"
                                 f"failed last:\n{place}\nlog:\n" + "\n".join(self.gateway.log[-30:])) from error
        finally:
            self.allocations.disarm()

    def count(self):
        """Adds what has failed since the last arming to the tally; false if nothing has."""
        failed = self.allocations.failed
        self.tally.failed += failed
        if failed:
            self.tally.runs += 1
            self.tally.places.add(self.allocations.callers[:4])
        return failed > 0

    # --- what is done in it

    def cursor(self):
        return self.session.cursor()

    def publish(self, truths, channel):
        """Publishes the next number by SQL; returns it with its channel."""
        number = next(self.numbers)
        payload = json.dumps({"n": number})
        statement = "select eventgate.publish(%s, %s)" if channel.startswith("d/") else "select pg_notify(%s, %s)"
        truths[channel].append(number)
        with self.cursor() as cursor:
            cursor.execute(statement, (channel, payload))
        return channel, number

    def publish_many(self, truths, channel, count, size):
        """So many durable events at once, with so many bytes of filling each."""
        numbers = list(itertools.islice(self.numbers, count))
        truths[channel] += numbers
        with self.cursor() as cursor:
            cursor.execute("select count(eventgate.publish(%s, json_build_object('n', n, 'fill', repeat('x', %s))))"
                           " from unnest(%s) n", (channel, size, numbers))

    def ask(self, method, target, body=None, **headers):
        """An answer, which is a success or the problem 503; None where the connection was closed without one."""
        try:
            with Client(self.gateway) as connection:
                headers = {"Connection": "close"} | self.gateway.headers | headers
                response = connection.request(method, target, body, **headers).response(method)
        except (Closed, ConnectionError):
            return None
        return response

    def lives(self):
        assert self.gateway.process.poll() is None, "it has died"

    def well(self):
        """It lives, answers, and is ready again."""
        self.lives()
        assert self.gateway.get("/livez").status == 200
        self.gateway.wait_ready()

    def quiet(self):
        """Nothing that a client has had is left."""
        def left():
            metrics = self.gateway.metrics()
            held = {name: value for name, value in metrics.items()
                    if name.startswith(("eventgate_streams", "eventgate_publish_queue_items", "eventgate_log_catching_up",
                                        "eventgate_log_pages_waiting")) and value != 0}
            if metrics["eventgate_connections"] != 1:  # the one that asks
                held["eventgate_connections"] = metrics["eventgate_connections"]
            if self.gateway.descriptors() > self.descriptors + 1:
                held["descriptors"] = (self.gateway.descriptors(), self.descriptors)
            names = {row["name"] for row in self.gateway.get("/channels").json()["channels"]}
            wanted = {name for name in names if name.startswith("t/") and "*" not in name}
            if wanted:  # LISTENed as long as somebody wants them
                held["channels"] = wanted
            self.left = held
            return not held
        try:
            until(left, "nothing is left")
        except AssertionError:
            raise AssertionError(f"left over: {self.left}") from None

    def close(self):
        self.allocations.disarm()
        try:
            code = self.gateway.stop()
            assert code == 0, (code, self.gateway.log_text())
        finally:
            self.session.close()
            self.allocations.close()


def refused(response):
    """Was it not done? None: nobody can say."""
    if response is None:
        return None
    if response.status in (200, 201, 202):
        return False
    if response.header("content-type") == "application/json":  # a batch, row by row
        rows = response.json()["results"]
        assert all(row["status"] == 503 for row in rows), response
        names = {row["problem"]["type"].rpartition(":")[2] for row in rows}
        return None if "outcome-unknown" in names else True
    name, _ = response.problem()
    if name == "outcome-unknown":
        return None
    check_refusal(response)
    return True
