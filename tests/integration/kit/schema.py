"""The schema `eventgate`, as its script installs it, in databases of a test's own."""

import functools
import itertools
import pathlib
import re
import subprocess
import tempfile

import psycopg2

from kit.wait import until

SOURCES = pathlib.Path(__file__).parents[3] / "sql"
numbers = itertools.count(1)

RESET = """
do $$
declare
    partition text;
begin
    for partition in select inhrelid::regclass from pg_inherits where inhparent = 'eventgate.log'::regclass loop
        execute 'drop table ' || partition;
    end loop;
    truncate eventgate.state, eventgate.incarnation, eventgate.channel, eventgate.setting, eventgate.key,
        eventgate.revocation;
    perform setval('eventgate.position_seq', 0, false);
    drop schema public cascade;
    create schema public;
end
$$
"""


@functools.cache
def assembled(version=None):
    """The folder with what sql/assemble makes, of another version for the tests of upgrades."""
    folder = tempfile.TemporaryDirectory(prefix="eventgate-sql-")
    arguments = [] if version is None else [str(version)]
    subprocess.run([SOURCES / "assemble", folder.name, *arguments], check=True)
    return folder


def script(version=None):
    return pathlib.Path(assembled(version).name, "eventgate_embedded.sql").read_text(encoding="ascii")


def former(number, text=None):
    """An assembled script as it was in version 1 or 2: `text`, or that of version `number`."""
    text = script(number) if text is None else text
    function = r"(?:--[^\n]*\n)*CREATE OR REPLACE FUNCTION eventgate\.{}\(\).*?(?:RETURN 2;|\n\$\$;)"
    changes = [(function.format("cursor"), ""), (r", eventgate\.cursor\(\)", ""), (function.format("gateway_version"), ""),
               (r", eventgate\.gateway_version\(\)", ""), (r"SELECT eventgate\.gateway_version\(\)", "SELECT eventgate.version()")]
    if number == 1:
        changes += [(re.escape((SOURCES / "revocation.sql").read_text(encoding="ascii").strip()), ""),
                    (r"GRANT EXECUTE ON FUNCTION eventgate\.revoke.*?;", ""), (r"GRANT SELECT ON eventgate\.revocation .*?;", "")]
        changes += [(r",revocation,\s*revocation_seq", "")] if "pg_extension_config_dump" in text else []
    for pattern, instead in changes:
        text, count = re.subn(pattern, instead, text, flags=re.DOTALL)
        assert count == 1, pattern
    assert "cursor()" not in text and "gateway_version" not in text
    assert number == 2 or "revo" not in text.replace("REVOKE", "").lower()
    return text


def version():
    return int((SOURCES / "version").read_text(encoding="ascii"))


class Database:
    """A database of a server, with the schema installed by its `owner`; `existing`: one that is there already."""

    def __init__(self, server, template=None, name=None, owner="postgres", installed=True, existing=False):
        self.server = server
        self.name = name or f"d{next(numbers)}"
        self.open = []
        if existing:
            return
        server.sql(f"create database {self.name} owner {owner}" + (f" template {template}" if template else ""))
        if installed and not template:
            self.install(owner)

    @property
    def conninfo(self):
        return self.server.conninfo.replace("dbname=postgres", f"dbname={self.name}")

    def install(self, user="postgres", version=None):
        connection = psycopg2.connect(self.conninfo.replace("user=postgres", f"user={user}"))
        try:
            connection.autocommit = True
            connection.cursor().execute(script(version))
        finally:
            connection.close()

    def session(self, user="postgres", **options):
        self.open.append(Session(self, user, **options))
        return self.open[-1]

    def sql(self, query, *arguments):
        """Runs one statement in a session and transaction of its own; returns its rows, if it has any."""
        session = Session(self)
        try:
            return session.sql(query, *arguments)
        finally:
            session.close()

    def value(self, query, *arguments):
        return self.sql(query, *arguments)[0][0]

    def psql(self, *arguments):
        return self.server.run("psql", "-X", "-d", self.conninfo, *arguments)

    def reset(self):
        """Makes it as if just installed, which is quicker than another database."""
        self.close()
        self.sql(RESET)

    def close(self):
        for session in self.open:
            session.close()
        self.open = []

    def drop(self):
        self.close()
        self.server.sql(f"drop database if exists {self.name} with (force)")


class Session:
    """A connection that does one thing after the other, or one in the background."""

    def __init__(self, database, user="postgres", isolation=None):
        conninfo = database.conninfo.replace("user=postgres", f"user={user}")
        self.database = database
        self.connection = psycopg2.connect(conninfo)
        self.connection.autocommit = True
        self.pid = self.connection.info.backend_pid
        if isolation:
            self.sql("set default_transaction_isolation = %s", isolation)

    def sql(self, query, *arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(query, arguments or None)
            return cursor.fetchall() if cursor.description else None

    def value(self, query, *arguments):
        return self.sql(query, *arguments)[0][0]

    def publish(self, channel, data, **named):
        """In the transaction that is open, else in one of its own."""
        more = "".join(f", {name} => %({name})s" for name in named)
        with self.connection.cursor() as cursor:
            cursor.execute(f"select eventgate.publish(%(channel)s, %(data)s{more})",
                           {"channel": channel, "data": data, **named})

    def until_waiting(self, others):
        """Until another session's statement waits for a lock that this one holds; returns its process id."""
        return until(lambda: others.sql(
            "select pid from pg_stat_activity where %s = any (pg_blocking_pids(pid))", self.pid), "a session waits")

    def close(self):
        self.connection.close()
