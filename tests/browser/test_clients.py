"""Clients as people use them: curl, the npm package `eventsource`, Chromium's EventSource. More: test_other_clients.py."""

import json
import os
import subprocess
import threading

import pytest

from kit.chromium import chromium
from kit.gateway import ROOT
from kit.wait import DEADLINE, until

PROGRAMS = os.environ.get("EVENTGATE_BROWSER_CLIENTS") or str(ROOT / "tests" / "browser")


class Client:
    """A program that prints a JSON line for each event it hears."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.heard = []
        self.errors = b""
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._read_errors)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.heard.append(json.loads(line))

    def _read_errors(self):
        self.errors = self.process.stderr.read()

    def of(self, kind):
        return [each for each in list(self.heard) if each["kind"] == kind]

    def data(self):
        return [json.loads(each["data"])["data"] for each in self.of("message")]

    def wait(self, kind, count):
        def enough():
            assert self.process.poll() is None, (self.heard, self.errors)
            return len(self.of(kind)) >= count

        until(enough, f"{count} times {kind} by {self.process.args}", timeout=60)

    def close(self):
        """The programs end, and end their browser, when nobody is left to talk to."""
        self.process.stdin.close()
        self.process.wait(DEADLINE)


@pytest.fixture(params=["node", "chromium"])
def subscribe(request):
    """Starts the client on a URL."""
    clients = []

    def start(url):
        browser = [chromium()] if request.param == "chromium" else []
        clients.append(Client(["node", f"{PROGRAMS}/{request.param}.mjs", url, *browser]))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def numbers(first, last):
    return [str(n) for n in range(first, last + 1)]


def test_reconnect_in_the_middle_is_exact(start_gateway, make_proxy, postgres, channel, subscribe):
    gateway = start_gateway("--retry", "100ms", "--workers", "2").wait_ready()
    proxy = make_proxy(gateway.address)
    client = subscribe(f"http://127.0.0.1:{proxy.port}/channels/{channel}")
    client.wait("cursor", 1)
    for first in (1, 11, 21):
        postgres.notify(channel, *numbers(first, first + 4))
        client.wait("message", first + 4)
        proxy.refuse()
        proxy.cut()
        postgres.notify(channel, *numbers(first + 5, first + 9))
        proxy.accept()
        client.wait("message", first + 9)
    assert client.data() == list(range(1, 31)), "everything once and in order"
    assert client.of("gap") == [] and len(client.of("open")) >= 4
    assert len({each["id"] for each in client.of("message")}) == 30


def test_another_gateway_takes_over_with_one_gap(start_gateway, make_proxy, postgres, channel, subscribe):
    gateway, successor = (start_gateway("--retry", "100ms").wait_ready() for _ in range(2))
    proxy = make_proxy(gateway.address)
    client = subscribe(f"http://127.0.0.1:{proxy.port}/channels/{channel}")
    client.wait("cursor", 1)
    postgres.notify(channel, "1")
    client.wait("message", 1)
    proxy.target = successor.address
    assert gateway.stop() == 0, "a drain ends the stream, and EventSource comes again"
    client.wait("gap", 1)
    postgres.notify(channel, "2")
    client.wait("message", 2)
    assert client.data() == [1, 2]
    (gap,) = client.of("gap")
    assert json.loads(gap["data"])["reason"] == "reconnect"


def test_every_kind_of_payload(gateway, postgres, channel, subscribe):
    payloads = ["plain", "two\nlines", "😀 ünï", "data: x\n\nid: 1", ""]
    client = subscribe(f"{gateway.url}/channels/{channel}")
    client.wait("cursor", 1)
    postgres.notify(channel, *payloads)
    client.wait("message", len(payloads))
    assert client.data() == payloads


def test_curl_reads_a_stream_and_posts(gateway, channel):
    url = f"{gateway.url}/channels/{channel}"
    with subprocess.Popen(["curl", "-sN", url], stdout=subprocess.PIPE) as reader:
        try:
            lines = iter(reader.stdout.readline, b"")
            assert next(lines).startswith(b"retry: ")
            assert next(line for line in lines if line == b"event: cursor\n")
            posted = subprocess.run(["curl", "-sf", "-d", '{"hello": "world"}', url], check=True, capture_output=True)
            assert posted.returncode == 0
            data = next(line for line in lines if line.startswith(b"data: ") and b"world" in line)
        finally:
            reader.kill()
    assert json.loads(data[6:])["data"] == {"hello": "world"}


def test_curl_is_refused_in_words(gateway):
    url = f"{gateway.url}/channels/elsewhere"
    shown = subprocess.run(["curl", "-si", url], check=True, capture_output=True, text=True)
    assert "404" in shown.stdout.splitlines()[0] and "elsewhere" in shown.stdout.splitlines()[-1]
