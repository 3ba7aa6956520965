"""What the tests in JavaScript have done to the gateway and its database: POST /NAME with a JSON array of arguments."""

import contextlib
import http.client
import http.server
import json
import signal
import socket
import threading
import time

from kit.gateway import Gateway, install_schema
from kit.postgres import Postgres
from kit.proxy import Proxy
from kit.tokens import SECRET, claims, signed


class Stage:
    """A gateway at an address that stays, before a database of its own, behind a proxy whose network can fail."""

    def __init__(self, folder):
        self.postgres = Postgres().start()
        install_schema(self.postgres.conninfo)
        (folder / "secret").write_bytes(SECRET)
        self.keys = ("--keys", f"HS256:{folder / 'secret'}")
        self.gateways = {}
        self.arguments = {"open": (), "guarded": self.keys}
        for name in self.arguments:
            self._start(name, "127.0.0.1:0")
        self.addresses = {name: gateway.address for name, gateway in self.gateways.items()}
        self.proxy = Proxy(self.addresses["open"])
        self.buffering = Buffering(self.addresses["open"])

    def _start(self, name, listen):
        self.gateways[name] = Gateway("--postgres", self.postgres.conninfo, "--live", "t/**", "--durable", "d/**",
                                      "--retry", "100ms", "--workers", "2", *self.arguments[name], listen=listen)

    def urls(self):
        return {name: gateway.url for name, gateway in self.gateways.items()} | {
            "proxy": f"http://127.0.0.1:{self.proxy.port}", "buffering": f"http://127.0.0.1:{self.buffering.port}"}

    def kill(self, name="open"):
        self.gateways[name].stop(signal.SIGKILL)

    def start(self, name="open"):
        self._start(name, "{}:{}".format(*self.addresses[name]))
        self.gateways[name].wait_ready()

    def restart_postgres(self):
        self.stop_postgres()
        self.start_postgres()

    def stop_postgres(self):
        self.postgres.stop()

    def start_postgres(self):
        self.postgres.start()
        self.gateways["open"].wait_ready()

    def notify(self, channel, *payloads):
        self.postgres.notify(channel, *payloads)

    def log(self, channel, *payloads):
        for payload in payloads:
            self.postgres.sql("select eventgate.publish(%s, %s::json)", channel, payload)

    def rate(self, channel, per_second, seconds):
        """Live events 1, 2, ..., so many a second, in transactions of a hundredth of a second each."""
        connection = self.postgres.connect()
        each, begun = per_second // 100, time.monotonic()
        with contextlib.closing(connection), connection.cursor() as cursor:
            for turn in range(seconds * 100):
                time.sleep(max(0.0, begun + turn / 100 - time.monotonic()))
                cursor.execute("select pg_notify(%s, n::text) from generate_series(%s, %s) n",
                               (channel, turn * each + 1, (turn + 1) * each))

    def sql(self, statement):
        self.postgres.sql(statement)

    def flood(self, channel, count):
        self.postgres.sql("select count(eventgate.publish(%s, n::text::json)) from generate_series(1, %s) n",
                          channel, count)

    def logged(self, channel):
        rows = self.postgres.sql("select data::text from eventgate.log where channel = %s", channel)
        return [data for (data,) in rows]

    def streams(self, name="open"):
        gateway = self.gateways[name]
        gateway.headers = {"Authorization": f"Bearer {self.token([], [], 60, True)}"} if name == "guarded" else {}
        lines = gateway.get("/metrics").text().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("eventgate_streams{"))

    def subscribers(self, channel):
        rows = self.gateways["open"].get("/channels").json()["channels"]
        return next((row["subscribers"] or 0 for row in rows if row["name"] == channel), 0)

    def token(self, subscribe, publish, lifetime, admin=False):
        return signed(claims(subscribe, publish, lifetime=lifetime, admin=admin))

    def lose_answers(self, count):
        """The next answers to POSTs are lost on the way back."""
        self.buffering.lose = count

    def cut(self):
        return self.proxy.cut()

    def close(self):
        self.proxy.close()
        self.buffering.close()
        codes = [gateway.stop() for gateway in self.gateways.values()]
        self.postgres.remove()
        assert all(code in (0, 143, -9) for code in codes), [gateway.log_text() for gateway in self.gateways.values()]


class Buffering(http.server.ThreadingHTTPServer):
    """A proxy that passes an answer on once it has all of it, as some do to streams; and one that loses answers."""

    daemon_threads = True

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), BufferingHandler)
        self.target, self.lose = target, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_port

    def handle_error(self, request, client_address):
        """Clients leave, and gateways are killed."""

    def close(self):
        self.shutdown()
        self.server_close()


class BufferingHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.pass_on()

    def do_POST(self):
        self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def pass_on(self, body=None):
        connection = http.client.HTTPConnection(*self.server.target)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(self.command, self.path, body, headers)
        upstream = connection.sock
        threading.Thread(target=self.end_with_the_client, args=(upstream,), daemon=True).start()
        answer = connection.getresponse()
        whole = answer.read()
        if body is not None and self.server.lose > 0:
            self.server.lose -= 1
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole)

    def end_with_the_client(self, upstream):
        with contextlib.suppress(OSError):
            if self.connection.recv(1, socket.MSG_PEEK) == b"":
                upstream.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


class Control(http.server.ThreadingHTTPServer):
    """Makes the stage's methods callable."""

    daemon_threads = True

    def __init__(self, stage):
        super().__init__(("127.0.0.1", 0), ControlHandler)
        self.stage = stage
        threading.Thread(target=self.serve_forever, daemon=True).start()


class ControlHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            status, answer = 200, getattr(self.server.stage, self.path[1:])(*arguments)
        except Exception as error:  # pylint: disable=broad-except # the test is told
            status, answer = 500, repr(error)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
