"""What Chromium makes of CORS, cookies and tokens."""

import http.server
import threading

import pytest

from kit.tokens import SECRET, token
from test_clients import PROGRAMS, Client, chromium


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page of another origin</title>")

    def log_message(self, *_):
        pass


@pytest.fixture
def other_origin():
    """A server of another port, which makes another origin of it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def guarded(start_gateway, tmp_path):
    def start(*arguments):
        (tmp_path / "secret").write_bytes(SECRET)
        return start_gateway("--keys", f"HS256:{tmp_path / 'secret'}", *arguments).wait_ready()

    return start


@pytest.fixture
def visit():
    """Opens a page in Chromium that subscribes, with a cookie, to the gateway of another origin."""
    clients = []

    def start(gateway, channel, page):
        cookie = f"eventgate_token={token([channel], [channel])}"
        clients.append(Client(["node", f"{PROGRAMS}/cross_origin.mjs", f"{gateway.url}/channels/{channel}", page, cookie,
                               chromium()]))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def post(client):
    client.process.stdin.write(b"post\n")
    client.process.stdin.flush()
    client.wait("posted", 1)
    return client.of("posted")[0]


def test_an_allowed_origin_subscribes_and_publishes_with_its_cookie(guarded, visit, other_origin, postgres, channel):
    gateway = guarded("--allowed-origins", other_origin)
    client = visit(gateway, channel, other_origin)
    client.wait("cursor", 1)
    postgres.notify(channel, "1")
    client.wait("message", 1)
    posted = post(client)
    assert posted["status"] == 202 and posted["id"], "the answer and its exposed headers can be read"
    client.wait("message", 2)
    assert client.data() == [1, "by cookie"]


def test_a_refused_origin_gets_nothing(guarded, visit, other_origin, postgres, channel):
    gateway = guarded("--allowed-origins", "https://app.example")
    client = visit(gateway, channel, other_origin)
    client.wait("error", 1)
    assert client.of("error")[0]["state"] == 2, "closed for good"
    assert post(client)["status"] == 0
    assert client.of("open") == client.of("message") == client.of("cursor") == []
    assert gateway.get("/metrics", Authorization=f"Bearer {token(admin=True)}").text().count(
        'eventgate_published_total{set="default",kind="live",result="committed"} 0') == 1
