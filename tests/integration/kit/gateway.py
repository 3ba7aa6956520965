"""A gateway process: started on a free port, its log read as it comes, stopped by SIGTERM."""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from kit import http
from kit.http import Address
from kit.streams import Stream
from kit.wait import DEADLINE, until

ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASE = os.environ.get("EVENTGATE_RELEASE") or str(ROOT / "build" / "release" / "pg_eventgate")
BINARY = os.environ.get("EVENTGATE_BINARY") or RELEASE


def environment(**variables):
    """The caller's environment without anything that would configure the gateway."""
    ours = ("PG", "EVENTGATE_", "DATABASE_URL", "LISTEN_", "NOTIFY_", "WATCHDOG_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | variables


def run(*arguments, **variables):
    """Runs the program to its end."""
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=DEADLINE,
                          env=environment(**variables))


def install_schema(conninfo):
    """What durable channels need."""
    done = run("schema", "install", "--postgres", conninfo)
    assert done.returncode == 0, done.stderr


class Orphan:
    """A process that a child of ours has started, as far as it looks like a Popen. When its parent ends, it is ours."""

    ADOPT = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    @classmethod
    def adopt(cls):
        assert ctypes.CDLL(None, use_errno=True).prctl(cls.ADOPT, 1, 0, 0, 0) == 0

    def poll(self):
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # not ours yet
                return None
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout):
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("the upgraded gateway", timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Gateway:
    """`certificate`: it listens with TLS only (kit/tls.py), and all that is asked of it goes over that. `headers`: go
    with all that is asked of it by call() and what calls that."""

    def __init__(self, *arguments, listen="127.0.0.1:0", binary=BINARY, wrapper=(), process_options=None,
                 variables=None, certificate=None, headers=None):
        self.certificate, self.headers = certificate, headers or {}
        if certificate:
            listen = f"tls:{listen}"
            arguments += certificate.arguments()
        command = [*wrapper, binary, *arguments] + (["--listen", listen] if listen else [])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=environment(**(variables or {})), **(process_options or {}))
        self.log = []
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        self.address = until(self._address, "the gateway says where it listens")

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip("\n"))

    def _address(self):
        assert self.process.poll() is None, "the gateway ended:\n" + self.log_text()
        for line in list(self.log):
            match = re.search(r'listening.*address"?[=:] ?"?([0-9.]+|\[[0-9a-f:]+\]):(\d+)', line)
            if match:
                address = match[1].strip("[]"), int(match[2])
                return Address(*address, self.certificate.context()) if self.certificate else address
        return None

    @property
    def url(self):
        return f"http{'s' if self.certificate else ''}://{self.address[0]}:{self.address[1]}"

    @property
    def pid(self):
        return self.process.pid

    def log_text(self):
        return "\n".join(self.log)

    def wait_log(self, pattern):
        def found():
            return next((line for line in list(self.log) if re.search(pattern, line)), None)

        return until(found, f"a log line like {pattern}")

    def call(self, method, target, body=None, **headers):
        return http.call(self.address, method, target, body, **(self.headers | headers))

    def get(self, target, **headers):
        return self.call("GET", target, **headers)

    def publish(self, channel, payload, **headers):
        return self.call("POST", f"/channels/{channel}", payload, **headers)

    def status_of(self, target):
        try:
            return self.get(target).status
        except OSError:
            return None

    def wait_ready(self):
        until(lambda: self.status_of("/readyz") == 200, "/readyz is 200")
        return self

    def wait_unready(self):
        until(lambda: self.status_of("/readyz") == 503, "/readyz is 503")
        return self

    def stream(self, target, **options):
        return Stream(self.address, target, **options)

    def poll(self, target, **headers):
        """A long-poll's answer; its connection waits as long as it takes."""
        answer = self.get(target + ("&" if "?" in target else "?") + "format=poll", **headers)
        assert answer.status == 200, answer
        return answer.json()

    def metrics(self):
        """{'name{labels}': value}"""
        lines = self.get("/metrics").text().splitlines()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def metric(self, name):
        """The sum over all rows of that name that have the labels that are given: name{label="value"}."""
        name, *labels = re.findall(r'^\w+|\w+="[^"]*"', name)
        rows = [value for row, value in self.metrics().items()
                if row.split("{")[0] == name and set(labels) <= set(re.findall(r'\w+="[^"]*"', row))]
        assert rows, f"no metric {name} {labels}"
        return sum(rows)

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def start_upgrade(self):
        """Asks for an upgrade; returns how many lines the log had before."""
        Orphan.adopt()
        lines = len(self.log)
        self.process.send_signal(signal.SIGUSR2)
        return lines

    def wait_log_behind(self, lines, pattern):
        def found():
            return next((line for line in self.log[lines:] if re.search(pattern, line)), None)

        return until(found, f"a log line like {pattern}", 60)

    def upgrade(self):
        """The process is replaced by a new one; returns the old one, which drains."""
        lines = self.start_upgrade()
        line = self.wait_log_behind(lines, "upgraded: the new process serves|no upgrade now|upgrade has failed")
        pid = re.search(r"upgraded.*pid=(\d+)", line)
        assert pid, self.log_text()
        old, self.process = self.process, Orphan(int(pid[1]))
        return old

    def stop(self, how=signal.SIGTERM):
        """Ends the process and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.ended()

    def ended(self):
        """Waits for the end of the process; a sanitizer's finding fails the test here."""
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(DEADLINE)
        assert "Sanitizer" not in self.log_text() and "runtime error" not in self.log_text(), self.log_text()
        return code
