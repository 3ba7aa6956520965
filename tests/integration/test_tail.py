"""`pg_eventgate tail`: prints events, comes back by itself, and goes on exactly where it was."""

import contextlib
import fcntl
import http.server
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading

import pytest

from kit.fixtures import starting
from kit.gateway import BINARY, environment, run
from kit.schema import Database
from kit.tokens import token
from kit.wait import DEADLINE, until


def interruptible():
    """Where tests run in the background, SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Tail:
    """A running tail, what it prints read as it comes."""

    def __init__(self, *arguments, url=None, stdout=subprocess.PIPE, **variables):
        where = ("--url", url) if url else ()
        self.process = subprocess.Popen([BINARY, "tail", *arguments, *where], stdin=subprocess.DEVNULL, stdout=stdout,
                                        stderr=subprocess.PIPE, env=environment(**variables), preexec_fn=interruptible)
        self.out, self.err = [], []
        self.readers = [threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
                        for pipe, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)) if pipe]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _read(pipe, lines):
        for line in pipe:
            lines.append(line.decode().rstrip("\n"))

    def data(self):
        return [json.loads(line)["data"] for line in list(self.out)]

    def wait_out(self, count):
        until(lambda: len(self.out) >= count, f"{count} lines are printed")

    def wait_err(self, pattern):
        return until(lambda: next((line for line in list(self.err) if re.search(pattern, line)), None),
                     f"{pattern} is said")

    def ended(self):
        code = self.process.wait(DEADLINE)
        for reader in self.readers:
            reader.join(DEADLINE)
        assert "Sanitizer" not in "\n".join(self.err), self.err
        return code

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        return self.ended()


@pytest.fixture
def tail():
    started = []

    def start(*arguments, **options):
        started.append(Tail(*arguments, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.ended()


def subscribed(gateway, channel, count=1):
    def there():
        rows = gateway.get("/channels").json()["channels"]
        return any(row["name"] == channel and (row["subscribers"] or 0) >= count for row in rows)

    until(there, f"somebody subscribes to {channel}")


def publish(gateway, channel, *payloads):
    for payload in payloads:
        assert gateway.publish(channel, payload).status in (201, 202)


def test_events_are_lines_and_a_limit_ends_it(gateway, channel, tail):
    follower = tail(channel, channel + "/b", "--limit", "3", url=gateway.url)
    subscribed(gateway, channel)
    publish(gateway, channel, "1", "two")
    publish(gateway, channel + "/b", '{"n": 3}', "4")
    assert follower.ended() == 0 and follower.err == []
    events = [json.loads(line) for line in follower.out]
    assert [(event["channel"], event["data"]) for event in events] == [
        (channel, 1), (channel, "two"), (channel + "/b", {"n": 3})]


def test_formats(durable_gateway, durable_channel):
    publish(durable_gateway, durable_channel, '{"a":  1.10}', "text")
    def told(*flags):
        shown = run("tail", durable_channel, "--after", "earliest", "--limit", "2", *flags, EVENTGATE_URL=durable_gateway.url)
        assert shown.returncode == 0 and shown.stderr == "", shown
        return shown.stdout.splitlines()
    assert told("--raw") == ['{"a":  1.10}', '"text"'] == told("--format", "raw")
    clouds = [json.loads(line) for line in told("--format=cloudevents")]
    assert [cloud["specversion"] for cloud in clouds] == ["1.0", "1.0"]
    assert '"data":{"a":  1.10}' in told()[0], "bytes are kept"


def test_it_goes_on_exactly_through_lost_connections(start_gateway, durable_channel, make_proxy, tail):
    durable_gateway = start_gateway("--retry", "50ms", durable="d/**").wait_ready()
    proxy = make_proxy(durable_gateway.address)
    follower = tail(durable_channel, "--after", "earliest", url=f"http://127.0.0.1:{proxy.port}")
    expected = []
    for round_ in range(4):
        publish(durable_gateway, durable_channel, *(str(n) for n in range(10 * round_, 10 * round_ + 5)))
        follower.wait_out(10 * round_ + 5)
        proxy.refuse() if round_ % 2 else None
        proxy.cut()
        publish(durable_gateway, durable_channel, *(str(n) for n in range(10 * round_ + 5, 10 * round_ + 10)))
        proxy.accept()
        follower.wait_out(10 * round_ + 10)
        expected += range(10 * round_, 10 * round_ + 10)
    assert follower.data() == expected, "each once, in order"
    assert not any("gap" in line for line in follower.err), follower.err
    assert follower.wait_err(r"again in \d+\.\d s, from \w+\.\d+")
    assert follower.stop() == -signal.SIGINT


def test_the_gateway_restarts_and_a_live_channel_gets_a_gap(start_gateway, channel, tail):
    gateway = start_gateway("--retry", "100ms").wait_ready()
    follower = tail(channel, url=gateway.url)
    subscribed(gateway, channel)
    publish(gateway, channel, "1")
    follower.wait_out(1)
    gateway.stop()
    follower.wait_err("again in")
    listen = "%s:%d" % gateway.address
    again = start_gateway("--retry", "100ms", listen=listen).wait_ready()
    assert follower.wait_err(rf"gap \(reconnect\): events of {channel} may be missing: .* loaded anew")
    publish(again, channel, "2")
    follower.wait_out(2)
    assert follower.data() == [1, 2]
    assert follower.stop(signal.SIGTERM) == -signal.SIGTERM


def test_a_file_keeps_the_cursor_from_run_to_run(durable_gateway, durable_channel, tmp_path, tail):
    file = tmp_path / "cursor"
    publish(durable_gateway, durable_channel, *"1234567")
    told = []
    for count in ("2", "1", "3"):
        shown = run("tail", durable_channel, "--cursor-file", str(file), "--after", "earliest", "--limit", count,
                    EVENTGATE_URL=durable_gateway.url)
        assert shown.returncode == 0 and shown.stderr == "", shown
        told += [json.loads(line)["data"] for line in shown.stdout.splitlines()]
    assert told == [1, 2, 3, 4, 5, 6]
    assert os.listdir(tmp_path) == ["cursor"]
    for garbage in (b"this is no cursor\n", b"password\n", b"4711\n", b"\0\1\2", b"zzzzzz.5\nzzzzzz.6\n"):
        file.write_bytes(garbage)
        shown = run("tail", durable_channel, "--cursor-file", str(file), "--limit", "1", "--after", "earliest",
                    EVENTGATE_URL=durable_gateway.url)
        assert shown.returncode == 1 and str(file) in shown.stderr and file.read_bytes() == garbage, shown
    file.write_text("zzzzzz.5\n")
    tail(durable_channel, "--cursor-file", str(file), url=durable_gateway.url).wait_err(r"gap \(unknown\)")


def test_a_reader_that_leaves_ends_it(durable_gateway, durable_channel):
    publish(durable_gateway, durable_channel, *"123")
    shown = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" tail "$1" --after earliest | head -n 1', BINARY, durable_channel],
        env=environment(EVENTGATE_URL=durable_gateway.url), capture_output=True, text=True, timeout=DEADLINE)
    assert shown.returncode == 0 and shown.stderr == "", shown
    assert [json.loads(line)["data"] for line in shown.stdout.splitlines()] == [1]


def test_without_a_standard_output_nothing_counts_as_printed(durable_gateway, durable_channel, tmp_path):
    publish(durable_gateway, durable_channel, *"123")
    file = tmp_path / "cursor"
    command = ["tail", durable_channel, "--after", "earliest", "--cursor-file", str(file)]
    shown = subprocess.run(["bash", "-c", 'exec "$0" "$@" >&-', BINARY, *command, "--limit", "2"], text=True,
                           env=environment(EVENTGATE_URL=durable_gateway.url), stderr=subprocess.PIPE, timeout=DEADLINE)
    assert shown.returncode == 1 and "Bad file descriptor" in shown.stderr, shown
    again = run(*command, "--limit", "3", EVENTGATE_URL=durable_gateway.url)
    assert [json.loads(line)["data"] for line in again.stdout.splitlines()] == [1, 2, 3]


# --- what whoever reads has taken


@pytest.fixture
def reader(durable_gateway, durable_channel, tmp_path, tail):
    """A tail with a file into a pipe, and what is read of that, byte by byte as a shell does."""

    class Reader:
        def __init__(self, *arguments):
            self.file = tmp_path / "cursor"
            self.pipe, writing = os.pipe()
            self.tail = tail(durable_channel, "--after", "earliest", "--cursor-file", str(self.file), *arguments,
                             url=durable_gateway.url, stdout=writing)
            os.close(writing)

        def line(self):
            text = b""
            while not text.endswith(b"\n") and select.select([self.pipe], [], [], DEADLINE)[0]:
                if not (byte := os.read(self.pipe, 1)):
                    break
                text += byte
            return json.loads(text)["data"] if text else None

        def waits(self):
            until(lambda: self.waiting() > 0, "there is a line")

        def waiting(self):
            count = bytearray(4)
            fcntl.ioctl(self.pipe, termios.FIONREAD, count)
            return int.from_bytes(count, "little")

        def close(self):
            os.close(self.pipe)
            self.pipe = None

    readers = []

    def start(*arguments):
        readers.append(Reader(*arguments))
        return readers[-1]

    yield start
    for one in readers:
        if one.pipe is not None:
            one.close()


def test_of_what_head_leaves_nothing_is_skipped(durable_gateway, durable_channel, tmp_path):
    """Though it reads blocks."""
    publish(durable_gateway, durable_channel, *(str(n) for n in range(1, 12)))
    told = []
    for count in ("3", "1", "5"):
        shown = subprocess.run(
            ["bash", "-c", 'set -o pipefail; "$0" tail "$1" --after earliest --cursor-file "$2" | head -n "$3"', BINARY,
             durable_channel, str(tmp_path / "cursor"), count],
            env=environment(EVENTGATE_URL=durable_gateway.url), capture_output=True, text=True, timeout=DEADLINE)
        assert shown.returncode == 0 and shown.stderr == "", shown
        told.append([json.loads(line)["data"] for line in shown.stdout.splitlines()])
    assert told == [[1, 2, 3], [4], [5, 6, 7, 8, 9]]


def test_a_signal_to_a_pipeline_skips_nothing(durable_gateway, durable_channel, reader):
    """Its reader ends, too, and leaves a line in the pipe; what isn't whole counts as nothing."""
    publish(durable_gateway, durable_channel, "1", "2", "3", json.dumps("4" * 20000), "5")
    first = reader()
    assert [first.line(), first.line()] == [1, 2]
    first.waits()
    first.tail.process.send_signal(signal.SIGINT)
    first.close()
    assert first.tail.ended() == -signal.SIGINT
    second = reader()
    assert second.line() == 3
    second.waits()
    assert second.tail.stop(signal.SIGTERM) == -signal.SIGTERM, "within a long line"
    third = reader("--limit", "2")
    assert [third.line()[0], third.line(), third.line()] == ["4", 5, None]
    assert third.tail.ended() == 0


