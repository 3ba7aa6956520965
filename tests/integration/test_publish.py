"""POST: what is acknowledged is committed, byte for byte; what cannot be published is refused and says why."""

import json
import select
import signal

import psycopg2.extensions
import pytest

from kit.http import Connection
from kit.wait import DEADLINE, until

JSON = {"Content_Type": "application/json"}


class Listener:
    """LISTENs as psql would."""

    def __init__(self, postgres, *channels):
        self.connection = postgres.connect()
        with self.connection.cursor() as cursor:
            for channel in channels:
                cursor.execute("listen " + psycopg2.extensions.quote_ident(channel, cursor))

    def take(self, count):
        notifications = self.connection.notifies
        while len(notifications) < count:
            assert select.select([self.connection], [], [], DEADLINE)[0], notifications
            self.connection.poll()
        taken = [(n.channel, n.payload) for n in notifications[:count]]
        del notifications[:count]
        return taken

    def committed(self, count):
        """What has arrived when a query is answered: commits before it have been delivered by then."""
        with self.connection.cursor() as cursor:
            cursor.execute("select 1")
        self.connection.poll()
        return self.take(count) if len(self.connection.notifies) >= count else None


@pytest.fixture
def listener(postgres, channel):
    opened = Listener(postgres, channel)
    yield opened
    opened.connection.close()


@pytest.mark.threads
def test_202_means_committed(gateway, listener, channel):
    for n in range(20):
        assert gateway.publish(channel, str(n)).status == 202
        assert listener.committed(1) == [(channel, str(n))]


BODIES = ['{"n":1000000000000000000000000000000,"d":0.10, "b":1,"a":2}', '{\n  "pretty": [\r\n 1 ]\n}\n',
          r'"\u00e9\/"', "plain text", "tab\tand\nlines\r\n", "ünï 日本 😀", "'quoted' $$ \\ %s", "x" * 7999, " ", "null"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "text/plain; charset=utf-8",
                                          "application/x-www-form-urlencoded"])
def test_bodies_reach_listeners_byte_for_byte(gateway, listener, channel, content_type):
    for body in BODIES:
        assert gateway.publish(channel, body, Content_Type=content_type).status == 202
    assert listener.take(len(BODIES)) == [(channel, body) for body in BODIES]


def test_json_bodies_reach_listeners_byte_for_byte(gateway, listener, channel):
    for body in BODIES[:3]:
        assert gateway.publish(channel, body, **JSON).status == 202
    assert listener.take(3) == [(channel, body) for body in BODIES[:3]]


def test_an_empty_body_is_an_empty_payload(gateway, listener, channel):
    assert gateway.publish(channel, "").status == 202
    assert listener.take(1) == [(channel, "")]


@pytest.mark.threads
def test_published_events_reach_streams_of_all_gateways(gateway, start_gateway, channel):
    other = start_gateway().wait_ready()
    with gateway.stream(f"/channels/{channel}") as one, other.stream(f"/channels/{channel}") as two:
        one.cursor()
        two.cursor()
        for n in range(10):
            assert (gateway, other)[n % 2].publish(channel, str(n)).status == 202
        assert [i.data for i in one.events(10)] == [i.data for i in two.events(10)] == list(range(10))


@pytest.mark.parametrize("body, headers, status, name", [
    ("x" * 8000, {}, 413, "too-large"),
    (b"\xff\xfe", {}, 400, "bad-body"),
    (b"\xed\xa0\x80", {}, 400, "bad-body"),
    (b"nul \0 byte", {}, 400, "bad-body"),
    ("{not json", JSON, 400, "bad-body"),
    ("", JSON, 400, "bad-body"),
    ("1 2", {"Content_Type": "application/vnd.x+json"}, 400, "bad-body"),
    ("x", {"Content_Type": "image/png"}, 415, "unsupported-type"),
    ("x", {"Content_Type": "text/plain; charset=latin1"}, 415, "unsupported-type"),
    ("x", {"Content_Encoding": "gzip"}, 415, "unsupported-type"),
    ("{}", {"Content_Type": "application/x-ndjson"}, 415, "unsupported-type"),
    ("x", {"Idempotency_Key": "1"}, 400, "bad-parameter"),
])
def test_what_cannot_be_published(gateway, listener, channel, body, headers, status, name):
    answer = gateway.publish(channel, body, **headers)
    assert answer.status == status and answer.problem()[0] == name
    assert gateway.publish(channel, "marker").status == 202
    assert listener.take(1) == [(channel, "marker")], "nothing of it was published"


def test_type_is_for_durable_channels(gateway, channel):
    answer = gateway.call("POST", f"/channels/{channel}?type=insert", "1")
    assert answer.status == 400 and "durable" in answer.problem()[1]


@pytest.mark.parametrize("name, status", [("elsewhere", 404), ("t/*", 400), ("t/" + "x" * 62, 404)])
def test_channels_that_cannot_be_published_to(gateway, name, status):
    assert gateway.publish(name, "1").status == status


