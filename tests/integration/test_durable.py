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
