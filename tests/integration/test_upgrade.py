"""SIGUSR2: the program is started anew and takes over the sockets; whatever goes wrong, the old process goes on."""

import os
import pathlib
import re
import shutil
import signal
import socket

import pytest

from kit.gateway import BINARY, install_schema
from kit.http import Connection
from kit.manager import Manager
from kit.ports import free_port
from kit.tokens import bearer
from kit.wait import until


@pytest.fixture
def program(tmp_path):
    """A copy of the program, for the tests to replace."""
    path = tmp_path / "pg_eventgate"
    shutil.copy(BINARY, path)
    return path


def replace(path, text):
    """Puts a script in the program's place, as a package manager does: the file is another one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


def descriptors(pid):
    """{number: what it is}"""
    folder = pathlib.Path(f"/proc/{pid}/fd")
    found = {}
    for entry in folder.iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:
            pass
    return found


@pytest.mark.threads
def test_another_process_serves_on_the_same_socket(start_gateway, channel, postgres):
    gateway = start_gateway("--workers", "2").wait_ready()
    first = gateway.pid
    stream = gateway.stream(f"/channels/{channel}")
    cursor = stream.cursor()
    old = gateway.upgrade()
    assert gateway.pid != first and old.pid == first
    assert gateway.status_of("/readyz") == 200, "it is ready before it serves"
    assert stream.until_closed() is not None and stream.parser.retry > 0
    assert old.wait(20) == 0
    with gateway.stream(f"/channels/{channel}", Last_Event_ID=cursor) as again:
        assert again.gap()["reason"] == "reconnect"
        postgres.notify(channel, "1")
        assert again.event().data == 1
    assert gateway.publish(channel, "2").status == 202


def test_no_descriptor_is_handed_over_but_the_sockets(start_gateway, channel):
    """Before and after: the same number of them, and none that is an old stream's or connection's."""
    gateway = start_gateway("--workers", "2").wait_ready()
    streams = [gateway.stream(f"/channels/{channel}") for _ in range(20)]
    idle = [Connection(gateway.address) for _ in range(5)]
    for connection in idle:
        assert connection.request("GET", "/livez").response().status == 200
    inherited = {what for what in descriptors(gateway.pid).values() if what.startswith("socket:")}
    listening = inherited & all_listening()
    assert len(listening) == 2
    old = gateway.upgrade()
    shared = inherited & set(descriptors(gateway.pid).values())
    assert shared == listening, "nothing else of the old process is open in the new one"
    for stream in streams + idle:
        stream.close()
    assert old.wait(20) == 0
    until(lambda: len([w for w in descriptors(gateway.pid).values() if w in listening]) == 2, "each once")


def all_listening():
    rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


@pytest.mark.threads
def test_durable_streams_go_on_exactly(start_gateway, durable_channel):
    gateway = start_gateway(durable="d/**").wait_ready()
    seen, cursor, published = [], "earliest", []

    def publish(count):
        for _ in range(count):
            answer = gateway.publish(durable_channel, str(len(published)))
            assert answer.status == 201
            published.append(len(published))

    publish(5)
    for _ in range(3):
        with gateway.stream(f"/channels/{durable_channel}?after={cursor}") as stream:
            while len(seen) < len(published):
                item = stream.event()
                seen.append(item.data)
                cursor = item.id
            old = gateway.upgrade()
            publish(3)
            rest = [item for item in stream.until_closed() if item.kind == "event"]
            assert rest == [], "what is published at the new process comes from there"
        assert old.wait(20) == 0
    with gateway.stream(f"/channels/{durable_channel}?after={cursor}") as stream:
        seen += [item.data for item in stream.events(len(published) - len(seen))]
    assert seen == published


def test_what_has_a_connection_is_answered_to_its_end(start_gateway, make_proxy, postgres, channel):
    """A request that is under way, the next one on a kept connection, and one whose body is still coming: the old
    process answers each of them, and closes behind it."""
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "30s", "--drain-timeout", "20s", "--postgres-heartbeat", "1h",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    with Connection(gateway.address) as kept, Connection(gateway.address) as slow, Connection(gateway.address) as new:
        assert kept.request("GET", "/livez").response().status == 200
        slow.send(b"POST /channels/%s HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\n\r\n12" % channel.encode())
        until(lambda: gateway.metric("eventgate_connections") >= 3, "all of them are accepted")
        old = gateway.upgrade()
        answer = kept.request("POST", f"/channels/{channel}", "1").response()
        assert answer.status == 202 and answer.header("connection") == "close"
        assert kept.is_closed()
        slow.send(b"34")
        assert slow.response().status == 202 and slow.is_closed()
        answer = new.request("GET", f"/channels/{channel}?format=poll&wait=60&after=earliest").response()
        assert answer.status == 200 and answer.json()["next"] and new.is_closed()
        assert old.wait(20) == 0, "as soon as there is no connection left"


def test_who_asks_the_old_process_for_its_readiness_hears_of_its_sets(start_gateway):
    """A probe whose connection it has accepted: the address is ready all the time."""
    gateway = start_gateway("--workers", "1").wait_ready()
    with Connection(gateway.address) as probe, Connection(gateway.address) as details:
        until(lambda: gateway.metric("eventgate_connections") >= 3, "both are accepted, and who asks is")
        gateway.upgrade()
        answer = probe.request("GET", "/readyz").response()
        assert answer.status == 200 and answer.json() == {"status": "ready"}
        answer = details.request("GET", "/healthz").response()
        assert answer.status == 200 and answer.json()["status"] == "ready"
        assert probe.is_closed() and details.is_closed()


def test_idle_connections_are_closed_by_half_of_the_drain(start_gateway):
    gateway = start_gateway("--drain-timeout", "1s").wait_ready()
    with Connection(gateway.address) as idle:
        assert idle.request("GET", "/livez").response().status == 200
        old = gateway.upgrade()
        assert idle.is_closed()
        assert old.wait(20) == 0
    assert "drain deadline" not in gateway.log_text()


@pytest.mark.parametrize("script, told", [
    ("#!/bin/sh\nexit 3\n", "ended with status 3"),
    ("#!/bin/sh\nkill -SEGV $$\n", "signal 11"),
    ("not a program\n", "cannot be started"),
    ("#!/bin/sh\nexec sleep 60\n", "did not start in time"),
])
def test_a_new_program_that_fails_changes_nothing(start_gateway, program, channel, script, told):
    gateway = start_gateway("--upgrade-timeout", "3s", binary=str(program)).wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        replace(program, script)
        lines = gateway.start_upgrade()
        assert told in gateway.wait_log_behind(lines, "upgrade has failed")
        assert gateway.publish(channel, "1").status == 202
        assert stream.event().data == 1, "the stream goes on"
    program.unlink()
    lines = gateway.start_upgrade()
    assert "No such file" in gateway.wait_log_behind(lines, "upgrade has failed")
    shutil.copy(BINARY, program)
    assert gateway.upgrade().wait(20) == 0, "and the next one succeeds"
    assert gateway.publish(channel, "2").status == 202


def test_what_a_failed_program_has_started_ends_with_it(start_gateway, program):
    """It has the sockets, too: nobody could listen there after us."""
    gateway = start_gateway("--upgrade-timeout", "500ms", binary=str(program)).wait_ready()
    replace(program, "#!/bin/sh\nsleep 600\nexit 0\n")
    lines = gateway.start_upgrade()
    gateway.wait_log_behind(lines, "upgrade has failed")
    host, port = gateway.address
    assert gateway.stop() == 0
    start_gateway(listen=f"{host}:{port}").wait_ready()


def test_a_bad_configuration_fails_the_upgrade(start_gateway, postgres, tmp_path):
    file = tmp_path / "gateway.conf"
    good = f"[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n"
    file.write_text(good)
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    file.write_text(good + "nonsense = 1\n")
    lines = gateway.start_upgrade()
    assert "status 2" in gateway.wait_log_behind(lines, "upgrade has failed")
    assert gateway.wait_log_behind(lines, "gateway.conf:4:.*nonsense")
    file.write_text(good.replace(postgres.conninfo, "host=/nonexistent"))
    assert gateway.status_of("/readyz") == 200


def test_a_new_process_that_does_not_reach_the_database(start_gateway, postgres, tmp_path):
    """It fails if this one does, else it is as good as this one."""
    file = tmp_path / "gateway.conf"

    def write(conninfo):
        file.write_text(f"[gateway]\nupgrade_timeout = 1s\n[set shop]\npostgres = {conninfo}\nlive = t/**\n")

    write(postgres.conninfo)
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    write("host=/nonexistent")
    lines = gateway.start_upgrade()
    assert "database of set shop" in gateway.wait_log_behind(lines, "upgrade has failed")
    gateway.wait_ready()
    gateway.stop()
    unready = start_gateway("--config", str(file), database=None)
    assert unready.status_of("/readyz") == 503
    assert unready.upgrade().wait(20) == 0
    assert unready.status_of("/readyz") == 503


def test_one_database_that_is_away_hides_no_other_that_only_the_old_process_reaches(start_gateway, postgres, tmp_path):
    file = tmp_path / "gateway.conf"

    def write(conninfo):
        file.write_text("[gateway]\nupgrade_timeout = 1s\n[set away]\npostgres = host=/nonexistent\nlive = a\n"
                        f"[set shop]\npostgres = {conninfo}\nlive = t/**\n")

    write(postgres.conninfo)
    gateway = start_gateway("--config", str(file), database=None)
    until(lambda: gateway.publish("t/a", "1").status == 202, "one set is ready")
    write("host=/nonexistent")
    lines = gateway.start_upgrade()
    assert "database of set shop" in gateway.wait_log_behind(lines, "upgrade has failed")
    write(postgres.conninfo)
    assert gateway.upgrade().wait(20) == 0
    assert gateway.publish("t/a", "1").status == 202


AWAY = "[set away]\npostgres = host=/nonexistent\nlive = a\n"


@pytest.mark.parametrize("other", ["", AWAY], ids=["ready", "not ready"])
def test_a_new_process_that_may_not_read_what_is_revoked(start_gateway, secret_file, postgres, tmp_path, other):
    """It would refuse every token."""
    install_schema(postgres.conninfo)
    postgres.sql("do $$begin if to_regrole('stranger') is null then create role stranger login; end if; end$$")
    file = tmp_path / "gateway.conf"

    def write(conninfo):
        file.write_text(f"[gateway]\nkeys = HS256:{secret_file}\nupgrade_timeout = 1s\n{other}"
                        f"[set shop]\npostgres = {conninfo}\nlive = t/**\nrevocations = on\n")

    write(postgres.conninfo)
    gateway = start_gateway("--config", str(file), database=None)
    rights = bearer(["t/a"], ["t/a"])
    until(lambda: gateway.publish("t/a", "1", **rights).status == 202, "the set is ready")
    write(postgres.conninfo.replace("user=postgres", "user=stranger"))
    lines = gateway.start_upgrade()
    assert "which tokens are revoked" in gateway.wait_log_behind(lines, "upgraded: |upgrade has failed")
    assert gateway.publish("t/a", "2", **rights).status == 202


def test_a_process_that_is_ready_hands_over_to_none_that_is_not(start_gateway, postgres, tmp_path):
    """Whatever the sets' names."""
    file = tmp_path / "gateway.conf"
    file.write_text(f"[gateway]\nupgrade_timeout = 1s\n[set default]\npostgres = {postgres.conninfo}\nlive = t/**\n")
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    file.write_text("[set shop]\npostgres = host=/nonexistent\nlive = t/**\n")
    lines = gateway.start_upgrade()
    assert "is not ready, though this one is" in gateway.wait_log_behind(lines, "upgraded: |upgrade has failed")
    assert gateway.publish("t/a", "1").status == 202


