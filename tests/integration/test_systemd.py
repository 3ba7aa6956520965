"""What the gateway tells systemd, with a socket of ours in its place, and what it takes from it."""

import json
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from kit.gateway import BINARY, RELEASE, environment
from kit.manager import Manager, has_socket_activate
from kit.wait import until

WATCHDOG_S = 0.8


@pytest.fixture
def manager():
    made = Manager()
    yield made
    made.close()


def test_ready_once_it_serves_with_the_database_away(start_gateway, fragile_postgres, manager):
    """A database that comes up later must not keep the service from starting; its clients are told so meanwhile."""
    fragile_postgres.stop()
    gateway = start_gateway("--durable", "d/**", database=fragile_postgres, variables=manager.variables())
    manager.wait_for("READY", "1")
    assert gateway.status_of("/livez") == 200 and gateway.status_of("/readyz") == 503
    status = manager.wait(lambda state: "No such file" in state.get("STATUS", ""), "it says what lacks")
    assert status["STATUS"].startswith("Serving: 0 of 1 channel sets ready; set default: ")
    assert gateway.publish("t/a", "1").status == 503
    fragile_postgres.start()
    manager.wait(lambda state: "schema install" in state.get("STATUS", ""), "the next that lacks")
    assert [state for state in manager.heard if "READY" in state] == [{"READY": "1"}]


def test_a_life(start_gateway, manager, tmp_path, postgres):
    file = tmp_path / "gateway.conf"
    file.write_text(f"[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n")
    gateway = start_gateway("--config", str(file), "--drain-timeout", "20s", database=None,
                            variables=manager.variables())
    assert manager.wait_for("READY") == {"READY": "1"}
    manager.wait_for("STATUS", "Serving: 1 channel set is ready")
    for text in (file.read_text(), "nonsense"):  # a bad file changes nothing, and the reload is over all the same
        file.write_text(text)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        gateway.process.send_signal(signal.SIGHUP)
        began = int(manager.wait_for("RELOADING", "1")["MONOTONIC_USEC"])
        assert manager.wait_for("READY") == {"READY": "1"}
        assert before <= began <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert gateway.stop() == 0
    assert manager.wait_for("STOPPING") == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "30000000"}
    manager.wait(lambda state: "Draining" in state.get("STATUS", ""), "it says that it drains")
    assert not any("WATCHDOG" in state for state in manager.heard), "nobody has asked for it"


@pytest.mark.threads
def test_the_watchdog_is_served(start_gateway, manager):
    start_gateway("--workers", "3", variables=manager.variables(WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}")).wait_ready()
    for _ in range(5):
        manager.wait_for("WATCHDOG", "1")


@pytest.mark.parametrize("thread", ["worker 1", "postgres", "pg_eventgate"])
def test_a_thread_that_hangs_is_not_kept_alive(start_gateway, manager, tmp_path, thread):
    """Nothing but the watchdog would notice: the other worker goes on answering."""
    hang = pathlib.Path(RELEASE).parent / "tests" / "libhang.so"
    gateway = start_gateway("--workers", "2", binary=RELEASE, variables=manager.variables(
        WATCHDOG_USEC=f"{WATCHDOG_S * 1e6:.0f}", LD_PRELOAD=str(hang), HANG_THREAD=thread,
        HANG_WHEN=str(tmp_path / "now"))).wait_ready()
    manager.wait_for("WATCHDOG", "1")
    (tmp_path / "now").touch()
    if thread != "pg_eventgate":
        gateway.wait_log(f'a thread hangs: .*thread="?{thread}')
    manager.listen_for(WATCHDOG_S / 2)  # what was on its way
    assert not [state for state in manager.listen_for(2 * WATCHDOG_S) if "WATCHDOG" in state]
    assert gateway.process.poll() is None
    gateway.stop(signal.SIGKILL)  # as systemd would by its SIGABRT


@pytest.mark.skipif(not has_socket_activate(), reason="systemd-socket-activate isn't here")
def test_socket_activation(postgres, manager):
    """Started by the first connection, which it then answers, and only told through the manager's own variables."""
    path = f"{manager.folder}/socket"
    activate = subprocess.Popen(
        ["systemd-socket-activate", "--listen", path, "--fdname=http", "-E", f"NOTIFY_SOCKET={manager.path}", BINARY,
         "--postgres", postgres.conninfo, "--live", "t/**"], stderr=subprocess.PIPE, env=environment())
    try:
        until(lambda: pathlib.Path(path).exists(), "systemd-socket-activate listens")
        assert not manager.listen_for(0.2), "it isn't started before"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 ") and json.loads(body)["sets"][0]["name"] == "default"
        assert manager.wait_for("READY") == {"READY": "1"}
    finally:
        activate.terminate()
        log = activate.communicate(timeout=60)[1].decode()
    assert activate.returncode == 0 and "address=inherited" in log and "Sanitizer" not in log, log
