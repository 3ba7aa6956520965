"""Rows: bad requests of every kind. How they are framed is the business of framing.py."""

import json
import urllib.parse

from scene import row

NASTY = ["'; drop table eventgate.log; --", '" or ""="', "$1", "%s%n", "${jndi:ldap://x}", "`id`", "$(id)", "../../etc/passwd",
         "<script>alert(1)</script>", "\u202e\u0000".replace("\0", "x"), "a\\'b"]


def quoted(text):
    return urllib.parse.quote(text, safe="")


def raw(scene, wire):
    connection = scene.connect()
    connection.send(wire)
    return connection.response()


@row("a request is smuggled behind Content-Length with Transfer-Encoding", "400 and close; it is not executed", shared=True)
def smuggled(scene):
    inner = f"POST /channels/{scene.durable} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"
    scene.refused(raw(scene, (f"POST /channels/{scene.durable} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(inner) + 5}\r\n"
                              f"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}").encode()), 400, "bad-request")
    assert scene.in_log(scene.durable) == []


@row("requests carry headers, a line or a URL that are far too long", "431 or 414 and close", shared=True)
def far_too_long(scene):
    scene.refused(scene.gateway.get("/livez", X="y" * 100_000), 431, "header-too-large")
    scene.refused(scene.gateway.get("/livez?" + "y" * 100_000), 414, "uri-too-long")
    scene.refused(scene.gateway.call("G" * 100_000, "/livez"), 414, "uri-too-long")


@row("a thousand parameters, and more", "400; libmicrohttpd's memory is not the limit", shared=True)
def many_parameters(scene):
    answer = scene.gateway.get("/events?" + "&".join(f"a{n}=b" for n in range(1000)))
    assert scene.refused(answer, 400, "bad-parameter")
    assert scene.gateway.get("/events?" + "&" * 5000).status == 400


@row("parameters that are unknown, doubled, out of bounds or contradict each other", "400 with a sentence each", shared=True)
def bad_parameters(scene):
    for query in ("unknown=1", "format=xml", "format=sse&format=sse", "payload=base64", "event=all", "wait=61", "wait=-1",
                  "wait=1e1", "wait=%2b5", "limit=0&format=poll", "limit=1001&format=poll", "limit=5&format=ndjson",
                  "wait=5&format=sse", "payload=raw&format=poll", "event=channel&format=ndjson",
                  "wait=99999999999999999999", "format=", "=1", "after=now&after=now"):
        answer = scene.gateway.get(f"/channels/{scene.live}?{query}")
        assert answer.status == 400 and answer.problem()[1].endswith("."), (query, answer)


@row("after= is nonsense", "400 with a sentence", shared=True)
def bad_cursors(scene):
    for cursor in ("", "nonsense", "-1", "0~", "~", "1~2~3", "9" * 40, "abc.1~", "0~aaaaaaaaaa-", "0~aaaaaaaaaa-01", "01",
                   "%201", "1%20", "1~AAAAAAAAAA-1", quoted("\u0661"), "now~1", "earliest~1", "x" * 5000):
        answer = scene.gateway.get(f"/channels/{scene.live}?after={cursor}")
        assert answer.status == 400 and answer.problem()[0] == "bad-cursor", (cursor, answer)


@row("Last-Event-ID is nonsense", "a gap unknown, since a 400 would end an EventSource for good", shared=True)
def bad_last_event_id(scene):
    for cursor in ("nonsense", "9" * 40, "-1", "\xff", "1~", "x" * 5000, "0~aaaaaaaaaa-99999999999999999999"):
        stream = scene.stream(f"/channels/{scene.durable}", Last_Event_ID=cursor)
        assert stream.gap()["reason"] == "unknown", cursor
        stream.close()


@row("cursors of another log, another epoch and the future", "gaps, or a wait; never an event twice", shared=True)
def strange_cursors(scene):
    for cursor in ("zzzzzz.1", "zzzzzz.1~aaaaaaaaaa-1", "aaaaaaaaaa-1"):
        stream = scene.stream(f"/events?channel={scene.live}&channel={scene.durable}&after={cursor}")
        assert stream.gap()["reason"] in ("unknown", "reconnect"), cursor
        stream.close()
    tag = scene.postgres.sql("select tag from eventgate.attach(0)")[0][0]
    future = scene.stream(f"/channels/{scene.durable}?after={tag}.9007199254740990")
    scene.posts(scene.durable, "1")
    assert future.read().kind in ("gap", "cursor")


@row("names that cannot be channels: traversal, empty levels, wildcards, control bytes, far too long",
     "400 or 404 with a sentence", shared=True)
