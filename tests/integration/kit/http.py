"""HTTP/1.x over a bare socket, every byte of it in the test's hands."""

import dataclasses
import json
import socket
import ssl
import struct
import time

from kit.wait import DEADLINE


class Closed(Exception):
    """The other side closed the connection."""


class Address(tuple):
    """(host, port) of a server that is talked to over TLS; `tls`: the client's context."""

    def __new__(cls, host, port, tls):
        address = super().__new__(cls, (host, port))
        address.tls = tls
        return address


@dataclasses.dataclass
class Response:
    status: int
    headers: list
    body: bytes = b""

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.text())  # given bytes, it would let surrogates pass

    def problem(self):
        """The problem's name and sentence, after a look at its form (RFC 9457)."""
        assert self.header("content-type") == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status and problem["title"], problem
        # A head that is refused while it is being read has no request id.
        assert problem.get("instance", "").rpartition(":")[2] == (self.header("x-request-id") or ""), problem
        return problem["type"].rsplit(":", 1)[1], problem["detail"]


class Connection:
    """`source`: the address to connect from. `receive_buffer`: bytes that the kernel may hold for us. `tls`: the
    context of a connection over TLS, else what the address has; `is_cut` then: it ended without close_notify."""

    def __init__(self, address, source=None, receive_buffer=None, tls=None):
        self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(DEADLINE)
        self.socket.connect(tuple(address))
        self.is_cut = False
        tls = tls or getattr(address, "tls", None)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost", suppress_ragged_eofs=False)
        self.buffer = b""
        self.deadline = time.monotonic() + DEADLINE

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, method, target, body=None, version="1.1", **headers):
        """Header names with `_` for `-`; a header given as None is left out."""
        fields = {"Host": "gateway.test"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if body is not None:
            body = body.encode() if isinstance(body, str) else body
            fields.setdefault("Content-Length", str(len(body)))
        head = f"{method} {target} HTTP/{version}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None)
        self.send(head.encode() + b"\r\n" + (body or b""))
        return self

    def more(self):
        """Reads at least one byte more into the buffer."""
        self.socket.settimeout(max(self.deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLEOFError) and error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            data, self.is_cut = b"", True
        if not data:
            raise Closed()
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def take_line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode()

    def head(self):
        version, status, _ = self.take_line().split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), version
        headers = []
        while line := self.take_line():
            name, value = line.split(":", 1)
            headers.append((name, value.strip()))
        return Response(int(status), headers)

    def response(self, method="GET"):
        self.deadline = time.monotonic() + DEADLINE
        response = self.head()
        length = response.header("content-length")
        if method == "HEAD" or response.status in (204, 304):
            pass
        elif response.header("transfer-encoding") == "chunked":
            while chunk := self.chunk():
                response.body += chunk
        elif length is not None:
            response.body = self.take(int(length))
        else:
            response.body = self.rest()
        return response

    def chunk(self):
        """The next chunk's data; empty at the end (RFC 9112 section 7.1)."""
        size = int(self.take_line(), 16)
        data = self.take(size)
        assert self.take(2) == b"\r\n"
        return data

    def rest(self):
        """Everything up to the end of the connection."""
        self.deadline = time.monotonic() + DEADLINE
        try:
            while True:
                self.more()
        except Closed:
            data, self.buffer = self.buffer, b""
            return data

    def is_closed(self):
        """Waits for the end of the connection; false if there is something to read instead."""
        return not self.buffer and self.rest() == b""

    def reset(self):
        """Closes at once, with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


def call(address, method, target, body=None, tls=None, **headers):
    with Connection(address, tls=tls) as connection:
        headers.setdefault("Connection", "close")
        return connection.request(method, target, body, **headers).response(method)