def test_what_is_kept_meanwhile_is_what_has_been_taken(durable_gateway, durable_channel, reader):
    ids = [durable_gateway.publish(durable_channel, str(n)).json()["id"] for n in range(1, 6)]
    first = reader()
    assert [first.line(), first.line()] == [1, 2]
    until(lambda: first.file.exists() and first.file.read_text().split("~")[0].strip() == ids[1], "it is kept")
    first.waits()
    first.tail.process.kill()
    first.tail.process.wait(DEADLINE)
    assert reader().line() == 3


def test_a_reader_that_lives_gets_the_last_line(durable_gateway, durable_channel, reader):
    """Of a tail that is ended, and of one that is at its limit."""
    publish(durable_gateway, durable_channel, *"12345")
    first = reader()
    assert first.line() == 1
    first.waits()
    first.tail.process.send_signal(signal.SIGTERM)
    assert [first.line(), first.line()] == [2, None]
    assert first.tail.ended() == -signal.SIGTERM
    second = reader("--limit", "2")
    assert second.line() == 3
    second.waits()
    assert second.tail.process.poll() is None, "the reader has its time"
    assert [second.line(), second.line()] == [4, None]
    assert second.tail.ended() == 0
    assert reader().line() == 5


@pytest.fixture(scope="module")
def guarded(postgres, secret_file):
    with starting(postgres) as start:
        yield start("--keys", f"HS256:{secret_file}", "--retry", "50ms", durable="kept/**").wait_ready()


