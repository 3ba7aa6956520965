"""Starting, reloading, draining, and what the program says about its own command line."""

import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading

import pytest

from kit.gateway import BINARY, environment, run
from kit.http import Connection
from kit.wait import DEADLINE, until


def test_help_and_version_need_no_configuration():
    shown = run("--help")
    assert shown.returncode == 0 and shown.stderr == ""
    assert all(text in shown.stdout for text in ("--postgres", "--live", "--listen", "--config", "127.0.0.1:8080"))
    assert max(len(line) for line in shown.stdout.splitlines()) <= 120
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("pg_eventgate ")


def test_without_anything_it_shows_the_shortest_command_line():
    shown = run()
    assert shown.returncode == 2
    assert "--live" in shown.stderr and "--postgres" in shown.stderr


@pytest.mark.parametrize("arguments, told", [
    (["--live"], "--live"),
    (["--nonsense", "1", "--live", "a"], "--nonsense"),
    (["--live", "a", "--workers", "many"], "--workers"),
    (["--live", "a", "--heartbeat", "15 parsecs"], "--heartbeat"),
    (["--live", "a//b"], "a//b"),
    (["--live", "x" * 64], "63"),
    (["--durable", "x" * 201], "200"),
    (["--live", "a/*", "--durable", "a/b"], "either live or durable"),
    (["--live", "a", "--listen", "nowhere"], "nowhere"),
    (["--live", "a", "stray"], "stray"),
])
def test_a_wrong_command_line_names_what_is_wrong(arguments, told):
    shown = run("--check-config", *arguments)
    assert shown.returncode == 2 and told in shown.stderr and shown.stdout == ""


@pytest.mark.parametrize("text, line, told", [
    ("[set shop]\nlive = orders\nlivve = x\n", 3, "livve"),
    ("[gateway]\nlisten = 127.0.0.1:0\nworkers = -1\n[set shop]\nlive = orders\n", 3, "workers"),
    ("[set shop]\nlive = orders\n[nonsense]\nx = 1\n", 3, "nonsense"),
    ("[set shop]\nlive = orders\nlinger = soon\n", 3, "linger"),
    ("[set a]\nlive = x/*\n[set b]\nlive = x/y\n", None, "x/y"),
    ("[set shop]\nlive = orders\nlive = again\n", 3, "live"),
])
def test_check_config_names_file_line_and_key(tmp_path, text, line, told):
    file = tmp_path / "gateway.conf"
    file.write_text(text)
    shown = run("--check-config", "--config", str(file))
    assert shown.returncode == 2 and told in shown.stderr
    assert line is None or f"gateway.conf:{line}:" in shown.stderr


def test_check_config_of_a_good_file(tmp_path):
    file = tmp_path / "gateway.conf"
    file.write_text("; all is well\n[gateway]\nlisten = 127.0.0.1:0\nheartbeat = 5s\n\n"
                    "[set shop]\npostgres = dbname=shop\nlive = orders, chat/*,\n  invoices/**\n")
    shown = run("--check-config", "--config", str(file))
    assert shown.returncode == 0, shown.stderr
    assert "Sanitizer" not in shown.stderr


def test_no_such_file(tmp_path):
    shown = run("--config", str(tmp_path / "absent.conf"))
    assert shown.returncode == 2 and "absent.conf" in shown.stderr


def test_environment_goes_before_the_file_and_flags_before_both(start_gateway, postgres, tmp_path):
    file = tmp_path / "gateway.conf"
    file.write_text("[gateway]\nlog_format = text\nmax_channels_per_stream = 7\n"
                    f"[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n")
    gateway = start_gateway("--config", str(file), "--max-channels-per-stream", "2", database=None,
                            variables={"EVENTGATE_LOG_FORMAT": "json", "EVENTGATE_MAX_CHANNELS_PER_STREAM": "5"})
    assert gateway.wait_ready().log[0].startswith("{")
    answer = gateway.get("/events?channel=t/a&channel=t/b&channel=t/c")
    assert answer.status == 400 and "2" in answer.problem()[1]


