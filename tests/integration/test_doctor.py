"""`pg_eventgate doctor`: each thing that is broken is found, named, and told what to do about; and nothing else is."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import threading

import psycopg2
import pytest

from kit.fixtures import starting
from kit.gateway import BINARY, environment, install_schema, run
from kit.pooler import Pooler
from kit.ports import free_port
from kit.postgres import Standby
from kit.schema import Database, former, version
from kit.tls import Certificate
from kit.tokens import token
from kit.wait import DEADLINE, until


class Shown:
    """What the doctor has found."""

    def __init__(self, arguments, options=None, **variables):
        done = subprocess.run([BINARY, "doctor", "--json", *map(str, arguments)], capture_output=True, text=True,
                              timeout=5 * DEADLINE, env=environment(**variables), **(options or {}))
        assert done.returncode in (0, 1) and done.stderr == "", done
        self.document = json.loads(done.stdout)
        self.checks = self.document["checks"]
        counts = [sum(check["result"] == result for check in self.checks) for result in ("error", "warning", "ok")]
        assert counts == [self.document[name] for name in ("errors", "warnings", "ok")]
        assert done.returncode == (1 if counts[0] else 0)

    def found(self, result, check, pattern):
        rows = [row for row in self.checks if row["result"] == result and row["check"] == check and
                re.search(pattern, row["found"])]
        assert rows, (result, check, pattern, json.dumps(self.checks, indent=1))
        return rows[0]

    def errors(self):
        return [(row["check"], row["found"]) for row in self.checks if row["result"] == "error"]


def doctor(*arguments, options=None, **variables):
    return Shown(arguments, options, **variables)


LISTEN = ("--listen", "127.0.0.1:0")


@pytest.fixture
def database(postgres):
    made = Database(postgres)
    yield made
    made.drop()


@pytest.fixture
def role(postgres):
    name = f"doctored_{os.getpid()}_{os.urandom(3).hex()}"
    postgres.sql(f"create role {name} login")
    return name


def as_role(database, name):
    return database.conninfo.replace("user=postgres", f"user={name}")


# --- a database that is well


def test_a_good_one_has_no_errors(database, role, postgres):
    postgres.sql(f"grant eventgate_gateway to {role}")
    shown = doctor("--postgres", as_role(database, role), "--live", "a", "--durable", "d/**", *LISTEN)
    assert shown.errors() == []
    shown.found("ok", "configuration", "valid: 1 channel set")
    shown.found("ok", "listen", "free")
    shown.found("ok", "connection", f"as {role} to database {database.name}, PostgreSQL .*, a primary")
    shown.found("ok", "role", "eventgate_gateway")
    shown.found("ok", "role", "may read the log, and append")
    shown.found("ok", "schema", f"version {version()}, this program's own")
    shown.found("ok", "retention", "the log is empty")
    shown.found("ok", "connections", "a gateway takes 6")
    shown.found("ok", "clock", "agrees")
    shown.found("ok", "queue", "full to 0")
    assert "clock of this machine" in [row["subject"] for row in shown.checks]


def test_lines_are_for_people(postgres):
    done = run("doctor", "--postgres", postgres.conninfo, "--live", "a", *LISTEN)
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert all(re.match(r"(ok|warning|error) +\S|         \S", line) for line in lines[:-2]), done.stdout
    assert re.match(r"0 errors, \d+ warnings?, \d+ ok", lines[-1])
    assert "superuser" in done.stdout


# --- configuration, keys, certificate, addresses, open files


def test_a_configuration_that_is_wrong(tmp_path, postgres):
    file = tmp_path / "gateway.conf"
    file.write_text("[gateway]\nlisten = nonsense\n")
    found = doctor("--config", file).found("error", "configuration", "gateway.conf:2")
    assert "--config FILE" in found["advice"]
    doctor("--config", tmp_path / "none").found("error", "configuration", "none")
    doctor(PGHOST=postgres.folder).found("error", "configuration", "no channels")
    doctor("--postgres", "host=a nonsense=b", "--live", "a", *LISTEN).found("error", "configuration", "postgres")
    doctor("--postgres", postgres.conninfo, "--live", "a", "--listen", ":0").found("error", "configuration", "without keys")


def test_several_sets_of_one_database_are_looked_at_once(tmp_path, database):
    file = tmp_path / "gateway.conf"
    sets = "".join(f"[set {name}]\npostgres = {database.conninfo}\n{kind} = {name}\n" for name, kind in
                   (("one", "live"), ("two", "durable")))
    file.write_text("[gateway]\nlisten = 127.0.0.1:0\n" + sets)
    shown = doctor("--config", file)
    assert shown.found("ok", "connections", "a gateway takes 6")["subject"] == "set one, two"
    assert len([row for row in shown.checks if row["check"] == "queue"]) == 1


def test_keys(tmp_path, postgres):
    usual = ("--postgres", postgres.conninfo, "--live", "a", *LISTEN)
    secret = tmp_path / "secret"
    doctor(*usual, "--keys", f"HS256:{secret}").found("error", "keys", "secret")
    secret.write_text("x" * 64)
    secret.chmod(0o644)
    shown = doctor(*usual, "--keys", f"HS256:{secret}")
    shown.found("ok", "keys", "1 can be read, from 1 file")
    assert "chmod" in shown.found("warning", "keys", "every user")["advice"]
    secret.chmod(0o600)
    assert not [row for row in doctor(*usual, "--keys", f"HS256:{secret}").checks if "every user" in row["found"]]
    doctor(*usual, "--insecure").found("warning", "keys", "whoever reaches it")


def test_certificates(postgres, tmp_path):
    made = Certificate(days=3)
    try:
        usual = ("--postgres", postgres.conninfo, "--live", "a", "--listen", "tls:127.0.0.1:0", *made.arguments())
        assert "SIGHUP" in doctor(*usual).found("warning", "certificate", r"expires in (3 days|71 h|72 h)")["advice"]
        made.make(days=90)
        doctor(*usual).found("ok", "certificate", r"valid until 20\d\d-")
        made.make_expired()
        doctor(*usual).found("error", "certificate", "expired on 2020-02-01")
        pathlib.Path(made.certificate).write_text("nonsense")
        doctor(*usual).found("error", "certificate", "certificate.pem")
    finally:
        made.remove()


def test_addresses(postgres, gateway, tls_gateway):
    usual = ("--postgres", postgres.conninfo, "--live", "a", "--listen")
    shown = doctor(*usual, "%s:%d" % gateway.address)
    shown.found("ok", "listen", "a gateway serves there")
    shown.found("ok", "files", "the gateway that runs here may have enough")
    doctor(*usual, "tls:%s:%d" % tls_gateway.address, *tls_gateway.certificate.arguments()).found(
        "ok", "listen", "a gateway serves there")
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        found = doctor(*usual, "127.0.0.1:%d" % other.getsockname()[1]).found("error", "listen", "in use")
        assert "ss -ltnp" in found["advice"]
    doctor(*usual, "192.0.2.1:80", "--insecure").found("error", "listen", "192.0.2.1")


def limited(count):
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))}


def test_open_files(postgres):
    usual = ("--postgres", postgres.conninfo, "--live", "a", "--workers", "1", *LISTEN)
    found = doctor(*usual, options=limited(1000)).found("warning", "files", "1000: enough for 7")
    assert "LimitNOFILE" in found["advice"]
    doctor(*usual, options=limited(64)).found("error", "files", "none for clients")
    doctor(*usual, "--max-connections", "500", options=limited(1000)).found("ok", "files", "500")


def test_open_files_of_the_gateway_that_runs(start_gateway, postgres):
    gateway = start_gateway("--workers", "1", process_options=limited(900)).wait_ready()
    shown = doctor("--postgres", postgres.conninfo, "--live", "a", "--workers", "1", "--listen", "%s:%d" % gateway.address)
    shown.found("warning", "files", "the gateway that runs here may have 900: enough for 6")


# --- connecting


def test_hosts_that_are_away(fragile_postgres, tmp_path):
    usual = ("--live", "a", *LISTEN)
    shown = doctor("--postgres", f"host={tmp_path} user=x", *usual)
    assert "is PostgreSQL running" in shown.found("error", "connection", "No such file")["advice"]
    shown = doctor("--postgres", f"host=127.0.0.1 port={free_port()}", *usual)
    assert "listen_addresses" in shown.found("error", "connection", "Connection refused")["advice"]
    shown = doctor("--postgres", "host=nowhere.invalid", *usual)
    assert "DNS" in shown.found("error", "connection", "resolved")["advice"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shown = doctor("--postgres", f"host=127.0.0.1 port={silent.getsockname()[1]}", "--connect-timeout", "2s", *usual)
        assert "firewall" in shown.found("error", "connection", "timeout expired")["advice"]
    several = f"host={tmp_path},{fragile_postgres.folder} user=postgres dbname=postgres"
    shown = doctor("--postgres", several, *usual)
    shown.found("warning", "connection", "No such file")
    shown.found("ok", "standby", "one of its 2 hosts is the primary, 0 follow")
    fragile_postgres.stop()
    assert len(doctor("--postgres", several, *usual).errors()) == 2


def test_who_is_not_let_in(fragile_postgres):
    server = fragile_postgres
    usual = ("--live", "a", *LISTEN)
    shown = doctor("--postgres", server.conninfo.replace("dbname=postgres", "dbname=none"), *usual)
    assert "dbname" in shown.found("error", "connection", '"none" does not exist')["advice"]
    shown = doctor("--postgres", server.conninfo.replace("user=postgres", "user=nobody"), *usual)
    assert "CREATE ROLE" in shown.found("error", "connection", '"nobody" does not exist')["advice"]
    server.sql("create role guest login password 'right'")
    with open(f"{server.folder}/data/pg_hba.conf", "w") as rules:
        rules.write("local all postgres trust\nlocal all guest scram-sha-256\n")
    server.sql("select pg_reload_conf()")
    guest = server.conninfo.replace("user=postgres", "user=guest")
    until(lambda: doctor("--postgres", guest, *usual).errors(), "the rules are read")
    assert ".pgpass" in doctor("--postgres", guest, *usual).found("error", "connection", "no password")["advice"]
    wrong = doctor("--postgres", guest + " password=secret0", *usual)
    assert ".pgpass" in wrong.found("error", "connection", "password authentication failed")["advice"]
    assert "secret0" not in json.dumps(wrong.document), "no password is ever shown"
    doctor("--postgres", guest + " password=right", *usual).found("ok", "connection", "as guest")
    server.sql("create role stranger login")
    shown = doctor("--postgres", server.conninfo.replace("user=postgres", "user=stranger"), *usual)
    assert "reload PostgreSQL" in shown.found("error", "connection", "no pg_hba.conf entry")["advice"]


def test_a_pooler(postgres):
    pooler = Pooler(postgres).start()
    try:
        shown = doctor("--postgres", pooler.conninfo, "--live", "a", *LISTEN)
        found = shown.found("error", "pooler", "pooler stands between")
        assert f"host={postgres.folder} port=5432" in found["advice"], "it says how to go around it"
        assert len(shown.errors()) == 1
    finally:
        pooler.remove()


def test_standbys(fragile_postgres):
    standby = Standby(fragile_postgres, fragile_postgres.conninfo)
    try:
        standby.start()
        usual = ("--live", "a", *LISTEN)
        shown = doctor("--postgres", standby.conninfo, *usual)
        assert "host=a,b" in shown.found("error", "standby", "can't LISTEN")["advice"]
        both = f"host={standby.folder},{fragile_postgres.folder} user=postgres dbname=postgres"
        doctor("--postgres", both, *usual).found("ok", "standby", "one of its 2 hosts is the primary, 1 follows")
        fragile_postgres.stop()
        doctor("--postgres", both, *usual).found("error", "standby", "none of its hosts is a primary")
        standby.promote()
        fragile_postgres.start()
        doctor("--postgres", both, *usual).found("error", "standby", "2 of its hosts are primaries")
    finally:
        standby.remove()


# --- schema, rights, the log


def test_schemas(postgres, role):
    bare = Database(postgres, installed=False)
    usual = ("--durable", "d/**", *LISTEN)
    found = doctor("--postgres", bare.conninfo, *usual).found("error", "schema", "no schema eventgate")
    assert "schema install" in found["advice"]
    bare.sql("create schema eventgate")
    doctor("--postgres", bare.conninfo, *usual).found("error", "schema", "isn't pg_eventgate's")
    bare.drop()


def test_versions_of_the_schema(postgres, secret_file):
    bare = Database(postgres, installed=False)
    usual = ("--postgres", bare.conninfo, "--durable", "d/**", *LISTEN)
    bare.sql(former(1))
    found = doctor(*usual, "--keys", f"HS256:{secret_file}").found("error", "schema", "version 1, and has no revocations")
    assert "schema upgrade" in found["advice"]
    doctor(*usual, "--keys", f"HS256:{secret_file}", "--revocations", "off").found("warning", "schema", "version 1, older")
    doctor(*usual).found("warning", "schema", r"version 1, older .* lacks eventgate\.revoke\(\).*; eventgate\.cursor\(\)")
    bare.sql("drop schema eventgate cascade")
    bare.sql(former(2))
    shown = doctor(*usual)
    found = shown.found("warning", "schema", r"version 2, older than this program's \d+: gateways work .* lacks eventgate\.cursor\(\)")
    assert "schema upgrade" in found["advice"] and shown.errors() == []
    bare.install()
    doctor(*usual).found("ok", "schema", "this program's own")
    bare.install(version=version() + 1)
    assert doctor(*usual).errors() == []
    doctor(*usual).found("ok", "schema", "newer than this program's")
    bare.sql("create or replace function eventgate.gateway_version() returns integer language sql as 'select 999'")
    doctor(*usual).found("error", "schema", "too new")
    bare.sql("create or replace function eventgate.version() returns integer language sql as 'select 0'")
    found = doctor(*usual).found("error", "schema", "version 0, too old")
    assert "schema upgrade" in found["advice"]
    bare.drop()


def test_rights(database, role, postgres):
    usual = ("--postgres", as_role(database, role), "--durable", "d/**", *LISTEN)
    shown = doctor(*usual)
    shown.found("ok", "role", f"role {role}, which has none of the rights")
    assert len(shown.errors()) == 1, "one for what one GRANT mends"
    assert shown.found("error", "role", "neither read the log nor append")["advice"] == f"GRANT eventgate_gateway TO {role};"
    postgres.sql(f"grant eventgate_read to {role}")
    doctor(*usual).found("error", "role", "read the log, but not append")
    postgres.sql(f"grant eventgate_gateway to {role}")
    assert doctor(*usual).errors() == []


def test_retention(database):
    usual = ("--postgres", database.conninfo, "--durable", "d/**", *LISTEN)
    database.sql("select eventgate.publish('d/1', '1')")
    found = doctor(*usual).found("error", "retention", "next partition")
    assert "maintain()" in found["advice"]
    while database.sql("select again from eventgate.maintain()"):
        pass
    doctor(*usual).found("ok", "retention", "2 partitions and goes back .* keeps 7 days")
    database.sql("select eventgate.configure('retention_age', null)")
    doctor(*usual).found("warning", "retention", "kept for ever")
    database.sql("select eventgate.configure('retention_age', '1 second')")
    database.sql("update eventgate.log set time = time - interval '1 hour'")
    doctor(*usual).found("warning", "retention", "goes back 1 h; it should keep 00:00:01")


def test_who_holds_up_publishing(database):
    usual = ("--postgres", database.conninfo, "--durable", "d/**", *LISTEN)
    holder = database.session()
    holder.sql("begin")
    holder.sql("select eventgate.publish('d/1', '1')")
    holder.sql("set constraints all immediate")
    until(lambda: ("publishing", True) in [(check, "has had the turn" in found) for check, found in doctor(*usual).errors()],
          "it is a second old")
    found = doctor(*usual).found("error", "publishing", f"process {holder.pid} .*idle in transaction")
    assert f"pg_terminate_backend({holder.pid})" in found["advice"]
    holder.sql("rollback")
    assert "publishing" not in [check for check, _ in doctor(*usual).errors()]


# --- settings, sessions, queue


def test_settings(fragile_postgres):
    server = fragile_postgres
    install_schema(server.conninfo)
    usual = ("--postgres", server.conninfo, "--durable", "d/**", *LISTEN)
    server.sql("alter role postgres set statement_timeout = '1s'")
    server.sql("alter role postgres set synchronous_commit = off")
    server.sql("alter role postgres set default_transaction_read_only = on")
    shown = doctor(*usual)
    shown.found("warning", "settings", "fsync is off")
    shown.found("warning", "settings", "synchronous_commit is off")
    shown.found("warning", "settings", "idle_in_transaction_session_timeout is 0")
    shown.found("warning", "settings", r"statement_timeout is 1000 ms, less than .* \(3000 ms\)")
    shown.found("error", "settings", "default_transaction_read_only")
    connection = psycopg2.connect(server.conninfo + " options='-c default_transaction_read_only=off'")
    connection.autocommit = True
    for setting in ("fsync = on", "synchronous_standby_names = 'elsewhere'", "idle_in_transaction_session_timeout = '1min'"):
        connection.cursor().execute(f"alter system set {setting}")
    connection.cursor().execute("select pg_reload_conf()")
    connection.close()
    found = until(lambda: next((row for row in doctor(*usual).checks if "no standby is connected" in row["found"]), None),
                  "it is read")
    assert found["result"] == "error" and "synchronous_standby_names = ''" in found["advice"]


def test_room_for_connections(postgres, database, role, tmp_path):
    usual = ("--postgres", as_role(database, role), "--live", "a", *LISTEN)
    postgres.sql(f"alter role {role} connection limit 1")
    found = doctor(*usual).found("error", "connections", "its role .* allows 1 more, and a gateway needs 2 for this set")
    assert "pg_stat_activity" in found["advice"]
    postgres.sql(f"alter role {role} connection limit 3")
    config = tmp_path / "gateway.conf"
    config.write_text("".join(f"[set {name}]\npostgres = {as_role(database, role)}\nlive = {name}\n" for name in "ab"))
    doctor("--config", config, *LISTEN).found("error", "connections", "allows 3 more, and a gateway needs 4 for these sets")
    assert doctor(*usual).errors() == []


def test_many_listeners_and_old_transactions(fragile_postgres):
    server = fragile_postgres
    usual = ("--postgres", server.conninfo, "--live", "a", *LISTEN)
    sessions = [server.connect() for _ in range(22)]
    for session in sessions:
        session.cursor().execute("listen something")
    shown = doctor(*usual)
    assert "NOTIFY" in shown.found("warning", "listeners", "some 2[2-9] sessions LISTEN")["advice"]
    server.sql("create role guest login")
    guest = ("--postgres", server.conninfo.replace("user=postgres", "user=guest"), "--live", "a", *LISTEN)
    doctor(*guest).found("ok", "listeners", r"no session is seen to LISTEN; of 2[2-9] sessions this role may not see it \(GRANT pg_monitor\)")
    doctor(*guest).found("ok", "connections", "^17[0-9] connections are left")


@pytest.mark.long
def test_a_queue_that_fills(fragile_postgres):
    """A listener sits in a transaction while others notify; the queue has 8 GB, so a percent of it is a lot."""
    server = fragile_postgres
    sleeper = server.connect()
    sleeper.cursor().execute("listen a")
    sleeper.cursor().execute("begin")
    sleeper.cursor().execute("select 1")
    notifier = server.connect()
    while server.sql("select pg_notification_queue_usage()")[0][0] < 0.11:
        notifier.cursor().execute("select count(pg_notify('a', n || repeat('x', 7900))) from generate_series(1, 20000) n")
    usual = ("--postgres", server.conninfo, "--live", "a", *LISTEN)
    found = doctor(*usual).found("warning", "queue", r"full to 1\d %")
    assert "pg_terminate_backend" in found["advice"]
    until(lambda: str(sleeper.info.backend_pid) in doctor(*usual).found("warning", "queue", "")["advice"],
          "the transaction is a minute old", 90)
    sleeper.close()


# --- what stands before the gateway


NGINX = """
daemon off; user root; error_log stderr; pid {folder}/pid; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} {ssl};
        {more}
        location /prefix/ {{
            proxy_set_header Connection "";
            proxy_pass http://{host}:{gateway}/;
            {rules}
        }}
    }}
}}
"""


@pytest.fixture
def nginx():
    """Starts nginx before a gateway: `rules` of the location, `more` of the server."""
    with contextlib.ExitStack() as stack:
        def start(gateway, rules="", more="", ssl=""):
            if "proxy_http_version" not in rules:
                rules += " proxy_http_version 1.1;"
            folder, port = pathlib.Path(tempfile.mkdtemp(prefix="eventgate-nginx-")), free_port()
            stack.callback(shutil.rmtree, folder)
            (folder / "config").write_text(NGINX.format(folder=folder, port=port, host=gateway.address[0], more=more,
                                                        gateway=gateway.address[1], rules=rules, ssl=ssl))
            with open(folder / "log", "wb") as log:
                process = subprocess.Popen(
                    [shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-p", folder, "-c", folder / "config"],
                    stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            stack.callback(lambda: (process.terminate(), process.wait()))

            def accepts():
                assert process.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    return True
                return False

            until(accepts, "nginx serves")
            return f"http{'s' if ssl else ''}://{'localhost' if ssl else '127.0.0.1'}:{port}/prefix"
        yield start


@pytest.fixture(scope="module")
def quick_gateway(postgres):
    with starting(postgres) as start:
        yield start("--heartbeat", "2s", "--trusted-proxies", "127.0.0.1", "--allowed-origins", "https://app.example").wait_ready()


def through(url, *arguments, **variables):
    return doctor("--url", url, "--channel", "t/doctor", *arguments, **variables)


def test_a_proxy_that_is_well(quick_gateway, nginx):
    url = nginx(quick_gateway, "proxy_buffering off;")
    shown = through(url, "--origin", "https://app.example")
    assert shown.errors() == []
    shown.found("ok", "proxy", "ready; it is spoken to with HTTP/1.1")
    shown.found("ok", "proxy", "at once")
    shown.found("ok", "proxy", "headers of a stream arrive")
    shown.found("ok", "proxy", "Last-Event-ID gets through")
    shown.found("ok", "proxy", "the heartbeat arrives")
    shown.found("ok", "cors", "https://app.example may use it")
    shown.found("warning", "access", "/metrics is open")
    shown = through(url, "--quick", "--origin", "https://other.example")
    assert [check for check, _ in shown.errors()] == ["cors"]


def test_what_a_channel_is_tried_with_when_nobody_says_it(quick_gateway, postgres):
    shown = doctor("--postgres", postgres.conninfo, "--live", "t/**", "--url", quick_gateway.url, "--quick", *LISTEN)
    assert shown.errors() == []
    shown.found("warning", "access", "trusted_proxies is empty")


@pytest.mark.parametrize("rules, told, advice", [
    ("proxy_ignore_headers X-Accel-Buffering; proxy_http_version 1.0;", "first words don't arrive|heartbeat", "proxy_buffering off"),
    pytest.param("proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_types text/event-stream; gzip_min_length 0;",
                 "compressed|first words", "compress", marks=pytest.mark.long),
    ("proxy_read_timeout 1s;", r"cut off after [01]\.\d s, before the heartbeat", "proxy_read_timeout 90s"),
    ('proxy_set_header Last-Event-ID "";', "Last-Event-ID doesn't get through", "all headers"),
    ("proxy_hide_header Cache-Control; add_header Cache-Control public;", 'arrives as "public"', "change it"),
    ("proxy_hide_header X-Request-Id;", "X-Request-Id is lost", "pass it on"),
])
def test_a_proxy_that_is_not(quick_gateway, nginx, rules, told, advice):
    shown = through(nginx(quick_gateway, rules))
    rows = [row for row in shown.checks if row["check"] == "proxy" and row["result"] != "ok"]
    assert len(rows) == 1 and re.search(told, rows[0]["found"]) and advice in rows[0]["advice"], rows


def test_an_idle_timeout_of_the_gateways_own_heartbeat(start_gateway, nginx):
    """A read timeout that is shorter than the heartbeat is what cuts streams, whatever it is."""
    gateway = start_gateway("--heartbeat", "3s").wait_ready()
    shown = doctor("--url", nginx(gateway, "proxy_read_timeout 2s;"), "--live", "t/**", "--postgres", "host=/none", "--heartbeat",
                   "3s", *LISTEN)
    shown.found("error", "proxy", r"cut off after 2\.\d s, before the heartbeat \(3 s\)")


@pytest.mark.long
def test_long_polls(quick_gateway, nginx):
    patient = through(nginx(quick_gateway, "proxy_read_timeout 70s;"), "--quick", "--long-poll")
    patient.found("ok", "proxy", "a long-poll may wait for 60 s")
    hasty = through(nginx(quick_gateway, "proxy_read_timeout 20s;"), "--quick", "--long-poll")
    assert "90 s" in hasty.found("warning", "proxy", r"cut off after 20\.\d s \(HTTP 504\)")["advice"]


def test_a_host_that_is_not_the_gateways(start_gateway):
    gateway = start_gateway("--allowed-hosts", "events.example").wait_ready()
    assert "allowed_hosts" in through(gateway.url, "--quick").found("error", "proxy", "HTTP 421")["advice"]


def test_certificates_of_a_proxy(quick_gateway, nginx):
    made = Certificate(days=3)
    try:
        more = f"ssl_certificate {made.certificate}; ssl_certificate_key {made.key};"
        url = nginx(quick_gateway, more=more, ssl="ssl")
        shown = through(url, "--quick", "--cacert", made.certificate)
        assert shown.errors() == []
        shown.found("warning", "certificate", "its certificate expires in")
        shown.found("warning", "proxy", "speaks no HTTP/2")
        assert "--cacert" in through(url, "--quick").found("error", "certificate", "ertificate")["advice"]
        made.make_expired()
        url = nginx(quick_gateway, more=more, ssl="ssl http2")
        through(url, "--quick", "--cacert", made.certificate).found("error", "certificate", "expired|verif")
        shown = through(url, "--quick", "--no-verify")
        shown.found("error", "certificate", "expired .* ago")
        shown.found("ok", "proxy", "HTTP/2")
    finally:
        made.remove()


def test_a_url_without_a_gateway(nginx, quick_gateway):
    shown = through(f"http://127.0.0.1:{free_port()}")
    assert "does the proxy run" in shown.found("error", "proxy", "onnect")["advice"]
    url = nginx(quick_gateway)
    shown = through(url.removesuffix("/prefix"))
    assert "prefix" in shown.found("error", "proxy", "HTTP 404, and not by a pg_eventgate")["advice"]


def test_a_gateway_that_is_not_ready(start_gateway):
    away = start_gateway(database="host=/nonexistent dbname=x")
    through(away.url).found("error", "proxy", "not ready")


def test_tokens(start_gateway, secret_file):
    gateway = start_gateway("--keys", f"HS256:{secret_file}").wait_ready()
    found = through(gateway.url, "--quick").found("error", "proxy", "is refused: .*HTTP 401")
    assert "Authorization" in found["advice"]
    shown = through(gateway.url, "--quick", EVENTGATE_TOKEN=token(["t/doctor"]))
    assert shown.errors() == [] and not [row for row in shown.checks if "/metrics" in row["found"]]


def test_a_clock_that_differs():
    class Late(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"status":"ready"}' if self.path == "/readyz" else b"{}"
            self.send_response_only(200 if self.path == "/readyz" else 404)
            self.send_header("Date", "Fri, 01 Jan 2021 00:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        through("http://127.0.0.1:%d" % server.server_port).found("warning", "clock", "behind this machine's")
        server.shutdown()


# --- usage


@pytest.mark.parametrize("arguments, told", [
    (["--nothing"], "--nothing"),
    (["words"], "words"),
    (["--url", "ftp://x"], "ftp://x"),
    (["--url"], "--url"),
    (["--json=1"], "--json"),
    (["--live"], "--live"),
])
def test_a_wrong_command_line_is_refused(arguments, told):
    shown = run("doctor", *arguments)
    assert shown.returncode == 2 and told in shown.stderr and shown.stdout == "", shown


def test_help():
    shown = run("doctor", "--help")
    assert shown.returncode == 0 and "Examples:" in shown.stdout and "Exit status:" in shown.stdout
    assert "doctor" in run("--help").stdout
