"""What PostgreSQL was given is what subscribers get."""

import json

import pytest

pytestmark = pytest.mark.threads

# Carried as they are, byte for byte.
JSON = [
    '{"n":1000000000000000000000000000000,"d":0.10,"e":1E+2,"z":-0.0}',
    "1000000000000000000000000000000",
    "0.10",
    '{"z":1,"a":2,"m":{"y":3,"b":4}}',
    '{"a":1,"a":2}',
    r'"\u00e9\/\ud83d\ude00\b\f\n\r\t\"\\"',
    r'"\u0000"',
    "[]",
    "null",
    "true",
    '""',
    '{ "spaces" : [ 1 , 2 ] }',
]

# Not JSON, or not JSON that can be carried as it is: a JSON string.
TEXT = ["plain text", "{not json}", "NaN", "01", "'single'", "[1,]", '{"a":1}{"b":2}', '"open', "1e400", r'"\ud800"', " ",
        "\ttab", "line one\nline two\r\nline three", "data: x\n\nid: 9\n\n", "\x01\x1f\x7f"]


def body_of(frame):
    """The text of the last member, `data`."""
    start = frame.index('"data":') + len('"data":')
    assert frame.endswith("}")
    return frame[start:-1]


@pytest.fixture(params=["sse", "ndjson"])
def stream(request, gateway, channel):
    with gateway.stream(f"/channels/{channel}?format={request.param}") as opened:
        opened.cursor()
        opened.channel = channel
        yield opened


def test_json_keeps_its_bytes(stream, postgres):
    postgres.notify(stream.channel, *JSON)
    assert [body_of(item.text) for item in stream.events(len(JSON))] == JSON


def test_text_becomes_a_json_string(stream, postgres):
    postgres.notify(stream.channel, *TEXT)
    assert [item.data for item in stream.events(len(TEXT))] == TEXT


def test_pretty_printed_json_is_one_line_with_the_same_meaning(stream, postgres):
    value = {"a": [1, 2, {"b": None}], "text": "two\nlines"}
    postgres.notify(stream.channel, json.dumps(value, indent=4), json.dumps(value, indent=4).replace("\n", "\r\n"))
    for item in stream.events(2):
        assert "\n" not in item.text and item.data == value


def test_the_empty_payload(stream, postgres):
    with_none = postgres.connect()
    with_none.cursor().execute(f'notify "{stream.channel}"')
    with_none.close()
    postgres.notify(stream.channel, "")
    assert [item.data for item in stream.events(2)] == ["", ""]


def test_every_plane_of_unicode(stream, postgres):
    planes = [chr(plane << 16 | 0x41) + chr(plane << 16 | 0xFFFD) for plane in range(17)]
    edges = ["\u0080\u07ff\u0800\uffff\U00010000\U0010ffff", "\u2028\u2029\ufeff", "é \u0645\u0631\u062d\u0628\u0627 \U0001f600"]
    postgres.notify(stream.channel, *planes, *edges)
    assert [item.data for item in stream.events(len(planes) + len(edges))] == planes + edges


def test_the_longest_payload(stream, postgres):
    longest = json.dumps("x" * (7999 - 2))
    postgres.notify(stream.channel, longest, "y" * 7999)
    assert [item.data for item in stream.events(2)] == ["x" * 7997, "y" * 7999]


def test_raw_payloads_survive_any_bytes(gateway, postgres, channel):
    payloads = [text for text in JSON + TEXT if "\r" not in text]
    with gateway.stream(f"/channels/{channel}?payload=raw") as stream:
        stream.cursor()
        postgres.notify(channel, *payloads)
        assert [item.text for item in stream.events(len(payloads))] == payloads
