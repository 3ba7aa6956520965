"""Failing allocations where access is decided: tokens, revocations and rates. Whatever fails, nobody is let in who would
not be otherwise; and over TLS what holds without it.
"""

import itertools
import json
import re
import socket
import time

import pytest

from followers import Client, Follower, StrictNdjsonParser, StrictSseParser, check_refusal
from kit.http import Closed
from kit.tls import Certificate
from kit.tokens import SECRET, KeyPair, claims, encode, signed
from kit.wait import until
from scenarios import Connected, Posting, Scenario, Subscribing, Walk
from world import World, refused

PAGE = "https://app.example"


def by_header(token):
    return {"Authorization": f"Bearer {token}"}


def by_cookie(token):
    return {"Authorization": None, "Cookie": f"eventgate_token={token}", "Origin": PAGE}


class Keys:
    """A JWKS with a key of each kind, and tokens that they sign."""

    def __init__(self, folder):
        self.curve, self.rsa = KeyPair(folder, "ES256"), KeyPair(folder, "RS256")
        shared = {"kty": "oct", "k": encode(SECRET), "kid": "shared", "alg": "HS256"}
        self.file = folder / "keys.json"
        self.file.write_text(json.dumps({"keys": [shared, self.curve.jwk("curve"), self.rsa.jwk("rsa")]}))

    @staticmethod
    def shared(*granted, kid="shared", **said):
        return signed(claims(*granted, **said), kid=kid)

    def everything(self):
        return self.shared(["**"], ["**"], admin=True, subject="the test")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def world(postgres, tally, keys):
    one = World(postgres, tally, "--keys", str(keys.file), "--allowed-origins", PAGE, headers=by_header(keys.everything()))
    one.keys = keys
    yield one
    one.close()


@pytest.fixture(scope="module")
def tls_world(postgres, tally, keys):
    """There everything is asked over TLS, with a cookie whose token is signed on a curve."""
    certificate = Certificate()
    token = keys.curve.signed(claims(["**"], ["**"], admin=True), kid="curve")
    one = World(postgres, tally, "--keys", str(keys.file), "--allowed-origins", PAGE, certificate=certificate,
                headers=by_cookie(token))
    yield one
    one.close()
    certificate.remove()


@pytest.fixture(scope="module")
def limited_world(postgres, tally):
    one = World(postgres, tally, "--publish-rate", "1/h", "--subscribe-rate", "1/h", "--publish-burst", str(Limited.BURST),
                "--subscribe-burst", str(Limited.BURST), "--trusted-proxies", "127.0.0.1")
    yield one
    one.close()


def sends_away(response):
    """Is it the answer to an EventSource that says no more than to come again?"""
    return (response.status == 200 and response.header("content-length")
            and re.fullmatch(rb"retry: \d+\n\n", response.body) is not None)


