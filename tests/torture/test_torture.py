"""Failing allocations one by one through whole requests of a gateway without keys."""

import signal

import pytest

from scenarios import Connected, Posting, Scenario, Subscribing, Walk
from world import World


@pytest.fixture(scope="module")
def world(postgres, tally):
    one = World(postgres, tally)
    yield one
    one.close()


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


class Paging(Subscribing):
    """It comes back for so much that the log gives it in several pages."""

    def __init__(self, world, format="sse"):
        channel = f"d/pages/{format}"
        super().__init__(world, f"/channels/{channel}", [channel], format, "earliest")
        world.publish_many(self.truths, channel, 1300, 10)  # 500 at a time


class Asking(Scenario):
    """Everything else that can be asked for."""

    TARGETS = {"/livez": 200, "/readyz": 200, "/healthz": 200, "/metrics": 200, "/channels": 200, "/sets": 200,
               "/openapi.json": 200, "/nothing": 404, "/channels/unknown/channel": 404, "/events": 400, "/channels/t/x?after=nonsense": 400,
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
    "pages-sse": Paging,
    "pages-poll": lambda world: Paging(world, "poll"),
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
