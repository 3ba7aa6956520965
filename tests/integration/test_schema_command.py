"""`pg_eventgate schema`: installs, upgrades, checks and removes what durable channels need, and says what it did."""

import itertools

import pytest

from kit.gateway import run
from kit.schema import former, version

numbers = itertools.count(1)


class Database:
    """An empty database of the shared server."""

    def __init__(self, server):
        self.server = server
        self.name = f"schema_{next(numbers)}"
        server.sql(f"create database {self.name}")

    def conninfo(self, user="postgres"):
        return f"host={self.server.folder} dbname={self.name} user={user}"

    def schema(self, action, *arguments, user="postgres"):
        return run("schema", action, *arguments, "--postgres", self.conninfo(user))


@pytest.fixture
def database(postgres):
    return Database(postgres)


@pytest.fixture
def somebody(postgres):
    """A role that may connect, nothing else."""
    name = f"somebody_{next(numbers)}"
    postgres.sql(f"create role {name} login")
    return name


def done(shown, *told):
    assert shown.returncode == 0 and shown.stderr == "", shown
    assert all(text in shown.stdout for text in told), shown


def not_done(shown, *told, status=1):
    assert shown.returncode == status and shown.stdout == "", shown
    assert all(text in shown.stderr for text in told), shown


def test_from_nothing_to_nothing(database):
    shown = database.schema("check")
    assert shown.returncode == 1 and "none" in shown.stdout and "schema install" in shown.stdout
    not_done(database.schema("upgrade"), "nothing to upgrade", "schema install")
    done(database.schema("install"), f"installed, version {version()}", database.name, "eventgate_gateway")
    done(database.schema("check"), f"version {version()}", "Reading the log: yes", "Appending for HTTP: yes")
    done(database.schema("install"), "already")
    done(database.schema("upgrade"), "already")
    not_done(database.schema("uninstall"), "--yes", status=2)
    done(database.schema("check"), f"version {version()}")
    done(database.schema("uninstall", "--yes"), "dropped", database.name)
    assert database.schema("check").returncode == 1
    done(database.schema("uninstall", "--yes"), "Nothing to do")
    done(database.schema("install"), f"installed, version {version()}")


def test_what_is_installed_again_keeps_its_events(database, postgres):
    done(database.schema("install"))
    psql = postgres.connect_to(database.name)
    with psql.cursor() as cursor:
        cursor.execute("select eventgate.publish('a', '1')")
        done(database.schema("install"), "already")
        cursor.execute("select channel, data::text from eventgate.log")
        assert cursor.fetchall() == [("a", "1")]
    psql.close()


def test_check_says_what_this_user_may_do(database, somebody, postgres):
    done(database.schema("install"))
    shown = database.schema("check", user=somebody)
    assert shown.returncode == 1 and shown.stderr == ""
    assert f"user {somebody} may not ask for its version" in shown.stdout
    assert f"Appending for HTTP: no. Run: GRANT eventgate_gateway TO {somebody};" in shown.stdout
    postgres.sql(f"grant eventgate_read to {somebody}")
    shown = database.schema("check", user=somebody)
    assert shown.returncode == 1
    assert "Reading the log: yes" in shown.stdout and "Appending for HTTP: no" in shown.stdout
    postgres.sql(f"grant eventgate_gateway to {somebody}")
    done(database.schema("check", user=somebody), "Appending for HTTP: yes", "a gateway needn't): no")


def test_whoever_may_not_is_told_by_postgresql(database, somebody):
    not_done(database.schema("install", user=somebody), "permission denied")
    done(database.schema("install"))
    not_done(database.schema("install", user=somebody), "permission denied")
    not_done(database.schema("uninstall", "--yes", user=somebody), "must be owner")
    done(database.schema("check"), f"version {version()}")


def test_missing_roles_are_named(fragile_postgres):
    fragile_postgres.sql("create role owner login")
    fragile_postgres.sql("create database owned owner owner")
    conninfo = f"host={fragile_postgres.folder} dbname=owned user=owner"
    not_done(run("schema", "install", "--postgres", conninfo), "eventgate_publish", "CREATE ROLE")
    for role in ("publish", "read", "gateway", "admin"):
        fragile_postgres.sql(f"create role eventgate_{role}")
    done(run("schema", "install", "--postgres", conninfo), "installed")
    fragile_postgres.sql("grant eventgate_gateway to owner")
    done(run("schema", "check", "--postgres", conninfo), "user owner", "all there")