class Judging(Scenario):
    """Good tokens and bad ones come by all ways. A bad one gets its 401 or 403, or is not judged at all (503)."""

    OPEN, CLOSED = "d/open", "d/closed"

    def __init__(self, world):
        super().__init__(world)
        keys = world.keys
        granted = claims([self.OPEN], [self.OPEN])
        good = keys.shared([self.OPEN], [self.OPEN])
        self.good = [by_header(good), by_cookie(keys.rsa.signed(granted, kid="rsa")),
                     by_header(keys.curve.signed(granted, kid="curve"))]
        stranger = b"a secret that nobody has told the gateway, and that is long enough"
        head, body, signature = good.split(".")
        others = keys.shared([self.CLOSED, "**"], [self.CLOSED, "**"])
        self.revoked = by_header(keys.shared(["**"], ["**"], subject="revoked long ago"))
        world.postgres.sql("select eventgate.revoke('revoked long ago')")
        until(lambda: world.gateway.get(f"/channels/{self.OPEN}?wait=0", **self.revoked).status == 401, "it is known")
        self.bad = [by_header(token) for token in (
            signed(granted, secret=stranger, kid="shared"), signed(granted, secret=stranger),
            keys.shared(["**"], ["**"], lifetime=-100), keys.shared(["**"], ["**"], kid="unknown"),
            f"{encode({'alg': 'none', 'kid': 'shared'})}.{body}.", f"{head}.{others.split('.')[1]}.{signature}",
            signed(granted, secret=keys.rsa.public.read_bytes(), kid="rsa"),
            keys.curve.signed(granted, kid="rsa"))] + [self.revoked, {"Authorization": None}]
        bad_curve = keys.curve.signed(granted, kid="curve")
        self.bad.append(by_cookie(bad_curve[:-8] + ("AAAAAAAA" if bad_curve[-8:] != "AAAAAAAA" else "BBBBBBBB")))
        bad_rsa = keys.rsa.signed(granted, kid="rsa")
        self.bad.append(by_header(bad_rsa[:-8] + ("AAAAAAAA" if bad_rsa[-8:] != "AAAAAAAA" else "BBBBBBBB")))
        self.ungranted = self.good + [by_header(keys.shared(["d/others/**"], ["d/others/**"]))]

    def _ask(self, strict, wanted, method, target, body=None, **headers):
        response = self.world.ask(method, target, body, **headers)
        if not strict and response is None:
            return
        assert response, (target, headers)
        if response.status == wanted:
            return
        assert not strict, (wanted, response, target, headers)
        if "event-stream" in headers.get("Accept", "") and sends_away(response):
            return
        assert refused(response) or (wanted == 201 and response.status == 503), (response, target, headers)

    def _all(self, strict):
        for headers in self.good:
            self._ask(strict, 200, "GET", f"/channels/{self.OPEN}?wait=0", **headers)
            self._ask(strict, 201, "POST", f"/channels/{self.OPEN}", '{"n":0}', **headers)
        for wanted, channel, sets in ((401, self.OPEN, self.bad), (403, self.CLOSED, self.ungranted)):
            for headers in sets:
                self._ask(strict, wanted, "GET", f"/channels/{channel}?wait=0", **headers)
                self._ask(strict, wanted, "GET", f"/events?channel={channel}", Accept="text/event-stream", **headers)
                self._ask(strict, wanted, "POST", f"/channels/{channel}", '"not this"', **headers)
        for headers in self.bad + self.ungranted:
            self._ask(strict, 403 if headers in self.ungranted else 401, "GET", "/sets", **headers)
        foreign = self.good[1] | {"Origin": "https://evil.example"}
        self._ask(strict, 403, "POST", f"/channels/{self.OPEN}", '"not this"', **foreign)

    def act(self):
        self._all(False)

    def after(self):
        self._all(True)
        with self.world.cursor() as cursor:
            cursor.execute("select count(*) from eventgate.log where data::text = '\"not this\"'")
            assert cursor.fetchone() == (0,), "something was published that may not"


class Revoking(Scenario):
    """A subject that is connected is revoked: its streams end, and its tokens are refused from then on. Another's goes
    on."""

    CHANNEL = "d/revoked"

    def __init__(self, world):
        super().__init__(world)
        self.subjects = itertools.count(1)
        self.truths = {self.CHANNEL: []}
        self.other = Follower(world.gateway, f"/channels/{self.CHANNEL}", self.truths)

    def before(self):
        self.subject = f"subject {next(self.subjects)}"
        self.rights = by_header(self.world.keys.shared([self.CHANNEL], [self.CHANNEL], subject=self.subject))
        self.other.begin()
        place = self._get("?wait=0").json()["next"]
        self.streams = []
        for query, parser in (("?format=sse", StrictSseParser()), ("?format=ndjson", StrictNdjsonParser()),
                              (f"?wait=60&after={place}", None)):
            connection = Client(self.world.gateway)
            connection.request("GET", f"/channels/{self.CHANNEL}{query}", Connection=None, **self.rights)
            if parser:
                head = connection.head()
                assert head.status == 200, head
                assert parser.feed(connection.chunk())
            self.streams.append((connection, parser))
        until(lambda: self.world.gateway.metric('eventgate_streams{transport="poll"}') == 1, "the long-poll waits")

    def _get(self, query):
        return self.world.ask("GET", f"/channels/{self.CHANNEL}{query}", **self.rights)

    def _is_refused(self):
        answers = [self._get("?wait=0"), self.world.ask("POST", f"/channels/{self.CHANNEL}", '"not this"', **self.rights)]
        return all(answer is not None and answer.status == 401 for answer in answers)

    @staticmethod
    def _ended(connection, parser):
        """Reads it to its end: whole chunks and frames without an event, or an empty answer."""
        try:
            if parser is None:
                response = connection.response()
                assert response.status in (200, 401, 503), response
                assert response.status != 200 or response.json()["events"] == [], response
                return
            while chunk := connection.chunk():
                assert all(item.kind == "cursor" for item in parser.feed(chunk))
        except (Closed, ConnectionError):
            pass

    def act(self):
        with self.world.cursor() as cursor:
            cursor.execute("select eventgate.revoke(%s)", (self.subject,))
        for connection, parser in self.streams:
            connection.deadline = time.monotonic() + 20
            self._ended(connection, parser)
        until(self._is_refused, "its tokens are refused")
        for query in ("?wait=0", "?format=ndjson"):
            answer = self._get(query)
            assert answer is None or answer.status == 401 or check_refusal(answer), answer
        self.other.until(*self.world.publish(self.truths, self.CHANNEL))

    def after(self):
        assert self._is_refused()
        self.other.verify(self.world.publish(self.truths, self.CHANNEL))
        for connection, _ in self.streams:
            connection.close()

    def done(self):
        self.other.close()


