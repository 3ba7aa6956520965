"""A private PostgreSQL server on a Unix socket, in a folder of its own."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

import psycopg2

from kit.wait import until


def unprivileged():
    """Arguments of subprocess for a program that refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


def private_folder(prefix, parent=None):
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def memory():
    """A folder in memory, where making a server takes a quarter of the time, if there is room."""
    with contextlib.suppress(OSError):
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize >= 4 << 30 and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return None


class Postgres:
    """`standby`: a server in recovery that has no primary: it answers reads, and can be promoted. `on_disk`: for
    benches, where its data should be."""

    def __init__(self, settings=(), standby=False, on_disk=False):
        self.folder = private_folder("eventgate-postgres-", None if on_disk else memory())
        self.bin = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
        self.settings = settings
        self.process = None
        self.make_data()
        if standby:
            subprocess.run(["touch", f"{self.folder}/data/standby.signal"], check=True, **unprivileged())

    def make_data(self):
        self.run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8",
                 f"--pgdata={self.folder}/data")

    def run(self, program, *arguments, text=None):
        """Runs one of PostgreSQL's programs to its end, with `text` as its input, and returns what it prints."""
        done = subprocess.run([f"{self.bin}/{program}", *arguments], check=False, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE, cwd=self.folder, input=text, **unprivileged())
        assert done.returncode == 0, (program, done.stderr)
        return done.stdout

    def start(self):
        command = [f"{self.bin}/postgres", "-D", f"{self.folder}/data", "-k", self.folder, "-c", "listen_addresses=",
                   "-c", "fsync=off", "-c", "max_connections=200"]
        for setting in self.settings:
            command += ["-c", setting]
        with open(f"{self.folder}/server.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **unprivileged())
        until(self.accepts, "PostgreSQL accepts connections")
        return self

    def accepts(self):
        assert self.process.poll() is None, open(f"{self.folder}/server.log").read()
        try:
            self.connect().close()
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self, how=signal.SIGINT):
        """SIGINT: fast shutdown. SIGQUIT: as in a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def socket(self):
        return f"{self.folder}/.s.PGSQL.5432"

    @property
    def conninfo(self):
        return f"host={self.folder} user=postgres dbname=postgres"

    def connect(self):
        return self.connect_to("postgres")

    def connect_to(self, database):
        connection = psycopg2.connect(f"host={self.folder} user=postgres dbname={database}")
        connection.autocommit = True
        return connection

    def sql(self, query, *arguments):
        """Runs one statement in a connection and transaction of its own; returns its rows, if it has any."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, arguments or None)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def notify(self, channel, *payloads):
        """One NOTIFY for each payload, each in its own transaction, in order."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                for payload in payloads:
                    cursor.execute("select pg_notify(%s, %s)", (channel, payload))
        finally:
            connection.close()

    def flood(self, channel, first, count, size):
        """Publishes `count` numbered events with `size` bytes of filling in one transaction."""
        self.sql("select count(pg_notify(%s, json_build_object('n', n, 'fill', repeat('x', %s))::text))"
                 " from generate_series(%s, %s) n", channel, size, first, first + count - 1)

    def backends(self, application_name="pg_eventgate %"):
        """Process ids of the sessions whose application_name is LIKE this."""
        rows = self.sql("select pid from pg_stat_activity where application_name like %s", application_name)
        return [pid for (pid,) in rows]


class Standby(Postgres):
    """A copy of a running server, which follows it; `conninfo`: the way from here to it."""

    def __init__(self, primary, conninfo):
        self.primary = primary
        super().__init__((*primary.settings, f"primary_conninfo={conninfo}"), standby=True)

    def make_data(self):
        self.run("pg_basebackup", "--pgdata", f"{self.folder}/data", "--checkpoint=fast", "--no-sync", "--no-manifest",
                 "--dbname", self.primary.conninfo)

    def promote(self):
        self.run("pg_ctl", "promote", "--pgdata", f"{self.folder}/data", "--wait", "--timeout=60")
        self.settings = [setting for setting in self.settings if not setting.startswith("primary_conninfo")]
