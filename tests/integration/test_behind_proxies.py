"""Behind nginx, HAProxy and Caddy, with the files of docs/proxies/ as they are, but for addresses and certificates.

Two gateways of one database stand behind each proxy, which ends TLS.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile

import pytest

from kit.gateway import ROOT
from kit.http import Closed, Connection
from kit.ports import free_port
from kit.streams import Stream
from kit.wait import until

HOST = "events.example.org"
SHORT = "3s"  # the proxies' idle timeouts here, 90 s in the files
NGINX = """
daemon off; user root; error_log stderr; pid {folder}/pid; worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {text}
}}
"""


def program(kind):
    return shutil.which(kind, path=os.environ["PATH"] + ":/usr/sbin")


class TlsConnection(Connection):
    def __init__(self, address, **options):
        super().__init__(address, **options)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=HOST)

    def request(self, method, target, body=None, version="1.1", **headers):
        return super().request(method, target, body, version, **({"Host": HOST} | headers))


class Front:
    """A proxy in front of gateways."""

    def __init__(self, kind, gateways, replacements=()):
        self.kind = kind
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"eventgate-{kind}-"))
        self.address = "127.0.0.1", free_port()
        self._certify()
        text = (ROOT / "docs" / "proxies" / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg",
                                             "caddy": "Caddyfile"}[kind]).read_text()
        port = self.address[1]
        for old, new in [("127.0.0.1:8080", "%s:%d" % gateways[0].address),
                         ("127.0.0.1:8081", "%s:%d" % gateways[1].address),
                         ("/etc/ssl/", f"{self.folder}/"), ("/etc/haproxy/", f"{self.folder}/"),
                         *{"nginx": [("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")],
                           "haproxy": [("bind :443", f"bind 127.0.0.1:{port}")],
                           "caddy": [(f"\n{HOST} {{", f"\nhttps://{HOST}:{port} {{")]}[kind], *replacements]:
            assert old in text or old in ("/etc/ssl/", "/etc/haproxy/"), old
            text = text.replace(old, new)
        self.start({"nginx": NGINX.format(folder=self.folder, text=text) if kind == "nginx" else None,
                    "haproxy": text, "caddy": "{\n\tadmin off\n\tauto_https off\n}\n" + text}[kind])

    def _certify(self):
        pem, key = self.folder / f"{HOST}.pem", self.folder / f"{HOST}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", key,
                        "-out", pem], check=True, capture_output=True)
        if self.kind == "haproxy":
            pem.write_bytes(pem.read_bytes() + key.read_bytes())

    def start(self, text):
        path = self.folder / "config"
        path.write_text(text)
        command = [program(self.kind), *{"nginx": ["-p", self.folder, "-c", path], "haproxy": ["-db", "-f", path],
                                         "caddy": ["run", "--adapter", "caddyfile", "--config", path]}[self.kind]]
        home = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=os.environ | home)
        until(self.serves, f"{self.kind} serves")

    def serves(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(OSError, Closed):
            return self.call("GET", "/livez").status == 200
        return False

    def connect(self):
        return TlsConnection(self.address)

    def call(self, method, target, body=None, **headers):
        with self.connect() as connection:
            return connection.request(method, target, body, **{"Connection": "close", **headers}).response(method)

    def stream(self, target, **headers):
        return Stream.on(self.connect().request("GET", target, **({"Accept": "text/event-stream"} | headers)))

    def stop(self):
        # nginx's workers are children that it has to end.
        self.process.send_signal(signal.SIGINT if self.kind == "nginx" else signal.SIGKILL)
        self.process.wait(20)
        shutil.rmtree(self.folder)


OPTIONS = ("--workers", "1", "--heartbeat", "1s", "--trusted-proxies", "127.0.0.1",
           "--allowed-hosts", f"{HOST},gateway.test")
KINDS = ("nginx", "haproxy", "caddy")


@pytest.fixture
def gateways(start_gateway):
    pair = [start_gateway(*OPTIONS, durable="d/**") for _ in range(2)]
    for one in pair:
        one.wait_ready()
    return pair


@pytest.fixture
def make_front(gateways):
    fronts = []

    def make(kind, replacements=(), behind=gateways):
        if not program(kind):
            pytest.skip(f"{kind} is not installed")
        fronts.append(Front(kind, behind, replacements))
        return fronts[-1]

    yield make
    for front in fronts:
        front.stop()


@pytest.fixture(params=KINDS)
def front(make_front, request):
    return make_front(request.param)


def streams(gateways):
    return sum(one.metric("eventgate_streams") for one in gateways)


@pytest.mark.parametrize("format", ("sse", "ndjson"))
def test_events_and_heartbeats_pass_at_once(front, postgres, channel, format):
    with front.stream(f"/channels/{channel}?format={format}") as stream:
        stream.cursor()
        for number in range(3):  # each one waits for the one before: nothing is held back for more
            postgres.notify(channel, str(number))
            assert stream.event().data == number
        beats = stream.parser.comments
        while stream.parser.comments < beats + 2:
            stream.items += stream.parser.feed(stream._bytes())


def test_a_stream_resumes_by_its_last_event_id(front, postgres, durable_channel):
    with front.stream(f"/channels/{durable_channel}") as stream:
        stream.cursor()
        assert front.call("POST", f"/channels/{durable_channel}", "1", Content_Type="application/json").status == 201
        first = stream.event()
    for number in (2, 3):
        postgres.sql("select eventgate.publish(%s, %s)", durable_channel, str(number))
    with front.stream(f"/channels/{durable_channel}", Last_Event_ID=first.id) as stream:
        assert [event.data for event in stream.events(2)] == [2, 3]


def test_long_polls(front, durable_channel):
    answer = front.call("GET", f"/channels/{durable_channel}?format=poll").json()
    with front.connect() as waiting:
        waiting.request("GET", f"/channels/{durable_channel}?format=poll&wait=20&after={answer['next']}")
        front.call("POST", f"/channels/{durable_channel}", "1", Content_Type="application/json")
        assert [event["data"] for event in waiting.response().json()["events"]] == [1]


def test_posts(front, channel, durable_channel):
    large = json.dumps("x" * 100_000)
    assert front.call("POST", f"/channels/{channel}", "1").status == 202
    assert front.call("POST", f"/channels/{durable_channel}", large, Content_Type="application/json").status == 201
    batch = [{"channel": durable_channel, "data": number, "key": f"{durable_channel} {number}"} for number in (1, 2)]
    answers = [front.call("POST", "/events", json.dumps(batch), Content_Type="application/json") for _ in range(2)]
    first, again = [[row["id"] for row in answer.json()["results"]] for answer in answers]
    assert first == again


def test_names_pass_as_they_are(front, channel):
    for name in (f"{channel}/a%2Fb", f"{channel}/%C3%A4%20b"):
        assert front.call("POST", f"/channels/{name}", "1").status == 202, name


def test_under_another_path(front, postgres, channel):
    with front.stream(f"/events-api/channels/{channel}") as stream:
        stream.cursor()
        assert front.call("POST", f"/events-api/channels/{channel}", "1").status == 202
        assert stream.event().data == 1


def test_a_client_that_leaves_is_noticed(front, gateways, channel):
    with front.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        assert streams(gateways) == 1
    until(lambda: streams(gateways) == 0, "the stream has ended at the gateway")


IDLE = {"nginx": [("proxy_read_timeout 90s", f"proxy_read_timeout {SHORT}")],
        "haproxy": [("timeout client 90s", f"timeout client {SHORT}"),
                    ("timeout server 90s", f"timeout server {SHORT}")], "caddy": []}


@pytest.mark.parametrize("kind", KINDS)
def test_heartbeats_keep_an_idle_stream_open(make_front, postgres, channel, kind):
    with make_front(kind, IDLE[kind]).stream(f"/channels/{channel}") as stream:
        stream.cursor()
        while stream.parser.comments < 6:  # one a second: twice the proxy's timeout
            stream.items += stream.parser.feed(stream._bytes())
        postgres.notify(channel, "1")
        assert stream.event().data == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_gateway_is_told_for_whom_a_request_is(start_gateway, kind, channel, make_front):
    limited = start_gateway(*OPTIONS, "--publish-rate", "1/h", "--publish-burst", "1").wait_ready()
    front = make_front(kind, behind=[limited, limited])

    def statuses(source, count):
        found = []
        for _ in range(count):
            with TlsConnection(front.address, source=source) as connection:
                found.append(connection.request("POST", f"/channels/{channel}", "1", Connection="close",
                                                X_Forwarded_For="192.0.2.1").response().status)
        return found

    assert statuses("127.0.0.2", 2) == [202, 429]
    assert statuses("127.0.0.3", 2) == [202, 429]  # whatever the clients say of themselves


def test_a_request_has_the_id_that_the_proxy_gives_it(front):
    answers = [front.call("GET", "/nothing", X_Request_Id="of-the-client") for _ in range(2)]
    ids = [answer.header("x-request-id") for answer in answers]
    assert len(set(ids)) == 2 and all(len(one) in (32, 36) for one in ids), ids  # the gateway's own have 16
    assert [answer.problem()[0] for answer in answers] == ["not-found"] * 2


def test_http_1_0_to_the_gateway(make_front, postgres, channel):
    """What nginx speaks if it isn't told otherwise."""
    front = make_front("nginx", [("proxy_http_version 1.1;", ""), ('proxy_set_header Connection "";', "")])
    with front.stream(f"/channels/{channel}?format=sse") as stream:
        stream.cursor()
        postgres.notify(channel, "1", "2")
        assert [event.data for event in stream.events(2)] == [1, 2]
    assert front.call("POST", f"/channels/{channel}", "1").status == 202