def bad_names(scene):
    for name in ("", "t//x", "t/../x", "t/./x", "t/%2e%2e/x", "t%2f..%2fx", "t/x%00", "t/x%0a", "t/a,b", "t/%ff", "t/%c0%ae",
                 "t/%ed%a0%80", "t/" + "x" * 62, "d/" + "x" * 300, "/etc/passwd", "t/*x", "t/**/x", "t/x/"):
        for method in ("GET", "POST"):
            answer = scene.gateway.call(method, f"/channels/{name}", "1" if method == "POST" else None)
            assert answer.status in (400, 404) and answer.problem()[1], (method, name, answer)


@row("names and payloads with SQL, shell and template syntax", "they are names and payloads", shared=True)
def injected(scene):
    for text in NASTY:
        for base in (scene.live, scene.durable):
            name = f"{base}/{text.replace('/', '|').replace(',', ';').replace('*', '+')}"[:60]
            stream = scene.stream("/channels/" + quoted(name))
            stream.cursor()
            scene.posts(quoted(name) if base == scene.live else "d" + quoted(name[1:]).replace("%2F", "/", 1), json.dumps(text),
                        202 if base == scene.live else 201, Content_Type="application/json")
            event = stream.event().json()
            assert event["channel"] == name and event["data"] == text
            stream.close()
    assert scene.postgres.sql("select count(*) > 0 from eventgate.log")[0][0]


@row("bodies that are not UTF-8, have NUL, or say that they are JSON and aren't", "400; nothing is published", shared=True)
def bad_bodies(scene):
    for body in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"a\0b", b"\xf4\x90\x80\x80"):
        for channel in (scene.live, scene.durable):
            scene.refused(scene.gateway.publish(channel, body, Content_Type="text/plain"), 400, "bad-body")
    for body in ("", "{", "[1,]", '{"a":1}x', "nul", "01", "'a'", '"\\ud800"', '"a\nb"', "\ufeff1", "NaN"):
        for channel in (scene.live, scene.durable):
            scene.refused(scene.gateway.publish(channel, body, Content_Type="application/json"), 400, "bad-body")
    assert scene.in_log(scene.durable) == []


@row("JSON that is nested a hundred thousand levels deep", "400, no stack is exhausted", shared=True)
def deep_json(scene):
    for deep in ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 300_000):
        scene.refused(scene.gateway.publish(scene.durable, deep, Content_Type="application/json"), 400, "bad-body")
        answer = scene.gateway.call("POST", "/events", f'[{{"channel":"{scene.durable}","data":{deep}}}]',
                                    Content_Type="application/json")
        assert answer.status == 400, answer
    assert scene.in_log(scene.durable) == []


@row("a body is larger than max_body", "413 before a byte of it is read; chunked: as soon as it is", shared=True)
def body_too_large(scene):
    scene.refused(scene.connect().request("POST", f"/channels/{scene.durable}", Content_Length="99999999999").response(), 413,
                  "too-large")
    connection = scene.connect().request("POST", f"/channels/{scene.durable}", Transfer_Encoding="chunked")
    for _ in range(16):
        connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    connection.send(b"1\r\nx\r\n")
    scene.refused(connection.response(), 413, "too-large")
    assert scene.in_log(scene.durable) == []


@row("bodies are compressed, or of a type that is no text", "415; nothing is unpacked", shared=True)
def bad_types(scene):
    for headers in ({"Content_Encoding": "gzip"}, {"Content_Encoding": "br"}, {"Content_Encoding": "identity, gzip"},
                    {"Content_Type": "image/png"}, {"Content_Type": "text/plain; charset=utf-16"},
                    {"Content_Type": "multipart/form-data; boundary=x"}, {"Content_Type": "application/octet-stream"}):
        scene.refused(scene.gateway.publish(scene.durable, "1", **headers), 415, "unsupported-type")
    assert scene.in_log(scene.durable) == []


@row("type and key have control characters, are empty or too long", "400; no field of SSE is forged", shared=True)
def bad_types_of_events(scene):
    for type in ("", "a%0ab", "a%0d%0aid:1", "%00", "x" * 101, "%ff", "%7f"):
        answer = scene.gateway.call("POST", f"/channels/{scene.durable}?type={type}", "1")
        assert answer.status == 400, (type, answer)
    for key in ("", "x" * 256):
        answer = scene.gateway.publish(scene.durable, "1", Idempotency_Key=key)
        assert answer.status == 400, (key, answer)
    body = json.dumps([{"channel": scene.durable, "data": 1, "type": "a\nid: 9"}])
    assert scene.gateway.call("POST", "/events", body, Content_Type="application/json").status == 400
    assert scene.in_log(scene.durable) == []


