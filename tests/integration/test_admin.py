"""For operators: probes, metrics, listings, logs."""

import json
import subprocess

import pytest

from kit.http import Connection
from kit.wait import until


def test_probes(gateway):
    for target in ("/livez", "/readyz", "/healthz"):
        answer = gateway.get(target)
        assert answer.status == 200 and answer.header("content-type") == "application/json" and answer.json()
        assert answer.header("cache-control") == "no-store"
    health = gateway.get("/healthz").json()
    assert health["status"] == "ready" and health["version"]
    (row,) = health["sets"]
    assert (row["name"], row["listening"], row["publishing"]) == ("default", True, True)


def test_metrics_satisfy_promtool(gateway, postgres, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        gateway.publish(channel, "1")
        stream.event()
        answer = gateway.get("/metrics")
    assert answer.header("content-type").startswith("text/plain; version=0.0.4")
    checked = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True, check=False)
    assert checked.returncode == 0 and checked.stdout == b"" and checked.stderr == b"", checked


def test_metrics_count(start_gateway, postgres, channel):
    gateway = start_gateway().wait_ready()
    with gateway.stream(f"/channels/{channel}") as sse, gateway.stream(f"/channels/{channel}?format=ndjson") as ndjson:
        sse.cursor()
        ndjson.cursor()
        for n in range(5):
            gateway.publish(channel, str(n))
        sse.events(5)
        ndjson.events(5)
        until(lambda: gateway.metric("eventgate_events_sent_total") == 10, "ten deliveries are counted")
        metrics = gateway.metrics()
    assert metrics['eventgate_streams{transport="sse"}'] == metrics['eventgate_streams{transport="ndjson"}'] == 1
    assert metrics['eventgate_events_received_total{set="default",kind="live"}'] == 5
    assert metrics['eventgate_published_total{set="default",kind="live",result="committed"}'] == 5
    assert metrics['eventgate_postgres_up{set="default",connection="listen"}'] == 1
    assert metrics['eventgate_channels{set="default"}'] == 1
    assert metrics["process_resident_memory_bytes"] > 1_000_000


def test_channels_lists_what_is_listened_to(gateway, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        gateway.publish(channel, "1")
        stream.event()
        listing = gateway.get("/channels").json()
    rows = {row["name"]: row for row in listing["channels"]}
    assert {"listed/a", "listed/b", channel} <= set(rows)
    assert rows[channel] == {"name": channel, "set": "default", "kind": "live", "listening": True, "subscribers": 1,
                             "events": 1}
    assert [row["pattern"] for row in listing["patterns"]] == ["t/**"]


def test_sets_says_what_the_connections_do(gateway, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        gateway.publish(channel, "1")
        event = stream.event()
        (row,) = gateway.get("/sets").json()["sets"]
    assert row["name"] == "default" and row["listening"] and row["publishing"] and "problem" not in row
    assert row["head"] == event.id
    assert 0 <= row["notification_queue_usage"] < 0.01 and row["reconnects"] == 0
    assert row["channels"] >= 3 and row["journal"]["events"] >= 1


@pytest.mark.parametrize("target", ["/livez", "/metrics", "/channels", "/sets"])
def test_head_of_pages(gateway, target):
    answer = gateway.call("HEAD", target)
    assert answer.status == 200 and answer.body == b"" and int(answer.header("content-length")) > 0


def test_not_ready_says_why(start_gateway, fragile_postgres):
    gateway = start_gateway(database=fragile_postgres).wait_ready()
    fragile_postgres.stop()
    gateway.wait_unready()
    (row,) = gateway.get("/sets").json()["sets"]
    assert row["problem"] and not row["listening"]
    answer = gateway.get("/readyz")
    assert answer.status == 503 and answer.header("retry-after")


@pytest.mark.parametrize("form", ["text", "json"])
def test_logs_are_one_line_an_event_and_tell_no_secret(start_gateway, make_proxy, postgres, channel, form):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--log-format", form, "--log-level", "debug", database=(
        f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres password=s3cr3t")).wait_ready()
    with gateway.stream(f"/channels/{channel}?access_token=t0k3n", Authorization="Bearer t0k3n") as stream:
        stream.cursor()
        gateway.publish(channel, "p4yl04d")
        stream.event()
        proxy.cut()
        stream.gap()
    gateway.get("/nothing%0aforged line level=error")
    with Connection(gateway.address) as odd:
        odd.send(b"GARBAGE\r\n\r\n")
        odd.rest()
    assert gateway.stop() == 0
    text = gateway.log_text()
    assert not [secret for secret in ("s3cr3t", "t0k3n", "p4yl04d") if secret in text]
    if form == "json":
        records = [json.loads(line) for line in gateway.log]
        assert all({"time", "level", "message"} <= set(record) for record in records)
        assert any(record.get("set") == "default" for record in records)
    else:
        levels = {line.split()[1] for line in gateway.log}
        assert levels <= {"ERROR", "WARN", "INFO", "DEBUG"}, levels


def test_who_is_fed_from_the_log_is_counted(start_gateway, durable_channel):
    before = start_gateway(live=None, durable="d/**").wait_ready()
    assert before.publish(durable_channel, "1").status == 201
    gateway = start_gateway(live=None, durable="d/**").wait_ready()  # begins where the log ends
    with gateway.stream(f"/channels/{durable_channel}?after=earliest") as stream:
        assert stream.event().data == 1
        until(lambda: gateway.metric("eventgate_log_catch_ups_total") == 1, "it has caught up")
        assert gateway.metric("eventgate_log_catching_up") == 0
