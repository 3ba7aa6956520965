"""Faults, one after the other, each ended before the next begins: the database, its network, the clients, the gateway."""

import contextlib
import os
import random
import signal
import time

import psycopg2

from kit.wait import until

# May a gap `reconnect` follow?
ENDS_LISTEN = {"listen backend ended": True, "listen backend stopped": True, "publish backend ended": False,
               "database restarted": True, "database crashed": True, "network cut": True, "network silent": True,
               "clients reset": False, "gateway killed": True, "gateway drained": True}


class Faults:
    """`world`: has postgres, proxy, gateway (and start_gateway()), resets."""

    def __init__(self, world, seed):
        self.world = world
        self.random = random.Random(f"{seed} faults")
        self.log = []  # (kind, begin, end, whether it can end a LISTEN session)
        self.queue = []

    def next(self):
        """Makes one fault, of each kind in turn, and waits until the gateway is well again."""
        if not self.queue:
            self.queue = list(ENDS_LISTEN)
            self.random.shuffle(self.queue)
        kind = self.queue.pop()
        begin = time.monotonic()
        getattr(self, kind.replace(" ", "_"))()
        self.world.gateway.wait_ready()
        self.log.append((kind, begin, time.monotonic(), ENDS_LISTEN[kind]))

    def backends(self, purpose):
        return self.world.postgres.backends(f"pg_eventgate % {purpose}")

    def changed(self, purpose, before):
        with contextlib.suppress(psycopg2.OperationalError):
            now = self.backends(purpose)
            return set(now) - set(before)
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

    def listen_backend_stopped(self):
        before = self.backends("listen")
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        self.world.gateway.wait_unready()
        for pid in before:
            os.kill(pid, signal.SIGCONT)
        until(lambda: self.changed("listen", before), "another listen session")

    def database_restarted(self):
        self.world.postgres.stop()
        self.world.postgres.start()

    def database_crashed(self):
        self.world.postgres.stop(signal.SIGQUIT)
        self.world.postgres.start()

    def network_cut(self):
        before = self.backends("listen")
        self.world.proxy.cut()
        until(lambda: self.changed("listen", before), "another listen session")

    def network_silent(self):
        self.world.proxy.stall()
        self.world.gateway.wait_unready()
        self.world.proxy.flow()

    def clients_reset(self):
        with self.world.resets.get_lock():
            self.world.resets.value += 1

    def gateway_killed(self):
        self.world.gateway.stop(signal.SIGKILL)
        self.world.start_gateway()

    def gateway_drained(self):
        self.world.gateway.stop()
        self.world.start_gateway()