@pytest.mark.parametrize("more, less", [("live = t/**\ndurable = d/**\n", "durable = d/**\n"),
                                        ("live = t/**\ndurable = d/**\n", "live = t/**\n")], ids=["no live", "no durable"])
def test_a_set_that_needs_less_lacks_nothing(start_gateway, postgres, tmp_path, more, less):
    install_schema(postgres.conninfo)
    file = tmp_path / "gateway.conf"

    def write(channels):
        file.write_text(f"[gateway]\nupgrade_timeout = 1s\n{AWAY}[set shop]\npostgres = {postgres.conninfo}\n{channels}")

    write(more)
    gateway = start_gateway("--config", str(file), database=None)
    until(lambda: gateway.publish("t/a", "1").status == 202 and gateway.publish("d/a", "1").status == 201, "one set is ready")
    write(less)
    assert gateway.upgrade().wait(20) == 0


@pytest.mark.parametrize("reached", [True, False])
def test_an_older_program_that_does_not_say_what_it_reaches(start_gateway, program, postgres, reached):
    """It is trusted with a database that this process doesn't reach either."""
    gateway = start_gateway("--upgrade-timeout", "1s", binary=str(program),
                            database=postgres if reached else "host=/nonexistent")
    if reached:
        gateway.wait_ready()
    replace(program, "#!/bin/bash\nold=$((2 + LISTEN_FDS))\nprintf s >&$old\nread -r -N 1 -u $old\n")
    if reached:
        lines = gateway.start_upgrade()
        assert "was not ready in time" in gateway.wait_log_behind(lines, "upgraded: |upgrade has failed")
        assert gateway.status_of("/readyz") == 200
    else:
        assert gateway.upgrade().wait(20) == 0


