"""Installing the schema: by whom, over what, into which databases, as a script and as an extension."""

import os
import pathlib
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from psycopg2 import errors

from kit.postgres import Postgres
from kit.schema import Database, assembled, former, script, version


class WithExtension(Postgres):
    """A server with a share folder of its own, for the extension's files: it looks for that beside its program."""

    def make_data(self):
        share = pathlib.Path(subprocess.check_output([f"{self.bin}/pg_config", "--sharedir"], text=True).strip())
        original = pathlib.Path(self.bin)
        top = pathlib.Path(os.path.commonpath([original, share]))
        copy = pathlib.Path(self.folder, "installed")
        for source in (original.parent, share):
            target = copy / source.relative_to(top)
            target.mkdir(parents=True)
            for entry in source.iterdir():
                if entry.name not in ("bin", "extension"):
                    (target / entry.name).symlink_to(entry)
        extensions = copy / share.relative_to(top) / "extension"
        extensions.mkdir()
        ours = pathlib.Path(assembled().name).glob("pg_eventgate*")
        upgrade = pathlib.Path(assembled(version() + 1).name) / f"pg_eventgate--{version()}--{version() + 1}.sql"
        for entry in (*(share / "extension").glob("plpgsql*"), *ours, upgrade):
            shutil.copy(entry, extensions)
        first = pathlib.Path(assembled(1).name, "pg_eventgate--1.sql").read_text(encoding="ascii")
        (extensions / "pg_eventgate--1.sql").write_text(former(1, first), encoding="ascii")
        self.bin = str(copy / original.relative_to(top))
        shutil.copytree(original, self.bin)
        super().make_data()


@pytest.fixture(scope="module")
def server():
    """Of this file's own, since roles are made and dropped."""
    postgres = WithExtension()
    try:
        yield postgres.start()
    finally:
        postgres.remove()


@pytest.fixture
def empty(server):
    """A database without the schema, whose owner is no superuser."""
    server.sql("do $$begin if to_regrole('boss') is null then create role boss login createrole; end if; end$$")
    database = Database(server, owner="boss", installed=False)
    yield database
    database.drop()


def works(database, user="postgres"):
    database.session(user).publish("a", "1")
    return database.sql("select channel, data::text from eventgate.log") == [("a", "1")]


def tables_of(database):
    return database.sql("select oid, relname, relfilenode from pg_class where relnamespace = 'eventgate'::regnamespace"
                        " and relkind <> 'S' order by relname")


# --- the script ------------------------------------------------------------------------------------------------------


def test_the_script_needs_no_superuser(server, empty):
    empty.install("boss")
    server.sql("do $$begin if to_regrole('shop') is null then create role shop login; end if; end$$")
    server.sql("grant eventgate_publish to shop")
    assert works(empty, "shop")
    assert empty.value("select eventgate.version()") == version()


def test_the_script_runs_in_psql_and_says_nothing(empty):
    for _ in range(2):
        assert empty.psql("-q", "-f", f"{copy_of(empty.server)}/eventgate.sql") == ""
    assert works(empty)


def copy_of(server):
    """The assembled files where the server's user can read them."""
    target = pathlib.Path(server.folder, "assembled")
    if not target.exists():
        shutil.copytree(assembled().name, target)
        for path in (target, *target.iterdir()):
            path.chmod(0o755)
    return target


def test_the_script_changes_nothing_the_second_time(empty):
    empty.install("boss")
    assert works(empty)
    before = tables_of(empty)
    empty.install("boss")
    assert tables_of(empty) == before
    assert empty.sql("select number from eventgate.incarnation") == [(1,)]
    empty.sql("select eventgate.publish('a', '2')")
    assert empty.sql("select pos from eventgate.log order by pos") == [(1,), (2,)]


def test_grants_of_an_administrators_own_stay(empty):
    empty.install("boss")
    empty.sql("grant select on eventgate.key to pg_monitor")
    empty.install("boss")
    assert empty.value("select has_table_privilege('pg_monitor', 'eventgate.key', 'select')")


def test_a_new_version_upgrades_in_place_while_publishers_work_and_an_older_one_is_refused(empty):
    empty.install("boss")
    assert works(empty)
    publisher = empty.session()
    publisher.sql("begin")
    publisher.publish("a", "2", key="k")
    publisher.sql("set constraints all immediate")
    empty.install("boss", version=version() + 1)
    publisher.sql("commit")
    publisher.publish("a", "3")
    assert empty.value("select eventgate.version()") == version() + 1
    assert empty.value("select count(*) from eventgate.log") == 3
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as caught:
        empty.install("boss")
    assert f'has version {version() + 1} here, which is newer than this script\'s, {version()};' in str(caught.value)
    assert empty.value("select eventgate.version()") == version() + 1


def revokes(database):
    database.sql("select eventgate.revoke('alice')")
    return database.value("select count(*) from eventgate.revocation") == 1


