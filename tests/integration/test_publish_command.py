"""`pg_eventgate publish` and `healthcheck`: what became of each event is known, or told."""

import contextlib
import json
import signal
import socket
import subprocess
import threading

import pytest

from kit.gateway import BINARY, environment, run
from kit.http import Connection
from kit.tokens import token
from kit.wait import DEADLINE, until


def publish(gateway, *arguments, text="", **variables):
    url = gateway if isinstance(gateway, str) else gateway.url
    return subprocess.run([BINARY, "publish", "--url", url, *arguments], input=text, capture_output=True, text=True,
                          timeout=DEADLINE, env=environment(**variables))


def log_of(postgres, channel):
    return postgres.sql("select data::text, coalesce(type, '') from eventgate.log where channel = %s order by pos", channel)


def ids(shown):
    assert shown.returncode == 0 and shown.stderr == "", shown
    return shown.stdout.split()


def heard(gateway, channel, act, count):
    """The payloads of `count` live events that `act` publishes."""
    cursor = gateway.poll(f"/channels/{channel}?wait=0")["next"]
    act()
    got = []
    while len(got) < count:
        answer = gateway.poll(f"/channels/{channel}?after={cursor}&wait=5")
        assert answer["events"], got
        got += [event["data"] for event in answer["events"]]
        cursor = answer["next"]
    return got


def test_one_durable_event(durable_gateway, durable_channel, postgres):
    first, = ids(publish(durable_gateway, durable_channel, '{"a":  1}', "--type", "paid"))
    second, = ids(publish(durable_gateway, durable_channel, text="hello\n"))
    third, = ids(publish(durable_gateway, durable_channel, "1", "--text"))
    assert log_of(postgres, durable_channel) == [('{"a":  1}', "paid"), ('"hello"', ""), ('"1"', "")]
    def kept():
        return [event["id"] for event in durable_gateway.poll(f"/channels/{durable_channel}?after=earliest")["events"]]
    until(lambda: kept() == [first, second, third], "they are read by their ids")
    shown = publish(durable_gateway, durable_channel, "hello", "--json")
    assert shown.returncode == 1 and "JSON" in shown.stderr


def test_one_live_event(gateway, channel):
    def act():
        assert ids(publish(gateway, channel, "hello")) == []
        assert ids(publish(gateway, channel, text="{\"a\": 1}\n")) == []
    assert heard(gateway, channel, act, 2) == ["hello", {"a": 1}]
    shown = publish(gateway, channel, "x", "--key", "k")
    assert shown.returncode == 1 and "Idempotency-Key is for durable channels" in shown.stderr
    shown = publish(gateway, channel, "x", "--type", "k")
    assert shown.returncode == 1 and "type" in shown.stderr


def test_lines_are_events_in_order(durable_gateway, durable_channel, postgres):
    lines = [json.dumps({"n": n}) for n in range(1500)] + ["not JSON", "", '"text"']
    printed = ids(publish(durable_gateway, durable_channel, "--lines", text="\n".join(lines), EVENTGATE_URL="http://x"))
    assert len(printed) == 1502 and printed == sorted(printed, key=lambda one: int(one.split(".")[1]))
    stored = [data for data, _ in log_of(postgres, durable_channel)]
    assert stored == [*lines[:1500], '"not JSON"', '"text"']


def test_lines_for_a_live_channel(gateway, channel):
    lines = [str(n) for n in range(700)] + ["text", "-"]
    assert heard(gateway, channel, lambda: ids(publish(gateway, channel, "--lines", text="\n".join(lines) + "\n")),
                 702) == [*range(700), "text", "-"]


def test_a_key_makes_repeats_harmless(durable_gateway, durable_channel, postgres):
    once = ids(publish(durable_gateway, durable_channel, "1", "--key", "mine"))
    assert ids(publish(durable_gateway, durable_channel, "1", "--key", "mine")) == once
    lines = "2\n3\n4\n"
    first = ids(publish(durable_gateway, durable_channel, "--lines", "--key", "file", text=lines))
    assert ids(publish(durable_gateway, durable_channel, "--lines", "--key", "file", text=lines + "5\n"))[:3] == first
    assert [data for data, _ in log_of(postgres, durable_channel)] == ["1", "2", "3", "4", "5"]
    shown = publish(durable_gateway, durable_channel, "6", "--key", "mine")
    assert shown.returncode == 1 and "key" in shown.stderr