def test_a_new_process_that_freezes(start_gateway, tmp_path):
    """It is told so, and never handed over to, though neither of them reaches the database."""
    gateway = start_gateway("--upgrade-timeout", "3s", database="host=/nonexistent")
    lines = gateway.start_upgrade()
    pid = int(re.search(r"pid=(\d+)", gateway.wait_log_behind(lines, "a new process is starting"))[1])
    gateway.wait_log_behind(lines, "started.*workers")
    os.kill(pid, signal.SIGSTOP)
    assert "no longer answers" in gateway.wait_log_behind(lines, "upgrade has failed")


def test_signals_during_an_upgrade(start_gateway, program, tmp_path, postgres, channel):
    """Another SIGUSR2 is refused, SIGHUP is kept for later, and SIGTERM ends both."""
    file = tmp_path / "gateway.conf"

    def write(retry):
        file.write_text(f"[gateway]\nretry = {retry}\n[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n")

    write("7s")
    gateway = start_gateway("--config", str(file), database=None, binary=str(program)).wait_ready()
    replace(program, "#!/bin/sh\nexec sleep 60\n")
    lines = gateway.start_upgrade()
    pid = int(re.search(r"pid=(\d+)", gateway.wait_log_behind(lines, "a new process is starting"))[1])
    gateway.process.send_signal(signal.SIGUSR2)
    assert "under way" in gateway.wait_log_behind(lines, "no upgrade now")
    write("9s")
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.wait_log_behind(lines, "loaded anew after it")
    os.kill(pid, signal.SIGKILL)
    assert gateway.wait_log_behind(lines, "upgrade has failed.*signal 9")
    assert gateway.wait_log_behind(lines, "reloaded.*retry"), "now that it goes on"

    lines = gateway.start_upgrade()
    pid = int(re.search(r"pid=(\d+)", gateway.wait_log_behind(lines, "a new process is starting"))[1])
    assert gateway.stop() == 0
    until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the new process has ended, too")


