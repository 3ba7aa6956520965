"""The log under concurrency, and through everything that may happen to a database."""

import contextlib
import os
import pathlib
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from psycopg2 import errors

from kit.postgres import Postgres, Standby
from kit.schema import Database
from kit.wait import until

SEGMENT = 1 << 33


@pytest.fixture(scope="module")
def server():
    """Of this file's own, since a prepared transaction needs a setting."""
    postgres = Postgres(settings=("max_prepared_transactions=2", "deadlock_timeout=100ms"))
    try:
        yield postgres.start()
    finally:
        postgres.remove()


@pytest.fixture(scope="module")
def template(server):
    return Database(server)


@pytest.fixture
def database(template):
    """As just installed."""
    template.reset()
    yield template
    template.close()


@pytest.fixture
def breakable(server, template):
    """A database of this test's own."""
    template.reset()
    made = Database(server, template=template.name)
    yield made
    made.drop()


@pytest.fixture(scope="module")
def fragile():
    """To be stopped and broken, with a database for each test."""
    made = Postgres()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def background():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def data_of(database, channel=None):
    rows = database.sql("select data::text from eventgate.log where %s::text is null or channel = %s order by pos",
                        channel, channel)
    return [data for (data,) in rows]


# --- order -----------------------------------------------------------------------------------------------------------


def page_through(session, done, seen):
    """As a reader does: everything behind the last position, again and again."""
    position, last = 0, False
    while True:
        last = done.is_set()
        rows = session.sql("select pos, data::text from eventgate.log where pos > %s order by pos limit 100", position)
        seen += rows
        if rows:
            position = rows[-1][0]
        elif last:
            return


def test_a_reader_by_position_misses_nothing_of_eight_interleaved_writers(database, background):
    writers, each = 8, 120
    seen, done = [], threading.Event()
    reader = background.submit(page_through, database.session(), done, seen)

    def write(number):
        session = database.session(isolation=("read committed", "repeatable read", "serializable")[number % 3])
        for n in range(0, each, 3):
            while True:
                with contextlib.suppress(errors.SerializationFailure):
                    if number % 2:
                        session.sql("begin")
                        session.publish(f"c/{number}", f"[{number},{n}]")
                        session.sql("savepoint one")
                        session.publish(f"c/{number}", "0")
                        session.sql("rollback to one")
                        session.publish(f"c/{number}", f"[{number},{n + 1}]")
                        session.publish("all", f"[{number},{n + 2}]")
                        session.sql("commit")
                    else:
                        session.sql("select eventgate.append(%s, '{1,2,3}', %s, null, %s, null, null)", str(number),
                                    [f"c/{number}"] * 2 + ["all"], [f"[{number},{n + i}]" for i in range(3)])
                    break
                session.sql("rollback")

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    done.set()
    reader.result(20)
    assert [pos for pos, _ in seen] == sorted({pos for pos, _ in seen})
    assert seen == database.sql("select pos, data::text from eventgate.log order by pos")
    assert len(seen) == writers * each
    for number in range(writers):
        assert [data for _, data in seen if data.startswith(f"[{number},")] == [f"[{number},{n}]" for n in range(each)]


def test_positions_become_visible_in_their_order(database, background):
    """The first to append commits last with bigserial; here the second waits for it."""
    first, second = database.session(), database.session()
    first.sql("begin")
    first.publish("a", "1")
    first.sql("set constraints all immediate")
    commit = background.submit(second.publish, "a", "2")
    first.until_waiting(database)
    assert data_of(database) == []
    first.sql("commit")
    commit.result(10)
    assert data_of(database) == ["1", "2"]


def test_a_transaction_that_is_open_after_publish_delays_nobody(database):
    waiting = database.session()
    waiting.sql("begin")
    waiting.publish("a", "1")
    database.sql("select eventgate.publish('a', '2')")
    assert data_of(database) == ["2"]
    waiting.sql("commit")
    assert data_of(database) == ["2", "1"]


