"""POST to durable channels: 201 says that the event is in the log, once, with the id that every gateway gives it."""

import json
import signal

import pytest

from kit.http import Connection
from kit.wait import until
from test_publish import Listener

JSON = {"Content_Type": "application/json"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def position(event_id):
    tag, _, number = event_id.partition(".")
    assert tag.isalnum() and number.isdigit(), event_id
    return int(number)


def log(postgres, channel, columns="data::text"):
    """What the log has of a channel, in order."""
    rows = postgres.sql(f"select {columns} from eventgate.log where channel = %s order by pos", channel)
    return [row[0] if len(row) == 1 else row for row in rows]


def accepted(answer, replayed=False):
    """The id that a 201 tells."""
    assert answer.status == 201, answer
    assert answer.header("content-type") == "application/json"
    assert answer.header("idempotency-replayed") == ("true" if replayed else None)
    told = answer.json()
    assert set(told) == {"status", "id"} and told["status"] == 201
    return told["id"]


def refused(answer, status, name):
    assert answer.status == status, answer
    told, sentence = answer.problem()
    assert told == name and sentence
    return sentence


@pytest.mark.threads
def test_201_means_committed(durable_gateway, postgres, durable_channel):
    ids = []
    for n in range(20):
        ids.append(accepted(durable_gateway.publish(durable_channel, f'{{"n":{n}}}')))
        assert log(postgres, durable_channel, "pos")[n:] == [position(ids[-1])]
    assert log(postgres, durable_channel) == [f'{{"n":{n}}}' for n in range(20)]
    assert len({i.partition(".")[0] for i in ids}) == 1, "the tag is the log's"
    assert [position(i) for i in ids] == sorted({position(i) for i in ids})


def test_the_id_is_the_one_that_streams_tell(durable_gateway, durable_channel):
    with durable_gateway.stream(f"/channels/{durable_channel}") as stream:
        stream.cursor()
        event_id = accepted(durable_gateway.publish(durable_channel, '{"a":1}'))
        assert stream.event().json()["id"] == event_id


BODIES = ['{"n":1000000000000000000000000000000,"d":0.10, "b":1,"a":2,"a":3}', '{\n  "pretty": [\r\n 1 ]\n}\n', r'"\u00e9\/"',
          "null", " 1 ", '"ünï 日本 😀"', '"' + "x" * 100_000 + '"']
TEXTS = ["plain text", "tab\tand\nlines\r\n", "ünï 日本 😀", "'quoted' \"$$\" \\ %s", "", " ", "1e400", r'"\ud800"', "{open",
         "x" * 100_000]


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.x+json; charset=utf-8", None,
                                          "application/x-www-form-urlencoded"])
def test_json_is_kept_byte_for_byte(durable_gateway, postgres, durable_channel, content_type):
    for body in BODIES:
        accepted(durable_gateway.publish(durable_channel, body, Content_Type=content_type))
    assert log(postgres, durable_channel) == BODIES


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded"])
def test_what_says_nothing_and_is_no_json_becomes_a_string(durable_gateway, postgres, durable_channel, content_type):
    for text in TEXTS:
        accepted(durable_gateway.publish(durable_channel, text, Content_Type=content_type))
    assert [json.loads(data) for data in log(postgres, durable_channel)] == TEXTS


def test_text_is_a_string_always(durable_gateway, postgres, durable_channel):
    for text in TEXTS + BODIES:
        accepted(durable_gateway.publish(durable_channel, text, Content_Type="text/plain"))
    assert [json.loads(data) for data in log(postgres, durable_channel)] == TEXTS + BODIES


@pytest.mark.parametrize("body, headers, status, name", [
    (b"\xff\xfe", {}, 400, "bad-body"),
    (b'"\xed\xa0\x80"', {}, 400, "bad-body"),
    (b"nul \0 byte", {}, 400, "bad-body"),
    ("{not json", JSON, 400, "bad-body"),
    ("", JSON, 400, "bad-body"),
    ("x", {"Content_Type": "image/png"}, 415, "unsupported-type"),
    ("x", {"Content_Encoding": "gzip"}, 415, "unsupported-type"),
    ("{}", {"Content_Type": "application/x-ndjson"}, 415, "unsupported-type"),
    ("1", {"Idempotency_Key": ""}, 400, "bad-parameter"),
    ("1", {"Idempotency_Key": "k" * 256}, 400, "bad-parameter"),
    ("1", {"Idempotency_Key": "a\tb"}, 400, "bad-parameter"),
])
def test_what_cannot_be_published(durable_gateway, postgres, durable_channel, body, headers, status, name):
    refused(durable_gateway.publish(durable_channel, body, **headers), status, name)
    assert log(postgres, durable_channel) == []


