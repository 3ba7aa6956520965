"""The pages that show how to move from something else (docs/migrate-*.md) are true: their code is run."""

import contextlib
import http.server
import json
import threading
import urllib.parse

import pytest

from guide import Browser, Guide, free_port
from kit.tokens import claims, signed
from kit.wait import until

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, state text); INSERT INTO orders VALUES (42, 'new');"
BOOKS = "CREATE TABLE books (id int PRIMARY KEY, status text); INSERT INTO books VALUES (1, 'there');"
PRINT = "globalThis.show = (data) => console.log(JSON.stringify({ kind: 'shown', data }));\n"


@pytest.fixture(scope="module")
def browser():
    with contextlib.closing(Browser()) as one:
        yield one


@pytest.fixture
def follow(tmp_path, postgres, browser):
    """Opens a page of docs/; all of it that is to be run must have been, in the end."""
    with contextlib.ExitStack() as stack:
        guides = []

        def follow(name):
            guides.append(stack.enter_context(contextlib.closing(Guide(name, tmp_path, postgres, browser))))
            return guides[0]

        yield follow
        assert guides[0].unused() == []


# --- pg_eventserv


def test_from_pg_eventserv(follow):
    guide = follow("migrate-from-pg-eventserv.md")
    guide.start_gateway("Start it beside")
    guide.sql(guide.code("The trigger stays", "sql"))
    page = guide.page("page.mjs", guide.code("The page", "js"))
    guide.sql("INSERT INTO people (name, height) VALUES ('Paul', 1.9)")
    assert page.shown(1) == [{"pk": 1, "name": "Paul", "height": 1.9, "dml_action": "INSERT"}]

    guide.start_gateway("Events that outlive")
    guide.sql(guide.code("Events that outlive", "sql"))
    page = guide.page("durable.mjs", guide.code("Events that outlive", "js"))
    guide.sql("UPDATE people SET height = 2 WHERE pk = 1")
    assert page.shown(1) == [{"pk": 1, "name": "Paul", "height": 2}]


# --- Mercure


class Hub(http.server.ThreadingHTTPServer):
    """Takes updates as Mercure does: forms, with a token. `updates`: what it was given."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.updates = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class HubHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        assert self.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        good = self.headers["Authorization"] == "Bearer of the hub"
        if good:
            self.server.updates.append((form["topic"], json.loads(form["data"]), form["private"]))
        self.send_response(200 if good else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    with Hub() as server:
        yield server
        server.shutdown()


def mercure_token(key, **granted):
    """As Mercure's users make them."""
    return signed({"mercure": granted, "exp": 4102444800}, key)


def test_from_mercure(follow, hub, tmp_path):
    publisher_key, subscriber_key = b"!ChangeThisMercureHubJWTSecretKey!", b"!ChangeThisOtherMercureHubJWTSecretKey!"
    (tmp_path / "publisher.key").write_bytes(publisher_key)
    (tmp_path / "subscriber.key").write_bytes(subscriber_key)
    reader = mercure_token(subscriber_key, subscribe=["books/{id}"])
    guide = follow("migrate-from-mercure.md")
    gateway = guide.start_gateway("Start it")
    gateway.headers = {"Authorization": "Bearer " + signed(claims(admin=True), publisher_key)}
    guide.sql(BOOKS)
    page = guide.page("page.mjs", guide.code("Subscribe", "js"), {"name": "mercureAuthorization", "value": reader})
    bridge = guide.node("bridge.mjs", guide.code("Both at once", "js"), TOKEN=mercure_token(subscriber_key, subscribe=["*"]),
                        HUB=f"http://127.0.0.1:{hub.server_port}/.well-known/mercure", HUB_TOKEN="of the hub")
    until(lambda: gateway.metric("eventgate_streams") == 2 or bridge.process.poll() is not None, "both follow")

    printed = guide.run_node("publish.mjs", guide.code("Publish", "js"), TOKEN=mercure_token(publisher_key, publish=["books/{id}"]))
    assert printed == "201\n"
    guide.sql(guide.code("Publish", "sql"))
    assert page.shown(2) == [{"status": "checked out"}, {"status": "returned"}]
    topic = "https://example.com/books/1"
    until(lambda: len(hub.updates) == 2, "all is passed on to the hub")
    assert hub.updates == [(topic, {"status": "checked out"}, "on"), (topic, {"status": "returned"}, "on")]
    until(lambda: (tmp_path / "to-mercure.cursor").exists() and (tmp_path / "to-mercure.cursor").read_text(), "the place is kept")


def test_what_of_mercure_is_understood(start_gateway, secret_file):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--token-claims", "mercure,eventgate", live="books/1,books/2").wait_ready()

    def status(target, topics, **more):
        token = signed({"mercure": {"subscribe": topics}, "exp": 4102444800} | more)
        return gateway.call("HEAD", target, Authorization=f"Bearer {token}").status

    assert status("/events?channel=books/1", ["books/{id}"]) == status("/events?channel=books/1", ["*"]) == 200
    assert status("/events?channel=books/1&channel=books/2", ["books/1"]) == 403
    assert status("/events?channel=books/1", ["https://example.com/books/{id}"]) == 401
    assert status("/events?channel=books/1", ["https://example.com/books/{id}"], eventgate={"subscribe": ["books/*"]}) == 200
    assert status("/events?topic=books/1", ["*"]) == 400
    assert status("/events?channel=books/1&authorization=x", ["*"]) == 400


# --- Socket.IO


def test_from_socketio(follow):
    guide = follow("migrate-from-socketio.md")
    guide.ports[3000] = free_port()
    guide.start_gateway("Start it")
    guide.sql(ORDERS)
    joined = "io.of('/').adapter.on('join-room', (room) => console.log(JSON.stringify({ kind: 'joined', data: room })));\n"
    on_line = "process.stdin.on('data', (line) => pay(Number(line)));\n"
    server = guide.node("server.mjs", guide.code("Publish", "js", "Before") + guide.code("Both at once", "js") + joined + on_line)
    client = guide.node("client.mjs", PRINT + guide.code("Subscribe", "js", "Before"))
    until(lambda: {"kind": "joined", "data": "order:42"} in server.heard, "the client is in its room", timeout=60)
    page = guide.page("page.mjs", guide.code("Subscribe", "js"))

    guide.file("pay.mjs", guide.code("Publish", "js"))
    guide.run_node("now.mjs", 'import { pay } from "./pay.mjs";\nawait pay(42);\nprocess.exit();\n')
    assert page.shown(1) == client.shown(1) == [{"order": 42}], "both are told of it"
    assert guide.sql("SELECT state FROM orders") == "paid\n"
    server.write("42\n")
    assert client.shown(2) == 2 * [{"order": 42}], "and the old way still works for those who haven't moved"

    chat = guide.page("chat.mjs", guide.code("What pages send", "js"))
    chat.click("#say")
    assert chat.shown(1) == [{"from": "ann", "text": "hello"}]