def test_database_url(start_gateway, postgres):
    gateway = start_gateway("--live", "t/**", database=None,
                            variables={"DATABASE_URL": f"postgresql://postgres@/postgres?host={postgres.folder}"})
    gateway.wait_ready()


def test_libpq_variables(start_gateway, postgres):
    gateway = start_gateway("--live", "t/**", database=None,
                            variables={"PGHOST": postgres.folder, "PGUSER": "postgres", "PGDATABASE": "postgres"})
    gateway.wait_ready()


def test_a_taken_address_is_an_error_that_names_it(postgres):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        shown = run("--postgres", postgres.conninfo, "--live", "t/*", "--listen", address)
    assert shown.returncode == 1 and address in shown.stderr


@pytest.mark.threads
def test_drain(start_gateway, channel):
    gateway = start_gateway("--workers", "2").wait_ready()
    streams = [gateway.stream(f"/channels/{channel}") for _ in range(10)]
    polls = [Connection(gateway.address) for _ in range(5)]
    cursors = [stream.cursor() for stream in streams]
    before = streams[0].parser.retry
    for poll in polls:
        poll.request("GET", f"/channels/{channel}?wait=60&after={cursors[0]}")
    until(lambda: gateway.metric("eventgate_streams") == 15, "the polls wait")
    gateway.process.send_signal(signal.SIGTERM)
    assert all(item.kind == "cursor" for stream in streams for item in stream.until_closed())
    retries = [stream.parser.retry for stream in streams]
    assert before > 0 and len(set(retries)) > 1, "they come back at different times"
    for poll in polls:
        assert poll.response().json()["events"] == []
    assert gateway.ended() == 0


def test_while_draining_it_is_not_ready_and_sends_new_streams_away(start_gateway, make_proxy, postgres, channel):
    """A POST that waits for the database holds the drain."""
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "20s", "--drain-timeout", "20s",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    with Connection(gateway.address) as posting, Connection(gateway.address) as asking, \
            Connection(gateway.address) as subscribing:
        for connection in (asking, subscribing):
            assert connection.request("GET", "/livez").response().status == 200
        proxy.stall()
        posting.request("POST", f"/channels/{channel}", "1")
        until(lambda: gateway.metric("eventgate_publish_queue_items") == 1, "the POST waits")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("drain")
        proxy.flow()
        assert posting.response().status == 202, "what was running is answered"
    assert gateway.ended() == 0


def test_a_next_request_on_its_way_is_answered_while_draining(start_gateway, channel):
    """The last answer didn't say that it would be the last; this one does."""
    gateway = start_gateway("--drain-timeout", "60s").wait_ready()
    with Connection(gateway.address) as first, Connection(gateway.address) as second:
        for connection in (first, second):
            assert connection.request("GET", "/livez").response().header("connection") != "close"
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("draining")
        answer = first.request("POST", f"/channels/{channel}", "1").response()
        assert answer.status == 503 and answer.problem()[0] == "draining" and answer.header("connection") == "close"
        assert second.request("GET", "/livez").response().header("connection") == "close"
        assert first.is_closed() and second.is_closed()
        assert gateway.ended() == 0, "as soon as no connection is left"
    again = start_gateway("--drain-timeout", "2s").wait_ready()
    with Connection(again.address) as idle:
        assert idle.request("GET", "/livez").response().status == 200
        assert again.stop() == 0 and idle.is_closed(), "it doesn't wait for one that is idle"
    assert "deadline" not in again.log_text()