@pytest.mark.parametrize("name", ["d/" + "x" * 198, "d/" + "é" * 99, "d/a.b/ c/%25", "kept/a"])
def test_names(durable_gateway, postgres, name):
    target = name.encode().decode("latin1").replace(" ", "%20") if "é" not in name else name.replace("é", "%C3%A9")
    event_id = accepted(durable_gateway.call("POST", f"/channels/{target}", "1"))
    assert postgres.sql("select channel from eventgate.log where pos = %s", position(event_id)) == [
        (name.replace("%25", "%"),)]


@pytest.mark.parametrize("name, status", [("d/" + "x" * 199, 400), ("d/*", 400), ("d/**", 400), ("d", 404), ("kept/c", 404)])
def test_channels_that_cannot_be_published_to(durable_gateway, name, status):
    assert durable_gateway.publish(name, "1").status == status


def test_size_is_bounded_by_the_log_and_by_the_gateway(start_gateway, postgres, durable_channel):
    gateway = start_gateway("--max-body", "2MB", durable="d/**").wait_ready()
    largest = "x" * (1 << 20)
    sentence = refused(gateway.publish(durable_channel, largest), 413, "too-large")
    assert "1048578" in sentence and "1048576" in sentence, "two quotes more than the log takes"
    accepted(gateway.publish(durable_channel, largest[2:]))
    accepted(gateway.publish(durable_channel, "1"))
    assert [len(data) for data in log(postgres, durable_channel)] == [1 << 20, 1]
    with Connection(gateway.address) as connection:
        connection.request("POST", f"/channels/{durable_channel}", Content_Length=str((2 << 20) + 1))
        refused(connection.response(), 413, "too-large")


def test_type(durable_gateway, postgres, durable_channel):
    target = f"/channels/{durable_channel}"
    for query in ("?type=order.created", "?type=ünï%20x".replace("ünï", "%C3%BCn%C3%AF"), "?access_token=x&type=" + "t" * 100, ""):
        accepted(durable_gateway.call("POST", target + query, "1"))
    assert log(postgres, durable_channel, "type") == ["order.created", "ünï x", "t" * 100, None]


@pytest.mark.parametrize("query, told", [
    ("type=", "empty"), ("type=" + "t" * 101, "100 bytes"), ("type=a%0ab", "control"), ("type=a&type=b", "twice"),
    ("key=x", "Idempotency-Key"), ("type=%FF", "UTF-8")])
def test_parameters_that_are_refused(durable_gateway, postgres, durable_channel, query, told):
    answer = durable_gateway.call("POST", f"/channels/{durable_channel}?{query}", "1")
    assert answer.status == 400 and told in answer.problem()[1]
    assert log(postgres, durable_channel) == []


# --- idempotency keys


@pytest.mark.threads
def test_a_repeat_is_answered_with_the_first_id_on_any_gateway(durable_gateway, start_gateway, postgres, durable_channel):
    other = start_gateway(durable="d/**").wait_ready()
    first = accepted(durable_gateway.publish(durable_channel, '{"a":1}', Idempotency_Key="once"))
    for gateway in (durable_gateway, other, durable_gateway):
        assert accepted(gateway.publish(durable_channel, '{"a":1}', Idempotency_Key="once"), replayed=True) == first
    assert accepted(other.publish(durable_channel, '{"a":1}', Idempotency_Key='"once"'), replayed=True) == first
    assert log(postgres, durable_channel) == ['{"a":1}']


def test_without_a_key_a_repeat_is_another_event(durable_gateway, postgres, durable_channel):
    ids = {accepted(durable_gateway.publish(durable_channel, "same")) for _ in range(3)}
    assert len(ids) == 3 and log(postgres, durable_channel) == ['"same"'] * 3


