"""A subscriber that reads slowly costs nothing; when history has passed it by, it is told, and goes on."""

import json

import pytest

from kit.wait import until

pytestmark = pytest.mark.threads

PAYLOAD = 4000
JOURNAL = 2_000_000


def flood(postgres, channel, count, first=0):
    """Publishes `count` numbered events, each PAYLOAD long, in one transaction."""
    postgres.sql("select count(pg_notify(%s, json_build_object('n', n, 'fill', repeat('x', %s))::text))"
                 " from generate_series(%s, %s) n", channel, PAYLOAD, first, first + count - 1)


def test_slow_reader_gets_a_gap_and_memory_stays_flat(start_gateway, postgres, channel):
    gateway = start_gateway("--journal-bytes", f"{JOURNAL // 1000}kB", "--workers", "1").wait_ready()
    with gateway.stream(f"/channels/{channel}") as quick:
        quick.cursor()
        slow = [gateway.stream(f"/channels/{channel}", receive_buffer=4096) for _ in range(20)]
        for stream in slow:
            stream.cursor()
        total = 20_000  # some 80 MB
        for first in range(0, total, 1000):
            flood(postgres, channel, 1000, first)
            seen = quick.next()
            while seen.kind == "gap" or seen.data["n"] != first + 999:
                seen = quick.next()
            if first == 2000:
                before = gateway.resident_bytes()
        assert gateway.resident_bytes() - before < 20_000_000
        until(lambda: gateway.metric("eventgate_streams_blocked") == len(slow), "the slow ones are blocked")
        assert gateway.metric("eventgate_journal_bytes") <= JOURNAL * 1.1

        for stream in slow[:5]:
            numbers, gaps = read_up_to(stream, total - 1)
            assert numbers == sorted(set(numbers)), "in order, none twice"
            assert gaps and set(gaps) == {"slow"}
        for stream in slow:
            stream.close()
    assert gateway.metric('eventgate_gaps_total{reason="slow"}') >= 5


def read_up_to(stream, last):
    """Numbers of the events, and reasons of the gaps; without a gap between them, numbers follow each other."""
    numbers, gaps, unbroken = [], [], True
    while not numbers or numbers[-1] != last:
        item = stream.next()
        if item.kind == "gap":
            gaps.append(item.json()["reason"])
            unbroken = False
            continue
        number = item.data["n"]
        assert not unbroken or not numbers or number == numbers[-1] + 1, (numbers[-1], number)
        numbers.append(number)
        unbroken = True
    return numbers, gaps


def test_a_half_sent_event_that_left_the_journal_closes_its_stream_or_is_finished(start_gateway, postgres, channel):
    """A frame is never cut: either it is sent to its end, or the connection ends in the middle of it."""
    gateway = start_gateway("--journal-events", "10", "--workers", "1").wait_ready()
    with gateway.stream(f"/channels/{channel}?format=ndjson", receive_buffer=4096) as slow:
        slow.cursor()
        flood(postgres, channel, 3000)
        until(lambda: gateway.metric("eventgate_notifications_total") == 3000, "all have been received")
        for item in slow.until_closed() if gateway.metric("eventgate_half_sent_closed_total") else []:
            assert item.kind in ("cursor", "gap") or len(json.loads(item.text)["data"]["fill"]) == PAYLOAD