@pytest.mark.threads
def test_while_one_worker_drains_all_of_them_answer(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--workers", "4", "--query-timeout", "20s", "--drain-timeout", "20s",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    with Connection(gateway.address) as posting:
        proxy.stall()
        posting.request("POST", f"/channels/{channel}", "1")
        until(lambda: gateway.metric("eventgate_publish_queue_items") == 1, "the POST waits")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("drain")
        assert [gateway.get("/readyz").status for _ in range(50)] == [503] * 50
        proxy.flow()
        assert posting.response().status == 202
    assert gateway.ended() == 0


def test_second_sigterm_ends_at_once(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "60s", "--drain-timeout", "60s",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    with Connection(gateway.address) as posting:
        proxy.stall()
        posting.request("POST", f"/channels/{channel}", "1")
        until(lambda: gateway.metric("eventgate_publish_queue_items") == 1, "the POST waits")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("drain")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.ended() == 143
        proxy.flow()


def test_drain_ends_at_its_deadline(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "60s", "--drain-timeout", "500ms",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    with Connection(gateway.address) as posting:
        proxy.stall()
        posting.request("POST", f"/channels/{channel}", "1")
        until(lambda: gateway.metric("eventgate_publish_queue_items") == 1, "the POST waits")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.ended() == 0
        proxy.flow()


def test_reload(start_gateway, postgres, tmp_path, channel):
    file = tmp_path / "gateway.conf"

    def write(heartbeat, workers):
        file.write_text(f"[gateway]\nheartbeat = {heartbeat}\nworkers = {workers}\n"
                        f"[set shop]\npostgres = {postgres.conninfo}\nlive = t/**\n")

    write("1h", 1)
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    write("200ms", 2)
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.wait_log("heartbeat")
    assert gateway.wait_log("workers.*restart|restart.*workers"), "what can't change now is said"
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        while stream.parser.comments < 2:
            stream.parser.feed(stream.connection.chunk())
    file.write_text("[gateway]\nheartbeat = never\n")
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.wait_log("gateway.conf:2"), "a bad file changes nothing, and says where it is bad"
    gateway.wait_ready()


def test_inherited_sockets(start_gateway, channel, postgres):
    """The protocol of sd_listen_fds(3): LISTEN_FDS from descriptor 3 on, for the process LISTEN_PID."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        address = listening.getsockname()

        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listening.fileno()}']
        gateway = start_gateway("--workers", "2", listen=None, wrapper=shell,
                                process_options={"pass_fds": [listening.fileno()]})
        assert gateway.wait_ready().address == address
        with gateway.stream(f"/channels/{channel}") as stream:
            stream.cursor()
            postgres.notify(channel, "1")
            assert stream.event().data == 1


def test_who_connects_to_sockets_that_are_kept_is_answered_through_a_restart(start_gateway):
    """As with a socket unit of systemd: the socket stays, one process ends, the next one starts. A connection of before
    whose request comes late is answered, and so is one that comes while nobody serves."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listening.fileno()}']

        def start():
            return start_gateway("--workers", "2", listen=None, wrapper=shell,
                                 process_options={"pass_fds": [listening.fileno()]})

        gateway = start().wait_ready()
        with Connection(gateway.address) as late, Connection(gateway.address) as idle:
            assert idle.request("GET", "/livez").response().status == 200
            until(lambda: gateway.metric("eventgate_connections") == 3, "they are accepted, and the one that asks")
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_log("drain")
            assert late.request("GET", "/readyz").response().status == 503
            waiting = Connection(gateway.address).request("GET", "/livez")
            assert gateway.ended() == 0, "it doesn't wait for who is idle"
        start()
        assert waiting.response().status == 200
        waiting.close()


@pytest.mark.parametrize("sent", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: loc"])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGUSR2])
def test_who_has_sent_no_whole_head_delays_no_end(start_gateway, sent, ending):
    """Where a process accepts no more, and new clients wait for the next one, or the old one for its end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listening.fileno()}']
        gateway = start_gateway("--drain-timeout", "2s", "--header-timeout", "1h", listen=None, wrapper=shell,
                                process_options={"pass_fds": [listening.fileno()]}).wait_ready()
        with Connection(gateway.address) as silent:
            silent.send(sent)
            until(lambda: gateway.metric("eventgate_connections") == 2, "it is accepted, and the one that asks")
            if ending == signal.SIGUSR2:
                assert gateway.upgrade().wait(DEADLINE) == 0
            else:
                assert gateway.stop() == 0
            assert silent.is_closed()
        assert "drain deadline" not in gateway.log_text()


def test_closed_standard_descriptors_are_no_connections(start_gateway):
    gateway = start_gateway(wrapper=["bash", "-c", 'exec "$0" "$@" <&- >&-']).wait_ready()
    for number in 0, 1:
        assert os.readlink(f"/proc/{gateway.process.pid}/fd/{number}") == "/dev/null"
    assert gateway.stop() == 0


WOKEN = """
import select, socket, sys
epoll = select.epoll()
epoll.register(int(sys.argv[1]), select.EPOLLIN | select.EPOLLEXCLUSIVE)
print("waits", flush=True)
epoll.poll()
"""


def test_a_connection_is_accepted_though_who_was_woken_for_it_has_died(start_gateway):
    """Where processes share a socket the kernel wakes one of them for a connection: here one that then ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        woken = subprocess.Popen([sys.executable, "-c", WOKEN, str(descriptor)], pass_fds=[descriptor],
                                 stdout=subprocess.PIPE, text=True)
        assert woken.stdout.readline() == "waits\n"
        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{descriptor}']
        gateway = start_gateway("--workers", "1", listen=None, wrapper=shell,
                                process_options={"pass_fds": [descriptor]})
        gateway.wait_log("set=default.*state=LIVE|set ready|is ready")
        with Connection(gateway.address) as connection:
            assert connection.request("GET", "/livez").response().status == 200
        assert woken.wait(20) == 0
        woken.stdout.close()


def test_a_socket_that_another_process_makes_blocking(start_gateway):
    """O_NONBLOCK belongs to the socket, not to the process: systemd takes it away when it hands it to another service."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listening.fileno()}']
        gateway = start_gateway("--workers", "1", listen=None, wrapper=shell,
                                process_options={"pass_fds": [listening.fileno()]}).wait_ready()
        listening.setblocking(True)
        for _ in range(3):
            with Connection(gateway.address) as connection:
                assert connection.request("GET", "/livez").response().status == 200


@pytest.mark.threads
def test_start_and_stop_at_any_moment(postgres):
    """SIGTERM in the middle of the start still ends in order."""
    for _ in range(10):
        command = [BINARY, "--postgres", postgres.conninfo, "--live", "t/*", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=DEADLINE)[1].decode()
        assert process.returncode in (0, -signal.SIGTERM, 143), log
        assert "Sanitizer" not in log


@pytest.fixture
def laborious_server():
    """What speaks PostgreSQL's protocol just far enough to keep a client busy with its password for many seconds."""
    asked = threading.Event()

    def message(kind, body):
        return kind + struct.pack("!i", len(body) + 4) + body

    class Session(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)
            self.wfile.write(message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"))
            self.rfile.read(1)
            first = self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)
            nonce = first.split(b"r=")[1]
            challenge = b"r=" + nonce + b"server,s=c2FsdHNhbHQ=,i=50000000"
            self.wfile.write(message(b"R", struct.pack("!i", 11) + challenge))
            asked.set()
            self.rfile.read()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


def test_it_ends_while_it_works_at_a_password(start_gateway, laborious_server):
    """libpq is in OpenSSL then, on a thread that nobody can wait for: exit() must not pull that from under it."""
    port, asked = laborious_server
    conninfo = f"host=127.0.0.1 port={port} user=x password=y sslmode=disable gssencmode=disable"
    gateway = start_gateway(database=conninfo)
    assert asked.wait(DEADLINE)
    assert gateway.stop() == 0, gateway.log_text()
