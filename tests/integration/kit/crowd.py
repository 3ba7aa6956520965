"""A process of its own that holds many streams open: crowd.py HOST PORT TARGET COUNT STREAMS-PER-ADDRESS [CERTIFICATE].

It prints a line when every stream has had its first bytes, and then reads on until it is killed. With a certificate to
believe, they go over TLS.
"""

import resource
import selectors
import socket
import ssl
import subprocess
import sys

AT_ONCE = 200


class Crowd:
    def __init__(self, gateway, target, count, per_address=1000):
        host, port = gateway.address
        command = [sys.executable, __file__, host, str(port), target, str(count), str(per_address)]
        if gateway.certificate:
            command.append(gateway.certificate.certificate)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def wait_open(self):
        assert self.process.stdout.readline() == b"open\n"
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def start(host, port, target, source, tls):
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    connection.bind((source, 0))
    connection.connect((host, port))
    if tls:
        connection = tls.wrap_socket(connection, server_hostname="localhost")
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return connection


def receive(connection):
    data = connection.recv(65536)
    while data and isinstance(connection, ssl.SSLSocket) and connection.pending():
        data += connection.recv(65536)
    return data


def hold(host, port, target, count, per_address, certificate=None):
    tls = ssl.create_default_context(cafile=certificate) if certificate else None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    selector = selectors.DefaultSelector()
    started = waiting = 0
    while True:
        while started < count and waiting < AT_ONCE:
            connection = start(host, port, target, f"127.0.1.{1 + started // per_address}", tls)
            selector.register(connection, selectors.EVENT_READ, data={"head": b""})
            started, waiting = started + 1, waiting + 1
        for key, _ in selector.select():
            data = receive(key.fileobj)
            assert data, "the gateway closed a stream"
            if key.data["head"] is not None:
                key.data["head"] += data
                if b"cursor" in key.data["head"]:
                    key.data["head"] = None
                    waiting -= 1
                    if started == count and waiting == 0:
                        print("open", flush=True)


if __name__ == "__main__":
    hold(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), *sys.argv[6:])