def test_a_key_belongs_to_its_channel(durable_gateway, durable_channel):
    one = accepted(durable_gateway.publish(f"{durable_channel}/one", "1", Idempotency_Key="k"))
    two = accepted(durable_gateway.publish(f"{durable_channel}/two", "1", Idempotency_Key="k"))
    assert one != two


def test_a_key_with_another_body_is_a_conflict(durable_gateway, postgres, durable_channel):
    accepted(durable_gateway.publish(durable_channel, '{"a":1}', Idempotency_Key="k"))
    for body, query in (('{"a":2}', ""), ('{"a": 1}', ""), ('{"a":1}', "?type=x")):
        answer = durable_gateway.call("POST", f"/channels/{durable_channel}{query}", body, Idempotency_Key="k")
        refused(answer, 422, "idempotency-conflict")
    assert log(postgres, durable_channel) == ['{"a":1}']


def test_keys_outlive_crashes_of_gateway_and_database(start_gateway, fragile_postgres, durable_channel):
    gateway = start_gateway(database=fragile_postgres, durable="d/**").wait_ready()
    first = accepted(gateway.publish(durable_channel, "1", Idempotency_Key="k"))
    gateway.stop(signal.SIGKILL)
    fragile_postgres.stop(signal.SIGQUIT)
    fragile_postgres.start()
    gateway = start_gateway(database=fragile_postgres, durable="d/**").wait_ready()
    assert accepted(gateway.publish(durable_channel, "1", Idempotency_Key="k"), replayed=True) == first
    assert position(accepted(gateway.publish(durable_channel, "2"))) > position(first)
    assert log(fragile_postgres, durable_channel) == ["1", "2"]


@pytest.mark.threads
def test_concurrent_posts_with_one_key_are_one_event(durable_gateway, postgres, durable_channel):
    posts = [Connection(durable_gateway.address).request("POST", f"/channels/{durable_channel}", "1", Idempotency_Key="k")
             for _ in range(30)]
    answers = [post.response() for post in posts]
    for post in posts:
        post.close()
    assert {answer.status for answer in answers} == {201} and len({answer.json()["id"] for answer in answers}) == 1
    assert sum(answer.header("idempotency-replayed") is None for answer in answers) == 1
    assert log(postgres, durable_channel) == ["1"]


@pytest.mark.threads
def test_in_concurrent_posts_a_bad_one_fails_alone(durable_gateway, postgres, durable_channel):
    accepted(durable_gateway.publish(durable_channel, "0", Idempotency_Key="k"))
    posts = [Connection(durable_gateway.address) for _ in range(30)]
    for n, post in enumerate(posts):
        post.request("POST", f"/channels/{durable_channel}", str(n + 1), Idempotency_Key="k" if n % 10 == 5 else None)
    statuses = [post.response().status for post in posts]
    for post in posts:
        post.close()
    assert statuses == [422 if n % 10 == 5 else 201 for n in range(30)]
    assert sorted(map(int, log(postgres, durable_channel))) == [0] + [n + 1 for n in range(30) if n % 10 != 5]


# --- traces


def test_traceparent_is_carried(durable_gateway, postgres, durable_channel):
    durable_gateway.publish(durable_channel, "1", traceparent=TRACE)
    durable_gateway.publish(durable_channel, "2", traceparent="cc" + TRACE[2:] + "-later")
    durable_gateway.call("POST", "/events", batch((durable_channel, 3), (durable_channel, 4)), traceparent=TRACE)
    assert log(postgres, durable_channel, "trace") == [TRACE] * 4


@pytest.mark.parametrize("header", ["", "nonsense", TRACE.upper(), TRACE + "-00", "ff" + TRACE[2:], TRACE.replace("4", "0g")])
def test_an_invalid_traceparent_counts_as_none(durable_gateway, postgres, durable_channel, header):
    accepted(durable_gateway.publish(durable_channel, "1", traceparent=header))
    assert log(postgres, durable_channel, "trace") == [None]


# --- batches


def batch(*items):
    """Items: (channel, data, more members)."""
    return json.dumps([{"channel": item[0], "data": item[1]} | (item[2] if len(item) > 2 else {}) for item in items])