class EventSource:
    """A browser's: on anything but 200 it ends for good."""

    def __init__(self, front, channel):
        self.front, self.channel, self.id = front, channel, None
        self.open()

    def open(self):
        headers = {"Last_Event_ID": self.id} if self.id else {}
        self.stream = self.front.stream(f"/channels/{self.channel}", **headers)  # asserts 200

    def event(self):
        """The next event, through as many connections as that takes."""
        return until(self._try, "an event").data

    def _try(self):
        try:
            if self.stream.head.header("content-length"):  # the proxy's own answer: come back
                raise Closed()
            item = self.stream.read()
        except (Closed, ConnectionError, ssl.SSLError):
            self.stream.close()
            self.open()
            return None
        self.id = item.id
        assert item.kind in ("event", "cursor"), item
        return item if item.kind == "event" else None


def test_a_killed_gateway_loses_nothing(front, gateways, postgres, durable_channel):
    sources = [EventSource(front, durable_channel) for _ in range(4)]
    for one in sources:
        while not one.id:
            one.id = one.stream.read().id
    for number in range(10):
        if number == 5:
            gateways[0].stop(signal.SIGKILL)
        postgres.sql("select eventgate.publish(%s, %s)", durable_channel, str(number))
        assert [one.event() for one in sources] == [number] * 4
    for one in sources:
        one.stream.close()


def test_gateways_that_are_started_anew_get_their_clients_back(front, gateways, start_gateway, postgres,
                                                              durable_channel):
    source = EventSource(front, durable_channel)
    while not source.id:
        source.id = source.stream.read().id
    addresses = [one.address for one in gateways]
    for one in gateways:
        assert one.stop() == 0  # drained
    postgres.sql("select eventgate.publish(%s, '1')", durable_channel)
    again = [start_gateway(*OPTIONS, durable="d/**", listen="%s:%d" % address) for address in addresses]
    assert source.event() == 1
    for one in again:
        one.wait_ready()
    source.stream.close()
