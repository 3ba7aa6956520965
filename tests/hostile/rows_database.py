"""Rows: the database fails, is the wrong one, or says what nobody expects."""

import contextlib
import os
import signal
import socket

from kit.gateway import install_schema
from kit.pooler import Pooler
from kit.postgres import Postgres, Standby
from kit.proxy import Proxy
from kit.wait import until
from scene import row

QUICK = ("--postgres-heartbeat", "500ms", "--query-timeout", "1s", "--connect-timeout", "1s")


# --- it goes away


@row("all backends of the gateway are terminated while streams run", "one gap on live channels, then events again",
     gap="reconnect")
def backends_terminated(scene):
    scene.own_postgres()
    scene.start()
    before = scene.sessions()
    scene.terminate()
    until(lambda: scene.sessions() > before, "a new LISTEN session")
    scene.gateway.wait_ready()


@row("only the connection that reads the log is terminated", "nothing")
def log_reader_terminated(scene):
    scene.own_postgres()
    scene.start()
    scene.terminate("% read%")
    scene.witness.publish(20)
    scene.gateway.wait_ready()


@row("the connections that append and publish are terminated between POSTs", "a 503 at most, then 201 and 202")
def publishers_terminated(scene):
    scene.own_postgres()
    scene.start()
    for purpose in ("% append%", "% publish%"):
        scene.terminate(purpose)
    until(lambda: scene.gateway.publish(scene.durable, "1").status == 201, "durable POSTs work again")
    until(lambda: scene.gateway.publish(scene.live, "1").status == 202, "live POSTs work again")


@row("a backend of the gateway dies by SIGKILL, and PostgreSQL restarts all of them", "a gap on live channels",
     gap="reconnect")
def backend_killed(scene):
    scene.own_postgres()
    scene.start()
    before = scene.sessions()
    os.kill(scene.postgres.backends("pg_eventgate % listen")[0], signal.SIGKILL)
    until(lambda: scene.sessions() > before, "a new LISTEN session")
    scene.gateway.wait_ready()


@row("PostgreSQL is restarted", "not ready meanwhile; a gap on live channels", gap="reconnect")
def restarted(scene):
    scene.own_postgres()
    scene.start()
    scene.postgres.stop()
    scene.unready("")
    scene.postgres.start()
    scene.gateway.wait_ready()


@row("PostgreSQL crashes and recovers", "not ready meanwhile; POST 503 with Retry-After; a gap on live channels",
     gap="reconnect")
def crashed(scene):
    scene.own_postgres()
    scene.start()
    scene.postgres.stop(signal.SIGQUIT)
    scene.gateway.wait_unready()
    until(lambda: scene.metric('eventgate_postgres_up{connection="append"}') == 0, "the appending connection is known to be lost")
    scene.refused(scene.gateway.publish(scene.durable, "1"), 503, "database-away")
    scene.postgres.start()
    scene.gateway.wait_ready()


@row("the backend that LISTENs is stopped (SIGSTOP)", "given up after its deadline; a gap on live channels",
     gap="reconnect")
def backend_stopped(scene):
    scene.own_postgres()
    scene.start(*QUICK)
    before = scene.sessions()
    for pid in scene.postgres.backends("pg_eventgate % listen"):
        os.kill(pid, signal.SIGSTOP)
        scene.cleanup.callback(os.kill, pid, signal.SIGCONT)
    until(lambda: scene.sessions() > before, "a LISTEN session with another backend")
    scene.gateway.wait_ready()


@row("the network to PostgreSQL is reset and refuses for a while", "not ready, 503, then a gap on live channels",
     gap="reconnect")
def network_reset(scene):
    proxy = scene.proxy()
    scene.start_behind(proxy)
    proxy.refuse()
    proxy.cut()
    scene.gateway.wait_unready()
    until(lambda: scene.gateway.publish(scene.live, "1").status == 503, "POST says that the database is away")
    proxy.accept()
    scene.gateway.wait_ready()


@row("the network to PostgreSQL falls silent", "noticed after the deadline; a gap on live channels", gap="reconnect")
def network_silent(scene):
    proxy = scene.proxy()
    scene.start_behind(proxy, *QUICK)
    proxy.stall()
    scene.gateway.wait_unready()
    proxy.cut()
    proxy.flow()
    scene.gateway.wait_ready()