@row("a batch of which one item is bad", "refused whole; nothing of it is published", shared=True)
def bad_batches(scene):
    good = {"channel": scene.durable, "data": 1}
    for bad in ({"channel": "elsewhere", "data": 1}, {"channel": "t/*", "data": 1}, {"data": 1}, {"channel": scene.durable}, 1,
                {"channel": scene.live, "data": "x" * 9000}, {"channel": scene.live, "data": "a\0b"},
                good | {"extra": 1}, good | {"type": ""}, good | {"key": 7}, {"channel": [], "data": 1}):
        answer = scene.gateway.call("POST", "/events", json.dumps([good, bad, good]), Content_Type="application/json")
        assert 400 <= answer.status < 500 and answer.problem()[1], (bad, answer)
    assert scene.in_log(scene.durable) == []


@row("a batch of a hundred thousand items", "413 that names max_batch_items", shared=True)
def huge_batch(scene):
    item = f'{{"channel":"{scene.durable}","data":1}}'
    scene.refused(scene.gateway.call("POST", "/events", "[" + ",".join([item] * 20_000) + "]", Content_Type="application/json"),
                  413, "too-large")
    scene.refused(scene.gateway.call("POST", "/events", "\n".join([item] * 20_000), Content_Type="application/x-ndjson"), 413,
                  "too-large")
    assert scene.in_log(scene.durable) == []


@row("a key is used for another event", "422; the first stays", shared=True)
def key_conflict(scene):
    scene.posts(scene.durable, "1", Idempotency_Key="k")
    scene.refused(scene.gateway.publish(scene.durable, "2", Idempotency_Key="k"), 422, "idempotency-conflict")
    scene.posts(scene.durable, "1", Idempotency_Key="k")
    assert scene.in_log(scene.durable) == ["1"]


@row("requests try to write lines and escapes into the log", "one line is one event; escapes are escaped", shared=True)
def log_injection(scene):
    for target in ("/channels/elsewhere%1b[2J", "/nowhere%0aERROR%20forged", "/channels/" + quoted("elsewhere\u2028forged line"),
                   "/channels/t/a?format=%0d%0aforged"):
        assert scene.gateway.get(target).status in (400, 404)
    assert scene.gateway.publish(scene.durable, "1", Content_Type="image/\x85\u009b\xa0").status == 415
    scene.gateway.wait_log("request refused")
    text = scene.gateway.log_text()
    assert "\x1b" not in text and "\u2028" not in text and "\u009b" not in text
    assert not any(line.startswith(("forged", "ERROR forged")) for line in scene.gateway.log)


@row("payloads, passwords and cookies that must not be logged", "they aren't, at log level debug", shared=True)
def secrets(scene):
    secret = "planted-secret-7f3a"
    scene.posts(scene.durable, json.dumps(secret), Authorization=f"Bearer {secret}", Cookie=f"token={secret}")
    scene.gateway.publish(scene.durable, "{" + secret, Content_Type="application/json")
    scene.gateway.get(f"/channels/{scene.live}?format=poll&access_token={secret}")
    scene.postgres.notify(scene.live, secret)
    scene.gateway.call("POST", "/events", f'[{{"channel":"{secret}', Content_Type="application/json")
    scene.posts(scene.durable)
    assert secret not in scene.gateway.log_text()


@row("a channel's name is markup", "application/problem+json and nosniff; no page can run it", shared=True)
def markup(scene):
    answer = scene.gateway.get("/channels/" + quoted("<script>alert(1)</script>"))
    assert answer.status == 404 and answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-type") == "application/problem+json"


@row("methods that nothing here knows", "405 with Allow", shared=True)
def unknown_methods(scene):
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"):
        answer = scene.gateway.call(method, f"/channels/{scene.live}")
        scene.refused(answer, 405, "method-not-allowed")
        assert "GET" in answer.header("allow")


@row("an HTTP/2 or TLS client on the plain port", "400 or 505 and close", shared=True)
def other_protocols(scene):
    for wire in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)):
        assert raw(scene, wire).status in (400, 505)


@row("a wildcard over live names that nobody has listed, and channels of two sets in one stream", "400 with a sentence",
     shared=True)
def bad_selections(scene):
    for query in (f"channel={scene.live}/*", "channel=t/**", "channel=listed&channel=elsewhere", "channel=", ""):
        answer = scene.gateway.get(f"/events?{query}")
        assert answer.status in (400, 404) and answer.problem()[1], (query, answer)


@row("something else than what one can be given is asked for", "406 with what there is", shared=True)
def not_acceptable(scene):
    for accept in ("image/png", "text/html;q=0, */*;q=0", "x" * 1000):
        answer = scene.gateway.get(f"/channels/{scene.live}", Accept=accept)
        assert answer.status == 406 and "text/event-stream" in answer.problem()[1], (accept, answer)