def test_what_is_refused_for_good_ends_it(guarded, channel, tmp_path):
    shown = run("tail", channel, EVENTGATE_URL=guarded.url)
    assert shown.returncode == 1 and "HTTP 401" in shown.stderr and shown.stdout == ""
    shown = run("tail", channel, EVENTGATE_URL=guarded.url, EVENTGATE_TOKEN=token(["t/other"]))
    assert shown.returncode == 1 and "HTTP 403" in shown.stderr and channel in shown.stderr
    shown = run("tail", "nowhere", EVENTGATE_URL=guarded.url, EVENTGATE_TOKEN=token(["**"]))
    assert shown.returncode == 1 and "HTTP 404" in shown.stderr and "nowhere" in shown.stderr
    shown = run("tail", channel, "--after", "nonsense!", EVENTGATE_URL=guarded.url, EVENTGATE_TOKEN=token(["**"]))
    assert shown.returncode == 1 and "HTTP 400" in shown.stderr
    shown = run("tail", channel, "--token-file", str(tmp_path / "none"), EVENTGATE_URL=guarded.url)
    assert shown.returncode == 1 and "none" in shown.stderr


def test_a_token_that_ends_is_read_anew(guarded, tail, tmp_path):
    """The stream ends with its token; the file has a new one by then."""
    file = tmp_path / "token"
    file.write_text(token(["kept/**"], lifetime=2) + "\n")
    follower = tail("kept/x", "--token-file", str(file), url=guarded.url)
    subscribed_by = {"Authorization": "Bearer " + token(["**"], ["**"], admin=True)}
    until(lambda: guarded.get("/metrics", **subscribed_by).text().find('eventgate_streams{transport="sse"} 1') > 0
          or "eventgate_streams 1" in guarded.get("/metrics", **subscribed_by).text(), "it follows")
    file.write_text(token(["kept/**"]) + "\n")
    follower.wait_err("again in")
    assert guarded.publish("kept/x", "1", **subscribed_by).status == 201
    follower.wait_out(1)
    assert follower.data() == [1]