def batch(*items):
    return json.dumps([{"channel": channel, "data": data} for channel, data in items])


@pytest.mark.threads
def test_batch_answers_in_order(gateway, listener, channel):
    answer = gateway.call("POST", "/events", batch(*[(channel, {"n": n}) for n in range(100)]), **JSON)
    assert answer.status == 202, answer
    assert [row["status"] for row in answer.json()["results"]] == [202] * 100
    assert [json.loads(payload) for _, payload in listener.take(100)] == [{"n": n} for n in range(100)]


def test_batch_in_ndjson(gateway, listener, channel):
    body = f'{{"channel":"{channel}","data":"text"}}\n\n{{"data":0.10,"channel":"{channel}"}}\n'
    answer = gateway.call("POST", "/events", body, Content_Type="application/x-ndjson")
    assert [row["status"] for row in answer.json()["results"]] == [202, 202]
    assert listener.take(2) == [(channel, "text"), (channel, "0.10")]


def test_batch_data_keeps_its_bytes(gateway, listener, channel):
    texts = ['{"b":1,  "a":1e40}', "1000000000000000000000000000000", "[0.10, 1E+2]", r'{"e":"\u00e9\/"}']
    items = ",".join(f'{{"channel":"{channel}","data":{text}}}' for text in texts)
    assert gateway.call("POST", "/events", f"[{items}]", **JSON).status == 202
    assert listener.take(len(texts)) == [(channel, text) for text in texts]


def test_identical_payloads_of_a_batch_are_all_delivered(gateway, listener, channel):
    answer = gateway.call("POST", "/events", batch(*[(channel, "same")] * 30), **JSON)
    assert answer.status == 202
    assert listener.take(30) == [(channel, "same")] * 30


@pytest.mark.parametrize("body, content_type", [
    ('{"channel":"CHANNEL","data":1}', "application/json"),
    ("[]", "application/json"),
    ('[{"channel":"CHANNEL"}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1},{"data":1}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1,"extra":1}]', "application/json"),
    ('[{"channel":1,"data":1}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1},{"channel":"elsewhere","data":1}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1},{"channel":"CHANNEL","data":"' + "x" * 8000 + '"}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1},{"channel":"CHANNEL","data":"a\\u0000b"}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1,"type":"x"}]', "application/json"),
    ('[{"channel":"CHANNEL","data":1}', "application/json"),
    ('{"channel":"CHANNEL","data":1}\n{"channel":', "application/x-ndjson"),
])
def test_a_bad_batch_is_refused_whole(gateway, listener, channel, body, content_type):
    answer = gateway.call("POST", "/events", body.replace("CHANNEL", channel), Content_Type=content_type)
    assert 400 <= answer.status < 500
    assert answer.problem()[1]
    assert gateway.publish(channel, "marker").status == 202
    assert listener.take(1) == [(channel, "marker")], "nothing of it was published"


def test_keep_alive(gateway, listener, channel):
    with Connection(gateway.address) as connection:
        for n in range(5):
            connection.request("POST", f"/channels/{channel}", str(n))
            assert connection.response().status == 202
    assert listener.take(5) == [(channel, str(n)) for n in range(5)]


@pytest.mark.threads
def test_pipelined_posts_are_answered_in_order(gateway, listener, channel):
    with Connection(gateway.address) as connection:
        for n in range(20):
            connection.request("POST", f"/channels/{channel}", str(n))
        assert [connection.response().status for _ in range(20)] == [202] * 20
    assert listener.take(20) == [(channel, str(n)) for n in range(20)]


def test_chunked_body(gateway, listener, channel):
    with Connection(gateway.address) as connection:
        connection.request("POST", f"/channels/{channel}", Transfer_Encoding="chunked")
        connection.send(b"4\r\nsome\r\n5\r\n text\r\n0\r\n\r\n")
        assert connection.response().status == 202
    assert listener.take(1) == [(channel, "some text")]


def test_expect_100_continue(gateway, listener, channel):
    with Connection(gateway.address) as connection:
        connection.request("POST", f"/channels/{channel}", Expect="100-continue", Content_Length="4")
        assert connection.head().status == 100
        connection.send(b"body")
        assert connection.response().status == 202
    assert listener.take(1) == [(channel, "body")]


def test_database_away_is_503_with_retry_after(start_gateway, fragile_postgres, channel):
    gateway = start_gateway(database=fragile_postgres).wait_ready()
    fragile_postgres.stop(signal.SIGQUIT)
    until(lambda: gateway.metric('eventgate_postgres_up{connection="publish"}') == 0, "the publishing connection is known to be lost")
    answer = gateway.publish(channel, "1")
    assert answer.status == 503 and int(answer.header("retry-after")) > 0
    assert answer.problem()[0] == "database-away"
    fragile_postgres.start()
    until(lambda: gateway.publish(channel, "2").status == 202, "publishing works again")


