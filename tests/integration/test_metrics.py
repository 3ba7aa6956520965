"""What /metrics counts, against what was done."""

import json
import re
import time

import pytest

from kit.gateway import install_schema
from kit.http import Connection
from kit.tokens import bearer, claims, encode, signed
from kit.wait import until

JSON = {"Content_Type": "application/json"}


def changes(before, after):
    """{row: by how much}, of counters and gauges that are not the process's."""
    return {row: value - before.get(row, 0) for row, value in after.items()
            if value != before.get(row, 0) and row.startswith("eventgate_") and "_loop_" not in row}


def of(counted, name):
    """The rows of that name: {the labels' values: number}."""
    return {tuple(re.findall(r'="([^"]*)"', row)): number for row, number in counted.items()
            if row.split("{")[0] == name}


@pytest.fixture
def both(start_gateway):
    """A gateway with both kinds of channels, in the set default."""
    return start_gateway("--workers", "2", durable="d/**").wait_ready()


@pytest.mark.threads
def test_events_in_and_out(both, postgres, channel, durable_channel):
    with both.stream(f"/events?channel={channel}&channel={durable_channel}") as sse, \
            both.stream(f"/channels/{channel}?format=ndjson") as ndjson:
        for stream in (sse, ndjson):
            stream.cursor()
        place = both.poll(f"/channels/{channel}")["next"]
        before = both.metrics()
        with Connection(both.address) as poll:
            poll.request("GET", f"/channels/{channel}?wait=20&after={place}")
            until(lambda: both.metric('eventgate_streams{transport="poll"}') == 1, "it waits")
            postgres.notify(channel, "12345")
            assert len(poll.response().json()["events"]) == 1
        both.publish(durable_channel, '"1234567"')
        for stream, count in ((sse, 2), (ndjson, 1)):
            stream.events(count)
        until(lambda: both.metric("eventgate_delivery_seconds_count") >= 4 and
              both.metric("eventgate_journal_events") >= 4, "all are counted, by both workers")
        counted = changes(before, both.metrics())
    assert of(counted, "eventgate_events_received_total") == {("default", "live"): 1, ("default", "durable"): 1}
    assert of(counted, "eventgate_received_bytes_total") == {("default", "live"): 5, ("default", "durable"): 9}
    assert of(counted, "eventgate_events_sent_total") == {("sse",): 2, ("ndjson",): 1, ("poll",): 1}
    sent = of(counted, "eventgate_sent_bytes_total")
    assert set(sent) == {("sse",), ("ndjson",), ("poll",)} and sent[("sse",)] > sent[("ndjson",)] > 50
    assert of(counted, "eventgate_delivery_seconds_count") == {("default",): 4}
    assert 0 < of(counted, "eventgate_delivery_seconds_sum")[("default",)] < 4
    assert of(counted, "eventgate_journal_events")[("default",)] == 4  # of two workers
    assert of(counted, "eventgate_subscriptions_total") == {("poll",): 1}


def test_what_the_client_delays_is_no_delivery_time(start_gateway, postgres, channel):
    gateway = start_gateway("--workers", "1").wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        postgres.notify(channel, "1")
        first = stream.event()
        until(lambda: gateway.metric("eventgate_delivery_seconds_count") == 1, "one is delivered")
    with gateway.stream(f"/channels/{channel}?after=earliest") as resumed:
        assert resumed.event().id == first.id
        until(lambda: gateway.metric("eventgate_events_sent_total") == 2, "it is sent again")
        assert gateway.metric("eventgate_delivery_seconds_count") == 1
    with gateway.stream(f"/channels/{channel}", receive_buffer=4096) as slow:
        slow.cursor()
        postgres.flood(channel, 0, 4000, 2000)
        until(lambda: gateway.metric("eventgate_events_received_total") == 4001, "all have arrived")
        assert gateway.metric("eventgate_streams_blocked") == 1
        prompt = gateway.metric("eventgate_delivery_seconds_count")
        assert gateway.metric("eventgate_stream_blocks_total") >= 1
        slow.events(4000)
        until(lambda: gateway.metric("eventgate_events_sent_total") == 4002, "it has read all")
        assert gateway.metric("eventgate_delivery_seconds_count") <= prompt + 1