def test_signals_behind_an_upgrade(start_gateway, channel):
    gateway = start_gateway("--drain-timeout", "20s").wait_ready()
    with Connection(gateway.address) as holding:
        holding.send(b"GET /livez HTTP/1.1\r\n")
        until(lambda: gateway.metric("eventgate_connections") >= 2, "it is accepted")
        old = gateway.upgrade()
        lines = len(gateway.log)
        old.send_signal(signal.SIGUSR2)
        assert "draining" in gateway.wait_log_behind(lines, "no upgrade now")
        old.send_signal(signal.SIGTERM)
        assert gateway.wait_log_behind(lines, "already draining")
        assert old.poll() is None
        old.send_signal(signal.SIGTERM)
        assert old.wait(20) == 143
    assert gateway.publish(channel, "1").status == 202


@pytest.mark.parametrize("before, after", [(2, 3), (3, 1)])
def test_another_number_of_workers(start_gateway, postgres, tmp_path, channel, before, after):
    file = tmp_path / "gateway.conf"

    def write(workers):
        file.write_text(f"[gateway]\nworkers = {workers}\n[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n")

    write(before)
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    write(after)
    for _ in range(2):
        assert gateway.upgrade().wait(20) == 0
        assert [gateway.publish(channel, "1").status for _ in range(30)] == [202] * 30


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_other_addresses(start_gateway, postgres, tmp_path):
    """Those that stay are handed over, be they for operators or not; others are opened, or closed."""
    file = tmp_path / "gateway.conf"
    stays, goes, comes, admin = (free_port() for _ in range(4))

    def write(listen, admin_listen):
        file.write_text(f"[gateway]\nlisten = {listen}\nadmin_listen = {admin_listen}\n"
                        f"[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n")

    write(f"127.0.0.1:{stays}, 127.0.0.1:{goes}", f"127.0.0.1:{admin}")
    gateway = start_gateway("--config", str(file), database=None, listen=None).wait_ready()
    write(f"127.0.0.1:{comes}, 127.0.0.1:{stays}", f"127.0.0.1:{admin}")
    assert gateway.upgrade().wait(20) == 0
    assert refuses(goes)
    for port, sees_metrics in ((stays, 403), (comes, 403), (admin, 200)):
        gateway.address = ("127.0.0.1", port)
        assert gateway.status_of("/readyz") == 200
        assert (gateway.get("/metrics").status == 200) == (sees_metrics == 200)


