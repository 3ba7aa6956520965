"""Clients that go away are noticed at once, with no event to find out by."""

import os
import time

import pytest

from kit.crowd import Crowd
from kit.gateway import RELEASE
from kit.http import Connection
from kit.wait import until


def streams(gateway):
    return gateway.metric("eventgate_streams")


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def open_and_kill(gateway, channel, count):
    """How long the gateway takes to notice that a process with `count` streams was killed, in seconds."""
    crowd = Crowd(gateway, f"/channels/{channel}", count)
    try:
        crowd.wait_open()
        assert streams(gateway) == count
    finally:
        crowd.kill()
    killed = time.monotonic()
    until(lambda: streams(gateway) == 0, "eventgate_streams is 0")
    return time.monotonic() - killed


@pytest.mark.threads
def test_a_thousand(start_gateway, channel):
    gateway = start_gateway("--workers", "2").wait_ready()
    assert open_and_kill(gateway, channel, 1000) < 1.0
    until(lambda: gateway.metric("eventgate_connections") <= 1, "no connection is left but the one that asks")


@pytest.mark.big
def test_ten_thousand(start_gateway, channel):
    gateway = start_gateway("--workers", "2", binary=RELEASE).wait_ready()
    before = descriptors(gateway)
    assert open_and_kill(gateway, channel, 10_000) < 1.0
    until(lambda: gateway.get("/livez") and descriptors(gateway) <= before + 2, "the descriptors are given back")


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_polite_end_is_noticed(gateway, channel, form):
    before = streams(gateway)
    stream = gateway.stream(f"/channels/{channel}?format={form}")
    stream.cursor()
    assert streams(gateway) == before + 1
    stream.close()
    until(lambda: streams(gateway) == before, "the stream is gone")


def test_a_half_close_ends_a_stream(gateway, channel):
    before = streams(gateway)
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        stream.connection.socket.shutdown(1)
        until(lambda: streams(gateway) == before, "the stream is gone")


def test_a_waiting_poll_that_hangs_up_is_noticed(gateway, channel):
    before = streams(gateway)
    cursor = gateway.poll(f"/channels/{channel}")["next"]
    with Connection(gateway.address) as waiting:
        waiting.request("GET", f"/channels/{channel}?wait=60&after={cursor}")
        until(lambda: streams(gateway) == before + 1, "the poll waits")
        waiting.reset()
    until(lambda: streams(gateway) == before, "the poll is gone")