@row("the primary dies and its standby is promoted", "a gap on live channels; durable ones go on there",
     gap="reconnect")
def failover(scene):
    primary = scene.own_postgres()
    standby = Standby(primary, f"host={primary.folder} user=postgres")
    scene.cleanup.callback(standby.remove)
    standby.start()
    scene.start(conninfo=f"host={primary.folder},{standby.folder} user=postgres dbname=postgres")
    end = primary.sql("select pg_current_wal_lsn()")[0][0]
    until(lambda: standby.sql("select pg_last_wal_replay_lsn() >= %s", end)[0][0], "the standby has all")
    primary.stop(signal.SIGQUIT)
    standby.promote()
    scene.postgres = scene.witness.postgres = standby
    until(lambda: standby.backends("pg_eventgate % listen"), "LISTEN on the new primary")
    scene.gateway.wait_ready()


# --- it is the wrong one


@row("the first host is a hot standby", "refused with a sentence in the log; the second host serves")
def standby_first(scene):
    standby = Postgres(standby=True)
    scene.cleanup.callback(standby.remove)
    standby.start()
    scene.start(conninfo=f"host={standby.folder},{scene.postgres.folder} user=postgres dbname=postgres")
    assert scene.postgres.backends("pg_eventgate % listen") and not standby.backends("pg_eventgate % listen")


def two_sets(scene, bad):
    """A gateway with a good set, which the witness watches, and another whose database is `bad`."""
    path = os.path.join(scene.folder(), "gateway.conf")
    with open(path, "w") as file:
        file.write(f"[set good]\npostgres = {scene.postgres.conninfo}\nlive = t/**\ndurable = d/**\n"
                   f"[set bad]\npostgres = {bad}\nlive = bad/*\n")
    gateway = scene.launch("--config", path, "--subscribe-timeout", "500ms", sets=False)
    until(lambda: scene_ready(gateway), "the good set is ready")
    return scene.watch(gateway)


def scene_ready(gateway):
    sets = {one["name"]: one for one in gateway.get("/sets").json()["sets"]}
    return sets["good"]["listening"] and gateway.metric('eventgate_postgres_up{set="good",connection="append"}') == 1


def bad_set_is_told_of(scene, told):
    scene.unready(told)
    scene.refused(scene.gateway.publish("bad/a", "1"), 503, "database-away")
    answer = scene.gateway.get("/channels/bad/a?format=ndjson")
    scene.refused(answer, 503, "database-away")
    assert scene.gateway.get("/channels/bad/a").text().startswith("retry: "), "EventSource is told to come again"


@row("a set leads through PgBouncer in transaction mode", "that set is not ready and says why; the others work")
def pooler(scene):
    between = Pooler(scene.postgres)
    scene.cleanup.callback(between.remove)
    two_sets(scene, between.start().conninfo)
    bad_set_is_told_of(scene, "pooler")


@row("a set has a wrong password", "that set is not ready and says so; the password is in no log")
def wrong_password(scene):
    server = scene.own_postgres()
    path = f"{server.folder}/data/pg_hba.conf"
    rules = open(path).read()
    with open(path, "w") as file:
        file.write("local all guarded scram-sha-256\n" + rules)
    server.sql("create role guarded login password 'right'")
    server.sql("select pg_reload_conf()")
    two_sets(scene, f"host={server.folder} user=guarded password=planted-secret dbname=postgres")
    bad_set_is_told_of(scene, "password authentication failed")
    assert "planted-secret" not in scene.gateway.log_text()
    assert "planted-secret" not in scene.gateway.get("/healthz").text() + scene.gateway.get("/sets").text()


@row("a set names a database that doesn't exist", "that set is not ready and says so; the others work")
def no_such_database(scene):
    two_sets(scene, scene.postgres.conninfo.replace("dbname=postgres", "dbname=absent"))
    bad_set_is_told_of(scene, "does not exist")


@row("a set's host name can't be resolved", "that set is not ready and says so; the others never wait for the resolver")
def no_such_host(scene):
    two_sets(scene, "host=no-such-host.invalid user=postgres dbname=postgres connect_timeout=2")
    bad_set_is_told_of(scene, "no-such-host.invalid")