def test_every_acknowledged_event_arrives_although_the_connection_is_lost(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway(database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    listener = Listener(postgres, channel)
    acknowledged, sent = [], 0
    for lost in range(5):
        with Connection(gateway.address) as connection:
            for _ in range(50):
                connection.request("POST", f"/channels/{channel}", str(sent))
                sent += 1
            proxy.cut()
            statuses = [connection.response().status for _ in range(50)]
        assert set(statuses) <= {202, 503}, statuses
        acknowledged += [str(sent - 50 + n) for n, status in enumerate(statuses) if status == 202]
        until(lambda: gateway.metric('eventgate_postgres_up{connection="publish"}') == 1, "the publishing connection is back")
    assert gateway.publish(channel, "end").status == 202
    arrived = []
    while not arrived or arrived[-1] != "end":
        arrived += [payload for _, payload in listener.take(1)]
    assert len(arrived) == len(set(arrived)), "nothing was published twice"
    assert set(acknowledged) <= set(arrived)


def test_full_queue_is_503(start_gateway, make_proxy, postgres, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--publish-queue", "10", "--query-timeout", "20s",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    proxy.stall()
    waiting = [Connection(gateway.address).request("POST", f"/channels/{channel}", str(n)) for n in range(10)]
    until(lambda: gateway.metric("eventgate_publish_queue_items") == 10, "ten items wait")
    answer = gateway.publish(channel, "one too many")
    assert answer.status == 503 and answer.problem()[0] == "overloaded" and answer.header("retry-after")
    assert gateway.metric('eventgate_limited_total{limit="publish_queue"}') == 1
    proxy.flow()
    assert [connection.response().status for connection in waiting] == [202] * 10
    for connection in waiting:
        connection.close()


def test_what_never_fits_into_the_queue_is_413(start_gateway, channel):
    gateway = start_gateway("--publish-queue", "10").wait_ready()
    items = [{"channel": channel, "data": n} for n in range(11)]
    answer = gateway.call("POST", "/events", json.dumps(items), Content_Type="application/json")
    assert answer.status == 413 and answer.problem()[0] == "too-large" and "publish_queue" in answer.problem()[1]
    assert gateway.call("POST", "/events", json.dumps(items[1:]), Content_Type="application/json").status == 202


@pytest.fixture
def held(start_gateway, make_proxy, postgres, channel):
    """A gateway with one worker, and a POST on it whose commit isn't answered until the proxy flows again."""
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--workers", "1", "--query-timeout", "60s", "--header-timeout", "2s",
                            database=f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres").wait_ready()
    gateway.publish(channel, "first")
    proxy.stall()
    with Connection(gateway.address) as waiting:
        waiting.request("POST", f"/channels/{channel}", "held")
        until(lambda: gateway.metric("eventgate_publish_queue_items") == 1, "the POST waits for its commit")
        yield gateway, proxy, waiting


def cpu_ticks(gateway):
    with open(f"/proc/{gateway.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_while_a_post_waits_for_its_commit_its_worker_serves_the_others(held, channel):
    gateway, proxy, waiting = held
    large = b"x" * 900_000  # read whole, in many steps, before it is refused
    for _ in range(20):
        assert gateway.get("/livez").status == 200
        assert gateway.publish(channel, large).status == 413
    with Connection(gateway.address) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        assert [connection.response().status for _ in range(20)] == [200] * 20
    proxy.flow()
    assert waiting.response().status == 202


def test_a_post_that_waits_for_its_commit_costs_nothing_meanwhile(held):
    gateway, proxy, waiting = held
    before = cpu_ticks(gateway)
    with Connection(gateway.address) as idle:
        idle.send(b"GET /livez HTTP/1.1\r\n")
        assert idle.response().status == 408, "two seconds later"
    assert cpu_ticks(gateway) - before < 100, "a second of processor time: the worker spins"
    proxy.flow()
    assert waiting.response().status == 202


def test_a_client_may_leave_while_its_post_waits_for_the_commit(held, channel):
    gateway, proxy, waiting = held
    waiting.reset()
    with Connection(gateway.address) as other:
        other.request("POST", f"/channels/{channel}", "other")
        until(lambda: gateway.metric("eventgate_publish_queue_items") == 2, "both wait")
        proxy.flow()
        assert other.response().status == 202
    until(lambda: gateway.metric("eventgate_publish_queue_items") == 0, "nothing is left over")
    assert gateway.publish(channel, "last").status == 202


def test_requests_pipelined_behind_a_post_that_waits_are_answered_after_it(held, channel):
    gateway, proxy, waiting = held
    waiting.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert gateway.get("/livez").status == 200
    proxy.flow()
    assert [waiting.response().status for _ in range(4)] == [202, 200, 200, 200]
