"""Durable channels where something breaks: what the set checker has found."""

import psycopg2
import pytest

from kit.schema import Database


@pytest.fixture
def database(postgres):
    """A database with the schema, of this test's own."""
    one = Database(postgres)
    yield one
    one.drop()


def reload_schema(database, dump):
    """In place of the schema that is there, what pg_dump has written."""
    database.psql("-q", "-1", "-v", "ON_ERROR_STOP=1", "-c", "drop schema eventgate cascade", "-f", dump)


@pytest.mark.parametrize("isolation", ("repeatable read", "serializable"))
def test_a_snapshot_older_than_a_reload_reuses_no_position(database, isolation):
    database.sql("select eventgate.publish('a', '1')")
    dump = f"{database.server.folder}/{database.name}.dump"
    database.server.run("pg_dump", "--dbname", database.conninfo, "--schema=eventgate", "--file", dump)
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