def test_over_tls(start_tls_gateway, channel):
    gateway = start_tls_gateway("--workers", "2").wait_ready()
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        old = gateway.upgrade()
        stream.until_closed()
        assert stream.parser.retry > 0 and not stream.connection.is_cut
    assert old.wait(20) == 0
    assert gateway.publish(channel, "1").status == 202


def test_sockets_of_a_service_manager_are_handed_on(start_gateway, channel):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listening.fileno()}']
        gateway = start_gateway("--workers", "2", listen=None, wrapper=shell,
                                process_options={"pass_fds": [listening.fileno()]}).wait_ready()
        for _ in range(2):
            assert gateway.upgrade().wait(20) == 0
            assert gateway.publish(channel, "1").status == 202
        lines = len([line for line in gateway.log if "listening address" in line])
        assert lines == 3, "one socket each time"


def test_a_link_that_leads_elsewhere_by_now(start_gateway, tmp_path):
    """A release is activated by a link: what it leads to at the upgrade is run."""
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "pg_eventgate"
    for path in (one, two):
        shutil.copy(BINARY, path)
    link.symlink_to(one)
    gateway = start_gateway(binary=str(link)).wait_ready()
    link.unlink()
    link.symlink_to(two)
    assert gateway.upgrade().wait(20) == 0
    assert os.readlink(f"/proc/{gateway.pid}/exe") == str(two)


def test_the_service_manager_is_told_of_the_new_process(start_gateway):
    """First whom to listen to, then what that one says; the old one is silent from then on, and the watchdog goes on."""
    manager = Manager()
    try:
        gateway = start_gateway("--drain-timeout", "2s", variables=manager.variables(WATCHDOG_USEC="400000")).wait_ready()
        manager.wait_for("WATCHDOG")
        with Connection(gateway.address) as holding:
            holding.send(b"GET /livez HTTP/1.1\r\n")
            until(lambda: gateway.metric("eventgate_connections") >= 2, "it is accepted")
            before = len(manager.heard)
            old = gateway.upgrade()
            assert manager.wait_for("MAINPID") == {"MAINPID": str(gateway.pid)}
            assert manager.wait_for("READY") == {"READY": "1"}
            for _ in range(3):
                manager.wait_for("WATCHDOG", "1")
        assert old.wait(20) == 0
        manager.listen_for(0.2)
        assert not any("STOPPING" in state or "Draining" in state.get("STATUS", "") for state in manager.heard[before:])
    finally:
        manager.close()