def test_version_1_is_upgraded_to_revocations(empty):
    empty.session("boss").sql(former(1))
    assert works(empty) and empty.value("select eventgate.version()") == 1
    empty.install("boss")
    assert revokes(empty) and empty.value("select count(*) from eventgate.log") == 1
    assert empty.value("select has_table_privilege('eventgate_gateway', 'eventgate.revocation', 'select')")


def test_an_installation_that_fails_leaves_nothing(empty):
    connection = empty.session("boss").connection
    with pytest.raises(psycopg2.Error):
        connection.cursor().execute(script().replace("COMMIT;", "SELECT 1 / 0; COMMIT;"))
    connection.cursor().execute("rollback")
    assert empty.value("select to_regnamespace('eventgate')") is None


def test_two_installations_at_once(empty):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: empty.install("boss"), range(3)))
    assert works(empty)


def test_a_schema_of_somebody_elses_is_left_alone(empty):
    empty.sql("create schema eventgate; create table eventgate.log (id int)")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as caught:
        empty.install()
    assert "that is not pg_eventgate's" in str(caught.value)
    assert tables_of(empty)[0][1] == "log"


def test_roles_that_the_installer_may_not_make_are_named():
    """A server without the roles: they belong to no database."""
    server = Postgres()
    try:
        server.start()
        server.sql("create role plain login")
        database = Database(server, owner="plain", installed=False)
        with pytest.raises(errors.InsufficientPrivilege) as caught:
            database.install("plain")
        assert "eventgate_publish, eventgate_read, eventgate_gateway, eventgate_admin" in str(caught.value)
        server.sql(caught.value.diag.message_hint.split(": ", 1)[1])
        database.install("plain")
        assert works(database)
        server.sql("create role reader login in role eventgate_gateway")
        assert database.session("reader").value("select count(*) from eventgate.log") == 1
    finally:
        server.remove()


def test_uninstalling_is_to_drop_the_schema(empty):
    empty.install("boss")
    assert works(empty)
    empty.sql("drop schema eventgate cascade")
    empty.sql("drop schema if exists eventgate_watch cascade")
    assert empty.sql("select 1 from pg_proc where prosrc like '%eventgate%'") == []
    empty.install("boss")
    assert works(empty)


# --- databases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_databases_with_other_encodings(server, encoding):
    server.sql(f"create database other encoding {encoding} lc_collate 'C' lc_ctype 'C' template template0")
    database = Database(server, name="other", existing=True)
    try:
        database.install()
        session = database.session()
        session.connection.set_client_encoding("UTF8")
        session.publish("caf\u00e9" if encoding != "EUC_JP" else "\u65e5\u672c", '"x"', key="k")
        rows = session.sql("select * from eventgate.append('p', null, %s, null, %s, '{k}', null)", ["a"], ['"\u00fc"']
                           if encoding != "EUC_JP" else ['"\u672c"'])
        assert rows[0][2] == "appended"
        assert session.value("select data::text from eventgate.log where channel = 'a'") in ('"\u00fc"', '"\u672c"')
        if encoding == "SQL_ASCII":
            for bad in (b"select eventgate.publish('a', '\"\xff\"')", b"select eventgate.publish('\xff', '1')",
                        b"select eventgate.append('p', null, '{a}', null, '{\"\\\"\xff\\\"\"}', null, null)"):
                with pytest.raises(errors.CharacterNotInRepertoire):
                    session.sql(bad)
        if encoding == "LATIN1":  # 100 characters: 100 bytes here, but 200 in UTF-8
            session.publish("\u00e9" * 100, "1")
            with pytest.raises(errors.InvalidParameterValue):
                session.publish("\u00e9" * 101, "1")
            with pytest.raises(errors.UntranslatableCharacter):
                session.publish("a", '"\U0001f600"')
            session.publish("a", '"\\ud83d\\ude00"')
    finally:
        database.drop()


# --- the extension ---------------------------------------------------------------------------------------------------


def test_the_extension_needs_no_superuser_and_works(empty):
    empty.session("boss").sql("create extension pg_eventgate")
    assert works(empty)
    assert empty.sql("select extversion, extnamespace::regnamespace::text from pg_extension"
                     " where extname = 'pg_eventgate'") == [(str(version()), "eventgate")]
    empty.sql("select eventgate.configure('segment_bytes', '1'), eventgate.configure('retention_bytes', '1')")
    done = [empty.sql("select * from eventgate.maintain()") for _ in range(4)]
    assert ("dropped", "log_0", True) in [row for rows in done for row in rows]


def test_the_extension_is_updated_in_place(empty):
    empty.sql("create extension pg_eventgate")
    assert works(empty)
    before = tables_of(empty)
    empty.sql(f"alter extension pg_eventgate update to '{version() + 1}'")
    assert empty.value("select eventgate.version()") == version() + 1
    assert tables_of(empty) == before
    empty.sql("select eventgate.publish('a', '2')")
    assert empty.value("select count(*) from eventgate.log") == 2
    assert "COPY eventgate.state" in empty.server.run("pg_dump", "-d", empty.conninfo)


