"""Failing allocations one by one through whole requests.

Each scenario is run again and again: in the first run its first allocation fails, in the second one its second, until
one run has so few that none failed. Whatever fails: the gateway lives, the client gets an answer that it can use or a
closed connection, subscribers get every event once and in order, or a gap (for live channels only: the log has the
others), the next request works, and nothing is left over.
"""

import json
import signal

import pytest

from followers import Follower
from world import World, refused

QUICK_RUNS = 24  # of each scenario, spread over its allocations; --long: all


@pytest.fixture(scope="module")
def world(postgres, tally):
    one = World(postgres, tally)
    yield one
    one.close()


class Scenario:
    """before() and after() run undisturbed, act() among failing allocations. `count`: how many fail in a row."""

    thread, count = "", 1

    def __init__(self, world):
        self.world = world

    def before(self):
        pass

    def act(self):
        raise NotImplementedError

    def after(self):
        pass

    def done(self):
        pass


class Subscribing(Scenario):
    """A client subscribes, and gets what is published then."""

    def __init__(self, world, target, channels, format="sse", after=None):
        super().__init__(world)
        self.target, self.format, self.after_what = target, format, after
        self.follower = None
        self.truths = {channel: [] for channel in channels}
        self.channel = channels[0]

    def before(self):
        self.follower = Follower(self.world.gateway, self.target, self.truths, self.format)
        if self.after_what == "journal":  # it was there, has gone, and comes back for what it has missed
            self.follower.begin()
            self.follower.close()
            self.follower.returns = 0
            self.world.publish(self.truths, self.channel)
        elif self.after_what == "earliest":
            self.follower.cursor, self.follower.start = "earliest", {channel: 0 for channel in self.truths}

    def act(self):
        self.follower.begin()
        for channel in self.truths:
            self.follower.until(*self.world.publish(self.truths, channel))

    def after(self):
        self.follower.verify(*[self.world.publish(self.truths, channel) for channel in self.truths])
        self.follower.close()

    def done(self):
        self.follower.close()


class Connected(Scenario):
    """Clients of both kinds and all formats are there, and something happens: `do()`."""

    def __init__(self, world):
        super().__init__(world)
        self.live, self.durable = {"listed/b": []}, {"d/both": []}
        self.followers = [Follower(world.gateway, "/channels/listed/b", self.live),
                          Follower(world.gateway, "/channels/listed/b", self.live, "ndjson"),
                          Follower(world.gateway, "/channels/d/both", self.durable),
                          Follower(world.gateway, "/events?channel=d/both/**&channel=d/both", self.durable, "ndjson"),
                          Follower(world.gateway, "/channels/d/both", self.durable, "poll")]

    def before(self):
        for follower in self.followers:
            follower.begin()

    def do(self):
        pass

    def act(self):
        self.do()
        last = {"listed/b": self.world.publish(self.live, "listed/b"),
                "d/both": self.world.publish(self.durable, "d/both")}
        for follower in self.followers:
            for channel in follower.truths:
                follower.until(*last[channel])

    def after(self):
        last = {"listed/b": self.world.publish(self.live, "listed/b"),
                "d/both": self.world.publish(self.durable, "d/both")}
        for follower in self.followers:
            follower.verify(*[last[channel] for channel in follower.truths])

    def done(self):
        for follower in self.followers:
            follower.close()


class Reconnecting(Connected):
    """Every session of the gateway is ended, and it comes back."""

    def do(self):
        with self.world.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity"
                           " where application_name like 'pg_eventgate %'")


class Storm(Connected):
    """There is no memory at all for a while."""

    count = 40


class Reloading(Connected):
    """SIGHUP."""

    def do(self):
        self.world.gateway.process.send_signal(signal.SIGHUP)


class Posting(Scenario):
    """A client publishes. What was answered 201 or 202 is there once, what was refused isn't; the rest may be there."""

    def __init__(self, world, durable, batch=False, key=False):
        super().__init__(world)
        self.durable, self.batch, self.key = durable, batch, key
        self.channel = "d/post" if durable else "t/post"
        self.truths = {self.channel: []}
        self.follower = Follower(world.gateway, f"/channels/{self.channel}", self.truths)
        self.session = world.postgres.connect()
        with self.session.cursor() as cursor:
            cursor.execute('listen "t/post"')

    def before(self):
        self.follower.begin()
        self.numbers = [next(self.world.numbers) for _ in range(3 if self.batch else 1)]

    def _bodies(self):
        # Strings of lengths at which jansson has to have more memory in the middle of them, or at their end.
        return [{"n": number, "fill": ["x" * length for length in range(10, 36)]} for number in self.numbers]

    def act(self):
        headers = {"Content_Type": "application/json"}
        if self.batch:
            items = [{"channel": self.channel, "data": body} for body in self._bodies()]
            if self.key:
                for item, number in zip(items, self.numbers):
                    item |= {"key": f"torture {number}", "type": "torture"}
            self.response = self.world.ask("POST", "/events", json.dumps(items), **headers)
        else:
            if self.key:
                headers["Idempotency_Key"] = f"torture {self.numbers[0]}"
            body = json.dumps(self._bodies()[0])
            self.response = self.world.ask("POST", f"/channels/{self.channel}", body, **headers)

    def _there(self):
        """Those that PostgreSQL has, and the bodies as they are in it."""
        with self.session.cursor() as cursor:
            if self.durable:
                cursor.execute("select data::text from eventgate.log where channel = %s and (data->>'n')::int = any(%s)"
                               " order by pos", (self.channel, self.numbers))
                return [json.loads(text) for (text,) in cursor.fetchall()]
            cursor.execute("select 1")
        self.session.poll()
        there = [json.loads(notify.payload) for notify in self.session.notifies]
        self.session.notifies.clear()
        return [body for body in there if body["n"] in self.numbers]

    def after(self):
        not_done = refused(self.response)
        if not_done is None and self.key:  # with its key it can be sent again
            self.act()
            not_done = refused(self.response)
            assert not_done is False, self.response
        there = self._there()
        wanted = self._bodies()
        assert there == [body for body in wanted if body in there], ("not as they were sent", there)
        if not_done is True:
            assert not there, (self.response, there)
        elif not_done is False:
            assert there == wanted, (self.response, there)
        self.truths[self.channel] += [body["n"] for body in there]
        # The stream may have been closed over it, and its channel isn't LISTENed to until the follower is back.
        self.follower.until(*self.world.publish(self.truths, self.channel))
        self.follower.verify(self.world.publish(self.truths, self.channel))

    def done(self):
        self.follower.close()
        self.session.close()