def test_every_commit_that_appends_wakes_listeners_and_no_other(database):
    listener, publisher = database.session(), database.session()
    listener.sql("listen eventgate")
    publisher.publish("a", "1")
    publisher.sql("begin")
    publisher.publish("a", "2")
    publisher.sql("rollback")
    publisher.sql("select eventgate.append('p', null, '{a,b}', null, '{3,4}', '{k,l}', null)")

    def woken():
        listener.connection.poll()
        return len(listener.connection.notifies) >= 2
    until(woken, "two notifications")
    publisher.sql("notify eventgate, 'end'")
    until(lambda: listener.connection.poll() or listener.connection.notifies[-1].payload == "end", "the end")
    assert [notify.payload for notify in listener.connection.notifies] == ["", "", "end"]


# --- transactions ----------------------------------------------------------------------------------------------------


def test_an_error_at_the_deferred_foreign_key_publishes_nothing(database):
    database.sql("create table parent (id int primary key)")
    database.sql("create table child (id int references parent deferrable initially deferred)")
    session = database.session()
    session.sql("begin")
    session.publish("a", "1")
    session.sql("insert into child values (1)")
    with pytest.raises(errors.ForeignKeyViolation):
        session.sql("commit")
    session.sql("begin")
    session.publish("a", "2")
    session.sql("insert into child values (2)")
    session.sql("insert into parent values (2)")
    session.sql("commit")
    assert data_of(database) == ["2"]


def test_a_deferred_foreign_key_that_waits_does_not_hold_the_turn(database, background):
    """With one stage, the commit took the turn first and then waited for the key's row: a deadlock with its owner."""
    database.sql("create table parent (id int primary key)")
    database.sql("create table child (id int references parent deferrable initially deferred)")
    database.sql("insert into parent values (1)")
    holder, child = database.session(), database.session()
    holder.sql("begin")
    holder.sql("delete from parent")
    child.sql("begin")
    child.publish("a", '"child"')
    child.sql("insert into child values (1)")
    commit = background.submit(child.sql, "commit")
    holder.until_waiting(database)
    holder.publish("a", '"holder"')
    holder.sql("rollback")
    holder.publish("a", '"holder"')
    commit.result(10)
    assert sorted(data_of(database)) == ['"child"', '"holder"']


def test_publishers_that_lock_rows_in_opposite_order_deadlock_no_more_than_without(database, background):
    """Row locks are taken before the turn, and nothing is waited for behind it."""
    database.sql("create table stock (id int primary key, n int)")
    database.sql("insert into stock values (1, 0), (2, 0)")

    def work(number):
        session = database.session()
        for n in range(30):
            session.sql("begin")
            session.publish(f"c/{number}", str(n))
            session.sql("update stock set n = n + 1 where id = %s", 1 + (n + number) % 2)
            session.publish("all", str(n))
            session.sql("commit")
    list(background.map(work, range(6)))
    assert len(data_of(database, "all")) == 180
    assert database.value("select sum(n) from stock") == 180


def test_immediate_constraints_take_the_turn_early_and_a_deadlock_is_found(database, background):
    database.sql("create table stock (id int primary key)")
    database.sql("insert into stock values (1)")
    early, late = database.session(), database.session()
    early.sql("begin")
    early.sql("set constraints all immediate")
    early.publish("a", '"early"')
    late.sql("begin")
    late.sql("update stock set id = 1")
    late.publish("a", '"late"')
    commit = background.submit(late.sql, "commit")
    early.until_waiting(database)
    outcomes = []
    try:
        early.sql("update stock set id = 1")
        outcomes.append('"early"')
    except errors.DeadlockDetected:
        pass
    early.sql("commit")
    try:
        commit.result(10)
        outcomes.append('"late"')
    except errors.DeadlockDetected:
        pass
    assert len(outcomes) == 1 and data_of(database) == outcomes