@pytest.mark.threads
def test_publishing(both, channel, durable_channel):
    before = both.metrics()
    assert both.publish(channel, "1").status == 202
    assert both.publish(durable_channel, "1", Idempotency_Key="k").status == 201
    assert both.publish(durable_channel, "2", Idempotency_Key="k").status == 422
    items = json.dumps([{"channel": name, "data": n} for n in range(3) for name in (channel, durable_channel)])
    assert both.call("POST", "/events", items, **JSON).status == 207
    counted = changes(before, both.metrics())
    assert of(counted, "eventgate_published_total") == {("default", "live", "committed"): 4,
                                                       ("default", "durable", "committed"): 4,
                                                       ("default", "durable", "conflict"): 1}
    # Of the POSTs that were committed, each kind apart; of all transactions.
    assert of(counted, "eventgate_publish_seconds_count") == {("default", "live"): 2, ("default", "durable"): 2}
    assert of(counted, "eventgate_publish_batch_items_count") == {("default", "live"): 2, ("default", "durable"): 3}
    assert of(counted, "eventgate_publish_batch_items_sum") == {("default", "live"): 4, ("default", "durable"): 5}
    assert all(0 < taken < 10 for taken in of(counted, "eventgate_publish_seconds_sum").values())
    assert both.metric("eventgate_publish_queue_items") == 0
    assert both.metric("eventgate_publish_queue_limit_items") == 20000


def test_resumes_by_kind(start_gateway, durable_channel, channel):
    gateway = start_gateway("--workers", "1", "--journal-events", "16", durable="d/**").wait_ready()
    ids = [gateway.publish(durable_channel, str(n)).json()["id"] for n in range(40)]
    before = gateway.metrics()

    def resume(target, after):
        with gateway.stream(f"/channels/{target}", Last_Event_ID=after) as stream:
            stream.read()

    resume(durable_channel, ids[-1])
    resume(durable_channel, ids[-3])
    resume(durable_channel, ids[2])
    resume(channel, "nonsense")
    until(lambda: gateway.metric('eventgate_log_reads_total{kind="page"}') > 0, "the log was read")
    counted = changes(before, gateway.metrics())
    assert of(counted, "eventgate_resumes_total") == {("journal",): 2, ("log",): 1, ("gap",): 1}
    assert of(counted, "eventgate_gaps_total") == {("unknown",): 1}


def test_the_journal_is_full_at_1(start_gateway, postgres, channel):
    gateway = start_gateway("--workers", "2", "--journal-events", "100").wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        assert gateway.metric('eventgate_journal_fill_ratio{limit="journal_events"}') < 0.1
        postgres.notify(channel, *map(str, range(50)))
        stream.events(50)
        until(lambda: 0.5 <= gateway.metric('eventgate_journal_fill_ratio{limit="journal_events"}') < 0.6, "half full")
        postgres.notify(channel, *map(str, range(100)))
        stream.events(100)
        until(lambda: gateway.metric('eventgate_journal_fill_ratio{limit="journal_events"}') == 1, "full")
        assert 0 < gateway.metric('eventgate_journal_fill_ratio{limit="journal_bytes"}') < 0.01


def test_the_log_and_its_retention(start_gateway, fragile_postgres):
    before = time.time()
    install_schema(fragile_postgres.conninfo)
    fragile_postgres.sql("select eventgate.publish('d/a', '1'); select eventgate.publish('d/a', '2')")
    gateway = start_gateway(database=fragile_postgres, live=None, durable="d/**").wait_ready()
    until(lambda: 'eventgate_log_partitions{set="default"}' in gateway.metrics(), "the log has been looked at")
    metrics = gateway.metrics()
    shown = {name: metrics[f'eventgate_log_{name}{{set="default"}}'] for name in (
        "head_position", "position", "lag_seconds", "oldest_position", "oldest_timestamp_seconds", "size_bytes",
        "partitions", "maintenance_timestamp_seconds")}
    assert (shown["head_position"], shown["position"], shown["oldest_position"], shown["lag_seconds"]) == (2, 2, 1, 0)
    assert before - 1 < shown["oldest_timestamp_seconds"] < shown["maintenance_timestamp_seconds"] < time.time() + 1
    assert shown["size_bytes"] > 8192 and shown["partitions"] == 2
    assert metrics['eventgate_log_maintenance_total{set="default",action="made"}'] == 1
    assert 'eventgate_log_last_event_timestamp_seconds{set="default"}' not in metrics, "it has read none yet"
    gateway.publish("d/a", "3")
    last = gateway.metric("eventgate_log_last_event_timestamp_seconds")
    assert shown["oldest_timestamp_seconds"] < last < time.time() + 1