def test_overload_and_absence_are_waited_out(start_gateway, channel, make_proxy, tail):
    gateway = start_gateway("--retry", "50ms", "--subscribe-rate", "1/s", "--subscribe-burst", "1").wait_ready()
    proxy = make_proxy(gateway.address)
    proxy.refuse()
    follower = tail(channel, url=f"http://127.0.0.1:{proxy.port}")
    follower.wait_err("again in")
    proxy.accept()
    subscribed(gateway, channel)
    rated = tail(channel, url=gateway.url)
    subscribed(gateway, channel, 2)
    publish(gateway, channel, "1")
    follower.wait_out(1)
    rated.wait_out(1)
    quiet = tail(channel, "--quiet", url="http://127.0.0.1:1")
    assert quiet.process.poll() is None
    assert quiet.stop() == -signal.SIGINT and quiet.err == []


def test_a_silent_network_is_noticed(start_gateway, channel, make_proxy, tail):
    gateway = start_gateway("--heartbeat", "200ms").wait_ready()
    proxy = make_proxy(gateway.address)
    follower = tail(channel, "--idle", "1.5", url=f"http://127.0.0.1:{proxy.port}")
    subscribed(gateway, channel)
    proxy.stall()
    follower.wait_err("nothing came for a long time; again in")
    proxy.flow()


def test_what_is_no_gateway_is_told(tail):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            moved = self.path.startswith("/moved")
            self.send_response(302 if moved else 200)
            self.send_header("Content-Type", "text/html")
            if moved:
                self.send_header("Location", "https://events.example.org/")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d" % server.server_port
        shown = run("tail", "a", "--url", url)
        assert shown.returncode == 1 and "text/html" in shown.stderr
        shown = run("tail", "a", "--url", url + "/moved/")
        assert shown.returncode == 1 and "https://events.example.org/" in shown.stderr
        server.shutdown()


def test_tls(tls_gateway, certificate, channel, tail):
    url = f"https://localhost:{tls_gateway.address[1]}"
    follower = tail(channel, "--limit", "1", "--cacert", certificate.certificate, url=url)
    careless = tail(channel, "--limit", "1", "--no-verify", url=url)
    subscribed(tls_gateway, channel, 2)
    publish(tls_gateway, channel, "1")
    assert follower.ended() == 0 and follower.data() == [1]
    assert careless.ended() == 0 and careless.data() == [1]
    doubtful = run("tail", channel, "--url", url)
    assert doubtful.returncode == 1 and "ertificate" in doubtful.stderr