def test_two_phase_commit_is_refused_and_holds_nobody_up(database):
    session = database.session()
    session.sql("begin")
    session.publish("a", "1")
    with pytest.raises(errors.FeatureNotSupported) as caught:
        session.sql("PREPARE TRANSACTION 'two'")
    assert "publishes events cannot be prepared" in str(caught.value)
    assert "Publish in a transaction of its own" in caught.value.diag.message_hint
    with pytest.raises(errors.FeatureNotSupported):
        session.sql("begin; select eventgate.publish('a', '2'); prepare transaction 'two'")
    session.sql("rollback")
    database.sql("select eventgate.publish('a', '3')")
    assert data_of(database) == ["3"]


def test_nobody_without_a_grant_can_hold_the_turn(database, background):
    database.sql("do $$begin if to_regrole('stranger') is null then create role stranger login; end if; end$$")
    stranger = database.session(user="stranger")
    for attempt in ("lock table eventgate.turn in exclusive mode", "lock table eventgate.turn in access share mode",
                    "lock table eventgate.log in access exclusive mode", "select eventgate.publish('a', '1')",
                    "insert into eventgate.publishing values ('1', '', 1)", "select eventgate.take_turn()"):
        with pytest.raises(errors.InsufficientPrivilege):
            stranger.sql(f"begin; {attempt}")
        stranger.sql("rollback")
    stranger.sql("begin")  # advisory locks, which anybody may take, mean nothing
    for key in range(3):
        stranger.sql("select pg_advisory_xact_lock(%s), pg_advisory_xact_lock(hashtextextended('eventgate', 0))", key)
    stranger.sql("select pg_notify('eventgate', '')")
    stranger.sql("commit")
    background.submit(database.sql, "select eventgate.publish('a', '2')").result(10)
    background.submit(database.sql, "select eventgate.maintain()").result(10)
    assert data_of(database) == ["2"]