def post_batch(gateway, body):
    return gateway.call("POST", "/events", body, **JSON)


@pytest.mark.threads
def test_a_batch_is_appended_in_its_order(durable_gateway, postgres, durable_channel):
    answer = post_batch(durable_gateway, batch(*[(durable_channel, {"n": n}) for n in range(100)]))
    assert answer.status == 201, answer
    rows = answer.json()["results"]
    assert [set(row) for row in rows] == [{"status", "id"}] * 100 and {row["status"] for row in rows} == {201}
    assert log(postgres, durable_channel, "pos") == [position(row["id"]) for row in rows]
    assert [json.loads(data)["n"] for data in log(postgres, durable_channel)] == list(range(100))


def test_a_batch_keeps_the_bytes_of_its_data(durable_gateway, postgres, durable_channel):
    texts = ['{"b":1,  "a":1e40}', "1000000000000000000000000000000", "[0.10, 1E+2]", r'"\u00e9\/"', '"text"', '"7"', "null",
             '"a\\u0000b"']
    items = ",".join(f'{{"channel":"{durable_channel}","data":{text}}}' for text in texts)
    assert post_batch(durable_gateway, f"[{items}]").status == 201
    lines = "\n".join(f'{{"data": {text} ,"channel":"{durable_channel}"}}' for text in texts)
    assert durable_gateway.call("POST", "/events", lines, Content_Type="application/x-ndjson").status == 201
    assert log(postgres, durable_channel) == texts * 2


def test_items_have_types_and_keys(durable_gateway, postgres, durable_channel):
    body = batch((durable_channel, 1, {"type": "a"}), (durable_channel, 2, {"key": "k"}),
                 (durable_channel, 3, {"type": "ünï", "key": "ünï"}), (durable_channel, 4))
    first = post_batch(durable_gateway, body)
    assert first.status == 201
    assert log(postgres, durable_channel, "type, data::text") == [("a", "1"), (None, "2"), ("ünï", "3"), (None, "4")]
    again = post_batch(durable_gateway, body)
    assert again.status == 201
    rows = list(zip(first.json()["results"], again.json()["results"]))
    assert [row.get("replayed", False) for _, row in rows] == [False, True, True, False]
    assert [one["id"] == two["id"] for one, two in rows] == [False, True, True, False]
    assert len(log(postgres, durable_channel)) == 6
    assert accepted(durable_gateway.publish(durable_channel, "2", Idempotency_Key="k"), replayed=True) == rows[1][0]["id"]


def test_one_key_twice_in_a_batch(durable_gateway, postgres, durable_channel):
    answer = post_batch(durable_gateway, batch(*[(durable_channel, 1, {"key": "k"})] * 2, (durable_channel, 2)))
    assert answer.status == 201, answer
    one, two, three = answer.json()["results"]
    assert one["id"] == two["id"] != three["id"] and "replayed" not in one and two["replayed"]
    conflict = post_batch(durable_gateway, batch((durable_channel, 3, {"key": "x"}), (durable_channel, 4, {"key": "x"})))
    assert "Item 2" in refused(conflict, 422, "idempotency-conflict")
    assert log(postgres, durable_channel) == ["1", "2"]


@pytest.mark.threads
def test_a_batch_of_both_kinds(durable_gateway, postgres, durable_channel, channel):
    listener = Listener(postgres, channel)
    answer = post_batch(durable_gateway, batch((channel, "one"), (durable_channel, "two"), (channel, {"n": 3}), (durable_channel, 4)))
    assert answer.status == 207
    assert [row["status"] for row in answer.json()["results"]] == [202, 201, 202, 201]
    assert listener.committed(2) == [(channel, "one"), (channel, '{"n": 3}')]
    assert log(postgres, durable_channel) == ['"two"', "4"]


