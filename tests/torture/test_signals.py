"""Failing allocations while a signal is dealt with. A reload that fails changes nothing, or all of it is in use, or the log
says which worker had no memory for which part, or had no memory itself, and the next one makes it whole; a drain ends what is
connected properly, and the process with it.
"""

import signal
import time

import pytest

from followers import Client, Follower, StrictNdjsonParser, StrictSseParser
from kit.http import Closed
from kit.tls import Certificate
from kit.tokens import claims, signed
from kit.wait import until
from scenarios import Scenario, Walk
from world import World

PAIRS = 3  # of connections, for two workers


class Version:
    """Of all that a reload changes together: key, certificate, a setting, and a set that one of them has."""

    def __init__(self, folder, number):
        self.secret = bytes([64 + number]) * 64
        self.file = folder / f"secret{number}"
        self.file.write_bytes(self.secret)
        self.certificate = Certificate()
        self.retry_ms = 1000 * number
        self.has_more = number == 2

    def lines(self):
        return [f"keys = HS256:{self.file}", f"tls_certificate = {self.certificate.certificate}",
                f"tls_key = {self.certificate.key}", f"retry = {self.retry_ms}ms"]

    def rights(self):
        return {"Authorization": f"Bearer {signed(claims(['**'], ['**'], admin=True), secret=self.secret)}"}


class ReloadingWorld(World):
    """Over TLS, with two workers; as() what the gateway has in use."""

    def __init__(self, postgres, tally, folder):
        self.versions = [Version(folder, 1), Version(folder, 2)]
        self.config, self.conninfo = folder / "gateway.conf", postgres.conninfo
        self.write(self.versions[0])
        trusted = self.versions[0].certificate
        context = trusted.context()
        context.load_verify_locations(self.versions[1].certificate.certificate)
        trusted.context = lambda: context
        trusted.arguments = lambda: ()
        super().__init__(postgres, tally, "--config", str(self.config), "--workers", "2", certificate=trusted)
        self.use(self.versions[0])

    def write(self, version):
        more = ["[set more]", f"postgres = {self.conninfo}", "live = more/*", ""] if version.has_more else [""]
        self.config.write_text("\n".join(["[gateway]", *version.lines(), *more]))

    def use(self, version):
        self.version = version
        self.gateway.headers = version.rights()

    def other(self):
        return self.versions[1 - self.versions.index(self.version)]

    def reload(self):
        """Sends SIGHUP; is it reloaded, as it says? None: in part, or there was no memory to say so."""
        lines, wait_until = len(self.gateway.log), time.monotonic() + 1
        self.gateway.process.send_signal(signal.SIGHUP)

        def said():
            assert self.gateway.process.poll() is None, "it has died"
            return [line for line in self.gateway.log[lines:] if "configuration reloaded" in line or "not reloaded" in line]
        until(lambda: said() or (self.allocations.failed > 0 and time.monotonic() > wait_until), "what came of it")
        if not said() or any("ERROR no memory for" in line for line in self.gateway.log[lines:]):
            return None
        return "configuration reloaded" in said()[0]

    def _is_in_use(self, version):
        """By those that two connections come to: its certificate, its key and no other, and its setting."""
        other = self.versions[1 - self.versions.index(version)]
        with Client(self.gateway) as one, Client(self.gateway) as two, Client(self.gateway) as three:
            one.request("GET", "/channels/listed/a", Connection=None, **version.rights())
            fits = [one.head().status == 200 and f"retry: {version.retry_ms}\n".encode() in one.chunk()]
            fits.append(two.request("GET", "/channels/listed/a?wait=0", **other.rights()).response().status == 401)
            three.request("GET", "/channels/more/a?wait=0", **version.rights())
            fits.append((three.response().status == 404) != version.has_more)
            return all(fits) and all(each.socket.getpeercert(binary_form=True) == version.certificate.der()
                                     for each in (one, two))

    def wait_for(self, version):
        """All of it is in use, everywhere."""
        until(lambda: all(self._is_in_use(version) for _ in range(PAIRS)), "one version everywhere")


class Reload(Scenario):
    """SIGHUP with other keys, another certificate and another setting, while streams are connected."""

    thread, runs = "pg_eventgate", 8  # the main one

    def __init__(self, world):
        super().__init__(world)
        self.truths = {"d/reload": []}
        self.follower = Follower(world.gateway, "/channels/d/reload", self.truths)

    def before(self):
        self.follower.headers = self.world.version.rights()
        self.follower.begin()
        self.world.write(self.world.other())

    def act(self):
        world = self.world
        self.wanted, reloaded = world.other(), world.reload()
        if reloaded is None:  # the main thread's allocations are over: this one has memory
            assert world.reload()
        if reloaded is not False:
            world.use(self.wanted)

    def after(self):
        world = self.world
        world.wait_for(world.version)
        self.follower.headers = world.version.rights()
        self.follower.verify(world.publish(self.truths, "d/reload"))
        if world.version is not self.wanted:
            assert world.reload(), "with memory it works"
            world.use(self.wanted)
            world.wait_for(self.wanted)

    def done(self):
        self.follower.close()


class Drain(Scenario):
    """SIGTERM to a gateway of its own, while clients of all kinds are connected."""

    CHANNEL, runs = "d/drain", 4

    def __init__(self, world):
        super().__init__(world)
        self.streams = []

    def before(self):
        self.world.start()
        place = self.world.gateway.get(f"/channels/{self.CHANNEL}?wait=0&format=poll").json()["next"]
        for query, parser in (("?format=sse", StrictSseParser()), ("?format=ndjson", StrictNdjsonParser()),
                              (f"?wait=60&after={place}", None)):
            connection = Client(self.world.gateway)
            connection.request("GET", f"/channels/{self.CHANNEL}{query}", Connection=None)
            if parser:
                assert connection.head().status == 200
                assert parser.feed(connection.chunk())
            self.streams.append((connection, parser))
        until(lambda: self.world.gateway.metric('eventgate_streams{transport="poll"}') == 1, "the long-poll waits")

    def act(self):
        self.world.gateway.process.send_signal(signal.SIGTERM)
        for connection, parser in self.streams:
            connection.deadline = time.monotonic() + 20
            try:
                self._ends(connection, parser)
            except (Closed, ConnectionError):
                assert self.world.allocations.failed > 0, "its end is said where there is memory"
        assert self.world.gateway.ended() == 0

    @staticmethod
    def _ends(connection, parser):
        if parser is None:
            response = connection.response()
            assert response.status == 503 or response.json()["events"] == [], response
            return
        while chunk := connection.chunk():
            assert all(item.kind == "cursor" for item in parser.feed(chunk)), chunk

    def after(self):
        for connection, _ in self.streams:
            connection.close()
        self.streams = []


class DrainedWorld(World):
    """Has a new gateway for each run."""

    def start(self):
        self.allocations.disarm()
        assert self.gateway.stop() == 0
        self.begin()

    def lives(self):
        """It need not."""

    well = lives


@pytest.fixture(scope="module")
def reloading_world(postgres, tally, tmp_path_factory):
    one = ReloadingWorld(postgres, tally, tmp_path_factory.mktemp("reload"))
    yield one
    one.close()
    for version in one.versions:
        version.certificate.remove()


def test_reload(reloading_world, pytestconfig):
    Walk(Reload(reloading_world), pytestconfig.getoption("--long")).run()
    reloading_world.quiet()


def test_drain(postgres, tally, pytestconfig):
    world = DrainedWorld(postgres, tally)
    Walk(Drain(world), pytestconfig.getoption("--long")).run()
    world.close()