@row("the role may neither read the log nor append to it", "not ready; says which role to grant")
def no_rights(scene):
    server = scene.own_postgres()
    server.sql("create role nobody_here login")
    stranger = scene.launch(conninfo=server.conninfo.replace("user=postgres", "user=nobody_here"))
    stranger.wait_unready()
    until(lambda: "eventgate_gateway" in stranger.get("/healthz").text(), "/healthz names the role")
    scene.start()


@row("the schema is not installed", "live channels work; durable POSTs are 503 until it is; then they work")
def no_schema(scene):
    server = scene.own_postgres()
    server.sql("create database bare")
    gateway = scene.launch(conninfo=server.conninfo.replace("dbname=postgres", "dbname=bare"))
    until(lambda: "schema" in gateway.get("/healthz").text(), "/healthz says what is missing")
    until(lambda: gateway.publish(scene.live, "1").status == 202, "live channels work")
    assert gateway.publish(scene.durable, "1").status == 503
    install_schema(server.conninfo.replace("dbname=postgres", "dbname=bare"))
    gateway.wait_ready()
    assert gateway.publish(scene.durable, "1").status == 201
    scene.watch(gateway, "bare")


# --- it refuses


@row("somebody holds the lock of the log", "durable POST 503 after the lock timeout, nothing published; then 201")
def lock_held(scene):
    scene.own_postgres()
    scene.start("--query-timeout", "1s")
    holder = scene.postgres.connect()
    holder.autocommit = False
    holder.cursor().execute("lock table eventgate.turn in exclusive mode")
    answer = scene.gateway.publish(scene.durable, '"held"')
    assert answer.status == 503 and answer.problem()[0] in ("overloaded", "database-away", "outcome-unknown"), answer
    scene.posts(scene.live)
    holder.rollback()
    holder.close()
    until(lambda: scene.gateway.publish(scene.durable, '"after"').status == 201, "durable POSTs work again")
    assert scene.in_log(scene.durable) == ['"after"'], "what was answered 503 is not published"


def break_log(scene, sqlstate, message):
    scene.postgres.sql("create function public.breaks() returns trigger language plpgsql as $$ begin "
                       f"if new.channel like 'd/row/%%' then raise exception using errcode = '{sqlstate}', "
                       f"message = '{message}'; end if; return new; end $$")
    partition = scene.postgres.sql("select inhrelid::regclass from pg_inherits where inhparent = 'eventgate.log'"
                                   "::regclass order by 1 limit 1")[0][0]
    scene.postgres.sql(f"create trigger breaks before insert on {partition} for each row execute function"
                       " public.breaks()")
    return lambda: scene.postgres.sql(f"drop trigger breaks on {partition}")


@row("the disk is full (53100 at the INSERT)", "durable POST is refused with a problem; others are published")
def disk_full(scene):
    scene.own_postgres()
    scene.start()
    mend = break_log(scene, "53100", "could not extend file: No space left on device")
    answer = scene.gateway.publish(scene.durable, '"lost"')
    assert answer.status in (422, 503) and answer.problem()[1], answer
    scene.posts("d/elsewhere")
    mend()
    scene.posts(scene.durable, '"kept"')
    assert scene.in_log(scene.durable) == ['"kept"']


@row("a statement of the log fails with an internal error (XX001)", "a problem that quotes no payload; others go on")
def statement_error(scene):
    scene.own_postgres()
    scene.start()
    mend = break_log(scene, "XX001", "invalid page in block 7")
    answer = scene.gateway.publish(scene.durable, '"planted-payload"')
    assert answer.status in (422, 503), answer
    scene.posts("d/elsewhere")
    mend()
    scene.posts(scene.durable, '"kept"')
    assert scene.in_log(scene.durable) == ['"kept"']
    assert "planted-payload" not in scene.gateway.log_text()