def test_lock_timeout_at_commit_is_an_error_and_publishes_nothing(database):
    holder, other = database.session(), database.session()
    holder.sql("begin")
    holder.sql("set constraints all immediate")
    holder.publish("a", "1")
    other.sql("set lock_timeout = '20ms'")
    with pytest.raises(errors.LockNotAvailable):
        other.publish("a", "2")
    holder.sql("commit")
    other.publish("a", "3")
    assert data_of(database) == ["1", "3"]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_snapshot_older_than_a_channel_fails_nobody(database, isolation):
    database.sql("select eventgate.attach(0)")
    old = database.session(isolation=isolation)
    old.sql("begin")
    old.value("select 1")
    database.sql("select eventgate.publish('new', '1'), eventgate.publish('new/too', '2')")
    old.publish("new", "3")
    old.publish("newest", "4")
    old.publish("new/too", "5")
    old.sql("commit")
    assert data_of(database) == ["1", "2", "3", "4", "5"]
    assert database.sql("select name from eventgate.channel order by name") == [("new",), ("new/too",), ("newest",)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_snapshot_older_than_an_incarnation_fails_nobody(database, isolation):
    database.sql("select eventgate.publish('a', '1')")
    database.sql("update eventgate.state set row_xmin = '3'")
    old = database.session(isolation=isolation)
    old.sql("begin")
    old.value("select 1")
    database.sql("select eventgate.publish('a', '2')")
    old.publish("a", "3")
    old.sql("commit")
    database.sql("select eventgate.publish('a', '4')")
    assert data_of(database) == ["1", "2", "3", "4"]
    assert database.value("select max(number) from eventgate.incarnation") == 2


def test_concurrent_serializable_publishers_have_no_conflict_of_ours(database):
    sessions = [database.session(isolation="serializable") for _ in range(3)]
    database.sql("select eventgate.publish('c/0', '0'), eventgate.publish('c/1', '0'), eventgate.publish('c/2', '0')")
    database.sql("vacuum analyze eventgate.pending, eventgate.publishing, eventgate.state")
    for number, session in enumerate(sessions):
        session.sql("begin")
        session.publish(f"c/{number}", "1")
    for session in sessions:
        session.publish("both", "2")
    for session in sessions:
        session.sql("commit")
    assert len(data_of(database)) == 9


# --- keys ------------------------------------------------------------------------------------------------------------


def test_one_key_from_many_sessions_at_once_is_one_event(database, background):
    def post(number):
        body = "1" if number % 2 else "2"
        row, = database.session().sql(
            "select outcome, pos from eventgate.append('p', null, '{a}', null, %s, '{k}', null)", [body])
        return (body, *row)
    answers = list(background.map(post, range(8)))
    (winner, position), = [(body, pos) for body, outcome, pos in answers if outcome == "appended"]
    assert data_of(database) == [winner]
    for body, outcome, pos in answers:
        if body != winner:
            assert (outcome, pos) == ("conflict", None)
        else:
            assert outcome in ("appended", "replayed") and pos == position


def test_a_key_of_a_publisher_that_rolls_back_was_never_used(database, background):
    first = database.session()
    first.sql("begin")
    first.publish("a", "1", key="k")
    first.sql("set constraints all immediate")
    second = background.submit(database.sql, "select eventgate.publish('a', '2', key => 'k')")
    first.until_waiting(database)
    first.sql("rollback")
    second.result(10)
    assert data_of(database) == ["2"]


def test_a_key_with_another_body_fails_the_transaction_at_its_commit(database):
    database.sql("select eventgate.publish('a', '1', key => 'k')")
    session = database.session()
    session.sql("begin")
    session.publish("b", "2")
    session.publish("a", "3", key="k")
    with pytest.raises(psycopg2.Error) as caught:
        session.sql("commit")
    assert caught.value.pgcode == "EG422"
    assert data_of(database) == ["1"]


def test_a_key_that_the_snapshot_does_not_show_is_a_serialization_failure(database):
    old = database.session(isolation="repeatable read")
    old.sql("begin")
    old.value("select 1")
    database.sql("select eventgate.publish('a', '1', key => 'k')")
    old.publish("a", "1", key="k")
    with pytest.raises(errors.SerializationFailure):
        old.sql("commit")
    old.publish("a", "1", key="k")
    assert data_of(database) == ["1"]


# --- what may happen to a database -----------------------------------------------------------------------------------


def jumps(database):
    return database.sql("select jump_from, jump_to from eventgate.incarnation order by number")


def assert_jumped(database, lost, there):
    """`lost`: a position that some client has seen; `there`: the last one that exists."""
    position = database.value("select eventgate.append('p', null, '{a}', null, '{9}', null, null)").split(",")[1]
    jump_from, jump_to = jumps(database)[-1]
    assert jump_from == there
    assert jump_from < lost < jump_to < int(position) or lost == there
    assert int(position) == jump_to + 1 and jump_to - jump_from > 1
    assert database.value("select count(*) = count(distinct pos) from eventgate.log")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["shutdown", "immediate", "crash"])
def test_positions_go_on_elsewhere_after_a_stop(fragile, how):
    database = Database(fragile)
    for n in range(3):
        database.sql("select eventgate.publish('a', %s)", str(n))
    mark = database.value("select eventgate.mark()")
    unfinished = database.session()
    unfinished.sql("begin")
    unfinished.publish("a", "7")
    unfinished.sql("set constraints all immediate")
    fragile.stop(how)
    fragile.start()
    assert data_of(database) == ["0", "1", "2"]
    assert database.value("select eventgate.mark()") == mark
    assert database.sql("select 1 from eventgate.pending") == []
    assert_jumped(database, 3, 3)
    assert database.value("select eventgate.mark()") != mark
    assert len(jumps(database)) == 2
    database.sql("select eventgate.publish('a', '10')")
    assert len(jumps(database)) == 2


