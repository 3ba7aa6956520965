"""Faults, one after the other, each ended before the next begins: the database, its network, the clients, the gateways."""

import contextlib
import itertools
import os
import random
import signal
import time

import psycopg2

from judge import RELOADED, UPGRADED, Fault
from kit.wait import until


def is_lost(gateway, purpose):
    return any(value == 0 for name, value in gateway.metrics().items()
               if name.startswith("eventgate_postgres_up{") and f'connection="{purpose}"' in name)


class Faults:
    """`world`: has postgres, proxies, gateways, start_gateway() and signals."""

    # May a gap `reconnect` follow?
    ENDS_LISTEN = {"listen backend ended": True, "listen backend stopped": True, "publish backend ended": False,
                   "database restarted": True, "database crashed": True, "network cut": True, "network silent": True,
                   "clients reset": False, "gateway killed": True, "gateway drained": True, UPGRADED: True,
                   RELOADED: False}

    def __init__(self, world, seed, kinds=None):
        self.world = world
        self.random = random.Random(f"{seed} faults")
        self.kinds = kinds or list(self.ENDS_LISTEN)
        self.log = []
        self.queue = []
        self.turns = itertools.count()
        self.one = 0  # the gateway whose turn it is, where it is one

    def order(self, kinds):
        self.random.shuffle(kinds)

    def next(self):
        """Makes one fault, of each kind in turn, and waits until the gateways are well again."""
        if not self.queue:
            self.queue = [*self.kinds]
            self.order(self.queue)
        kind = self.queue.pop()
        self.one = next(self.turns) % len(self.world.gateways)
        begin = time.monotonic()
        getattr(self, kind.replace(" ", "_"))()
        for gateway in self.world.gateways:
            gateway.wait_ready()
        ended = self.one if kind.startswith("gateway") else None
        self.log.append(Fault(kind, begin, time.monotonic(), self.ENDS_LISTEN[kind], ended))

    def backends(self, purpose):
        return self.world.postgres.backends(f"pg_eventgate % {purpose}")

    def changed(self, purpose, before):
        """Has each gateway another session than those that there were?"""
        with contextlib.suppress(psycopg2.OperationalError):
            return len({*self.backends(purpose)} - {*before}) >= len(self.world.gateways)
        return False

    def end_backend(self, purpose):
        before = self.backends(purpose)
        for pid in before:
            self.world.postgres.sql("select pg_terminate_backend(%s)", pid)
        until(lambda: self.changed(purpose, before), f"another {purpose} session")

    def listen_backend_ended(self):
        self.end_backend("listen")

    def publish_backend_ended(self):
        self.end_backend("publish")

    def stop_backends(self, purpose):
        before = self.backends(purpose)
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        for gateway in self.world.gateways:  # what else the stopped ones may hold up comes and goes
            until(lambda gateway=gateway: is_lost(gateway, purpose), f"the {purpose} session is given up")
        for pid in before:
            os.kill(pid, signal.SIGCONT)
        until(lambda: self.changed(purpose, before), f"another {purpose} session")

    def listen_backend_stopped(self):
        self.stop_backends("listen")

    def database_restarted(self):
        self.world.postgres.stop()
        self.world.postgres.start()

    def database_crashed(self):
        self.world.postgres.stop(signal.SIGQUIT)
        self.world.postgres.start()

    def network_cut(self):
        before = self.backends("listen")
        for proxy in self.world.proxies:
            proxy.cut()
        until(lambda: self.changed("listen", before), "another listen session")

    def network_silent(self):
        self.world.proxies[self.one].stall()
        self.world.gateways[self.one].wait_unready()
        self.world.proxies[self.one].flow()

    def clients_reset(self):
        with self.world.signals.resets.get_lock():
            self.world.signals.resets.value += 1

    def gateway_killed(self):
        self.world.gateways[self.one].stop(signal.SIGKILL)
        self.world.start_gateway(self.one)

    def gateway_drained(self):
        self.world.gateways[self.one].stop()
        self.world.start_gateway(self.one)

    def gateway_upgraded(self):
        """Another process takes over; the old one ends when nobody has a connection to it any more."""
        code = self.world.gateways[self.one].upgrade().wait(60)
        assert code == 0, code

    def configuration_reloaded(self):
        """Another set comes or goes, and a set gets another live channel or loses it: nobody else may notice."""
        self.world.reload(self.one)
