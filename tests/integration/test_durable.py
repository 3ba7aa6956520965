"""Durable channels where something breaks: what the set checker has found."""

import psycopg2
import pytest

from kit.gateway import run
from kit.schema import Database
from kit.wait import until

FILL = 20_000


@pytest.fixture
def database(postgres):
    """A database with the schema, of this test's own."""
    one = Database(postgres)
    yield one
    one.drop()


def dump_schema(database):
    dump = f"{database.server.folder}/{database.name}.dump"
    database.server.run("pg_dump", "--dbname", database.conninfo, "--schema=eventgate", "--file", dump)
    return dump


def reload_schema(database, dump):
    """In place of the schema that is there, what pg_dump has written."""
    database.psql("-q", "-1", "-v", "ON_ERROR_STOP=1", "-c", "drop schema eventgate cascade", "-f", dump)


@pytest.mark.parametrize("isolation", ("repeatable read", "serializable"))
def test_a_snapshot_older_than_a_reload_reuses_no_position(database, isolation):
    database.sql("select eventgate.publish('a', '1')")
    dump = dump_schema(database)
    database.sql("select eventgate.publish('a', '2')")
    lost = database.value("select eventgate.position()")
    old = database.session(isolation=isolation)
    old.sql("begin")
    old.sql("select count(*) from pg_class")  # takes the snapshot
    reload_schema(database, dump)
    with pytest.raises(psycopg2.errors.SerializationFailure):
        old.publish("a", "3")
        old.sql("commit")
    old.sql("rollback")
    old.publish("a", "3")
    assert database.value("select max(pos) from eventgate.log") > lost


def test_no_gap_behind_the_last_dropped_row_of_a_log_that_is_empty_now(database, start_gateway):
    database.sql("select eventgate.publish('order/1', '1'), eventgate.publish('order/1', '2'), eventgate.publish('order/2', '3')")
    tag = database.value("select tag from eventgate.attach(0)")
    database.sql("select eventgate.configure('segment_bytes', '1'), eventgate.configure('retention_bytes', '1')")
    while database.sql("select 1 from eventgate.log"):
        database.sql("select eventgate.maintain()")
    gateway = start_gateway("--durable", "order/**", database=database).wait_ready()
    answer = gateway.poll(f"/channels/order/1?after={tag}.2&wait=0")
    assert answer["events"] == [] and "gap" not in answer, answer
    answer = gateway.poll(f"/channels/order/1?after={tag}.1&wait=0")
    assert answer["gap"]["reason"] == "retention", answer


def publish_many(database, channel, first, last, fill=FILL):
    database.sql("select eventgate.publish(%s, json_build_object('n', n, 'fill', repeat('x', %s)))"
                 " from generate_series(%s, %s) n", channel, fill, first, last)


def until_read(gateway, database):
    """Until the gateway has read the log to its end."""
    position = database.sql("select eventgate.position()")[0][0]
    until(lambda: gateway.get("/sets").json()["sets"][0]["position"] >= position, "the gateway has read the log")


def test_a_slow_reader_of_large_events_misses_none(start_gateway, postgres, durable_channel):
    """The socket is full in the middle of an event, and the journal goes on without the reader."""
    gateway = start_gateway("--journal-events", "16", "--workers", "1", durable="d/**").wait_ready()
    with gateway.stream(f"/channels/{durable_channel}", receive_buffer=4096) as stream:
        stream.cursor()
        for first in range(1, 801, 100):
            publish_many(postgres, durable_channel, first, first + 99)
            until_read(gateway, postgres)
        assert [event.data["n"] for event in stream.events(800)] == list(range(1, 801))


@pytest.mark.parametrize("kind", ("sse", "ndjson"))
def test_an_idle_cursor_passes_what_other_sets_have_published(start_gateway, postgres, durable_channel, kind):
    """Also what came in the same transaction as the last event of its own."""
    gateway = start_gateway("--heartbeat", "100ms", durable="d/**").wait_ready()
    with gateway.stream(f"/channels/{durable_channel}?format={kind}") as stream:
        stream.cursor()
        postgres.sql("select eventgate.publish(%s, '1'), eventgate.publish('elsewhere', '2')", durable_channel)
        stream.event()
        position = postgres.sql("select eventgate.position()")[0][0]
        item = stream.read()
        while str(position) not in item.text:
            assert item.kind == "cursor", item
            item = stream.read()


def test_the_gap_of_a_lost_tail_begins_where_the_client_is(start_gateway, database):
    """An idle client, whose cursor has moved on with what others publish."""
    gateway = start_gateway("--heartbeat", "100ms", database=database, durable="d/**").wait_ready()
    database.sql("select eventgate.publish('d/a', '1')")
    with gateway.stream("/channels/d/a?after=earliest") as stream:
        stream.event()
        dump = dump_schema(database)
        database.sql("select eventgate.publish('d/b', '2'), eventgate.publish('elsewhere', '3')")
        lost = database.value("select eventgate.position()")
        told = stream.cursor()
        while not told.partition("~")[0].endswith(f".{lost}"):
            told = stream.cursor()
        reload_schema(database, dump)
        gap = stream.gap()
        assert gap["reason"] == "failover"
        assert gap["from"] == told


def test_a_live_channel_does_not_wait_for_the_log_and_calls_no_cursor_of_it_unknown(start_gateway, database):
    holder = database.session()
    holder.sql("begin")
    holder.sql("lock table eventgate.turn in exclusive mode")  # so that nobody can attach to the log
    gateway = start_gateway(database=database, durable="d/**")
    until(lambda: gateway.get("/sets").json()["sets"][0]["listening"], "the gateway listens")
    with gateway.stream("/channels/t/a?after=abcdef.5~aaaaaaaaaa-3") as stream:
        assert stream.gap()["reason"] == "reconnect"
    holder.sql("rollback")
    gateway.wait_ready()
    with gateway.stream("/channels/t/a?after=abcdef.5~aaaaaaaaaa-3") as stream:
        assert stream.gap()["reason"] == "unknown"


def test_the_place_by_sql_of_an_empty_log_may_be_said_wherever_a_cursor_is_said(database, start_gateway, tmp_path):
    place = database.value("select eventgate.cursor()")
    database.sql("select eventgate.publish('d/a', '1')")
    gateway = start_gateway("--durable", "d/**", database=database).wait_ready()
    for query, headers in ((f"?after={place}&", {}), (f"?lastEventId={place}&", {}), ("?", {"Last-Event-ID": place})):
        answer = gateway.poll(f"/channels/d/a{query}wait=0", **headers)
        assert [event["data"] for event in answer["events"]] == [1] and "gap" not in answer, (query, answer)
        with gateway.stream(f"/channels/d/a{query}event=type", **headers) as stream:
            assert stream.event().data == 1
    file = tmp_path / "cursor"
    file.write_text(f"{place}\n")
    shown = run("tail", "d/a", "--cursor-file", str(file), "--limit", "1", EVENTGATE_URL=gateway.url)
    assert (shown.returncode, shown.stderr, shown.stdout.count('"data":1')) == (0, "", 1), shown
    assert file.read_text().startswith(database.value("select eventgate.cursor()"))