class Limited(Scenario):
    """More is asked for than a rate allows: whatever fails, no more than that is let in."""

    BURST = 2

    def __init__(self, world):
        super().__init__(world)
        self.clients = (f"2001:db8:{number:x}::1" for number in itertools.count(1))

    def _passes(self, wanted, method, target, body=None, **headers):
        response = self.world.ask(method, target, body, **headers)
        if response is None or sends_away(response):
            return False
        if response.status == 429:
            assert response.problem()[0] == "too-many" and int(response.header("retry-after")) > 3000, response
            return False
        return response.status == wanted or refused(response) is False

    def _count(self):
        client, text = {"X-Forwarded-For": next(self.clients)}, {"Content_Type": "application/json"}
        batch = json.dumps([{"channel": "d/limited", "data": 1}] * self.BURST)
        return (sum(self._passes(201, "POST", "/channels/d/limited", "1", **client) for _ in range(self.BURST + 2))
                + self.BURST * self._passes(201, "POST", "/events", batch, **client, **text),
                sum(self._passes(200, "GET", "/channels/d/limited?wait=0", **client) for _ in range(self.BURST + 2))
                + self._passes(200, "GET", "/channels/d/limited", Accept="text/event-stream", **client))

    def act(self):
        assert max(self._count()) <= self.BURST

    def after(self):
        assert self._count() == (self.BURST, self.BURST)


class Stuck(Scenario):
    """A reader whose socket is full, so that what is encrypted for it waits, reads on."""

    SIZE, runs = 400_000, 3

    def __init__(self, world):
        super().__init__(world)
        self.truths = {"d/stuck": []}

    def before(self):
        self.follower = Follower(self.world.gateway, "/channels/d/stuck", self.truths, receive_buffer=4096).begin()

        def one_more_and_it_is_full():
            self.world.publish_many(self.truths, "d/stuck", 1, self.SIZE)
            return self.world.gateway.metric("eventgate_streams_blocked") > 0
        until(one_more_and_it_is_full, "its socket is full")
        self.follower.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def act(self):
        self.follower.until(*self.world.publish(self.truths, "d/stuck"))

    def after(self):
        self.follower.verify(self.world.publish(self.truths, "d/stuck"))
        self.follower.close()


@pytest.mark.parametrize("scenario", [Judging, Revoking])
def test_access(world, scenario, pytestconfig):
    Walk(scenario(world), pytestconfig.getoption("--long")).run()
    world.quiet()


def test_rates(limited_world, pytestconfig):
    Walk(Limited(limited_world), pytestconfig.getoption("--long")).run()
    limited_world.quiet()


TLS = {
    "live-sse": lambda world: Subscribing(world, "/channels/listed/a", ["listed/a"]),
    "durable-ndjson": lambda world: Subscribing(world, "/channels/d/tls", ["d/tls"], "ndjson", "journal"),
    "poll": lambda world: Subscribing(world, "/channels/d/tls/poll", ["d/tls/poll"], "poll"),
    "connected": Connected,
    "post": lambda world: Posting(world, durable=True, key=True),
    "post-batch": lambda world: Posting(world, durable=False, batch=True),
    "stuck": Stuck,
}


@pytest.mark.parametrize("name", TLS)
def test_over_tls(tls_world, name, pytestconfig):
    scenario = TLS[name](tls_world)
    scenario.runs = min(scenario.runs, 6)  # handshakes take their time
    Walk(scenario, pytestconfig.getoption("--long")).run()
    tls_world.quiet()
