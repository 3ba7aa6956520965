"""psql as a client: it hears what is POSTed, what it NOTIFYs is heard, and it reads on in the log by a cursor's position."""

import json
import re
import signal
import subprocess

import pytest

from kit.wait import until
from test_clients import Client


class Psql(Client):
    """It tells of notifications behind each statement."""

    def __init__(self, postgres):
        super().__init__([f"{postgres.bin}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", postgres.conninfo])

    def _read(self):
        for line in self.process.stdout:
            self.heard.append(line.decode().rstrip("\n"))

    def run(self, statement):
        self.process.stdin.write(statement.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, statement):
        """The rows of a query."""
        before = len(self.heard)
        self.run(f"{statement} \\echo answered")
        until(lambda: "answered" in self.heard[before:], statement)
        return [line for line in self.heard[before:] if line != "answered" and not line.startswith("Asynchronous")]

    def payloads(self):
        """What it has been notified of, in order."""
        self.run("SELECT;")
        found = (re.match(r'Asynchronous notification "[^"]*" with payload "(.*)" received', line) for line in list(self.heard))
        return [match[1] for match in found if match]


@pytest.fixture
def psql(postgres):
    client = Psql(postgres)
    yield client
    client.close()


def test_it_hears_what_is_posted_whatever_happens_to_the_gateway(start_gateway, postgres, channel, psql):
    gateway = start_gateway().wait_ready()
    psql.answer(f'LISTEN "{channel}";')
    assert gateway.publish(channel, '{"n": 1}').status == 202
    until(lambda: psql.payloads() == ['{"n": 1}'], "it hears the POST, byte for byte")
    gateway.stop(signal.SIGKILL)
    postgres.notify(channel, "while nobody serves")
    assert start_gateway().wait_ready().publish(channel, "plain").status == 202
    heard = ['{"n": 1}', "while nobody serves", "plain"]
    until(lambda: psql.payloads() == heard, "it isn't the gateway's client, and misses nothing")


def test_its_notify_is_an_event(gateway, channel, psql):
    with gateway.stream(f"/channels/{channel}") as stream:
        psql.run(f"NOTIFY \"{channel}\", '{{\"from\": \"psql\"}}';")
        assert stream.event().data == {"from": "psql"}


def test_it_goes_on_in_the_log_where_a_stream_has_ended(start_gateway, postgres, durable_channel, psql):
    gateway = start_gateway(durable="d/**").wait_ready()
    with gateway.stream(f"/channels/{durable_channel}") as stream:
        for n in (1, 2):
            psql.run(f"SELECT eventgate.publish('{durable_channel}', '{n}');")
            event = stream.event()
        gateway.stop(signal.SIGKILL)
    for n in (3, 4):
        psql.run(f"SELECT eventgate.publish('{durable_channel}', '{n}');")
    position = event.json()["id"].rpartition(".")[2]
    missed = psql.answer("SELECT json_build_object('channel', channel, 'data', data) FROM eventgate.log"
                         f" WHERE channel = '{durable_channel}' AND pos > {position} ORDER BY pos;")
    assert [json.loads(line) for line in missed if line] == [{"channel": durable_channel, "data": n} for n in (3, 4)]