REFUSED = [
    ('{"channel":"D","data":2,"key":"taken"}', 422, "idempotency-conflict"),
    ('{"channel":"D","data":"' + "x" * (1 << 20) + '"}', 413, "too-large"),
    ('{"channel":"D","data":2,"type":""}', 400, "bad-parameter"),
    ('{"channel":"D","data":2,"type":"a\\nb"}', 400, "bad-parameter"),
    ('{"channel":"D","data":2,"type":"' + "t" * 101 + '"}', 400, "bad-parameter"),
    ('{"channel":"D","data":2,"key":""}', 400, "bad-parameter"),
    ('{"channel":"D","data":2,"key":"a\\u0000b"}', 400, "bad-parameter"),
    ('{"channel":"D","data":2,"key":"' + "k" * 256 + '"}', 400, "bad-parameter"),
    ('{"channel":"D","data":2,"key":1}', 400, "bad-body"),
    ('{"channel":"L","data":2,"key":"k"}', 400, "bad-parameter"),
    ('{"channel":"L","data":"' + "x" * 8000 + '"}', 413, "too-large"),
    ('{"channel":"elsewhere","data":2}', 404, "unknown-channel"),
]


@pytest.mark.parametrize("bad, status, name", REFUSED, ids=[f"{row[2]}-{n}" for n, row in enumerate(REFUSED)])
def test_a_batch_with_a_bad_item_publishes_nothing(start_gateway, postgres, durable_channel, channel, bad, status, name):
    gateway = start_gateway("--max-body", "3MB", durable="d/**").wait_ready()
    listener = Listener(postgres, channel)
    accepted(gateway.publish(durable_channel, "1", Idempotency_Key="taken"))
    items = '[{"channel":"L","data":"live"},{"channel":"D","data":1},' + bad + ',{"channel":"D","data":3}]'
    sentence = refused(post_batch(gateway, items.replace('"D"', f'"{durable_channel}"').replace('"L"', f'"{channel}"')), status, name)
    assert "othing" in sentence or name == "unknown-channel"
    if name in ("idempotency-conflict", "bad-parameter", "bad-body"):
        assert "Item 3" in sentence
    gateway.publish(channel, "marker")
    assert listener.take(1) == [(channel, "marker")]
    assert log(postgres, durable_channel) == ["1"]
    listener.connection.close()


def test_durable_events_of_a_batch_are_of_one_set(start_gateway, postgres, tmp_path):
    file = tmp_path / "gateway.conf"
    file.write_text(f"[set one]\npostgres = {postgres.conninfo}\ndurable = one/*\n"
                    f"[set two]\npostgres = {postgres.conninfo}\nlive = t/**\ndurable = two/*\n")
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    answer = post_batch(gateway, batch(("one/a", 1), ("t/1", 1), ("two/a", 2)))
    sentence = refused(answer, 400, "bad-channel")
    assert "Item 3" in sentence and "set one" in sentence and "set two" in sentence
    assert log(postgres, "one/a") == log(postgres, "two/a") == []
    answer = post_batch(gateway, batch(("one/a", 1), ("t/1", 1)))
    assert [row["status"] for row in answer.json()["results"]] == [201, 202]


def test_options_of_single_posts_are_refused_for_a_batch(durable_gateway, durable_channel):
    body = batch((durable_channel, 1))
    assert "own \"type\"" in refused(durable_gateway.call("POST", "/events?type=x", body, **JSON), 400, "bad-parameter")
    answer = durable_gateway.call("POST", "/events", body, Idempotency_Key="k", **JSON)
    assert "own \"key\"" in refused(answer, 400, "bad-parameter")


# --- faults


def test_database_away_is_503_with_retry_after(start_gateway, fragile_postgres, durable_channel):
    gateway = start_gateway(database=fragile_postgres, durable="d/**").wait_ready()
    fragile_postgres.stop(signal.SIGQUIT)
    until(lambda: gateway.metric('eventgate_postgres_up{connection="append"}') == 0, "the appending connection is known to be lost")
    gateway.wait_unready()
    answer = gateway.publish(durable_channel, "1")
    refused(answer, 503, "database-away")
    assert int(answer.header("retry-after")) > 0
    refused(post_batch(gateway, batch((durable_channel, 1), ("t/1", 1))), 503, "database-away")
    fragile_postgres.start()
    until(lambda: gateway.publish(durable_channel, "2").status == 201, "publishing works again")
    assert log(fragile_postgres, durable_channel) == ["2"]


def over_tcp(proxy):
    return f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres"