class Forger(Proxy):
    """A way to PostgreSQL that, when armed, answers the next command of the publishing connection with an error."""

    ERROR = b"SERROR\0VERROR\0C54000\0Mtoo many notifications in the NOTIFY queue\0\0"
    armed = False

    def __init__(self, target):
        self.publishing = set()
        super().__init__(target)

    def _pump(self, source, destination):
        if source.getpeername() != self.target:
            if b"publish" in source.recv(4096, socket.MSG_PEEK):  # application_name, in the first message
                self.publishing.add(destination)
            super()._pump(source, destination)
            return
        with contextlib.suppress(OSError):
            while True:
                kind, length = source.recv(1, socket.MSG_WAITALL), source.recv(4, socket.MSG_WAITALL)
                if len(length) < 4:
                    break
                rest = source.recv(int.from_bytes(length, "big") - 4, socket.MSG_WAITALL)
                if kind == b"C" and self.armed and source in self.publishing and rest.startswith(b"SELECT"):
                    kind, length, rest = b"E", (4 + len(self.ERROR)).to_bytes(4, "big"), self.ERROR
                    self.armed = False
                destination.sendall(kind + length + rest)
        with contextlib.suppress(OSError):
            destination.shutdown(socket.SHUT_WR)


@row("the queue of NOTIFY is full (54000)", "live POST is refused with a problem; the gateway goes on")
def notify_queue_full(scene):
    forger = Forger(scene.postgres.socket)
    scene.cleanup.callback(forger.close)
    conninfo = f"host=127.0.0.1 port={forger.port} user=postgres dbname=postgres sslmode=disable gssencmode=disable"
    scene.start("--postgres-heartbeat", "1h", conninfo=conninfo)
    forger.armed = True
    answer = scene.gateway.publish(scene.live, "1")
    assert answer.status in (422, 503) and answer.problem()[1], answer
    until(lambda: scene.gateway.publish(scene.live, "1").status == 202, "live POSTs work again")


@row("default_transaction_read_only is switched on", "nothing: the gateway's sessions say what they need")
def read_only_default(scene):
    server = scene.own_postgres()
    server.sql("alter role postgres set default_transaction_read_only = on")
    gateway = scene.launch().wait_ready()
    assert gateway.publish(scene.durable, "1").status == 201
    server.sql("begin read write; alter role postgres reset default_transaction_read_only; commit")
    scene.watch(gateway)


# --- it says what nobody expects


@row("NOTIFY is forged on the log's wake-up channel, a thousand times, with any payload", "nothing", shared=True)
def forged_wakeup(scene):
    scene.postgres.notify("eventgate", "", "garbage", "9" * 30, "-1", '{"pos":1}', "x" * 7999)
    scene.postgres.sql("select count(pg_notify('eventgate', n::text)) from generate_series(1, 1000) n")
    scene.witness.publish(5)


@row("NOTIFY is forged on the name of a durable channel", "no event: durable events come from the log", shared=True)
def forged_durable(scene):
    stream = scene.stream(f"/channels/{scene.durable}")
    stream.cursor()
    scene.postgres.notify(scene.durable, '"forged"')
    scene.postgres.sql("select eventgate.publish(%s, '1')", scene.durable)
    assert stream.event().data == 1


@row("NOTIFY on channels that nobody subscribes to, thousands", "nothing", shared=True)
def stray_notifications(scene):
    scene.postgres.sql("select count(pg_notify('stray/' || n, '')) from generate_series(1, 5000) n")


@row("a payload of 7,999 bytes, and a durable event of a megabyte", "both arrive whole", shared=True)
def oversized_payloads(scene):
    stream = scene.stream(f"/events?channel={scene.live}&channel={scene.durable}")
    stream.cursor()
    scene.postgres.notify(scene.live, "x" * 7999)
    assert stream.event().data == "x" * 7999
    scene.postgres.sql("select eventgate.publish(%s, to_json(repeat('y', 1000000)))", scene.durable)
    assert stream.event().data == "y" * 1_000_000


@row("payloads look like frames, heads and control sequences", "they arrive as they are; no frame is forged",
     shared=True)