def test_a_crash_of_one_backend_loses_nothing_and_is_no_jump(fragile):
    """The postmaster lives on: what was visible had been flushed."""
    database = Database(fragile)
    publisher = database.session()
    publisher.sql("set synchronous_commit = off")
    publisher.publish("a", "1")
    log = pathlib.Path(fragile.folder, "server.log")
    starts = log.read_text().count("is ready to accept connections")
    os.kill(publisher.pid, signal.SIGKILL)
    until(lambda: log.read_text().count("is ready to accept connections") > starts, "PostgreSQL has restarted itself")
    assert data_of(database) == ["1"]
    database.sql("select eventgate.publish('a', '2')")
    assert data_of(database) == ["1", "2"]
    assert len(jumps(database)) == 1


def test_a_synchronous_standby_that_hangs_stops_publishing_but_not_reading(fragile, background):
    database = Database(fragile)
    database.sql("select eventgate.publish('a', '1')")
    fragile.sql("alter system set synchronous_standby_names = 'absent'")
    fragile.sql("select pg_reload_conf()")
    try:
        until(lambda: database.value("show synchronous_standby_names") == "absent", "the standby is waited for")
        first = database.session()
        waiting = [background.submit(first.publish, "a", "2")]
        wait_event = "select wait_event from pg_stat_activity where pid = %s"
        until(lambda: database.value(wait_event, first.pid) == "SyncRep", "the commit waits for the standby")
        waiting.append(background.submit(database.session().publish, "a", "3"))
        first.until_waiting(database)
        assert data_of(database) == ["1"]
    finally:
        fragile.sql("alter system reset synchronous_standby_names")
        fragile.sql("select pg_reload_conf()")
    for commit in waiting:
        commit.result(20)
    assert data_of(database) == ["1", "2", "3"]


def test_a_promoted_standby_with_a_lost_tail_jumps_over_it(fragile):
    database = Database(fragile)
    database.sql("select eventgate.publish('a', '1')")
    standby = Standby(fragile, fragile.conninfo)
    try:
        # What follows stays on the primary: the copy is promoted without ever having been connected.
        standby.settings = [setting for setting in standby.settings if "primary_conninfo" not in setting]
        database.sql("select eventgate.publish('a', '2'), eventgate.publish('a', '3')")
        standby.start()
        copy = Database(standby, name=database.name, existing=True)
        assert data_of(copy) == ["1"]
        assert copy.value("select eventgate.position()") == 1
        standby.promote()
        assert_jumped(copy, 3, 1)
    finally:
        standby.remove()


def test_an_older_dump_in_a_new_database_of_the_same_server(breakable, server):
    breakable.sql("select eventgate.publish('a', '1'), eventgate.publish('b', '2')")
    dump = server.run("pg_dump", "-d", breakable.conninfo)
    breakable.sql("select eventgate.publish('a', '3')")
    breakable.drop()
    reloaded = Database(server, name=breakable.name, installed=False)
    load(reloaded, dump)
    assert data_of(reloaded) == ["1", "2"]
    assert_jumped(reloaded, 3, 2)


def load(database, dump):
    database.server.run("psql", "-X", "-q", "-d", database.conninfo, "--set=ON_ERROR_STOP=1", "-f", "-", text=dump)


def test_an_older_dump_into_the_same_tables(database, server):
    database.sql("select eventgate.publish('a', '1'), eventgate.publish('b', '2')")
    tag, mark = database.sql("select tag, mark from eventgate.attach(0)")[0]
    dump = server.run("pg_dump", "--data-only", "-d", database.conninfo)
    database.sql("select eventgate.publish('a', '3')")
    tables = ("state", "incarnation", "channel", "setting", "key", "log")
    database.sql("truncate " + ", ".join(f"eventgate.{table}" for table in tables))
    load(database, dump)
    assert data_of(database) == ["1", "2"]
    assert database.value("select eventgate.mark()") != mark
    assert_jumped(database, 3, 2)
    assert database.value("select tag from eventgate.attach(0)") == tag


