"""Watched tables where the schema's owner is no superuser, through dumps, uninstalling, and with several sessions."""

import json
import pathlib
import re

import psycopg2
import pytest
from psycopg2 import errors

from kit.gateway import run
from kit.schema import Database


@pytest.fixture(scope="module")
def roles(postgres):
    """boss owns the schema, app the tables, dba has them watched, writer may only write; none is a superuser."""
    postgres.sql("""
        do $$
        declare
            role text;
        begin
            foreach role in array '{watch_boss,watch_app,watch_dba,watch_writer}'::text[] loop
                execute format('create role %I login', role);
            end loop;
        end
        $$;
        grant watch_app to watch_dba;
        alter role watch_boss createrole;
        """)


@pytest.fixture(scope="module")
def template(postgres, roles):
    made = Database(postgres, owner="watch_boss")
    postgres.sql("grant eventgate_admin to watch_dba")
    made.sql("create schema app authorization watch_app")
    made.session("watch_app").sql("""
        create table app.orders (id int primary key, customer text, total numeric);
        grant usage on schema app to watch_writer;
        grant all on app.orders to watch_writer""")
    made.close()
    yield made
    made.drop()


@pytest.fixture
def database(postgres, template):
    made = Database(postgres, template=template.name)
    yield made
    made.drop()


def watch(database, channel="orders/{customer}", more=""):
    database.session("watch_dba").sql(f"select eventgate.watch('app.orders', %s{more})", channel)


def told(database):
    return database.sql("select channel, type from eventgate.log order by pos")


def test_nobody_needs_to_be_a_superuser(database):
    watch(database, more=", condition => 'total > 0'")
    writer = database.session("watch_writer")
    writer.sql("insert into app.orders values (1, 'ann', 5), (2, 'bob', 0)")
    writer.sql("update app.orders set customer = 'eve' where id = 1")
    assert told(database) == [("orders/ann", "insert"), ("orders/ann", "delete"), ("orders/eve", "insert")]
    dba = database.session("watch_dba")
    assert dba.sql('select "table"::text, channel from eventgate.watched()') == [("app.orders", "orders/{customer}")]
    watch(database)
    writer.sql("insert into app.orders values (3, 'ann', 0)")
    assert told(database)[3:] == [("orders/ann", "insert")]
    assert dba.value("select eventgate.unwatch('app.orders')") == 1
    writer.sql("delete from app.orders")
    assert len(told(database)) == 4
    assert database.value("select count(*) from pg_proc where pronamespace = 'eventgate_watch'::regnamespace") == 0


