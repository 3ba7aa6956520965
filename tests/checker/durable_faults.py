"""The faults of the durable scene, always in the same order: those of the live one that matter, and what a log meets."""

import contextlib
import itertools
import os
import signal
import time

import psycopg2

from faults import Faults
from judge import RELOADED, UPGRADED
from kit.wait import until

# Rows of a tail that is lost, and events that are acknowledged and delivered while something is held.
TAIL_ROWS = 50
PROGRESS = 50
# A second or so: what fills more quickly than maintain() is called keeps it from dropping.
SEGMENT_BYTES = "1000000"


class DurableFaults(Faults):
    ENDS_LISTEN = {"gateway killed": True, "backend ended": True, "failover": True, "network cut": True,
                   "retention": False, "backend killed": True, "gateway drained": True, "older dump reloaded": True, UPGRADED: True,
                   RELOADED: False,
                   "clients reset": False, "database crashed": True, "network silent": True, "retention again": False}

    def __init__(self, world, seed, kinds=None):
        super().__init__(world, seed, kinds)
        self.purposes = None

    def order(self, kinds):
        kinds.reverse()  # they are taken from the end

    def next(self):
        super().next()
        self.see_progress("it goes on after the fault")

    def see_progress(self, what):
        """Waits until more has been acknowledged and delivered."""
        acknowledged, deliveries = self.world.acknowledged.value, self.world.deliveries()
        until(lambda: self.world.acknowledged.value >= acknowledged + PROGRESS and
              self.world.deliveries() >= deliveries + PROGRESS, what, 60)

    def wait_asleep(self):
        count = sum(person.get("sleeps", False) for people in self.world.cast() for person in people)
        until(lambda: sum(gauges.asleep.value for gauges in self.world.gauges) == count, "the sleepers sleep", 60)

    def wake(self):
        with self.world.signals.wakes.get_lock():
            self.world.signals.wakes.value += 1

    def wait_tail(self, beyond):
        """Until there are rows beyond a position, some of which subscribers have seen."""
        until(lambda: self.world.archived(beyond=beyond)[0] >= TAIL_ROWS and
              max(gauges.furthest.value for gauges in self.world.gauges) > beyond, "a tail to lose", 60)

    # --- the faults ---------------------------------------------------------------------------------------------------

    def backend_ended(self):
        """Those of each purpose in turn."""
        rows = self.world.postgres.sql("select distinct split_part(application_name, ' ', 3) from pg_stat_activity"
                                       " where application_name like 'pg_eventgate %' order by 1")
        for (purpose,) in rows:
            self.end_backend(purpose)

    def backend_killed(self):
        """PostgreSQL ends all sessions, and recovers as after a crash, but remains the same server."""
        pid = self.world.postgres.backends()[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{pid}"), "the backend is gone")
        until(self.world.postgres.accepts, "the database is there")

    def retention(self):
        """Drops what it can, as fast as it can, while a reader holds a partition."""
        world = self.world
        self.wait_asleep()
        goal = world.archived()[1]
        configure(world, "segment_bytes", SEGMENT_BYTES)
        configure(world, "retention_bytes", "1")
        with contextlib.closing(world.postgres.connect()) as reader:
            reader.autocommit = False
            with reader.cursor() as cursor:
                cursor.execute("select tableoid::regclass::text from eventgate.log order by pos desc limit 1")
                partition = cursor.fetchone()[0]
                reader.commit()
                cursor.execute(f"lock table {partition} in access share mode")
            acknowledged = world.acknowledged.value
            deadline = time.monotonic() + 1
            until(lambda: maintain(world) and world.acknowledged.value >= acknowledged + PROGRESS and
                  time.monotonic() > deadline, "publishing goes on while a reader holds a partition", 60)
        until(lambda: maintain(world) and world.floor() > goal, "what the sleepers lack is dropped", 60)
        until(lambda: world.archived(beyond=goal)[0] > world.journal_events() * 2, "no journal has it any more", 60)
        configure(world, "retention_bytes", None)
        configure(world, "segment_bytes", None)
        self.wake()

    retention_again = retention

    def failover(self):
        """The standby doesn't get the end of the log, and is promoted."""
        world = self.world
        standby = world.making_standby.result()
        self.wait_asleep()
        seen = world.archived()[1]
        until(lambda: world.archived(standby)[1] >= seen, "the standby follows", 60)
        world.replication.stall()
        self.wait_tail(world.archived(standby)[1])
        old = world.postgres
        old.stop(signal.SIGQUIT)
        died = time.monotonic()
        world.replication.cut()
        world.replication.flow()
        standby.promote()
        world.move_to(standby)
        self.read_remains(old, died)
        world.make_standby()
        self.wake()

    def read_remains(self, old, died):
        """What the server that is gone had in its log."""
        old.start()
        self.world.read_archive(old)
        self.world.floors.append((died, self.world.floor(old)))
        old.remove()

    def older_dump_reloaded(self):
        world = self.world
        self.wait_asleep()
        path = f"{world.postgres.folder}/dump"
        world.postgres.run("pg_dump", "--dbname", world.postgres.conninfo, "--schema=eventgate", "--file", path)
        self.wait_tail(world.archived()[1])
        until(lambda: self.reload(path), "the dump is loaded", 60)
        self.wake()

    def reload(self, path):
        """Other sessions come between: it may take several attempts."""
        floor = "select coalesce((select min(pos) from eventgate.log), eventgate.position() + 1)"
        commands = itertools.chain.from_iterable(("-c", command) for command in (
            "lock table eventgate.turn, eventgate.log in access exclusive mode", floor, "drop schema eventgate cascade"))
        try:
            told = self.world.postgres.run("psql", "-qAtX1", "-v", "ON_ERROR_STOP=1", "-d", self.world.postgres.conninfo,
                                           *commands, "-f", path)
        except AssertionError:
            return False
        self.world.floors.append((time.monotonic(), int(told.split()[0])))
        return True


def configure(world, name, value):
    world.postgres.sql("select eventgate.configure(%s, %s)", name, value)


def maintain(world):
    """As one more that looks after the log; true, so that it can be waited with."""
    with contextlib.suppress(psycopg2.errors.LockNotAvailable):
        world.maintained.append(world.postgres.sql("select action, subject from eventgate.maintain()"))
    return True
