"""What can be done with a gateway among failing allocations, and the walk that does it over and over: in the first run
the first allocation fails, in the second one the second, until one run has so few that none failed.

Whatever fails: the gateway lives, the client gets an answer that it can use or a closed connection, subscribers get every
event once and in order, or a gap (for live channels only: the log has the others), the next request works, and nothing is
left over.
"""

import json

from followers import Follower
from world import refused

class Scenario:
    """before() and after() run undisturbed, act() among failing allocations. `count`: how many fail in a row; `runs`: how
    many of them are made, spread over its allocations, unless it is for long."""

    thread, count, runs = "", 1, 24

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

    def __init__(self, world, target, channels, format="sse", after=None, headers=None):
        super().__init__(world)
        self.target, self.format, self.after_what, self.headers = target, format, after, headers
        self.follower = None
        self.truths = {channel: [] for channel in channels}
        self.channel = channels[0]

    def before(self):
        self.follower = Follower(self.world.gateway, self.target, self.truths, self.format, headers=self.headers)
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
            follower.returns = 0
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


class Walk:
    """Runs a scenario over and over; `long`: for each of its allocations."""

    def __init__(self, scenario, long):
        self.scenario, self.long = scenario, long

    def run(self):
        total = self._measure()
        step = 1 if self.long else max(1, -(-total // self.scenario.runs))
        number = 1
        try:
            while self._run(number) or number < total:
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