def test_the_extension_in_version_1_is_updated_to_revocations(empty):
    empty.sql("create extension pg_eventgate version '1'")
    assert works(empty)
    empty.sql("alter extension pg_eventgate update")
    assert empty.value("select eventgate.version()") == version()
    assert revokes(empty) and empty.value("select count(*) from eventgate.log") == 1


def test_the_extension_is_dropped_with_all_that_it_made(empty):
    empty.sql("create extension pg_eventgate")
    assert works(empty)
    empty.sql("drop extension pg_eventgate")
    assert empty.sql("select 1 from pg_class where relnamespace = 'eventgate'::regnamespace") == []
    empty.sql("create extension pg_eventgate")
    assert works(empty)


def test_a_dump_of_the_extension_has_the_events_and_is_loaded_again(server, empty):
    empty.sql("create extension pg_eventgate")
    empty.sql("select eventgate.publish('a', '1', key => 'k'), eventgate.configure('max_bytes', '1000')")
    dump = server.run("pg_dump", "-d", empty.conninfo)
    assert "CREATE EXTENSION" in dump and "CREATE FUNCTION eventgate." not in dump
    reloaded = Database(server, owner="boss", installed=False)
    try:
        server.run("psql", "-X", "-q", "-d", reloaded.conninfo, "--set=ON_ERROR_STOP=1", "-f", "-", text=dump)
        reloaded.sql("select eventgate.publish('a', '1', key => 'k'), eventgate.publish('a', '2')")
        rows = reloaded.sql("select pos, data::text from eventgate.log order by pos")
        assert rows[0] == (1, "1") and [data for _, data in rows] == ["1", "2"] and rows[1][0] > 1 << 33
        assert reloaded.value("select max_bytes from eventgate.setting") == 1000
        assert reloaded.value("select tag from eventgate.state") == empty.value("select tag from eventgate.state")
    finally:
        reloaded.drop()


@pytest.mark.parametrize("how", ["script", "extension"])
def test_a_dump_keeps_revocations(server, empty, how):
    if how == "script":
        empty.install("boss")
    else:
        empty.sql("create extension pg_eventgate")
    empty.sql("select eventgate.revoke('alice', '2026-01-31'), eventgate.revoke('bob', 'infinity')")
    dump = server.run("pg_dump", "-d", empty.conninfo)
    reloaded = Database(server, owner="boss", installed=False)
    try:
        server.run("psql", "-X", "-q", "-d", reloaded.conninfo, "--set=ON_ERROR_STOP=1", "-f", "-", text=dump)
        rows = "select subject, before::text, version from eventgate.revocation order by version"
        assert reloaded.sql(rows) == empty.sql(rows) and len(reloaded.sql(rows)) == 2
        reloaded.sql("select eventgate.revoke('carol')")
        assert [subject for subject, _, _ in reloaded.sql(rows)] == ["alice", "bob", "carol"]
    finally:
        reloaded.drop()


def test_a_dump_of_the_extension_keeps_what_is_watched(server, empty):
    empty.sql("create extension pg_eventgate")
    empty.sql("create table item (id int primary key)")
    empty.sql("select eventgate.watch('item', 'items/{id}')")
    dump = server.run("pg_dump", "-d", empty.conninfo)
    reloaded = Database(server, owner="boss", installed=False)
    try:
        server.run("psql", "-X", "-q", "-d", reloaded.conninfo, "--set=ON_ERROR_STOP=1", "-f", "-", text=dump)
        reloaded.sql("insert into item values (7)")
        assert reloaded.sql("select channel from eventgate.log") == [("items/7",)]
        assert reloaded.sql("select channel, unseen from eventgate.watched()") == [("items/{id}", "{}")]
        reloaded.sql("select eventgate.watch('item', 'all')")
        reloaded.sql("insert into item values (8)")
        assert reloaded.value("select count(*) from eventgate.log") == 3
    finally:
        reloaded.drop()


def test_the_extension_is_dropped_with_the_watches(empty):
    empty.sql("create extension pg_eventgate")
    empty.sql("create table item (id int primary key)")
    empty.sql("select eventgate.watch('item', 'items')")
    with pytest.raises(errors.DependentObjectsStillExist):
        empty.sql("drop extension pg_eventgate")
    empty.sql("drop extension pg_eventgate cascade")
    empty.sql("insert into item values (7)")
    assert empty.value("select to_regnamespace('eventgate_watch')") is None


def test_the_script_and_the_extension_leave_each_other_alone(empty):
    empty.sql("create extension pg_eventgate")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as caught:
        empty.install()
    assert "ALTER EXTENSION pg_eventgate UPDATE" in caught.value.diag.message_hint
    empty.sql("drop extension pg_eventgate")
    empty.sql("drop schema eventgate")
    empty.install()
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as caught:
        empty.sql("create extension pg_eventgate")
    assert "was installed here by the plain script" in str(caught.value)
    assert works(empty)


def test_the_extensions_script_is_not_for_psql(empty):
    file = copy_of(empty.server) / f"pg_eventgate--{version()}.sql"
    assert 'Use "CREATE EXTENSION pg_eventgate"' in empty.psql("-f", str(file))
    assert empty.value("select to_regclass('eventgate.log')") is None
