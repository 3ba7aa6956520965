"""The package under a real systemd, in a Debian with a PostgreSQL that is booted for it: what the units promise. The
tests follow each other."""

import pathlib
import re
import shutil
import subprocess

import pytest

from kit import machine as machines
from kit.gateway import RELEASE, ROOT
from kit.wait import until

pytestmark = [pytest.mark.long, pytest.mark.skipif(machines.why_not() is not None, reason=str(machines.why_not()))]

BUILD = pathlib.Path(RELEASE).parent
SERVICE, SOCKET = "pg_eventgate.service", "pg_eventgate.socket"
CONFIGURATION = "/etc/pg_eventgate/pg_eventgate.conf"
URL = "http://127.0.0.1:8080"
# A request after the other, each on a connection of its own; prints what fails, and how many there were.
ASKING = f"""
while [ ! -e /tmp/enough ]; do
    curl -sS -o /dev/null --max-time 20 {URL}/livez || echo failed
    n=$((n + 1))
done
echo "$n asked"
rm /tmp/enough
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["cpack", "-G", "DEB", "-B", folder], cwd=BUILD, check=True, capture_output=True)
    (package,) = folder.glob("*.deb")
    made = machines.Machine("curl", "postgresql", "libnss-systemd", "openssl", "procps", "ssl-cert")
    try:
        shutil.copy(package, made.folder / "root/package.deb")
        made.install("/root/package.deb")  # where no systemd runs, with what it depends on
        made.boot()
        yield made
    finally:
        made.remove()


def ask(machine, path, *options):
    return machine.run("curl", "-sS", "--max-time", "20", *options, URL + path)


def wait_serving(machine, before=None, unit=SERVICE):
    """`before`: the main process that there was."""
    def serves():
        return (machine.property(unit, "ActiveState") == "active" and machine.property(unit, "MainPID") != before and
                machine.property(unit, "StatusText") == "Serving: 1 channel set is ready")

    try:
        until(serves, "it serves", 60)
    except AssertionError as error:
        raise AssertionError(machine.tries("systemctl", "status", "--no-pager", "--lines=40", unit).stdout) from error


def test_the_installation_enables_and_starts_nothing(machine):
    for unit in (SERVICE, SOCKET):
        assert machine.tries("systemctl", "is-enabled", unit).stdout == "disabled\n"
        assert machine.property(unit, "ActiveState") == "inactive"
    assert machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


def test_it_runs_as_a_user_of_its_own_that_postgresql_knows(machine):
    """The role `eventgate` by peer, as the README says."""
    machine.put("/root/roles.sql", "CREATE ROLE eventgate LOGIN;\nGRANT eventgate_gateway TO eventgate;\n")
    as_postgres = ("runuser", "-u", "postgres", "--")
    machine.run(*as_postgres, "pg_eventgate", "schema", "install", "--postgres", "dbname=postgres")
    machine.run("sh", "-c", "runuser -u postgres -- psql -v ON_ERROR_STOP=1 </root/roles.sql")
    text = (machine.folder / CONFIGURATION[1:]).read_text()
    for sample, ours in (("#[set shop]", "[set shop]"), ("#postgres = dbname=shop user", "postgres = dbname=postgres user"),
                         ("#live = ", "live = "), ("#durable = ", "durable = ")):
        assert text.count(sample) == 1
        text = text.replace(sample, ours)
    machine.put(CONFIGURATION, text)
    machine.run("systemctl", "enable", "--now", SOCKET, SERVICE)
    wait_serving(machine)
    pid = machine.property(SERVICE, "MainPID")
    status = dict(line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert machine.run("ps", "-o", "user=", "-p", pid).strip() == "eventgate"
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert ask(machine, "/channels/orders", "-d", "1") == '{"status":202}\n'
    assert '"status":201' in ask(machine, "/channels/order/1", "-d", "1")


def test_passwords_keys_and_tls_are_given_to_it_as_the_readme_says(machine):
    """A password by a credential, a key that a group may read, and TLS on a socket of a unit of its own."""
    before = (machine.folder / CONFIGURATION[1:]).read_text()
    machine.run("runuser", "-u", "postgres", "--", "psql", "-c", "ALTER ROLE eventgate PASSWORD 'secret'")
    machine.put("/etc/pg_eventgate/pg_service.conf", "[shop]\nhost=127.0.0.1\ndbname=postgres\nuser=eventgate\n"
                "password=secret\n")
    machine.run("chmod", "600", "/etc/pg_eventgate/pg_service.conf")
    readme = (ROOT / "README.md").read_text()
    machine.put(f"/etc/systemd/system/{SERVICE}.d/secrets.conf", re.search(r"```ini\n(\[Service\]\n.*?)```", readme, re.DOTALL)[1])
    machine.put("/etc/systemd/system/eventgate-tls.socket", "[Socket]\nListenStream=127.0.0.1:8443\n"
                f"FileDescriptorName=tls\nService={SERVICE}\n")
    machine.put(CONFIGURATION, before.replace("postgres = dbname=postgres user=eventgate", "postgres = service=shop").replace(
        "#tls_certificate =", "tls_certificate = /etc/ssl/certs/ssl-cert-snakeoil.pem").replace(
        "#tls_key =", "tls_key = /etc/ssl/private/ssl-cert-snakeoil.key"))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "stop", SERVICE, SOCKET)
    machine.run("systemctl", "start", "eventgate-tls.socket", SOCKET, SERVICE)
    wait_serving(machine)
    assert ask(machine, "/livez") == '{"status":"alive"}\n'
    assert machine.run("curl", "-sSk", "https://127.0.0.1:8443/livez") == '{"status":"alive"}\n'
    machine.run("systemctl", "reload", SERVICE)  # which reads the key again
    until(lambda: "configuration reloaded" in machine.run("journalctl", "-u", SERVICE, "--no-pager"), "it is logged")
    machine.put(CONFIGURATION, before)
    machine.run("systemctl", "stop", "eventgate-tls.socket", SERVICE, SOCKET)
    machine.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d", "/etc/systemd/system/eventgate-tls.socket",
                "/etc/pg_eventgate/pg_service.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", SOCKET, SERVICE)
    wait_serving(machine)


def test_a_reload(machine):
    machine.run("systemctl", "reload", SERVICE)
    until(lambda: "configuration reloaded" in machine.run("journalctl", "-u", SERVICE, "--no-pager"), "it is logged")
    assert machine.property(SERVICE, "ActiveState") == "active"


def test_nobody_is_refused_while_it_restarts(machine):
    asking = machine.start("sh", "-c", ASKING)
    for _ in range(3):
        machine.run("systemctl", "restart", SERVICE)
    machine.run("touch", "/tmp/enough")
    asked = asking.communicate(timeout=60)[0]
    assert "failed" not in asked and int(asked.split()[0]) >= 3, asked


def test_an_upgrade_of_the_package_refuses_nobody_either(machine):
    """And it is the new process that systemd looks after, and that serves the watchdog."""
    machine.put(f"/etc/systemd/system/{SERVICE}.d/watchdog.conf", "[Service]\nWatchdogSec=2s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    wait_serving(machine)
    before = machine.property(SERVICE, "MainPID")
    asking = machine.start("sh", "-c", ASKING)
    machine.run("dpkg", "--install", "/root/package.deb")
    until(lambda: machine.property(SERVICE, "MainPID") not in (before, "0"), "another process is the main one", 60)
    until(lambda: machine.tries("test", "-e", f"/proc/{before}").returncode != 0, "the old one has ended", 60)
    after = machine.property(SERVICE, "MainPID")
    said = machine.property(SERVICE, "WatchdogTimestampMonotonic")
    for _ in range(3):
        until(lambda: machine.property(SERVICE, "WatchdogTimestampMonotonic") != said, "the watchdog is served")
        said = machine.property(SERVICE, "WatchdogTimestampMonotonic")
    machine.run("touch", "/tmp/enough")
    asked = asking.communicate(timeout=60)[0]
    assert "failed" not in asked and int(asked.split()[0]) >= 3, asked
    assert machine.property(SERVICE, "MainPID") == after and machine.property(SERVICE, "NRestarts") == "0"
    wait_serving(machine)


def test_a_hung_thread_is_found_and_the_service_started_anew(machine):
    shutil.copy(BUILD / "tests/libhang.so", machine.folder / "usr/lib/libhang.so")
    machine.put(f"/etc/systemd/system/{SERVICE}.d/hang.conf", "[Service]\nEnvironment=LD_PRELOAD=/usr/lib/libhang.so "
                "HANG_WHEN=/etc/hang \"HANG_THREAD=worker 0\"\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    wait_serving(machine)
    pid = machine.property(SERVICE, "MainPID")
    machine.put("/etc/hang", "")
    until(lambda: machine.tries("test", "-e", f"/proc/{pid}").returncode != 0, "systemd ends it", 60)
    machine.run("rm", "/etc/hang", f"/etc/systemd/system/{SERVICE}.d/hang.conf")
    machine.run("systemctl", "daemon-reload")
    wait_serving(machine, pid)
    journal = machine.run("journalctl", "-u", SERVICE, "--no-pager")
    assert "a thread hangs" in journal and "Watchdog timeout" in journal


def test_a_process_for_each_core_as_the_readme_says(machine):
    """They accept from one socket: whichever is killed, nobody is refused a connection."""
    readme = (ROOT / "README.md").read_text()
    service, socket = (re.search(rf"```ini\n# [^\n]*/{name}\n(.*?)```", readme, re.DOTALL)[1]
                       for name in ("pg_eventgate@.service.d/cores.conf", "pg_eventgate.socket.d/cores.conf"))
    units = [f"pg_eventgate@{core}.service" for core in (1, 2)]
    machine.run("cp", f"/lib/systemd/system/{SERVICE}", "/etc/systemd/system/pg_eventgate@.service")
    machine.put("/etc/systemd/system/pg_eventgate@.service.d/cores.conf", service)
    machine.put("/etc/systemd/system/pg_eventgate.socket.d/cores.conf", socket)
    machine.run("systemctl", "stop", SERVICE, SOCKET)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", SOCKET, *units)
    asking = machine.start("sh", "-c", ASKING)
    for number, unit in enumerate(units, 1):
        wait_serving(machine, unit=unit)
        assert "eventgate_streams" in machine.run("curl", "-sS", f"http://127.0.0.1:909{number}/metrics")
        before = machine.property(unit, "MainPID")
        machine.run("systemctl", "kill", "--signal=SIGKILL", unit)
        wait_serving(machine, before, unit)
    machine.run("touch", "/tmp/enough")
    asked = asking.communicate(timeout=60)[0]
    assert asked.count("failed") <= len(units), "more than what was under way failed: " + asked
    machine.run("systemctl", "stop", *units, SOCKET)
    machine.run("rm", "-r", *(f"/etc/systemd/system/pg_eventgate{what}" for what in ("@.service", "@.service.d", ".socket.d")))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", SOCKET, SERVICE)
    wait_serving(machine)


def test_the_first_connection_starts_it(machine):
    machine.run("systemctl", "stop", SERVICE)
    assert machine.property(SERVICE, "Result") == "success"
    assert ask(machine, "/livez") == '{"status":"alive"}\n'
    until(lambda: machine.property(SERVICE, "ActiveState") == "active", "systemd has heard that it is ready")


def test_nothing_is_left_when_it_is_purged(machine):
    machine.run("dpkg", "--remove", "pg-eventgate")
    assert machine.tries("systemctl", "is-active", SERVICE, SOCKET).stdout == "inactive\ninactive\n"
    assert machine.tries("pgrep", "pg_eventgate").stdout == ""
    machine.run("dpkg", "--purge", "pg-eventgate")
    machine.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d", "/usr/lib/libhang.so")  # these are ours
    assert machine.run("find", "/etc", "/usr", "/var", "/run", "-xdev", "-name", "*pg*eventgate*", "-not", "-path",
                       "/var/lib/postgresql/*") == ""
    assert machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "pg_eventgate*") == ""
