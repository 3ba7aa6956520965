"""gateway/demo, as a user meets it."""

import glob
import os
import re
import shlex
import signal
import socket
import subprocess
import threading

import pytest

from kit.gateway import ROOT
from kit.http import call
from kit.streams import Stream
from kit.wait import DEADLINE, until

DEMO = str(ROOT / "gateway" / "demo")


class Demo:
    def __init__(self, folder, port):
        # Under a shell's `&` SIGINT is ignored, and a script cannot change that back.
        ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.process = subprocess.Popen([DEMO, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=os.environ | {"TMPDIR": str(folder)}, start_new_session=True)
        signal.signal(signal.SIGINT, ignored)
        self.output = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.output.append(line.decode())

    def line(self, pattern):
        def found():
            return next((line.strip() for line in list(self.output) if re.search(pattern, line)), None)

        return until(lambda: found() or self.process.poll() is not None and self.output, pattern, timeout=180)


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def folder():
    """Short, and open to the user that PostgreSQL runs as."""
    path = f"/tmp/eventgate-demo-{os.getpid()}"
    os.mkdir(path)
    os.chmod(path, 0o755)
    yield path
    os.rmdir(path)


def processes_naming(text):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                command = file.read().decode("utf-8", "replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def test_demo_gives_the_playground_and_four_lines_that_work_and_leaves_nothing_behind(folder, port):
    demo = Demo(folder, port)
    try:
        page, _, query = demo.line(r"^\s+http://.*/#").partition("#")
        assert page == f"http://127.0.0.1:{port}/"
        assert "<title>pg_eventgate playground</title>" in call(("127.0.0.1", port), "GET", "/").text()
        with Stream(("127.0.0.1", port), f"/events?{query}&after=earliest") as stream:
            channels = set()
            until(lambda: channels.add(stream.event().json()["channel"].split("/")[0]) or len(channels) == 2, "both tell something")
            assert channels == {"sensors", "parcel"}
        url = demo.line(r"^\s+http://.*/channels/")
        curl = demo.line(r"^\s+curl -N http")
        durable = demo.line(r"^\s+curl -N '")
        psql = demo.line(r"^\s+psql")
        assert shlex.split(curl)[-1] == url == f"http://127.0.0.1:{port}/channels/orders"
        with Stream(("127.0.0.1", port), "/channels/orders") as stream:
            stream.cursor()
            subprocess.run(shlex.split(psql), check=True, stdout=subprocess.DEVNULL)
            assert stream.event().data == {"id": 1, "item": "tea", "amount": 3}
        with Stream(("127.0.0.1", port), shlex.split(durable)[-1].removeprefix(f"http://127.0.0.1:{port}")) as stream:
            event = stream.event()
            assert event.json()["channel"] == "order/1" and event.data["new"] == {"id": 1, "item": "tea", "amount": 3}
        assert call(("127.0.0.1", port), "POST", "/channels/chat/lobby", "hello").status == 202
    finally:
        os.killpg(demo.process.pid, signal.SIGINT)
        demo.process.wait(DEADLINE)
    assert os.listdir(folder) == []
    assert processes_naming(folder) == []


def test_a_taken_port_says_what_to_do(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        shown = subprocess.run([DEMO, "--port", port], capture_output=True, text=True, check=False,
                               env=os.environ | {"TMPDIR": folder})
    assert shown.returncode == 2 and "--port" in shown.stderr


def test_help():
    shown = subprocess.run([DEMO, "--help"], capture_output=True, text=True, check=True)
    assert "--port" in shown.stdout
