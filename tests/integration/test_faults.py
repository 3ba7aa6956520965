"""The database is absent, restarts, hangs, is cut off, is of the wrong kind: the gateway survives, and says so."""

import contextlib
import os
import signal

import pytest

from kit.http import Connection
from kit.pooler import Pooler
from kit.postgres import Postgres
from kit.wait import until

QUICK = ("--postgres-heartbeat", "500ms", "--query-timeout", "1s", "--connect-timeout", "1s")


class Audience:
    """Streams on one gateway: each must be told of one gap, and then go on."""

    def __init__(self, gateway, channel):
        self.gateway, self.channel = gateway, channel
        self.streams = [gateway.stream(f"/channels/{channel}?format={form}") for form in ("sse", "sse", "ndjson")]
        for stream in self.streams:
            stream.cursor()

    def gets_one_gap_and_then(self, postgres, mark):
        self.gateway.wait_ready()
        postgres.notify(self.channel, mark)
        for stream in self.streams:
            gap = stream.gap()
            assert gap["reason"] == "reconnect" and gap["channels"] == [self.channel], gap
            assert stream.event().data == mark

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in self.streams:
            stream.close()


def over_tcp(proxy):
    return f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres"


def sessions(gateway):
    return gateway.metric('eventgate_postgres_sessions_total{connection="listen"}')


def test_absent_at_start(start_gateway, fragile_postgres, channel):
    fragile_postgres.stop()
    gateway = start_gateway(database=fragile_postgres).wait_unready()
    assert gateway.get("/livez").status == 200
    with Connection(gateway.address) as waiting:
        waiting.request("GET", f"/channels/{channel}")
        fragile_postgres.start()
        assert waiting.head().status == 200, "a subscription waits for the database"
    gateway.wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        fragile_postgres.notify(channel, "1")
        assert stream.event().data == 1


@pytest.mark.threads
def test_backend_terminated(start_gateway, fragile_postgres, channel):
    gateway = start_gateway(database=fragile_postgres).wait_ready()
    with Audience(gateway, channel) as audience:
        before = sessions(gateway)
        fragile_postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                             "pg_eventgate %")
        until(lambda: sessions(gateway) > before, "a new LISTEN session")
        audience.gets_one_gap_and_then(fragile_postgres, "after")


@pytest.mark.threads
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "crash"])
def test_restart(start_gateway, fragile_postgres, channel, how):
    gateway = start_gateway(database=fragile_postgres).wait_ready()
    with Audience(gateway, channel) as audience:
        fragile_postgres.stop(how)
        gateway.wait_unready()
        assert gateway.get("/livez").status == 200
        fragile_postgres.start()
        audience.gets_one_gap_and_then(fragile_postgres, "after")


def test_stopped_backend(start_gateway, fragile_postgres, channel):
    gateway = start_gateway(*QUICK, database=fragile_postgres).wait_ready()
    with Audience(gateway, channel) as audience, contextlib.ExitStack() as resume:
        before = sessions(gateway)
        for pid in fragile_postgres.backends("pg_eventgate % listen"):
            os.kill(pid, signal.SIGSTOP)
            resume.callback(os.kill, pid, signal.SIGCONT)
        until(lambda: sessions(gateway) > before, "a LISTEN session with another backend")
        audience.gets_one_gap_and_then(fragile_postgres, "after")


def test_network_cut(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway(database=over_tcp(proxy)).wait_ready()
    with Audience(gateway, channel) as audience:
        proxy.refuse()
        assert proxy.cut() == 2, "one connection LISTENs, one publishes"
        gateway.wait_unready()
        proxy.accept()
        audience.gets_one_gap_and_then(postgres, "after")


def test_network_goes_silent(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway(*QUICK, database=over_tcp(proxy)).wait_ready()
    with Audience(gateway, channel) as audience:
        proxy.stall()
        gateway.wait_unready()
        proxy.cut()
        proxy.flow()
        audience.gets_one_gap_and_then(postgres, "after")


def test_nothing_is_told_to_subscribers_of_another_set(start_gateway, make_proxy, postgres, tmp_path, channel):
    proxy = make_proxy(postgres.socket)
    file = tmp_path / "two.conf"
    file.write_text(f"[set steady]\npostgres = {postgres.conninfo}\nlive = steady/*\n\n"
                    f"[set shaky]\npostgres = {over_tcp(proxy)}\nlive = shaky/*\n")
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    with gateway.stream("/channels/steady/x") as steady, gateway.stream("/channels/shaky/x") as shaky:
        steady.cursor()
        shaky.cursor()
        proxy.cut()
        assert shaky.gap()["reason"] == "reconnect"
        postgres.notify("steady/x", "1")
        assert steady.event().data == 1
    answer = gateway.get("/events?channel=steady/x&channel=shaky/x")
    assert answer.status == 400 and "set" in answer.problem()[1]


def test_standby_is_refused_until_promoted(start_gateway, channel):
    standby = Postgres(standby=True)
    try:
        gateway = start_gateway(database=standby.start())
        assert gateway.wait_log("standby")
        gateway.wait_unready()
        until(lambda: "standby" in gateway.get("/healthz").text(), "/healthz says why")
        standby.sql("select pg_promote()")
        gateway.wait_ready()
        with gateway.stream(f"/channels/{channel}") as stream:
            stream.cursor()
            standby.notify(channel, "1")
            assert stream.event().data == 1
    finally:
        standby.remove()


def test_failover_to_the_second_host(start_gateway, fragile_postgres, channel):
    standby = Postgres(standby=True)
    try:
        standby.start()
        hosts = f"host={fragile_postgres.folder},{standby.folder} user=postgres dbname=postgres"
        gateway = start_gateway(database=hosts).wait_ready()
        with Audience(gateway, channel) as audience:
            fragile_postgres.stop(signal.SIGQUIT)
            standby.sql("select pg_promote()")
            until(lambda: standby.backends("pg_eventgate % listen"), "LISTEN on the new primary")
            audience.gets_one_gap_and_then(standby, "after")
    finally:
        standby.remove()


@pytest.fixture
def pooler(postgres):
    """The conninfo of one."""
    one = Pooler(postgres)
    try:
        yield one.start().conninfo
    finally:
        one.remove()


def test_transaction_pooler_is_refused(start_gateway, pooler):
    gateway = start_gateway(database=pooler)
    assert gateway.wait_log("(?i)pooler")
    gateway.wait_unready()
    until(lambda: "pooler" in gateway.get("/healthz").text().lower(), "/healthz says why")
