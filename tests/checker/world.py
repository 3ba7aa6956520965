"""What the checker sets up: a database, gateways, and a network between them that can fail."""

import contextlib
import multiprocessing
import pathlib
import re
import signal
import socket
import tempfile
import time

import publishers
from kit.gateway import Gateway
from kit.postgres import Postgres
from kit.proxy import Proxy
from kit.wait import until
from subscribers import Gauges, Signals

# What a reload adds.
MORE = "\n[set more]\n{conninfo}\nlive = more/*\n"
EXTRA = ",extra"

# Not forked: the proxies' connections are this process's alone, so that a cut is a cut.
processes = multiprocessing.get_context("spawn")


class World:
    """A scene says how many GATEWAYS there are, their CONFIGURATION, the LIVE channels, and what is LEAST, and has
    publishers(), cast(), judge() and Faults."""

    SETTINGS = ()
    ROLE = "postgres"

    def __init__(self, options):
        self.options = options
        with contextlib.ExitStack() as self.stack:
            self.make()
            self.stack = self.stack.pop_all()

    def make(self):
        self.signals = Signals(processes)
        self.gauges = [Gauges(processes) for _ in range(2)]
        self.refusals = []  # of publishers: [(time, text)]
        self.unanswered = []  # of publishers and of who comes for one answer: [(time, text)]
        self.connects = processes.Value("q", 0)
        self.acknowledged = processes.Value("q", 0)
        self.postgres = Postgres(self.SETTINGS)
        self.stack.callback(lambda: self.postgres.remove())
        self.postgres.start()
        self.install()
        self.proxies = [self.stack.enter_context(contextlib.closing(Proxy(self.postgres.socket)))
                        for _ in range(self.GATEWAYS)]
        self.addresses = [free_address() for _ in range(self.GATEWAYS)]
        self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.gateways = [None] * self.GATEWAYS
        for number in range(self.GATEWAYS):
            self.start_gateway(number)
        self.stack.callback(lambda: [gateway.stop() for gateway in self.gateways])

    def install(self):
        pass

    def journal_events(self):
        return self.JOURNAL_EVENTS

    def start_gateway(self, number):
        configuration = self.folder / f"{number}.conf"
        configuration.write_text(self.CONFIGURATION.format(
            journal_events=self.journal_events(), conninfo=f"host=127.0.0.1 port={self.proxies[number].port} user={self.ROLE} dbname=postgres"))
        variables = {"EVENTGATE_SABOTAGE": self.options.sabotage} if self.options.sabotage else {}
        self.gateways[number] = Gateway("--config", str(configuration), listen="%s:%d" % self.addresses[number],
                                        binary=self.options.binary, variables=variables)
        self.gateways[number].wait_ready()

    def reload(self, number):
        """Adds what MORE says and a live channel to the first set that has some, or takes both away again."""
        path = self.folder / f"{number}.conf"
        text, gateway = path.read_text(), self.gateways[number]
        conninfo = re.search(r"^postgres = .*$", text, re.MULTILINE)[0]
        added = MORE.format(conninfo=conninfo)
        if added in text:
            text = text.replace(added, "").replace(EXTRA, "")
        else:
            text = re.sub(r"^(live = .*)$", rf"\1{EXTRA}", text, count=1, flags=re.MULTILINE) + added
        path.write_text(text)
        lines = len(gateway.log)
        gateway.process.send_signal(signal.SIGHUP)
        assert "not reloaded" not in gateway.wait_log_behind(lines, "configuration (not )?reloaded")

    def deliveries(self):
        return sum(gauges.deliveries.value for gauges in self.gauges)

    def publish_markers(self, is_over):
        """Marks every live channel again and again, until every subscriber has seen the end of each of its channels."""
        rows = []

        def all_done():
            number = len(rows) // max(len(self.LIVE), 1) + 1
            for channel in self.LIVE:
                sent_at = time.monotonic()
                self.postgres.notify(channel, f'{{"p":0,"n":{number}}}')
                rows.append((channel, number, sent_at, publishers.COMMITTED, None))
            return is_over()

        until(all_done, "every subscriber comes to the end", 90)
        return rows

    def settle(self):
        """Called when nothing is published any more, and before the subscribers are to come to the end."""

    def look(self):
        """Called when the subscribers have come to the end."""


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()