def test_a_rolled_back_write_is_not_told_and_the_commits_order_is_the_events(database):
    watch(database, "orders")
    first, second = database.session("watch_writer"), database.session("watch_writer")
    first.sql("begin")
    first.sql("insert into app.orders values (1, 'first', 1)")
    second.sql("begin")
    second.sql("insert into app.orders values (2, 'second', 1)")
    second.sql("savepoint s")
    second.sql("insert into app.orders values (3, 'nobody', 1)")
    second.sql("rollback to s")
    second.sql("commit")
    first.sql("insert into app.orders values (4, 'first', 1)")
    first.sql("commit")
    first.sql("begin")
    first.sql("delete from app.orders")
    first.sql("rollback")
    with pytest.raises(errors.UniqueViolation):
        first.sql("insert into app.orders values (5, 'x', 1), (1, 'y', 1)")
    ids = database.sql("select (data -> 'key' ->> 'id')::int from eventgate.log order by pos")
    assert ids == [(2,), (1,), (4,)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_every_isolation_level(database, isolation):
    watch(database)
    database.sql("select eventgate.publish('began', '1')")
    one, other = (database.session("watch_writer", isolation=isolation) for _ in range(2))
    for n, session in enumerate((one, other)):
        session.sql("begin")
        session.sql("insert into app.orders values (%s, %s, 1)", n, f"c{n}")
    for session in (one, other):
        session.sql("commit")
    assert told(database)[1:] == [("orders/c0", "insert"), ("orders/c1", "insert")]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_snapshot_older_than_the_watch(database, isolation):
    database.sql("select eventgate.publish('began', '1')")
    watch(database, "other")
    old = database.session("watch_writer", isolation=isolation)
    old.sql("begin")
    old.value("select 1")
    database.session("watch_dba").sql("select eventgate.unwatch('app.orders')")
    watch(database)
    old.sql("insert into app.orders values (1, 'ann', 1)")
    old.sql("commit")
    rows = database.sql("select channel, data ->> 'table', data -> 'key' ->> 'id' from eventgate.log where pos > 1")
    assert rows == [("orders/ann", "app.orders", "1")]


def test_a_watch_begins_and_ends_between_transactions(database):
    writer = database.session("watch_writer")
    writer.sql("begin")
    writer.sql("insert into app.orders values (1, 'before', 1)")
    dba = database.session("watch_dba")
    dba.sql("set lock_timeout = '50ms'")
    with pytest.raises(errors.LockNotAvailable):
        dba.sql("select eventgate.watch('app.orders', 'orders')")
    assert dba.sql("select * from eventgate.watched()") == []
    assert not database.value("select has_schema_privilege('watch_app', 'eventgate_watch', 'create')")
    writer.sql("commit")
    dba.sql("select eventgate.watch('app.orders', 'orders')")
    writer.sql("insert into app.orders values (2, 'after', 1)")
    assert told(database) == [("orders", "insert")]


def test_a_dump_keeps_what_is_watched(postgres, database):
    watch(database, more=", '{insert,delete}', condition => 'total > 0'")
    database.session("watch_writer").sql("insert into app.orders values (1, 'ann', 1)")
    dump = postgres.run("pg_dump", "-d", database.conninfo)
    reloaded = Database(postgres, owner="watch_boss", installed=False)
    try:
        postgres.run("psql", "-X", "-q", "-d", reloaded.conninfo, "--set=ON_ERROR_STOP=1", "-f", "-", text=dump)
        assert told(reloaded) == [("orders/ann", "insert")]
        writer = reloaded.session("watch_writer")
        writer.sql("insert into app.orders values (2, 'bob', 1), (3, 'bob', 0)")
        writer.sql("delete from app.orders where id = 1")
        assert told(reloaded)[1:] == [("orders/bob", "insert"), ("orders/ann", "delete")]
        dba = reloaded.session("watch_dba")
        assert dba.sql("select channel, operations from eventgate.watched()") == [("orders/{customer}", ["insert", "delete"])]
        dba.sql("select eventgate.watch('app.orders', 'orders/{customer}')")
        dba.sql("select eventgate.watch('app.orders', 'all')")
        writer.sql("insert into app.orders values (4, 'ann', 0)")
        assert sorted(told(reloaded)[3:]) == [("all", "insert"), ("orders/ann", "insert")]
        assert reloaded.value("select count(*) from eventgate.watching") == 2
    finally:
        reloaded.drop()


def test_the_manual_says_what_is(postgres, roles):
    """The SQL of docs/watch.md runs, and its first block of events is what happens."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    statements = re.findall(r"^```sql\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    events = re.search(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE).group(1).splitlines()
    made = Database(postgres)
    try:
        made.sql("create table orders (id int primary key, customer_id text, state text, total numeric(8, 2))")
        made.sql("do $$begin if to_regrole('app_owner') is null then create role app_owner; end if; end$$")
        assert len(statements) == 4 and len(events) == 4
        for statement in statements:
            made.sql(statement)
        assert made.sql("select * from eventgate.watched()") == []
        made.sql("select eventgate.watch('orders', 'orders')")
        made.sql("insert into orders values (7, 'ann', 'new', 12.50)")
        made.sql("update orders set state = 'paid'")
        made.sql("delete from orders")
        made.sql("truncate orders")
        assert [data for (data,) in made.sql("select data::text from eventgate.log order by pos")] == events
    finally:
        made.drop()


def test_the_manuals_grant_is_enough(postgres, database):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    grant = re.search(r"^GRANT USAGE.*?^```", text, re.DOTALL | re.MULTILINE).group(0)[:-3].replace("app_owner", "watch_app")
    owner = database.session("watch_app")
    with pytest.raises(errors.InsufficientPrivilege):
        owner.sql("select eventgate.watch('app.orders', 'orders')")
    database.session("watch_boss").sql(grant)
    owner.sql("select eventgate.watch('app.orders', 'orders', condition => 'total > 0')")
    database.session("watch_writer").sql("insert into app.orders values (1, 'ann', 1)")
    assert told(database) == [("orders", "insert")]


def test_maintenance_forgets_dropped_tables(database):
    watch(database)
    database.session("watch_writer").sql("insert into app.orders values (1, 'ann', 1)")
    database.session("watch_app").sql("drop table app.orders")
    assert database.session("watch_dba").sql("select * from eventgate.watched()") == []
    done = [database.sql("select action, subject from eventgate.maintain()") for _ in range(3)]
    assert [("tidied", "1 watches")] in done
    assert database.value("select count(*) from pg_proc where pronamespace = 'eventgate_watch'::regnamespace") == 0
    assert database.value("select count(*) from eventgate.watching") == 0


def test_uninstalling_ends_the_watches(postgres, database):
    watch(database)
    conninfo = database.conninfo.replace("user=postgres", "user=watch_boss")
    shown = run("schema", "uninstall", "--yes", "--postgres", conninfo)
    assert shown.returncode == 0, shown
    database.session("watch_writer").sql("insert into app.orders values (1, 'ann', 1)")
    assert database.value("select count(*) from pg_trigger where not tgisinternal") == 0
    assert database.value("select to_regnamespace('eventgate_watch')") is None


def test_somebody_elses_schema_is_not_used(postgres, roles):
    made = Database(postgres, owner="watch_boss", installed=False)
    try:
        made.sql("create schema eventgate_watch authorization watch_app")
        with pytest.raises(psycopg2.Error) as caught:
            made.install("watch_boss")
        assert "eventgate_watch" in str(caught.value)
        assert made.value("select to_regclass('eventgate.log')") is None
    finally:
        made.drop()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_databases_with_other_encodings(postgres, roles, encoding):
    """What is no UTF-8 can't be told; it never keeps a statement from working."""
    postgres.sql(f"create database watch_encoding encoding {encoding} lc_collate 'C' lc_ctype 'C' template template0")
    database = Database.__new__(Database)
    database.server, database.name, database.open = postgres, "watch_encoding", []
    try:
        database.install()
        database.sql("create table t (id text primary key, name text)")
        database.sql("select eventgate.watch('t', 't/{name}')")
        session = database.session()
        session.connection.set_client_encoding("UTF8")
        session.sql("insert into t values ('1', %s)", "caf\u00e9")
        rows = session.sql("select channel, data::text from eventgate.log")
        assert rows[0][0] == "t/caf\u00e9" and json.loads(rows[0][1])["new"]["name"] == "caf\u00e9"
        if encoding == "SQL_ASCII":
            session.connection.set_client_encoding("SQL_ASCII")
            session.sql(b"insert into t values ('2', 'caf\xe9')")
            rows = session.sql("select channel, data::text from eventgate.log where pos > 1")
            assert rows[0][0].startswith("t/%md5") and json.loads(rows[0][1])["truncated"] is True
    finally:
        database.drop()