def test_refused_lines_are_named_and_the_others_published(gateway, channel, durable_gateway, durable_channel, postgres):
    lines = [str(n) for n in range(40)]
    lines[17] = lines[29] = "x" * 8000  # too long for NOTIFY
    def act():
        shown = publish(gateway, channel, "--lines", text="\n".join(lines))
        assert shown.returncode == 1 and shown.stdout == "", shown
        told = [line for line in shown.stderr.splitlines() if "refused" in line]
        assert [line.split("line ")[1].split(" ")[0] for line in told] == ["18", "30"], shown.stderr
        assert all("7,999 bytes" in line for line in told)
    good = [n for n in range(40) if n not in (17, 29)]
    assert heard(gateway, channel, act, 38) == good
    shown = publish(durable_gateway, durable_channel, "--lines", "--json", text='1\nnot\n2\n')
    assert shown.returncode == 1 and "line 2 was refused" in shown.stderr and len(shown.stdout.split()) == 2


class Swallower:
    """Passes requests on to a gateway, and drops the first `count` answers with their connections."""

    def __init__(self, gateway, count):
        self.gateway, self.left, self.passed = gateway, count, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client):
        with client, contextlib.suppress(Exception):
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            length = int(next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")))
            while len(body) < length:
                body += client.recv(65536)
            with Connection(self.gateway.address) as connection:
                connection.send(head + b"\r\nConnection: close\r\n\r\n" + body)
                answer = connection.rest()
            self.passed += 1
            if self.left > 0:
                self.left -= 1
                return
            client.sendall(answer)


def test_a_durable_event_whose_answer_is_lost_is_published_once(durable_gateway, durable_channel, postgres):
    swallower = Swallower(durable_gateway, 2)
    printed = ids(publish(swallower.url, durable_channel, "1"))
    assert swallower.passed == 3 and len(printed) == 1
    swallower.left = 1
    assert len(ids(publish(swallower.url, durable_channel, "--lines", text="2\n3\n4\n"))) == 3
    assert [data for data, _ in log_of(postgres, durable_channel)] == ["1", "2", "3", "4"]


def test_a_live_event_whose_answer_is_lost_is_told(gateway, channel):
    assert ids(publish(gateway, channel, "0")) == []
    swallower = Swallower(gateway, 0)

    def act():
        # the first line finds out that the channel is live, by a refusal; then its own answer is lost
        swallower.left = 0
        done = subprocess.Popen([BINARY, "publish", "--url", swallower.url, "--lines", channel], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        done.stdin.write("1\n")
        done.stdin.flush()
        until(lambda: swallower.passed >= 2, "the first is published")
        swallower.left = 1
        done.stdin.write("2\n3\n")
        out, err = done.communicate(timeout=DEADLINE)
        assert done.returncode == 3 and out == "", (out, err)
        assert "lines 2 to 3 may or may not have been published: " in err, err
    heard(gateway, channel, act, 2)


def test_what_a_signal_ends_is_told_so(channel):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen([BINARY, "publish", "--url", "http://127.0.0.1:%d" % silent.getsockname()[1], channel, "1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        with silent.accept()[0] as client:
            assert client.recv(1) == b"P", "the request is on its way"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGTERM and out == "", (out, err)
    assert "may or may not have been published: ended by a signal" in err, err


def test_a_gateway_that_is_away_is_waited_for(durable_gateway, durable_channel, make_proxy):
    proxy = make_proxy(durable_gateway.address)
    proxy.refuse()
    process = subprocess.Popen([BINARY, "publish", "--url", f"http://127.0.0.1:{proxy.port}", durable_channel, "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    proxy.accept()
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0 and err == "" and len(out.split()) == 1, (out, err)
    shown = publish("http://127.0.0.1:1", durable_channel, "1", "--timeout", "0.2")
    assert shown.returncode == 1 and "was not published" in shown.stderr


def test_limits_are_waited_out(start_gateway, channel):
    gateway = start_gateway("--publish-rate", "600/min", "--publish-burst", "5").wait_ready()
    assert ids(publish(gateway, channel, "--lines", text="\n".join(map(str, range(7))))) == []


def test_what_is_refused_for_good_ends_it(start_gateway, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}").wait_ready()
    shown = publish(gateway, channel, "1")
    assert shown.returncode == 1 and "token" in shown.stderr
    shown = publish(gateway, channel, "--lines", text="1\n2\n3\n", EVENTGATE_TOKEN=token([], ["t/other"]))
    assert shown.returncode == 1 and "line 1 was refused" in shown.stderr and "0 committed" in shown.stderr
    assert "line 2" not in shown.stderr
    assert ids(publish(gateway, channel, "1", EVENTGATE_TOKEN=token([], [channel]))) == []


def test_lines_that_were_read_but_not_sent_are_not_counted_as_done(durable_channel):
    shown = publish("http://127.0.0.1:1", durable_channel, "--lines", "--timeout", "1", text="a\nb\n\nc\n")
    assert shown.returncode == 1
    assert "ended behind line 1 of the input: 0 committed, 1 not, 0 unknown" in shown.stderr, shown.stderr


def test_a_line_that_is_not_utf_8_is_refused_wherever_it_stands(durable_gateway, durable_channel, postgres):
    shown = subprocess.run([BINARY, "publish", "--url", durable_gateway.url, durable_channel, "--lines"],
                           input=b"one\ntwo\nb\xffd\nfour\n", capture_output=True, timeout=DEADLINE, check=False,
                           env=environment())
    assert shown.returncode == 1 and b"line 3 was refused: it isn't UTF-8" in shown.stderr, shown
    assert [data for data, _ in log_of(postgres, durable_channel)] == ['"one"', '"two"', '"four"']


def test_progress(durable_gateway, durable_channel, tmp_path):
    shown = publish(durable_gateway, durable_channel, "--lines", "--progress", text="1\n2\n")
    assert shown.returncode == 0 and "2 events in" in shown.stderr and "all committed" in shown.stderr


@pytest.mark.parametrize("arguments, told", [
    ([], "which channel"),
    (["a", "b", "c"], "quotes"),
    (["a", "b", "--lines"], "standard input"),
    (["a", "b", "--json", "--text"], "--json and --text"),
    (["a", "b", "--key", ""], "--key"),
])
def test_a_wrong_command_line_is_refused(arguments, told):
    shown = publish("http://127.0.0.1:1", *arguments)
    assert shown.returncode == 2 and told in shown.stderr and shown.stdout == "", shown


def test_help():
    for command in ("publish", "healthcheck"):
        shown = run(command, "--help")
        assert shown.returncode == 0 and shown.stderr == ""
        assert "Examples:" in shown.stdout and "Exit status:" in shown.stdout and command in run("--help").stdout


# --- healthcheck


def test_health(gateway, start_gateway):
    shown = run("healthcheck", EVENTGATE_URL=gateway.url)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"{gateway.url}: ready\n", "")
    away = start_gateway(database="host=/nonexistent dbname=x")
    until(lambda: "nonexistent" in run("healthcheck", "--url", away.url).stdout, "the problem is known")
    shown = run("healthcheck", "--url", away.url)
    assert shown.returncode == 1 and shown.stdout.startswith(f"{away.url}: not ready; set default: "), shown
    assert shown.stdout.count("\n") == 1 and shown.stderr == ""
    assert run("healthcheck", "--live", "--url", away.url).returncode == 0
    shown = run("healthcheck", "--url", "http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
    assert shown.returncode == 1 and "onnect" in shown.stdout
    assert run("healthcheck", "--url", "ftp://x").returncode == 2 and run("healthcheck", "x").returncode == 2


def test_health_is_told_by_any_name(start_gateway):
    gateway = start_gateway("--allowed-hosts", "events.example").wait_ready()
    assert run("healthcheck", "--url", gateway.url).returncode == 0


def test_health_has_a_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shown = run("healthcheck", "--timeout", "0.3", "--url", "http://127.0.0.1:%d" % silent.getsockname()[1])
    assert shown.returncode == 1 and "imed out" in shown.stdout, shown
