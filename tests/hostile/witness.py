"""Who sees whether anything is lost: a subscriber that was there before the fault, and one that comes back after it."""

import itertools
import time

from kit.http import Closed
from kit.streams import Stream
from kit.wait import DEADLINE

numbers = itertools.count(1)


class Follower:
    """Reads a live and a durable channel in one stream, and comes back with its last id as EventSource does."""

    def __init__(self, gateway, live, durable, last_id=None):
        self.gateway, self.live, self.durable = gateway, live, durable
        self.last_id = last_id
        self.seen = {live: [], durable: []}
        self.gaps = []  # of the live channel: (how many live events came before it, reason)
        self.stream = None
        self.opened = 0  # how often a stream has said its first word

    def open(self):
        headers = {"Last_Event_ID": self.last_id} if self.last_id else {}
        self.stream = Stream(self.gateway.address, f"/events?channel={self.live}&channel={self.durable}", **headers)

    def close(self):
        if self.stream:
            self.stream.close()
        self.stream = None

    def take_one(self):
        """One item; opens the stream (anew) where there is none."""
        first = self.stream is None
        try:
            if first:
                self.open()
            item = self.stream.read()
        except (Closed, ConnectionError):
            self.close()
            return
        self.opened += first
        self.last_id = item.id or self.last_id
        if item.kind == "gap":
            gap = item.json()
            assert gap["channels"] == [self.live], ("a gap of what the log keeps", gap)
            self.gaps.append((len(self.seen[self.live]), gap["reason"]))
        elif item.kind == "event":
            event = item.json()
            self.seen[event["channel"]].append(event["data"])

    def until(self, condition):
        end = time.monotonic() + 2 * DEADLINE
        while not condition():
            assert time.monotonic() < end, ("not arrived", self.seen, self.gaps)
            self.take_one()


class Witness:
    """Publishes a numbered series to both channels by SQL, and judges what became of it."""

    def __init__(self, gateway, postgres, database=None):
        number = next(numbers)
        self.gateway, self.postgres = gateway, postgres
        self.database = database or "postgres"
        self.live, self.durable = f"t/witness/{number}", f"d/witness/{number}"
        self.published = 0
        self.stays = Follower(gateway, self.live, self.durable)
        self.returns = Follower(gateway, self.live, self.durable)
        for follower in (self.stays, self.returns):
            follower.until(lambda: follower.last_id)  # the first cursor: what commits from now on is for it
        self.publish(3)
        self.returns.until(lambda: self.has_all(self.returns))
        self.returns.close()
        self.left_at = self.published

    def publish(self, count):
        connection = self.postgres.connect_to(self.database)
        try:
            with connection.cursor() as cursor:
                for number in range(self.published + 1, self.published + count + 1):
                    cursor.execute("select pg_notify(%s, %s)", (self.live, str(number)))
                    cursor.execute("select eventgate.publish(%s, to_json(%s))", (self.durable, number))
        finally:
            connection.close()
        self.published += count

    def has_all(self, follower):
        return all(seen and seen[-1] == self.published for seen in follower.seen.values())

    def has_gone_to(self, gateway):
        """The clients are led to another gateway from now on, and come back to it."""
        self.publish(2)
        for follower in (self.stays, self.returns):
            follower.gateway, before = gateway, follower.opened
            follower.until(lambda: follower.opened > before)

    def judge(self, stays, returns):
        """`stays`, `returns`: the reasons of the gaps that the live channel may have for each, None where it has none.
        The durable channel never has one."""
        self.publish(3)
        for follower, reasons in ((self.stays, stays), (self.returns, returns)):
            follower.until(lambda: self.has_all(follower))
            follower.close()
            series = list(range(1, self.published + 1))
            assert follower.seen[self.durable] == series, "each durable event once and in order"
            if reasons is None:
                assert not follower.gaps and follower.seen[self.live] == series, (follower.gaps, follower.seen)
            else:
                self.judge_gaps(follower, reasons)

    def judge_gaps(self, follower, reasons):
        seen, told = follower.seen[self.live], {place for place, _ in follower.gaps}
        assert follower.gaps and {reason for _, reason in follower.gaps} <= set(reasons), follower.gaps
        assert seen == sorted(set(seen)), "each at most once and in order"
        missing = {at for at in range(1, len(seen)) if seen[at] != seen[at - 1] + 1}
        assert missing <= told, "where events are missing there is a gap"

    def close(self):
        self.stays.close()
        self.returns.close()
