"""Chromium over TLS, with a certificate that it doesn't know and is told to accept: a page of an allowed origin follows a
durable channel with its cookie, whatever happens to certificate and gateway; a page of another origin can't publish.
"""

import http.server
import json
import signal
import ssl
import threading

import pytest

from kit.http import Connection
from kit.tls import Certificate
from kit.tokens import SECRET, bearer, token
from kit.wait import until
from test_clients import PROGRAMS, Client, chromium
from test_origins import Page, post


@pytest.fixture
def certificate():
    made = Certificate()
    yield made
    made.remove()


@pytest.fixture
def origins(certificate):
    """Two of the same site, on ports of their own: cookies of this host go with what their pages ask for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) for _ in range(2)]
    for server in servers:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"https://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def start(start_gateway, tmp_path, certificate, origins):
    """Starts gateways that pages of the first origin may use."""
    (tmp_path / "secret").write_bytes(SECRET)

    def one():
        return start_gateway("--keys", f"HS256:{tmp_path / 'secret'}", "--allowed-origins", origins[0], "--retry", "100ms",
                             "--workers", "2", durable="d/**", certificate=certificate).wait_ready()

    return one


@pytest.fixture
def visit(origins):
    """Opens pages of both origins in one Chromium; the first one subscribes, with a cookie, to the channel."""
    clients = []

    def visit(port, channel):
        url = f"https://127.0.0.1:{port}/channels/{channel}"
        cookie = f"eventgate_token={token([channel], [channel])}"
        clients.append(Client(["node", f"{PROGRAMS}/cross_origin.mjs", url, origins[0], cookie, chromium(), origins[1]]))
        return clients[-1]

    yield visit
    for client in clients:
        client.close()


def renew(gateway, certificate):
    """SIGHUP with a new certificate, until new connections have it."""
    certificate.make()
    gateway.process.send_signal(signal.SIGHUP)
    gateway.address.tls.load_verify_locations(certificate.certificate)

    def has_it():
        with Connection(gateway.address) as connection:
            return connection.socket.getpeercert(binary_form=True) == certificate.der()

    until(has_it, "new connections have the new certificate")


def test_a_stream_outlives_certificate_and_gateway(start, visit, make_proxy, postgres, certificate, durable_channel):
    def publish(first, last):
        for number in range(first, last + 1):
            postgres.sql("select eventgate.publish(%s, %s)", durable_channel, str(number))

    gateway = start()
    proxy = make_proxy(gateway.address)
    client = visit(proxy.port, durable_channel)
    client.wait("cursor", 1)
    publish(1, 3)
    client.wait("message", 3)
    renew(gateway, certificate)
    publish(4, 6)
    client.wait("message", 6)
    assert len(client.of("open")) == 1, "it goes on with what it began with"
    proxy.refuse()
    assert gateway.stop() == 0
    publish(7, 9)
    proxy.target = start().address
    proxy.accept()
    client.wait("message", 9)
    publish(10, 12)
    client.wait("message", 12)
    assert client.data() == list(range(1, 13)), "everything once and in order"
    assert client.of("gap") == [] and len(client.of("open")) == 2
    assert len({each["id"] for each in client.of("message")}) == 12


def test_only_pages_of_allowed_origins_publish_with_the_cookie(start, visit, origins, durable_channel):
    gateway = start()
    client = visit(gateway.address[1], durable_channel)
    client.wait("cursor", 1)
    client.process.stdin.write(b"forge\n")
    client.process.stdin.flush()
    client.wait("forged", 1)
    assert gateway.publish(durable_channel, '"forged"', Origin=origins[1]).status == 401, "without a cookie"
    assert client.of("forged")[0]["status"] == 403, "so the browser has sent it, and it was refused"
    posted = post(client)
    assert posted["status"] == 201 and posted["id"], "the answer and its exposed headers can be read"
    client.wait("message", 1)
    assert client.data() == ["by cookie"]
    listed = gateway.get(f"/channels/{durable_channel}?after=earliest&wait=0&format=poll", **bearer([durable_channel]))
    assert [event["data"] for event in json.loads(listed.text())["events"]] == ["by cookie"]