# --- progress


def on_terminal(*arguments, **variables):
    """What a run says on a terminal, while its output is read at leisure: 64 kB, 20 times a second."""
    near, far = pty.openpty()
    process = subprocess.Popen([BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=far,
                               env=environment(**variables))
    os.close(far)
    said, lines = [], 0

    def listen():
        with contextlib.suppress(OSError):
            while data := os.read(near, 65536):
                said.append(data)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    while data := process.stdout.read(65536):
        lines += data.count(b"\n")
        threading.Event().wait(0.05)
    assert process.wait(DEADLINE) == 0
    listener.join(DEADLINE)
    os.close(near)
    return b"".join(said).decode(), lines


@pytest.fixture
def long_log(durable_gateway, durable_channel, postgres):
    postgres.sql("select count(eventgate.publish(%s, to_json(n))) from generate_series(1, 12000) n", durable_channel)
    last = postgres.sql("select max(pos) from eventgate.log")[0][0]
    until(lambda: durable_gateway.get("/sets").json()["sets"][0]["position"] >= last, "the gateway has seen it")
    return durable_channel


def test_a_long_replay_shows_how_far_it_has_come(durable_gateway, long_log):
    arguments = ("tail", long_log, "--after", "earliest", "--limit", "12000")
    shown, lines = on_terminal(*arguments, EVENTGATE_URL=durable_gateway.url)
    assert lines == 12000
    assert re.search(r"\r\x1b\[K[\d,]+ events  [\d,]+/s  \d+ %, \d+:\d\d left", shown), shown
    assert shown.endswith("new ones follow\r\n") and "12,000 events in" in shown, shown
    plain = run(*arguments, "--quiet", EVENTGATE_URL=durable_gateway.url)
    assert plain.stderr == "" and len(plain.stdout.splitlines()) == 12000, "nothing where there is no terminal"
    forced = run(*arguments, "--progress", EVENTGATE_URL=durable_gateway.url)
    assert "12,000 events in" in forced.stderr and "\x1b" not in forced.stderr


def test_a_replay_over_several_segments_of_the_log(start_gateway, postgres):
    """Positions jump between segments, so a share is told in the last one alone."""
    database = Database(postgres)
    rotated = "select (select last_value >> 33 from eventgate.position_seq) > (select max(pos) >> 33 from eventgate.log)"
    for segment_bytes in ("1", "1", None):
        database.sql("select eventgate.configure('segment_bytes', %s)", segment_bytes)
        database.sql("select count(eventgate.publish('d/1', to_json(n))) from generate_series(1, 6000) n")
        until(lambda: segment_bytes is None or (database.sql("select from eventgate.maintain()"), database.value(rotated))[1],
              "the log goes on in a new segment")
    gateway = start_gateway(database=database, live=None, durable="d/**").wait_ready()
    last = database.value("select max(pos) from eventgate.log")
    until(lambda: gateway.get("/sets").json()["sets"][0]["position"] >= last, "the gateway has seen it")
    shown, lines = on_terminal("tail", "d/1", "--after", "earliest", "--limit", "18000", EVENTGATE_URL=gateway.url)
    assert lines == 18000
    assert re.search(r"events  [\d,]+/s  segment \d+ of the log, its head in \d+\r", shown), shown
    assert re.search(r" \d+ %, \d+:\d\d left", shown) and "18,000 events in" in shown, shown


# --- usage


@pytest.mark.parametrize("arguments, told", [
    ([], "which channel"),
    (["a", "--nothing"], "--nothing"),
    (["a", "--format", "xml"], "event, raw and cloudevents"),
    (["a", "--limit", "0"], "--limit"),
    (["a", "--raw", "--format", "cloudevents"], "--raw"),
    (["a", "--url", "ftp://x"], "ftp://x"),
    (["a", "--url", ""], "URL"),
])
def test_a_wrong_command_line_is_refused(arguments, told):
    shown = run("tail", *arguments)
    assert shown.returncode == 2 and told in shown.stderr and shown.stdout == "", shown


def test_help():
    shown = run("tail", "--help")
    assert shown.returncode == 0 and shown.stderr == ""
    assert all(word in shown.stdout for word in ("Examples:", "Exit status:", "--cursor-file", "EVENTGATE_TOKEN"))
    assert "tail" in run("--help").stdout
