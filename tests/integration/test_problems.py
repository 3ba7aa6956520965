"""Whatever bytes a client sends, what it is told is UTF-8 and JSON."""

import re
import urllib.parse

import pytest

from kit.gateway import ROOT
from kit.http import Connection

# Wherever a limit cuts, two of these are cut within a character.
LONG = ["x" * shift + "日" * 80 for shift in range(3)]
REPAIRED = "\ufffd"


def quoted(text):
    return urllib.parse.quote(text, safe="")


def send_raw(gateway, head, body=b""):
    with Connection(gateway.address) as connection:
        connection.send(head + b"\r\nHost: gateway.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return connection.response()


@pytest.mark.parametrize("content_type", [b"image/\xff", b"\xff\xfe", b"image/\xed\xa0\x80", b"image/caf\xe9; q=1"])
def test_a_header_that_is_not_utf8(gateway, channel, content_type):
    answer = send_raw(gateway, b"POST /channels/%s HTTP/1.1\r\nContent-Type: %s" % (channel.encode(), content_type))
    assert answer.status == 415, answer
    name, sentence = answer.problem()
    assert name == "unsupported-type" and REPAIRED in sentence


@pytest.mark.parametrize("text", LONG, ids=range(3))
def test_a_long_header_is_cut(gateway, channel, text):
    answer = gateway.publish(channel, "1", Content_Type=f"image/{text}")
    assert answer.status == 415 and "日" in answer.problem()[1]


@pytest.mark.parametrize("text", LONG, ids=range(3))
@pytest.mark.parametrize("target", ["/channels/t/a?format=", "/channels/t/a?payload=", "/channels/t/a?wait=",
                                    "/channels/t/a?after=", "/events?channel=", "/events?channel=t/a,", "/channels/",
                                    "/events?channel=t/**&channel=t/", "/channels/t/a?"])
def test_a_long_text_in_the_url_is_cut(gateway, target, text):
    answer = gateway.get(target + quoted(text))
    assert answer.status in (400, 404), answer
    assert answer.problem()[1]


@pytest.mark.parametrize("body", [b'[{"channel":"t/a","data":"\xff"}]', b'[{"channel":"t/a\xff', b"\xff",
                                  *[f'[{{"channel":"t/a","data":"{text}" "'.encode() for text in LONG],
                                  *[f'[{{"channel":"t/a","data":1,"{text}":1}}]'.encode() for text in LONG]])
def test_a_bad_batch(gateway, body):
    answer = send_raw(gateway, b"POST /events HTTP/1.1\r\nContent-Type: application/json", body)
    assert answer.status == 400, answer
    assert answer.problem()[0] == "bad-body"


def test_each_problem_of_the_table_is_one_that_can_be_told():
    table = re.findall(r"^    X\((\w+), \d", (ROOT / "include/eventgate/problem.h").read_text(), re.MULTILINE)
    sources = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.c"))
    assert len(table) > 25
    assert [name for name in table if not re.search(rf"\bEG_PROBLEM_{name}\b", sources)] == []
