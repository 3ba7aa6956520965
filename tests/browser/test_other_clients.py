"""Clients that others wrote, in one story: each follows a durable and a live channel with a token of its own, while the
gateway is killed, and later drained with a proxy that answers 502 meanwhile. What they can't is in the README, too."""

import base64
import contextlib
import http.server
import json
import pathlib
import signal
import threading
import urllib.parse

import pytest

from kit.fixtures import starting
from kit.gateway import install_schema
from kit.proxy import Proxy
from kit.tokens import token
from kit.wait import until
from test_clients import PROGRAMS, Client, chromium, numbers

HERE = pathlib.Path(__file__).parent
DURABLE, LIVE = "d/story", "t/story"
IN_CHROMIUM = ["eventsource", "reconnecting_eventsource", "fetch_event_source"]
IN_NODE = ["npm_eventsource", "eventsource_client"]
IN_PYTHON = ["python", "curl"]
NAMES = IN_CHROMIUM + IN_NODE + IN_PYTHON
END_AT_502 = ["eventsource", "npm_eventsource"]  # as the standard has it
each_client = pytest.mark.parametrize("name", NAMES)


def command(name, url):
    """The program that subscribes; its token says whose it is."""
    mine = token([DURABLE, LIVE], subject=name)
    if name in IN_CHROMIUM:
        return ["node", f"{PROGRAMS}/chromium.mjs", url, chromium(), name, mine]
    if name in IN_NODE:
        return ["node", f"{PROGRAMS}/node.mjs", url, name, mine]
    return ["/usr/bin/python3", str(HERE / f"with_{name}.py"), url, mine]


class BadGateway(http.server.ThreadingHTTPServer):
    """What proxies say while no gateway is there; `seen`: whom it has said it to."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), BadGatewayHandler)
        self.seen = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class BadGatewayHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        (given,) = query.get("access_token", [self.headers.get("Authorization", "").removeprefix("Bearer ")])
        body = given.split(".")[1]
        self.server.seen.add(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["sub"])
        self.send_response(502)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Told:
    """What one client has been told of each channel."""

    def __init__(self, client):
        events = [json.loads(each["data"]) for each in client.of("message")]
        self.durable = [event["data"] for event in events if event["channel"] == DURABLE]
        self.live = [event["data"] for event in events if event["channel"] == LIVE]
        self.gaps = [json.loads(each["data"]) for each in client.of("gap")]


class Reader(Client):
    """One of the clients, by name."""

    def __init__(self, name, url):
        super().__init__(command(name, url))
        self.name = name

    def wait_last(self, durable, live):
        """Until these are the last events that it has heard."""
        def heard():
            told = Told(self)
            return (told.durable[-1:], told.live[-1:]) == ([durable], [live])

        until(heard, f"{self.name} hears {durable} and {live}", timeout=60)

    def wait_ended(self):
        until(lambda: self.of("error") and self.of("error")[-1]["data"] == 2, f"{self.name} has ended for good")

    def close(self):
        if self.name in IN_PYTHON:
            self.process.terminate()
        super().close()


class Story:
    """Plays it once; `at_first` and `at_last`: what each client has been told behind the kill, and in the end."""

    def __init__(self, postgres, start, proxy):
        self.postgres, self.start, self.proxy = postgres, start, proxy
        self.gateway = start()
        proxy.target = self.gateway.address
        url = f"http://127.0.0.1:{proxy.port}/events?channel={DURABLE}&channel={LIVE}"
        self.readers = [Reader(name, url) for name in NAMES]
        self.at_first, self.at_last = {}, {}

    def play(self):
        for reader in self.readers:
            reader.wait("cursor", 1)
        self.publish(1, 3, "before 4")
        for reader in self.readers:
            reader.wait_last(3, "before 4")
        self.gateway.stop(signal.SIGKILL)
        self.publish(4, 6, "missed")
        self.go_on(self.readers, 7)
        self.at_first = {reader.name: Told(reader) for reader in self.readers}
        self.meet_a_bad_gateway()
        self.publish(10, 12, "missed, too")
        self.go_on([reader for reader in self.readers if reader.name not in END_AT_502], 13)
        self.at_last = {reader.name: Told(reader) for reader in self.readers}

    def publish(self, first, last, live):
        for number in numbers(first, last):
            self.postgres.sql("select eventgate.publish(%s, %s)", DURABLE, number)
        self.postgres.notify(LIVE, json.dumps(live))

    def go_on(self, readers, number):
        """With a new gateway, and what is published then."""
        gaps = [len(reader.of("gap")) for reader in readers]
        self.gateway = self.start()
        self.proxy.target = self.gateway.address
        for reader, before in zip(readers, gaps):
            reader.wait("gap", before + 1)
        self.publish(number, number + 2, f"before {number + 3}")
        for reader in readers:
            reader.wait_last(number + 2, f"before {number + 3}")

    def meet_a_bad_gateway(self):
        """The gateway is drained, so that streams end in order; then everybody is answered 502."""
        with BadGateway() as bad:
            self.proxy.target = bad.server_address
            assert self.gateway.stop() == 0
            until(lambda: bad.seen == set(NAMES), "everybody has been answered 502", timeout=60)
            for reader in self.readers:
                if reader.name in END_AT_502:
                    reader.wait_ended()
            bad.shutdown()

    def close(self):
        for reader in self.readers:
            reader.close()


@pytest.fixture(scope="module")
def story(postgres, secret_file):
    install_schema(postgres.conninfo)
    with starting(postgres) as start, contextlib.closing(Proxy(None)) as proxy:
        def gateway():
            return start("--keys", f"HS256:{secret_file}", "--retry", "100ms", "--workers", "2", durable="d/**").wait_ready()

        with contextlib.closing(Story(postgres, gateway, proxy)) as played:
            played.play()
            yield played


@each_client
def test_durable_events_come_once_and_in_order_whatever_happens_to_the_gateway(story, name):
    assert story.at_first[name].durable == list(range(1, 10))
    assert story.at_last[name].durable == list(range(1, 10 if name in END_AT_502 else 16))


@each_client
def test_live_events_that_may_be_missing_are_told_as_a_gap(story, name):
    told = story.at_first[name] if name in END_AT_502 else story.at_last[name]
    assert told.live == ["before 4", "before 10", "before 16"][:2 if name in END_AT_502 else 3]
    assert [(gap["reason"], gap["channels"]) for gap in told.gaps] == (len(told.live) - 1) * [("reconnect", [LIVE])]