def test_a_schema_of_somebody_else_is_left_alone(database, postgres):
    psql = postgres.connect_to(database.name)
    with psql.cursor() as cursor:
        cursor.execute("create schema eventgate; create table eventgate.theirs ()")
        not_done(database.schema("install"), "not pg_eventgate's")
        not_done(database.schema("uninstall", "--yes"), "nothing was dropped")
        shown = database.schema("check")
        assert shown.returncode == 1 and "not pg_eventgate's" in shown.stdout
        cursor.execute("select from eventgate.theirs")
    psql.close()


def test_a_newer_version_is_told_and_left_alone(database, postgres):
    done(database.schema("install"))
    psql = postgres.connect_to(database.name)
    with psql.cursor() as cursor:
        cursor.execute("create or replace function eventgate.version() returns integer language sql return 1000")
        done(database.schema("check"), "version 1000, newer", "Gateways work with it")
        cursor.execute("create or replace function eventgate.gateway_version() returns integer language sql return 999")
    psql.close()
    shown = database.schema("check")
    assert shown.returncode == 1 and "version 1000, newer" in shown.stdout and "too new" in shown.stdout, shown
    not_done(database.schema("install"), "version 1000", "newer")


@pytest.mark.parametrize("number, lacks", [(2, "it lacks eventgate.cursor()"), (1, "eventgate.revoke()")])
def test_an_older_version_is_told_and_works(database, postgres, number, lacks):
    psql = postgres.connect_to(database.name)
    with psql.cursor() as cursor:
        cursor.execute(former(number))
        done(database.schema("check"), f"version {number}, older", "Gateways work with it", lacks, "Run: pg_eventgate schema upgrade")
        done(database.schema("upgrade"), f"from version {number} to version {version()}")
        done(database.schema("check"), "this program's own")
        cursor.execute("create or replace function eventgate.version() returns integer language sql return 0")
    psql.close()
    shown = database.schema("check")
    assert shown.returncode == 1 and "version 0, too old" in shown.stdout, shown


@pytest.mark.parametrize("arguments, told", [
    ([], "install, upgrade, check or uninstall"),
    (["mend"], "schema mend"),
    (["install", "--live", "a"], "--live"),
    (["install", "stray"], "stray"),
    (["install", "--postgres"], "--postgres: needs a value"),
    (["install", "--postgres", "no=such keyword"], "invalid connection option"),
    (["install", "--postgres", "dbname=x", "--set", "a"], "one or the other"),
    (["install", "--set", "a"], "--config"),
    (["install", "--config", "/nonexistent"], "/nonexistent"),
    (["uninstall", "--postgres", "dbname=x"], "--yes"),
])
def test_a_wrong_command_line_is_refused(arguments, told):
    not_done(run("schema", *arguments), told, status=2)


def test_help():
    for arguments in (["--help"], ["help"], ["install", "--help"]):
        done(run("schema", *arguments), "uninstall", "--postgres", "Examples:", "Exit status")
    assert "schema install" in run("--help").stdout


def test_a_database_that_is_away_is_told():
    not_done(run("schema", "check", "--postgres", "host=/nonexistent dbname=x"), "/nonexistent")


def test_the_database_of_a_set(tmp_path, postgres):
    one, two = Database(postgres), Database(postgres)
    file = tmp_path / "gateway.conf"
    file.write_text(f"[set one]\npostgres = {one.conninfo()}\nlive = a\n"
                    f"[set two]\npostgres = {two.conninfo()}\ndurable = b\n")
    done(run("schema", "install", "--config", str(file)), two.name)
    done(run("schema", "install", "-c", str(file), "--set=one"), one.name)
    done(run("schema", "check", EVENTGATE_CONFIG=str(file)), two.name)
    not_done(run("schema", "check", "--config", str(file), "--set", "three"), "three", status=2)
    file.write_text(file.read_text() + f"[set more]\npostgres = {one.conninfo()}\ndurable = c\n")
    not_done(run("schema", "check", "--config", str(file)), "--set", status=2)
    done(run("schema", "check", DATABASE_URL=one.conninfo()), one.name)
    done(run("schema", "check", DATABASE_URL=one.conninfo(), EVENTGATE_POSTGRES=two.conninfo()), two.name)
    done(run("schema", "check", PGHOST=postgres.folder, PGDATABASE=one.name, PGUSER="postgres"), one.name)
