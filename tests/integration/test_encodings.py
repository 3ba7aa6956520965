"""A database whose encoding isn't UTF-8: what it lacks is refused alone, and disturbs nobody."""

import json
import urllib.parse

import psycopg2
import pytest

from kit.wait import until

HAS = "t/" + urllib.parse.quote("é")
LACKS = "t/" + urllib.parse.quote("日本")


class Latin1:
    """A database of this encoding on a server."""

    def __init__(self, server):
        server.sql("create database latin1 template template0 encoding 'LATIN1' locale 'C'")
        self.conninfo = f"host={server.folder} user=postgres dbname=latin1"

    def notify(self, channel, payload):
        connection = psycopg2.connect(self.conninfo, client_encoding="UTF8")
        connection.autocommit = True
        connection.cursor().execute("select pg_notify(%s, %s)", (channel, payload))
        connection.close()


@pytest.fixture
def latin1(fragile_postgres):
    return Latin1(fragile_postgres)


def test_a_channel_that_the_encoding_lacks_is_refused_and_no_stream_gets_a_gap(start_gateway, latin1):
    gateway = start_gateway(database=latin1).wait_ready()
    with gateway.stream(f"/channels/{HAS}") as stream:
        stream.cursor()
        for form in ("sse", "ndjson", "poll"):
            answer = gateway.get(f"/channels/{LACKS}?format={form}")
            assert answer.status == 400, answer
            name, sentence = answer.problem()
            assert name == "bad-channel" and "encoding" in sentence
        answer = gateway.get(f"/events?channel={HAS}&channel={LACKS}")
        assert answer.status == 400, answer
        latin1.notify("t/é", '"ü"')
        event = stream.event().json()
        assert (event["channel"], event["data"]) == ("t/é", "ü")
    assert gateway.metric('eventgate_postgres_sessions_total{connection="listen"}') == 1


def test_what_the_encoding_lacks_is_refused_to_publishers_alone(start_gateway, latin1):
    gateway = start_gateway(database=latin1).wait_ready()
    with gateway.stream(f"/channels/{HAS}") as stream:
        stream.cursor()
        for channel, payload in ((LACKS, "1"), (HAS, "日本")):
            answer = gateway.publish(channel, payload)
            assert answer.status == 422 and answer.problem()[0] == "refused"
        rows = [{"channel": "t/é", "data": data} for data in ("ä", "日本", "ö")]
        answer = gateway.call("POST", "/events", json.dumps(rows), Content_Type="application/json")
        assert [row["status"] for row in answer.json()["results"]] == [202, 422, 202]
        assert [item.data for item in stream.events(2)] == ["ä", "ö"]


def test_what_the_encoding_lacks_is_refused_to_durable_publishers_alone(start_gateway, latin1):
    gateway = start_gateway(database=latin1, durable="d/**").wait_ready()
    with gateway.stream("/channels/d/" + urllib.parse.quote("é")) as stream:
        stream.cursor()
        for channel, payload in (("d/" + urllib.parse.quote("日本"), "1"), ("d/" + urllib.parse.quote("é"), '"日本"')):
            answer = gateway.publish(channel, payload)
            assert answer.status == 422 and answer.problem()[0] == "refused"
        rows = [{"channel": "d/é", "data": data} for data in ("ä", "日本", "ö")]
        answer = gateway.call("POST", "/events", json.dumps(rows, ensure_ascii=False), Content_Type="application/json")
        assert answer.status == 422 and "othing of the batch" in answer.problem()[1]
        rows = [{"channel": "d/é", "data": "ä"}, {"channel": "t/é", "data": "日本"}, {"channel": "t/é", "data": "ö"}]
        answer = gateway.call("POST", "/events", json.dumps(rows), Content_Type="application/json")
        assert answer.status == 207 and [row["status"] for row in answer.json()["results"]] == [201, 422, 202]
        assert gateway.publish("d/" + urllib.parse.quote("é"), '"ü"').status == 201
        assert [item.data for item in stream.events(2)] == ["ä", "ü"]


def test_a_listed_channel_that_the_encoding_lacks_is_named(start_gateway, latin1):
    gateway = start_gateway(database=latin1, live="t/é,t/日本,t/**")
    gateway.wait_log("cannot LISTEN to .*t/日本.* of set default")
    until(lambda: "t/日本" in gateway.get("/healthz").text(), "/healthz says which")
    assert gateway.status_of("/readyz") == 503