def payloads_like_frames(scene):
    payloads = ["data: x\n\nid: 9\n\nevent: gap\n\n", "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "\x1b[2J\x07\x01\x7f",
                "\u2028\u2029\ufeff", "id: 1\rdata: 2\r", '{"cursor":"0"}', '"}\n{"gap":{}}']
    for form in ("sse", "ndjson"):
        stream = scene.stream(f"/channels/{scene.live}?format={form}")
        stream.cursor()
        scene.postgres.notify(scene.live, *payloads)
        carried = [item.json() for item in stream.events(len(payloads))]
        assert [event["channel"] for event in carried] == [scene.live] * len(payloads)
        assert carried[0]["data"] == payloads[0] and carried[2]["data"] == payloads[2]


@row("the database is SQL_ASCII, and payloads are not UTF-8", "UTF-8 with replacement characters, and no gap")
def not_utf8(scene):
    name = f"ascii_{os.getpid()}"
    scene.postgres.sql(f"create database {name} encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0")
    conninfo = scene.postgres.conninfo.replace("dbname=postgres", f"dbname={name}")
    scene.cleanup.callback(scene.postgres.sql, f"drop database {name} with (force)")
    odd = scene.launch(conninfo=conninfo, live="odd/**", durable=None).wait_ready()
    streams = [scene.stream(f"/channels/odd/a?payload={payload}", gateway=odd) for payload in ("event", "raw")]
    for stream in streams:
        stream.cursor()
    connection = scene.postgres.connect_to(name)
    connection.set_client_encoding("SQL_ASCII")
    connection.cursor().execute(b"select pg_notify('odd/a', E'a\\xff\\xc3b')")
    connection.close()
    assert streams[0].event().data == streams[1].event().text == "a\ufffd\ufffdb"
    scene.watch(scene.shared_gateway)


@row("publishers roll back", "no event of it, and no gap", shared=True)
def rolled_back(scene):
    stream = scene.stream(f"/events?channel={scene.live}&channel={scene.durable}")
    stream.cursor()
    connection = scene.postgres.connect()
    connection.autocommit = False
    for end in (connection.rollback, connection.commit):
        with connection.cursor() as cursor:
            cursor.execute("select pg_notify(%s, '1')", (scene.live,))
            cursor.execute("select eventgate.publish(%s, '2')", (scene.durable,))
        end()
    connection.close()
    assert sorted(event.data for event in stream.events(2)) == [1, 2]
    scene.postgres.notify(scene.live, "3")
    assert stream.event().data == 3


@row("twenty thousand notifications in one transaction", "all of them, in order", shared=True)
def bulk_notifications(scene):
    stream = scene.stream(f"/channels/{scene.live}")
    stream.cursor()
    scene.postgres.flood(scene.live, 1, 20_000, 10)
    assert [event.data["n"] for event in stream.events(20_000)] == list(range(1, 20_001))


@row("the live journal is overrun while a client is away", "a gap retention for it; durable events from the log",
     returns="retention")
def journal_overrun(scene):
    scene.start("--journal-events", "16", "--workers", "1")
    for _ in range(10):
        scene.witness.publish(10)
        scene.witness.stays.until(lambda: scene.witness.has_all(scene.witness.stays))


@row("a table that is watched is truncated and changed in bulk", "each change once", shared=True)
def bulk_changes(scene):
    table = f"bulk_{os.getpid()}"
    scene.postgres.sql(f"create table {table} (id int primary key, a int)")
    scene.cleanup.callback(scene.postgres.sql, f"drop table {table}")
    scene.postgres.sql("select eventgate.watch(%s, %s)", table, scene.durable)
    stream = scene.stream(f"/channels/{scene.durable}")
    stream.cursor()
    scene.postgres.sql(f"insert into {table} select n, n from generate_series(1, 50) n")
    assert sorted(event.data["new"]["id"] for event in stream.events(50)) == list(range(1, 51))


@row("a POST's commit is lost on the way, and it is sent again with its key", "503 outcome-unknown, then 201; one event")
def outcome_unknown(scene):
    proxy = scene.proxy()
    gateway = scene.launch(conninfo=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    posting = scene.connect(gateway)
    proxy.stall()
    posting.request("POST", f"/channels/{scene.durable}", "1", Idempotency_Key="payment 7")
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "the POST waits")
    proxy.cut()
    proxy.flow()
    assert posting.response().problem()[0] in ("outcome-unknown", "database-away")
    until(lambda: gateway.publish(scene.durable, "1", Idempotency_Key="payment 7").status == 201, "published")
    assert scene.in_log(scene.durable) == ["1"]
    scene.watch(scene.shared_gateway)