def test_an_older_dump_over_a_dropped_schema(breakable, server):
    breakable.sql("select eventgate.publish('a', '1')")
    dump = server.run("pg_dump", "--schema=eventgate*", "-d", breakable.conninfo)
    breakable.sql("select eventgate.publish('a', '2')")
    breakable.sql("drop schema eventgate cascade")
    breakable.sql("drop schema if exists eventgate_watch cascade")
    load(breakable, dump)
    assert_jumped(breakable, 2, 1)


def test_a_copy_of_a_database(database, server):
    """CREATE DATABASE ... TEMPLATE keeps the oids of all tables."""
    database.sql("select eventgate.publish('a', '1')")
    copy = Database(server, template=database.name)
    try:
        database.sql("select eventgate.publish('a', '2')")
        assert_jumped(copy, 2, 1)
        assert len(jumps(database)) == 1
    finally:
        copy.drop()


def test_a_gateway_that_has_seen_more_than_there_is(database):
    """The copy above in the same place: only who has read the lost tail can know."""
    database.sql("select eventgate.publish('a', '1')")
    head = database.value("select head from eventgate.attach(%s)", 5 * SEGMENT + 7)
    assert jumps(database)[-1] == (1, head) and head > 6 * SEGMENT
    assert database.value("select head from eventgate.attach(%s)", head) == head
    assert len(jumps(database)) == 2


# --- retention beside readers and publishers -------------------------------------------------------------------------


def maintain(database):
    """All that is due; what was done."""
    done = []
    while True:
        rows = database.sql("select action, subject, again from eventgate.maintain()")
        done += [(action, subject) for action, subject, _ in rows]
        if not rows or not rows[-1][2]:
            return done


def full_segments(database, count):
    """Segments that may all be dropped, with an event each; the current one is empty and takes what comes."""
    database.sql("select eventgate.configure('segment_bytes', '1'), eventgate.configure('retention_bytes', '1000000')")
    for n in range(count):
        database.sql("select eventgate.publish('a', %s)", str(n))
        maintain(database)
    database.sql("select eventgate.configure('segment_bytes', '1000000'), eventgate.configure('retention_bytes', '1')")


def test_a_reader_keeps_its_partition_and_publishers_do_not_notice(database, background):
    full_segments(database, 3)
    reader, publisher = database.session(), database.session()
    reader.sql("begin")
    assert len(reader.sql("select 1 from eventgate.log")) == 3
    publisher.sql("set lock_timeout = '50ms'")
    published = background.submit(lambda: [publisher.publish("a", '"on"') for _ in range(30)])
    while not published.done():
        assert maintain(database) == [("blocked", "log_0")]
    published.result()
    assert len(reader.sql("select 1 from eventgate.log where data::text <> '\"on\"'")) == 3
    reader.sql("commit")
    assert maintain(database) == [("dropped", f"log_{n}") for n in range(3)]
    assert data_of(database) == ['"on"'] * 30
    assert database.sql("select name, pruned from eventgate.channel") == [("a", 2 * SEGMENT + 1)]


def test_a_log_that_fills_a_segment_between_two_calls_loses_one_too(database):
    database.sql("select eventgate.configure('segment_bytes', '1'), eventgate.configure('retention_bytes', '1')")
    actions = []
    for n in range(8):
        database.sql("select eventgate.publish('a', %s)", str(n))
        actions += [action for action, _, _ in database.sql("select * from eventgate.maintain()")]
    assert actions.count("dropped") >= 2 and actions.count("rotated") >= 2, actions


def test_a_reader_does_not_keep_the_log_from_rotating(database):
    full_segments(database, 1)
    database.sql("select eventgate.configure('segment_bytes', '1')")
    reader = database.session()
    reader.sql("begin")
    reader.sql("select 1 from eventgate.log")
    database.sql("select eventgate.publish('a', '1')")
    assert ("rotated", "log_1") in maintain(database)
    reader.sql("commit")


