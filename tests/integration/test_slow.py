"""A subscriber that reads slowly costs nothing; when history has passed it by, it is told, and goes on.

An event of which half was sent when it left the journal can't be finished: such a stream is closed, and what EventSource
does then, coming back with its last event id, is what `Follower` does.
"""

import pytest

from kit.gateway import RELEASE
from kit.http import Closed
from kit.wait import until

pytestmark = pytest.mark.threads

JOURNAL_BYTES = 2_000_000
SLOW = 10


class Follower:
    """Reads numbered events; where they don't follow each other, there must have been a gap."""

    def __init__(self, gateway, channel, receive_buffer=None):
        self.gateway, self.channel = gateway, channel
        self.stream = gateway.stream(f"/channels/{channel}", receive_buffer=receive_buffer)
        self.last_id = self.stream.read().id
        self.number = None
        self.gaps, self.closed = [], 0

    def read_up_to(self, last):
        told = False
        while self.number != last:
            try:
                item = self.stream.next()
            except Closed:
                self.come_back()
                continue
            self.last_id = item.id
            if item.kind == "gap":
                self.gaps.append(item.json()["reason"])
                told = True
                continue
            number = item.data["n"]
            assert told or self.number is None or number == self.number + 1, (self.number, number)
            assert self.number is None or number > self.number, "in order, none twice"
            self.number, told = number, False

    def come_back(self):
        self.closed += 1
        self.stream.close()
        self.stream = self.gateway.stream(f"/channels/{self.channel}", Last_Event_ID=self.last_id)


@pytest.mark.parametrize("size, total", [(4000, 15_000), (50, 60_000)], ids=["large", "small"])
def test_slow_readers_are_told_and_memory_stays_flat(start_gateway, postgres, channel, size, total):
    gateway = start_gateway("--journal-bytes", f"{JOURNAL_BYTES // 1000}kB", "--workers", "1",
                            binary=RELEASE).wait_ready()  # a sanitizer keeps what was freed
    slow = [Follower(gateway, channel, receive_buffer=65536) for _ in range(SLOW)]
    quick = Follower(gateway, channel)
    try:
        for first in range(0, total, 1000):
            postgres.flood(channel, first, 1000, size)
            quick.read_up_to(first + 999)
            if first == total // 5 * 2:
                before = gateway.resident_bytes()
        assert gateway.resident_bytes() - before < 20_000_000, "some 30 MB more were published"
        assert gateway.metric("eventgate_journal_bytes") <= JOURNAL_BYTES * 1.1
        for follower in slow:
            follower.read_up_to(total - 1)
            assert follower.gaps and set(follower.gaps) <= {"slow", "retention"}
        closed = sum(follower.closed for follower in [*slow, quick])
        until(lambda: gateway.metric("eventgate_stuck_streams_closed_total") == closed, "each closing is counted")
    finally:
        for follower in [*slow, quick]:
            follower.stream.close()