class Asking(Scenario):
    """Everything else that can be asked for."""

    TARGETS = {"/livez": 200, "/readyz": 200, "/healthz": 200, "/metrics": 200, "/channels": 200, "/sets": 200,
               "/nothing": 404, "/channels/unknown/channel": 404, "/events": 400, "/channels/t/x?after=nonsense": 400,
               "/events?channel=t/*": 400}

    def act(self):
        for target, status in self.TARGETS.items():
            response = self.world.ask("GET", target)
            if response is None or (response.status == 503 and self.overloaded(response)):
                continue
            assert response.status == status, (target, response)
            if response.header("content-type") == "application/json":
                response.json()
            elif target == "/metrics":
                assert response.body.endswith(b"\n") and b"eventgate_connections " in response.body

    @staticmethod
    def overloaded(response):
        return b"memory" in response.body or response.problem()[0] == "overloaded"


class Walk:
    """Runs a scenario over and over."""

    def __init__(self, scenario, long):
        self.scenario, self.long = scenario, long

    def run(self):
        total = self._measure()
        step = 1 if self.long else max(1, -(-total // QUICK_RUNS))
        number = 1
        try:
            while self._run(number):
                number += step
        finally:
            self.scenario.done()

    def _measure(self):
        """How many allocations the scenario has when none fails."""
        self._run(2**62)
        return self.scenario.world.allocations.seen

    def _run(self, number):
        scenario, world = self.scenario, self.scenario.world
        scenario.before()
        with world.failing(number, scenario.count, scenario.thread):
            scenario.act()
            world.allocations.disarm()
            world.well()
            scenario.after()
        return world.count()


SUBSCRIPTIONS = {
    "live-sse": ("/channels/listed/a", ["listed/a"]),
    "live-ndjson": ("/channels/listed/a", ["listed/a"], "ndjson"),
    "live-poll": ("/channels/listed/a", ["listed/a"], "poll"),
    "pattern": ("/channels/t/x", ["t/x"]),
    "durable-sse": ("/channels/d/sse", ["d/sse"]),
    "durable-ndjson": ("/channels/d/ndjson", ["d/ndjson"], "ndjson"),
    "durable-poll": ("/channels/d/poll", ["d/poll"], "poll"),
    "wildcard": ("/events?channel=d/w/*&channel=listed/*", ["d/w/1", "d/w/2", "listed/a"]),
    "journal-live": ("/channels/t/y", ["t/y"], "sse", "journal"),
    "journal-durable": ("/channels/d/journal", ["d/journal"], "sse", "journal"),
    "journal-poll": ("/channels/d/journal2", ["d/journal2"], "poll", "journal"),
    "log-sse": ("/channels/d/log", ["d/log"], "sse", "earliest"),
    "log-poll": ("/channels/d/log2", ["d/log2"], "poll", "earliest"),
}


SCENARIOS = {
    "connected": Connected,
    "reconnecting": Reconnecting,
    "storm": Storm,
    "reloading": Reloading,
    "post-live": lambda world: Posting(world, durable=False),
    "post-durable": lambda world: Posting(world, durable=True),
    "post-keyed": lambda world: Posting(world, durable=True, key=True),
    "post-batch-live": lambda world: Posting(world, durable=False, batch=True),
    "post-batch-keyed": lambda world: Posting(world, durable=True, batch=True, key=True),
    "asking": Asking,
}


ENOUGH = 1000


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
def test_subscribing(world, name, pytestconfig):
    Walk(Subscribing(world, *SUBSCRIPTIONS[name]), pytestconfig.getoption("--long")).run()
    world.quiet()


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(world, name, pytestconfig):
    Walk(SCENARIOS[name](world), pytestconfig.getoption("--long")).run()
    world.quiet()


def test_enough_allocations_have_failed(tally, request):
    """After all of the above."""
    if len(request.session.items) <= len(SUBSCRIPTIONS) + len(SCENARIOS):
        pytest.skip("only some scenarios were run")
    assert tally.failed >= ENOUGH, str(tally)
