"""Rates of publishing and subscribing: by address, with a burst, told to each transport in its own way."""

import json
import signal
import time

import pytest

from kit.http import Connection
from kit.wait import until


def limited(gateway, option):
    return gateway.metric(f'eventgate_limited_total{{limit="{option}"}}')


def retry_after(answer):
    assert answer.status == 429 and answer.problem()[0] == "too-many", answer
    return int(answer.header("retry-after"))


def batch(channel, count):
    return json.dumps([{"channel": channel, "data": n} for n in range(count)])


def post_batch(gateway, channel, count):
    return gateway.call("POST", "/events", batch(channel, count), Content_Type="application/json")


def test_publishing(start_gateway, channel):
    gateway = start_gateway("--publish-rate", "20/min", "--publish-burst", "4").wait_ready()
    for _ in range(4):
        assert gateway.publish(channel, "1").status == 202
    assert retry_after(gateway.publish(channel, "1")) in (2, 3), "seconds until the next one fits"
    with Connection(gateway.address, source="127.0.0.2") as other:
        answer = other.request("POST", f"/channels/{channel}", "1").response()
        assert answer.status == 202, "another address is not concerned"
    assert limited(gateway, "publish_rate") == 1
    assert gateway.get(f"/channels/{channel}?format=poll").status == 200, "subscribing has its own rate"


def test_it_fits_after_the_time_that_was_told(start_gateway, channel):
    gateway = start_gateway("--publish-rate", "2/s", "--publish-burst", "1").wait_ready()
    assert gateway.publish(channel, "1").status == 202
    told = time.monotonic() + retry_after(gateway.publish(channel, "1"))
    until(lambda: time.monotonic() >= told, "the time that was told")
    assert gateway.publish(channel, "1").status == 202


def test_a_batch_counts_its_items(start_gateway, channel, postgres):
    gateway = start_gateway("--publish-rate", "60/h", "--publish-burst", "10").wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        answer = post_batch(gateway, channel, 11)
        assert answer.status == 413 and "10" in answer.problem()[1] and "publish_burst" in answer.problem()[1]
        assert post_batch(gateway, channel, 6).status == 202
        # 11 were too many for ever and cost one, 6 were published; now 4 are more than the 3 that are left.
        assert 58 <= retry_after(post_batch(gateway, channel, 4)) <= 60
        postgres.notify(channel, '"end"')
        assert [event.data for event in stream.events(7)] == [0, 1, 2, 3, 4, 5, "end"], "all of a batch or nothing"
    assert limited(gateway, "publish_rate") == 2


def test_what_is_refused_counts_too(start_gateway, channel):
    gateway = start_gateway("--publish-rate", "1/h", "--publish-burst", "3").wait_ready()
    assert gateway.publish("nowhere", "1").status == 404
    assert gateway.publish(channel, "{", Content_Type="application/json").status == 400
    assert gateway.publish(channel, "1").status == 202
    assert retry_after(gateway.publish(channel, "1")) > 3000


@pytest.mark.parametrize("form", ["poll", "ndjson"])
def test_subscribing(start_gateway, channel, form):
    gateway = start_gateway("--subscribe-rate", "1/min", "--subscribe-burst", "2").wait_ready()
    target = f"/channels/{channel}?format={form}"
    opened = [Connection(gateway.address).request("GET", target) for _ in range(2)]
    for connection in opened:
        assert connection.head().status == 200
    assert 58 <= retry_after(gateway.get(target)) <= 60
    assert gateway.call("HEAD", target).status == 429
    with Connection(gateway.address, source="127.0.0.2") as other:
        assert other.request("GET", target).head().status == 200
    for connection in opened:
        connection.close()
    assert limited(gateway, "subscribe_rate") == 2


def test_an_event_source_is_told_when_to_come_again(start_gateway, channel):
    gateway = start_gateway("--subscribe-rate", "2/min", "--subscribe-burst", "1", "--retry", "100ms").wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        told = set()
        for _ in range(5):
            answer = gateway.get(f"/channels/{channel}")
            assert answer.status == 200 and answer.header("content-type") == "text/event-stream"
            assert answer.header("connection") == "close"
            word, _, ms = answer.text().strip().partition(": ")
            assert word == "retry" and 25_000 < int(ms) <= 30_150
            told.add(ms)
        assert len(told) > 1, "not all at the same time"
        assert gateway.publish(channel, "1").status == 202
        assert stream.event().data == 1, "who is connected isn't concerned"
    assert limited(gateway, "subscribe_rate") == 5


def test_by_the_address_that_a_proxy_gives(start_gateway, channel):
    gateway = start_gateway("--publish-rate", "1/h", "--trusted-proxies", "127.0.0.1").wait_ready()
    for client in ("203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8:0:1::1"):
        assert gateway.publish(channel, "1", X_Forwarded_For=client).status == 202
    for client in ("203.0.113.1", "203.0.113.9, 203.0.113.2", "2001:db8::ffff"):
        assert gateway.publish(channel, "1", X_Forwarded_For=client).status == 429


def test_no_rate_unless_there_is_one(gateway, channel):
    for _ in range(200):
        assert gateway.get("/livez").status == 200
    for _ in range(50):
        assert gateway.publish(channel, "1").status == 202


def test_rates_reload(start_gateway, tmp_path, postgres, channel):
    file = tmp_path / "gateway.conf"
    text = f"[gateway]\n{{}}\n[set a]\npostgres = {postgres.conninfo}\nlive = t/**\n"
    file.write_text(text.format("publish_rate = 1/h"))
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    assert gateway.publish(channel, "1").status == 202
    assert gateway.publish(channel, "1").status == 429
    file.write_text(text.format(""))
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.publish(channel, "1").status == 202, "the rate is gone")
    file.write_text(text.format("subscribe_rate = 1/h\npublish_rate = 1000/s"))
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.get(f"/channels/{channel}?format=poll").status == 429, "there is another")
    until(lambda: gateway.publish(channel, "1").status == 202, "what was used up has come back")