def test_a_repeat_after_an_unknown_outcome_is_published_once(start_gateway, make_proxy, postgres, durable_gateway, durable_channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--durable", "d/**", database=over_tcp(proxy)).wait_ready()
    acknowledged, unknown, sent = {}, 0, 0
    for _ in range(5):
        with Connection(gateway.address) as connection:
            for n in range(sent, sent + 50):
                connection.request("POST", f"/channels/{durable_channel}", str(n), Idempotency_Key=f"key {n}")
            proxy.cut()
            answers = [connection.response() for _ in range(50)]
        for n, answer in enumerate(answers, sent):
            if answer.status != 201:
                name, sentence = answer.problem()
                assert name in ("outcome-unknown", "database-away")
                assert "same Idempotency-Key" in sentence or name == "database-away"
                unknown += name == "outcome-unknown"
            else:
                acknowledged[n] = answer.json()["id"]
        sent += 50
        until(lambda: gateway.metric('eventgate_postgres_up{connection="append"}') == 1, "the appending connection is back")
    for n in range(sent):
        again = until(lambda n=n: is_201(gateway.publish(durable_channel, str(n), Idempotency_Key=f"key {n}")), "it is published")
        assert acknowledged.setdefault(n, again.json()["id"]) == again.json()["id"]
    rows = log(postgres, durable_channel, "pos, data::text")
    assert sorted(int(data) for _, data in rows) == list(range(sent)), "each once"
    assert {int(data): pos for pos, data in rows} == {n: position(event_id) for n, event_id in acknowledged.items()}


def test_a_batch_of_unknown_outcome_can_be_sent_again(start_gateway, make_proxy, postgres, durable_gateway, durable_channel, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--durable", "d/**", "--query-timeout", "60s", database=over_tcp(proxy)).wait_ready()
    listener = Listener(postgres, channel)
    body = batch((durable_channel, 1, {"key": "k"}), (channel, "live"))
    proxy.stall()
    with Connection(gateway.address) as connection:
        connection.request("POST", "/events", body, **JSON)
        until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "it waits")
        proxy.cut()
        sentence = refused(connection.response(), 503, "outcome-unknown")
    assert '"key"' in sentence and "live ones were not" in sentence
    proxy.flow()
    gateway.wait_ready()
    answer = post_batch(gateway, body)
    assert [row["status"] for row in answer.json()["results"]] == [201, 202]
    gateway.publish(channel, "marker")
    assert listener.take(2) == [(channel, "live"), (channel, "marker")]
    assert log(postgres, durable_channel) == ["1"]
    listener.connection.close()


def is_201(answer):
    return answer if answer.status == 201 else None


def test_full_queue_is_503(start_gateway, make_proxy, postgres, durable_gateway, durable_channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--publish-queue", "10", "--query-timeout", "20s", "--durable", "d/**",
                            database=over_tcp(proxy)).wait_ready()
    proxy.stall()
    waiting = [Connection(gateway.address).request("POST", f"/channels/{durable_channel}", str(n)) for n in range(10)]
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 10, "ten items wait")
    refused(gateway.publish(durable_channel, "one too many"), 503, "overloaded")
    proxy.flow()
    assert [connection.response().status for connection in waiting] == [201] * 10
    for connection in waiting:
        connection.close()


@pytest.mark.threads
def test_a_client_may_leave_while_its_batch_waits(start_gateway, make_proxy, postgres, durable_gateway, durable_channel, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "60s", "--durable", "d/**", "--workers", "1",
                            database=over_tcp(proxy)).wait_ready()
    listener = Listener(postgres, channel)
    proxy.stall()
    with Connection(gateway.address) as leaving:
        leaving.request("POST", "/events", batch((durable_channel, 1), (channel, "live")), **JSON)
        until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "it waits")
        leaving.reset()
    proxy.flow()
    assert listener.take(1) == [(channel, "live")], "what was submitted is published"
    assert log(postgres, durable_channel) == ["1"]
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 0, "nothing is left over")


def test_a_drain_finishes_what_waits(start_gateway, make_proxy, postgres, durable_gateway, durable_channel, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "60s", "--durable", "d/**", database=over_tcp(proxy)).wait_ready()
    proxy.stall()
    with Connection(gateway.address) as waiting:
        waiting.request("POST", "/events", batch((durable_channel, 1), (channel, "live")), **JSON)
        until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "it waits")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("draining")
        proxy.flow()
        assert [row["status"] for row in waiting.response().json()["results"]] == [201, 202]
    assert gateway.ended() == 0


def test_the_end_comes_while_a_batch_waits(start_gateway, make_proxy, postgres, durable_gateway, durable_channel, channel):
    proxy = make_proxy(postgres.socket)
    gateway = start_gateway("--query-timeout", "60s", "--drain-timeout", "100ms", "--durable", "d/**",
                            database=over_tcp(proxy)).wait_ready()
    proxy.stall()
    with Connection(gateway.address) as waiting:
        waiting.request("POST", "/events", batch((durable_channel, 1), (channel, "live")), **JSON)
        until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "it waits")
        assert gateway.stop() == 0


# --- for operators


def test_not_ready_without_the_schema(start_gateway, fragile_postgres, durable_channel):
    gateway = start_gateway("--durable", "d/**", database=fragile_postgres)

    def complaints():
        return [row for row in gateway.get("/healthz").json()["sets"] if "schema" in row.get("log_problem", "")]

    (row,) = until(complaints, "it says why")
    assert not row["appending"] and not row["reading"]
    assert gateway.get("/readyz").status == 503
    refused(gateway.publish(durable_channel, "1"), 503, "database-away")
    until(lambda: gateway.publish("t/1", "1").status == 202, "live channels work all the same")


def test_listings_show_durable_channels(start_gateway, postgres, durable_channel):
    gateway = start_gateway("--durable", f"d/**,kept/a,{durable_channel.replace('d/', 'kept/')}", live="t/**").wait_ready()
    event_id = accepted(gateway.publish(durable_channel, "1"))
    until(lambda: gateway.metric("eventgate_log_position") >= position(event_id), "it has been read")
    (row,) = gateway.get("/sets").json()["sets"]
    assert row["reading"] and row["appending"] and "log_problem" not in row
    assert row["log"] == event_id.partition(".")[0] and row["position"] >= position(event_id)
    assert row["head"].startswith(row["log"] + ".") and "~" in row["head"]
    listing = gateway.get("/channels").json()
    rows = {row["name"]: row for row in listing["channels"]}
    quiet = durable_channel.replace("d/", "kept/")
    assert rows[quiet] == {"name": quiet, "set": "default", "kind": "durable", "listening": True, "subscribers": None,
                           "events": 0}
    assert rows[durable_channel]["events"] == 1 and "kept/a" in rows
    assert {"pattern": "d/**", "set": "default", "kind": "durable"} in listing["patterns"]
    with gateway.stream(f"/channels/{durable_channel}") as stream:
        stream.cursor()
        gateway.publish(durable_channel, "2")
        stream.event()
        rows = {row["name"]: row for row in gateway.get("/channels").json()["channels"]}
    assert rows[durable_channel]["kind"] == "durable" and rows[durable_channel]["subscribers"] == 1
    assert rows[durable_channel]["events"] >= 1


def test_a_set_with_durable_channels_alone(start_gateway, postgres, durable_channel):
    gateway = start_gateway(durable="d/**", live=None).wait_ready()
    event_id = accepted(gateway.publish(durable_channel, "1"))
    until(lambda: gateway.get("/sets").json()["sets"][0]["head"] == event_id, "the head is its position")
    (row,) = gateway.get("/sets").json()["sets"]
    assert row["reading"] and row["appending"] and "listening" not in row and "publishing" not in row
    assert gateway.publish("t/1", "1").status == 404


def test_results_are_counted(start_gateway, postgres, durable_channel):
    gateway = start_gateway(durable="d/**").wait_ready()
    for body, key in (("1", "a"), ("1", "a"), ("2", "a"), ("3", None)):
        gateway.publish(durable_channel, body, Idempotency_Key=key)
    post_batch(gateway, batch((durable_channel, 1, {"key": "b"}), (durable_channel, 2, {"key": "a"})))
    results = {result: gateway.metric(f'eventgate_published_total{{kind="durable",result="{result}"}}')
               for result in ("committed", "replayed", "conflict", "withheld")}
    assert results == {"committed": 2, "replayed": 1, "conflict": 2, "withheld": 1}
    assert gateway.metric('eventgate_publish_batch_items_count{kind="durable"}') >= 4
