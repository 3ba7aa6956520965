"""Subscribing: transports, formats, channel names, and what is refused."""

import json
import urllib.parse

import pytest

from kit.http import Connection

pytestmark = pytest.mark.threads
FORMATS = ["sse", "ndjson"]


@pytest.mark.parametrize("form", FORMATS)
def test_first_cursor_comes_at_once_and_events_follow(gateway, postgres, channel, form):
    with gateway.stream(f"/channels/{channel}?format={form}") as stream:
        assert stream.cursor()
        postgres.notify(channel, '{"a": 1}', "plain text")
        first, second = (item.json() for item in stream.events(2))
    assert (first["channel"], first["data"], second["data"]) == (channel, {"a": 1}, "plain text")
    assert list(first) == ["id", "channel", "time", "data"]
    assert first["time"][10] == "T" and first["time"].endswith("Z") and len(first["time"]) == 27
    assert first["id"] != second["id"]


def test_sse_head_and_fields(gateway, postgres, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        cursor = stream.cursor()
        assert stream.parser.retry > 0
        postgres.notify(channel, "1")
        event = stream.event()
    head = stream.head
    assert head.header("content-type").startswith("text/event-stream")
    assert {"no-store", "no-transform"} <= {part.strip() for part in head.header("cache-control").split(",")}
    assert head.header("x-accel-buffering") == "no"
    assert head.header("connection") == "close"
    assert event.name == "", "onmessage must see it"
    assert event.id not in ("", cursor)
    assert event.id.endswith(event.json()["id"])


@pytest.mark.parametrize("accept, content_type", [
    (None, "text/event-stream"),
    ("*/*", "text/event-stream"),
    ("text/event-stream", "text/event-stream"),
    ("application/x-ndjson", "application/x-ndjson"),
    ("application/json;q=0.1, application/x-ndjson", "application/x-ndjson"),
    ("text/html, text/event-stream;q=0.5", "text/event-stream"),
])
def test_transport_follows_accept(gateway, channel, accept, content_type):
    with gateway.stream(f"/channels/{channel}", Accept=accept) as stream:
        assert stream.head.header("content-type").startswith(content_type)


def test_accept_json_is_a_poll(gateway, channel):
    answer = gateway.get(f"/channels/{channel}", Accept="application/json")
    assert answer.header("content-type") == "application/json"
    assert answer.json()["events"] == [] and answer.json()["next"]


def test_nothing_acceptable_is_406(gateway, channel):
    answer = gateway.get(f"/channels/{channel}", Accept="image/png")
    assert answer.status == 406
    name, sentence = answer.problem()
    assert name == "not-acceptable" and "text/event-stream" in sentence


def test_poll_waits_for_the_event_after_its_cursor(gateway, postgres, channel):
    start = gateway.poll(f"/channels/{channel}")["next"]
    with Connection(gateway.address) as waiting:
        waiting.request("GET", f"/channels/{channel}?format=poll&wait=15&after={start}")
        postgres.notify(channel, "7")
        answer = waiting.response().json()
    assert [event["data"] for event in answer["events"]] == [7]
    assert answer["next"] != start and "gap" not in answer
    again = gateway.poll(f"/channels/{channel}?after={start}&limit=1")
    assert again["events"] == answer["events"]


def test_poll_answers_empty_after_its_wait(gateway, channel):
    start = gateway.poll(f"/channels/{channel}")["next"]
    answer = gateway.poll(f"/channels/{channel}?wait=1&after={start}")
    assert answer["events"] == []


def test_poll_limit_divides_the_events(gateway, postgres, channel):
    cursor = gateway.poll(f"/channels/{channel}")["next"]
    postgres.notify(channel, *[str(n) for n in range(5)])
    seen = []
    while len(seen) < 5:
        answer = gateway.poll(f"/channels/{channel}?limit=2&after={cursor}")
        assert 0 < len(answer["events"]) <= 2
        seen += [event["data"] for event in answer["events"]]
        cursor = answer["next"]
    assert seen == list(range(5))


def test_raw_payload_is_the_data_itself(gateway, postgres, channel):
    with gateway.stream(f"/channels/{channel}?payload=raw") as stream:
        stream.cursor()
        postgres.notify(channel, "one\ntwo\r\nthree\rfour", '{"a":  1}')
        assert [item.text for item in stream.events(2)] == ["one\ntwo\nthree\nfour", '{"a":  1}']


@pytest.mark.parametrize("form", FORMATS)
def test_cloudevents(gateway, postgres, channel, form):
    with gateway.stream(f"/channels/{channel}?payload=cloudevents&format={form}") as stream:
        stream.cursor()
        postgres.notify(channel, '{"x":1}')
        event = stream.event().json()
    assert event["specversion"] == "1.0" and event["id"] and event["type"] and event["time"]
    assert event["source"] == f"/channels/{channel}" and event["subject"] == channel
    assert event["datacontenttype"] == "application/json" and event["data"] == {"x": 1}


def test_event_field_is_the_channel_when_asked_for(gateway, postgres, channel):
    with gateway.stream(f"/channels/{channel}?event=channel") as stream:
        stream.cursor()
        postgres.notify(channel, "1")
        assert stream.event().name == channel


def test_several_channels_in_one_stream_are_in_commit_order(gateway, postgres, channel):
    names = [f"{channel}/{letter}" for letter in "abc"]
    query = "&".join(f"channel={name}" for name in names)
    with gateway.stream(f"/events?{query}") as stream:
        stream.cursor()
        sent = [names[n % 3] for n in range(9)]
        for name in sent:
            postgres.notify(name, "1")
        assert [item.json()["channel"] for item in stream.events(9)] == sent


def test_wildcard_covers_channels_listed_by_name(gateway, postgres):
    with gateway.stream("/events?channel=listed/*") as stream:
        stream.cursor()
        postgres.notify("listed/a", '"a"')
        postgres.notify("listed/b", '"b"')
        assert [item.data for item in stream.events(2)] == ["a", "b"]


def test_wildcard_over_channels_known_only_by_pattern_is_400(gateway, channel):
    answer = gateway.get(f"/events?channel={channel}/*")
    assert answer.status == 400
    assert answer.problem()[1]


@pytest.mark.parametrize("name", ["ünï/çode", "日本語", "with space", "semi;colon", "a.b", 'quo"te', "per%cent",
                                  "Mixed/Case"])
def test_names_of_every_kind(gateway, postgres, channel, name):
    full = f"{channel}/{name}"
    with gateway.stream(f"/channels/{urllib.parse.quote(full)}") as stream:
        stream.cursor()
        postgres.notify(full, "1")
        assert stream.event().json()["channel"] == full


def test_an_escaped_slash_is_a_slash(gateway, postgres, channel):
    with gateway.stream("/channels/" + urllib.parse.quote(f"{channel}/x", safe="")) as stream:
        stream.cursor()
        postgres.notify(f"{channel}/x", "1")
        assert stream.event().json()["channel"] == f"{channel}/x"


def test_http_1_0_gets_plain_bytes_until_the_end(gateway, postgres, channel):
    with gateway.stream(f"/channels/{channel}", version="1.0") as stream:
        assert stream.head.header("transfer-encoding") is None
        stream.cursor()
        postgres.notify(channel, "1", "2")
        assert [item.data for item in stream.events(2)] == [1, 2]


def test_http_1_1_gets_chunks(gateway, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        assert stream.head.header("transfer-encoding") == "chunked"


def test_head_is_the_head_alone(gateway, channel):
    answer = gateway.call("HEAD", f"/channels/{channel}")
    assert answer.status == 200 and answer.header("content-type").startswith("text/event-stream")
    assert answer.body == b""


@pytest.mark.parametrize("target, methods", [
    ("/channels/t/options", {"GET", "HEAD", "POST", "OPTIONS"}),
    ("/events", {"GET", "HEAD", "POST", "OPTIONS"}),
    ("/livez", {"GET", "HEAD", "OPTIONS"}),
])
def test_options_and_405_name_the_methods(gateway, target, methods):
    answer = gateway.call("OPTIONS", target)
    assert answer.status == 204
    assert {name.strip() for name in answer.header("allow").split(",")} == methods
    answer = gateway.call("DELETE", target)
    assert answer.status == 405
    assert {name.strip() for name in answer.header("allow").split(",")} == methods
    assert answer.problem()[0] == "method-not-allowed"


def test_unknown_channel_is_404_and_lists_what_there_is(gateway):
    answer = gateway.get("/channels/elsewhere")
    assert answer.status == 404
    name, sentence = answer.problem()
    assert name == "unknown-channel"
    assert all(text in sentence for text in ("elsewhere", "listed/a", "listed/b", "t/**"))


def test_name_too_long_for_postgres_is_404(gateway):
    longest, too_long = "t/" + "x" * 61, "t/" + "x" * 62
    with gateway.stream(f"/channels/{longest}") as stream:
        stream.cursor()
    answer = gateway.get(f"/channels/{too_long}")
    assert answer.status == 404 and "63" in answer.problem()[1]


@pytest.mark.parametrize("target", ["/nothing", "/channels/", "/livez/", "/channelsx/a"])
def test_no_such_page_is_404(gateway, target):
    answer = gateway.get(target)
    assert answer.status == 404 and answer.problem()


@pytest.mark.parametrize("query", [
    "format=xml", "payload=base64", "event=all", "wait=5&format=sse", "limit=5&format=ndjson",
    "payload=raw&format=ndjson", "payload=raw&format=poll", "event=channel&format=ndjson", "wait=61", "wait=-1", "limit=0&format=poll", "unknown=1",
    "format=sse&format=sse", "after=nonsense", "after=", "channel=a%00b", "x=%ff", "x=%zz",
])
def test_odd_queries_are_refused_with_a_sentence(gateway, channel, query):
    answer = gateway.get(f"/channels/{channel}?{query}")
    assert answer.status == 400, answer
    assert answer.problem()[1].endswith(".")


@pytest.mark.parametrize("name", ["t//x", "t/../x", "t/./x", "t/%2e%2e/x", "t/x%00", "t/x%0a", "t/a,b", "t/%ff"])
def test_names_that_cannot_be_channels(gateway, name):
    assert gateway.get(f"/channels/{name}").status in (400, 404)


def test_events_without_a_channel_says_what_is_missing(gateway):
    answer = gateway.get("/events")
    assert answer.status == 400 and "channel" in answer.problem()[1]


def test_heartbeats_carry_the_cursor_when_it_has_moved(start_gateway, postgres, channel):
    own = start_gateway("--heartbeat", "300ms").wait_ready()
    with own.stream(f"/channels/{channel}") as quiet, own.stream(f"/channels/{channel}/busy") as busy:
        first = quiet.cursor()
        busy.cursor()
        postgres.notify(f"{channel}/busy", "1", "2")
        assert busy.events(2)[-1].id == quiet.cursor() != first, "an idle subscriber's cursor never grows old"


def test_heartbeats_without_news_are_comments(start_gateway, channel):
    own = start_gateway("--heartbeat", "200ms").wait_ready()
    with own.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        while stream.parser.comments < 3:
            assert stream.parser.feed(stream.connection.chunk()) == []


def test_two_gateways_give_the_same_events(gateway, start_gateway, postgres, channel):
    other = start_gateway().wait_ready()
    with gateway.stream(f"/channels/{channel}") as one, other.stream(f"/channels/{channel}") as two:
        one.cursor()
        two.cursor()
        postgres.notify(channel, *[json.dumps({"n": n}) for n in range(50)])
        assert [i.data for i in one.events(50)] == [i.data for i in two.events(50)] == [{"n": n} for n in range(50)]
