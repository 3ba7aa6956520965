"""Clients that go away are noticed at once, with no event to find out by."""

import pytest

from kit.crowd import Crowd
from kit.http import Connection
from kit.wait import until


def streams(gateway):
    return gateway.metric("eventgate_streams")


@pytest.mark.threads
def test_a_thousand(start_gateway, channel):
    gateway = start_gateway("--workers", "2").wait_ready()
    crowd = Crowd(gateway, f"/channels/{channel}", 1000)
    try:
        crowd.wait_open()
        assert streams(gateway) == 1000
    finally:
        crowd.kill()
    until(lambda: streams(gateway) == 0, "eventgate_streams is 0")
    until(lambda: gateway.metric("eventgate_connections") <= 1, "no connection is left but the one that asks")


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_polite_end_is_noticed(gateway, channel, form):
    before = streams(gateway)
    stream = gateway.stream(f"/channels/{channel}?format={form}")
    stream.cursor()
    assert streams(gateway) == before + 1
    stream.close()
    until(lambda: streams(gateway) == before, "the stream is gone")


def test_a_waiting_poll_that_hangs_up_is_noticed(gateway, channel):
    before = streams(gateway)
    cursor = gateway.poll(f"/channels/{channel}")["next"]
    with Connection(gateway.address) as waiting:
        waiting.request("GET", f"/channels/{channel}?wait=60&after={cursor}")
        until(lambda: streams(gateway) == before + 1, "the poll waits")
        waiting.reset()
    until(lambda: streams(gateway) == before, "the poll is gone")