def test_who_holds_the_log_itself_delays_publishers_for_moments_only(database, background):
    full_segments(database, 1)
    holder, publisher = database.session(), database.session()
    holder.sql("begin")
    holder.sql("lock table only eventgate.log in access share mode")
    publisher.sql("set lock_timeout = '2s'")
    published = background.submit(lambda: [publisher.publish("a", '"on"') for _ in range(10)])
    while not published.done():
        assert maintain(database) == [("blocked", "log_0")]
    published.result()
    holder.sql("commit")
    assert maintain(database) == [("dropped", "log_0")]


def test_retention_while_everybody_reads_and_publishes(database, background):
    """Nobody has an error, readers by position miss nothing but what `pruned` tells."""
    database.sql("select eventgate.configure('segment_bytes', '1'), eventgate.configure('retention_bytes', '300000')")
    database.sql("select eventgate.publish('a', '0')")
    done, dropped, failures = threading.Event(), [], []

    def publish(number):
        session = database.session()
        for n in range(100):
            session.publish(f"c/{number}", str(n))

    def keep():
        session = database.session()
        while not done.is_set():
            for action, subject, _ in session.sql("select * from eventgate.maintain()"):
                dropped.append(action)

    def read(number):
        session = database.session()
        last, position = -1, 0
        name = f"c/{number}"
        while last < 99 and not failures:
            rows = session.sql(
                "select null, pruned from eventgate.channel where name = %s union all (select pos, data::text::bigint"
                " from eventgate.log where channel = %s and pos > %s order by pos limit 7)", name, name, position)
            events = [row for row in rows if row[0] is not None]
            pruned = rows[0][1] if rows else 0
            for pos, n in events:
                if n != last + 1 and pruned <= position:
                    failures.append((name, last, n))
                last, position = n, pos
        return last

    keepers = [background.submit(keep) for _ in range(2)]
    readers = [background.submit(read, number) for number in range(3)]
    list(background.map(publish, range(3)))
    assert [reader.result(20) for reader in readers] == [99] * 3
    until(lambda: dropped.count("dropped") >= 3, "retention drops partitions")
    done.set()
    for keeper in keepers:
        keeper.result(10)
    assert failures == []


def test_a_publisher_that_does_not_end_does_not_stop_retention(database):
    full_segments(database, 2)
    open_ = database.session()
    open_.sql("begin")
    open_.publish("a", '"open"')
    assert maintain(database) == [("dropped", "log_0"), ("dropped", "log_1")]
    open_.sql("commit")
    assert data_of(database) == ['"open"']


# --- reading ---------------------------------------------------------------------------------------------------------


def test_generic_plans_read_only_the_partitions_that_they_need(database):
    full_segments(database, 4)
    session = database.session()
    for setting in ("plan_cache_mode = force_generic_plan", "enable_seqscan = off", "jit = off"):
        session.sql(f"set {setting}")
    session.sql("prepare tail(bigint, bigint) as select * from eventgate.log where pos > $1 order by pos limit $2")
    session.sql("prepare channels(text[], bigint, bigint) as select l.* from unnest($1) as c(name), lateral ("
                "select * from eventgate.log l where l.channel = c.name and l.pos > $2 order by l.pos limit $3) as l")
    last = 3 * SEGMENT
    for query in (f"tail({last}, 10)", f"channels('{{a,b}}', {last}, 10)"):
        plan = "\n".join(line for (line,) in session.sql(f"explain (costs off) execute {query}"))
        assert "Subplans Removed: 3" in plan, plan
        assert "Seq Scan" not in plan and "Sort" not in plan, plan
        assert sorted(set(re.findall(r"using (log_\d+)_", plan))) == ["log_3", "log_4", "log_5"], plan
