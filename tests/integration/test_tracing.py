"""A request can be followed: by its id, which everything that belongs to it has, and by its trace."""

import json
import re
import signal

import pytest

from kit.http import Connection
from kit.tokens import bearer
from kit.wait import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED, UNSAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01", f"00-{TRACE_ID}-00f067aa0ba902b7-00"
JSON = {"Content_Type": "application/json"}
OWN_ID = re.compile("[0-9a-f]{16}")


def batch(*items):
    return json.dumps([dict(zip(("channel", "data", "trace"), item)) for item in items])


def fields(line):
    return dict(re.findall(r"(\w+)=(\S+)", line))


# --- request ids


def test_every_answer_has_a_request_id(start_gateway, certificate, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--max-body", "10kB").wait_ready()
    may = bearer(["t/**"], ["t/**"], admin=True)
    answers = [gateway.call(method, target, body, **headers | JSON) for method, target, body, headers in (
        ("GET", "/livez", None, {}), ("GET", "/metrics", None, may), ("GET", "/sets", None, may),
        ("GET", "/channels", None, may), ("GET", "/nothing", None, may), ("PUT", "/events", None, may),
        ("OPTIONS", "/events", None, {}), ("HEAD", "/livez", None, {}), ("GET", "/metrics", None, {}),
        ("POST", f"/channels/{channel}", "1", may), ("POST", f"/channels/{channel}", "1", {}),
        ("POST", "/events", batch((channel, 1)), may), ("POST", "/events", "nonsense", may),
        ("GET", f"/channels/{channel}?wait=0", None, may), ("POST", f"/channels/{channel}", "1" * 20000, may))]
    assert {answer.status for answer in answers} == {200, 202, 204, 400, 401, 404, 405, 413}
    for bytes_sent in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"):
        with Connection(gateway.address) as connection:
            connection.send(bytes_sent)
            answers.append(connection.response())
    for form in ("sse", "ndjson"):
        with gateway.stream(f"/channels/{channel}?format={form}", **may) as stream:
            answers.append(stream.head)
    ids = [answer.header("x-request-id") for answer in answers]
    assert all(OWN_ID.fullmatch(one) for one in ids) and len(set(ids)) == len(ids)
    for answer in answers:
        if answer.status >= 400:
            answer.problem()  # has the same


@pytest.mark.parametrize("given, taken", [
    ("7c9e6679-7425-40de-944b-e07fc1f90ae7", True), ("a", True), ("A" * 64, True), ("a.b_c~d-e", True),
    ("A" * 65, False), ("", False), ("a b", False), ('a"b', False), ("a,b", False), ("a%0ab", False),
    ("caf\u00e9", False),
])
def test_a_trusted_proxy_may_give_the_id(start_gateway, channel, given, taken):
    gateway = start_gateway("--trusted-proxies", "127.0.0.2", "--log-requests", "all").wait_ready()
    for source, believed in (("127.0.0.2", taken), ("127.0.0.3", False)):
        with Connection(gateway.address, source=source) as connection:
            connection.send(f"GET /nothing HTTP/1.1\r\nHost: a\r\nX-Request-Id: {given}\r\n\r\n".encode())
            answer = connection.response()
        own = answer.header("x-request-id")
        assert own == given if believed else OWN_ID.fullmatch(own)
        answer.problem()
        gateway.wait_log(f"request refused request={own} ")


def test_two_ids_are_none(start_gateway):
    gateway = start_gateway("--trusted-proxies", "127.0.0.1").wait_ready()
    with Connection(gateway.address) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: one\r\nX-Request-Id: two\r\n\r\n")
        assert OWN_ID.fullmatch(connection.response().header("x-request-id"))


@pytest.mark.threads
def test_what_postgresql_refuses_names_the_request(start_gateway, fragile_postgres):
    gateway = start_gateway(database=fragile_postgres, durable="d/**").wait_ready()
    fragile_postgres.sql("create function dislike() returns trigger language plpgsql as $$ begin raise 'no'; end $$")
    fragile_postgres.sql("create trigger dislike before insert on eventgate.log "
                         "for each row execute function dislike()")
    answer = gateway.publish("d/a", "1")
    assert answer.status == 422
    gateway.wait_log(f"PostgreSQL refuses to append .* request={answer.header('x-request-id')} ")


# --- which requests the log has


@pytest.mark.parametrize("which, trace, has", [
    ("none", SAMPLED, False), ("traced", None, False), ("traced", UNSAMPLED, False), ("traced", SAMPLED, True),
    ("traced", SAMPLED.replace("4", "0g"), False), ("all", None, True), ("all", UNSAMPLED, True),
])
def test_which_requests_are_logged(start_gateway, channel, which, trace, has):
    gateway = start_gateway("--log-requests", which).wait_ready()
    answer = gateway.publish(channel, "1", traceparent=trace)
    gateway.stop()  # what it says, it has said
    lines = [line for line in gateway.log if answer.header("x-request-id") in line]
    assert len(lines) == has, gateway.log_text()
    for line in lines:
        said = fields(line)
        assert " INFO " in line and "request answered" in line
        assert (said["method"], said["route"], said["channel"]) == ("POST", "/channels/{channel}", channel)
        assert said["status"] == "202" and said["client"] == "127.0.0.1" and 0 < int(said["took_us"]) < 60_000_000
        assert said.get("trace_id") == (TRACE_ID if trace else None)


def test_who_may_not_fills_no_log(start_gateway, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}").wait_ready()
    may, may_not = bearer(["t/**"], ["t/**"]), bearer(["other"], ["other"])
    asked = (("POST", f"/channels/{channel}", "1", {}), ("POST", f"/channels/{channel}", "1", may_not),
             ("GET", f"/channels/{channel}?wait=0", None, {}), ("GET", "/livez", None, {}), ("GET", "/nothing", None, {}))
    statuses = [gateway.call(method, target, body, traceparent=SAMPLED, **headers).status
                for method, target, body, headers in asked]
    assert statuses == [401, 403, 401, 200, 404]
    followed = [gateway.publish(channel, "1", traceparent=SAMPLED, **may), gateway.publish(channel, "x" * 9000,
                                                                                        traceparent=SAMPLED, **may)]
    gateway.stop()
    logged = [line for line in gateway.log if " request=" in line]
    assert [fields(line)["request"] for line in logged] == [answer.header("x-request-id") for answer in followed]


def test_at_level_debug_all_are(start_gateway, channel):
    gateway = start_gateway("--log-requests", "none", "--log-level", "debug").wait_ready()
    answer = gateway.publish(channel, "1")
    assert " DEBUG " in gateway.wait_log(f"request answered request={answer.header('x-request-id')}")


def test_it_reloads(start_gateway, tmp_path, postgres, channel):
    file = tmp_path / "gateway.conf"
    text = f"[gateway]\nlog_requests = {{}}\n[set a]\npostgres = {postgres.conninfo}\nlive = t/**\n"
    file.write_text(text.format("none"))
    gateway = start_gateway("--config", str(file), database=None).wait_ready()
    gateway.publish(channel, "1")
    file.write_text(text.format("all"))
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")
    until(lambda: gateway.publish(channel, "2") and "request answered" in gateway.log_text(), "requests are logged")


def test_a_refusal_says_why_but_not_what(start_gateway):
    gateway = start_gateway("--log-requests", "all").wait_ready()
    answer = gateway.get("/channels/unknown/s3cr3t?access_token=t0k3n", traceparent=UNSAMPLED)
    line = gateway.wait_log(f"request refused request={answer.header('x-request-id')}")
    assert fields(line)["problem"] == "unknown-channel" and fields(line)["trace_id"] == TRACE_ID
    assert "s3cr3t" not in line and "t0k3n" not in line


def test_a_stream_has_a_line_when_it_begins_and_one_when_it_ends(start_gateway, channel):
    gateway = start_gateway().wait_ready()
    with gateway.stream(f"/channels/{channel}", traceparent=SAMPLED) as traced:
        traced.cursor()
        own = traced.head.header("x-request-id")
        assert fields(gateway.wait_log(f"request answered request={own}"))["status"] == "200"
        assert "stream ended" not in gateway.log_text()
    ended = fields(gateway.wait_log(f"stream ended request={own}"))
    assert ended["trace_id"] == TRACE_ID and ended["seconds"] == "0"
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        other = stream.head.header("x-request-id")
    until(lambda: gateway.metric("eventgate_streams") == 0, "it has ended")
    gateway.stop()
    assert other not in gateway.log_text()


# --- traces


def test_a_cloudevent_has_the_trace(durable_gateway, durable_channel):
    with durable_gateway.stream(f"/channels/{durable_channel}?payload=cloudevents&format=ndjson") as stream:
        stream.cursor()
        durable_gateway.publish(durable_channel, "1", traceparent=SAMPLED)
        durable_gateway.publish(durable_channel, "2")
        first, second = (event.json() for event in stream.events(2))
    assert first["traceparent"] == SAMPLED and "traceparent" not in second


def test_in_a_batch_an_item_may_have_its_own(durable_gateway, durable_channel):
    own = SAMPLED.replace("4bf9", "5bf9")
    items = batch((durable_channel, 1, own), (durable_channel, 2))
    with durable_gateway.stream(f"/channels/{durable_channel}") as stream:
        stream.cursor()
        assert durable_gateway.call("POST", "/events", items, traceparent=UNSAMPLED, **JSON).status == 201
        assert durable_gateway.call("POST", "/events", items, **JSON).status == 201
        traces = [event.json().get("trace") for event in stream.events(4)]
    assert traces == [own, UNSAMPLED, own, None]


@pytest.mark.parametrize("trace", ["nonsense", "", SAMPLED.upper(), SAMPLED + "-00"])
def test_one_that_is_none_is_refused(durable_gateway, durable_channel, trace):
    answer = durable_gateway.call("POST", "/events", batch((durable_channel, 1, trace)), **JSON)
    assert answer.status == 400 and "traceparent" in answer.problem()[1]


def test_a_live_item_has_no_place_for_it(durable_gateway, channel):
    answer = durable_gateway.call("POST", "/events", batch((channel, 1, SAMPLED)), **JSON)
    assert answer.status == 400 and "live" in answer.problem()[1]
    assert durable_gateway.call("POST", "/events", batch((channel, 1)), traceparent=SAMPLED, **JSON).status == 202