def test_each_connection_that_there_is(start_gateway, fragile_postgres):
    live = start_gateway(database=fragile_postgres).wait_ready()
    durable = start_gateway(database=fragile_postgres, live=None, durable="d/**").wait_ready()
    until(lambda: durable.metric("eventgate_postgres_up") == 4, "all are up")
    assert {labels[1]: up for labels, up in of(live.metrics(), "eventgate_postgres_up").items()} == {
        "listen": 1, "publish": 1}
    assert {labels[1]: up for labels, up in of(durable.metrics(), "eventgate_postgres_up").items()} == {
        "read": 1, "pages": 1, "append": 1, "keep": 1}
    fragile_postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                         "pg_eventgate %")
    for gateway, names in ((live, ("listen", "publish")), (durable, ("read", "pages", "append", "keep"))):
        for name in names:
            label = f'{{connection="{name}"}}'
            until(lambda g=gateway, at=label: g.metric(f"eventgate_postgres_sessions_total{at}") == 2, "it is back")
            assert gateway.metric(f"eventgate_postgres_failures_total{label}") >= 1
            assert gateway.metric(f"eventgate_postgres_up{label}") == 1
    fragile_postgres.stop()
    until(lambda: live.metric("eventgate_postgres_up") == durable.metric("eventgate_postgres_up") == 0, "all are lost")


def test_refused_tokens_by_reason(start_gateway, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--token-issuer", "us").wait_ready()
    operator = bearer(admin=True, iss="us")
    good = claims(["t/**"], iss="us")
    none = f"{encode({'alg': 'none'})}.{encode(good)}."
    tokens = {"missing": None, "malformed": "nonsense", "key": none, "signature": signed(good)[:-4] + "AAAA",
              "expired": signed(claims(["t/**"], iss="us", lifetime=-60)),
              "issuer": signed(claims(["t/**"], iss="them")),
              "not_yet": signed(good | {"nbf": int(time.time()) + 1000}), "claims": signed(good | {"exp": "x"}),
              "grant": signed(claims(["other"], iss="us"))}
    before = gateway.call("GET", "/metrics", **operator)
    assert before.status == 200
    for reason, token in tokens.items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        status = gateway.get(f"/channels/{channel}?wait=0", **headers).status
        assert status == (403 if reason == "grant" else 401), reason
    text = gateway.call("GET", "/metrics", **operator).text()
    counted = dict(re.findall(r'^eventgate_tokens_refused_total\{reason="(\w+)"\} (\d+)$', text, re.MULTILINE))
    assert counted == {reason: "1" for reason in tokens} | {"revoked": "0"}


def test_the_process_and_its_loops(gateway):
    place = gateway.poll("/channels/listed/a")["next"]
    gateway.poll(f"/channels/listed/a?wait=1&after={place}")  # a timer ends it
    metrics = gateway.metrics()
    assert metrics["process_resident_memory_bytes"] == pytest.approx(gateway.resident_bytes(), rel=0.2)
    assert metrics["process_open_fds"] == pytest.approx(gateway.descriptors(), abs=5)
    assert metrics["process_max_fds"] >= metrics["process_open_fds"]
    assert metrics["process_cpu_seconds_total"] > 0
    assert time.time() - 3600 < metrics["process_start_time_seconds"] < time.time()
    assert [row for row in metrics if row.startswith("eventgate_build_info{version=")]
    assert metrics["eventgate_connections_limit"] >= 16
    for thread in ("worker", "postgres"):
        turns = metrics[f'eventgate_loop_turn_seconds_count{{thread="{thread}"}}']
        assert turns > 1 and 0 < metrics[f'eventgate_loop_turn_seconds_sum{{thread="{thread}"}}']
        assert metrics[f'eventgate_loop_delay_seconds_count{{thread="{thread}"}}'] > 0
