"""/openapi.json, with /asyncapi.json, and the program: what the program knows is in the document and the other way round, and what the
program answers is what the document says. (That it is good OpenAPI, its linter says: tests/openapi.)"""

import contextlib
import dataclasses
import itertools
import json
import re

import jsonschema
import pytest

from kit.gateway import ROOT, Gateway, install_schema, run
from kit.http import Connection, Response
from kit.openapi import Document
from kit.tokens import bearer
from kit.wait import until

APP = "https://app.example"
HTTP = ROOT / "gateway/http"
subjects = (f"subject {n}" for n in itertools.count())

# Headers of requests that are no parameters of an operation: OpenAPI has these elsewhere (media types, security
# schemes), or browsers and proxies send them by themselves.
OTHER_HEADERS = {"Accept", "Content-Type", "Authorization", "Cookie", "Host", "Origin", "Sec-Fetch-Site",
                 "Access-Control-Request-Method", "X-Forwarded-For"}


@pytest.fixture(scope="module")
def document():
    return Document((ROOT / "gateway/web/openapi.json").read_text())


def module_gateway(*arguments):
    return Gateway(*arguments, "--allowed-origins", APP, "--allowed-hosts", "gateway.test", "--workers", "1")


@pytest.fixture(scope="module")
def plain(postgres):
    """Without keys."""
    install_schema(postgres.conninfo)
    gateway = module_gateway("--postgres", postgres.conninfo, "--live", "t/**,listed/a", "--durable", "d/**",
                             "--max-channels-per-stream", "3", "--max-batch-items", "3")
    yield gateway.wait_ready()
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def guarded(postgres, secret_file):
    """With keys; each subject may do one thing an hour."""
    gateway = module_gateway("--postgres", postgres.conninfo, "--live", "t/**", "--keys", f"HS256:{secret_file}",
                             "--publish-rate", "1/h", "--publish-burst", "1", "--subscribe-rate", "1/h",
                             "--subscribe-burst", "1")
    yield gateway.wait_ready()
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def away(secret_file):
    """Its database has never been there, so that no token can be judged."""
    gateway = module_gateway("--postgres", "host=/nonexistent", "--live", "t/**", "--keys", f"HS256:{secret_file}",
                             "--revocations", "on", "--subscribe-timeout", "50ms", "--anonymous-subscribe", "t/**",
                             "--max-connections", "16", "--header-timeout", "1min")
    until(lambda: gateway.status_of("/livez") == 200, "it is alive")
    yield gateway
    assert gateway.stop() == 0


# --- what the program knows


def test_it_is_what_is_served(gateway, document):
    assert gateway.get("/openapi.json").text() == document.text
    assert document.root["info"]["version"] in run("--version").stdout


def test_paths_and_methods(gateway, document):
    known = set(re.findall(r'\{"(/[a-z]+)", EG_ROUTE_', (HTTP / "request.c").read_text())) | {"/channels/{channel}"}
    files = {"/", "/openapi.json", "/asyncapi.json", "/eventgate.js"}
    assert len(known) >= 8 and set(document.paths) == known | files
    for path, item in document.paths.items():
        allowed = gateway.call("OPTIONS", path.replace("{channel}", "t/x")).header("allow").split(", ")
        assert sorted(allowed) == sorted(method.upper() for method in item if method != "parameters"), path


def test_parameters_of_subscriptions(document):
    known = set(re.findall(r'\{"([A-Za-z_]+)", (?:SEEN_\w+|0), \w+\}', (HTTP / "subscription_request.c").read_text()))
    token = document.components["securitySchemes"]["query"]["name"]
    for path, method in itertools.product(("/events", "/channels/{channel}"), ("GET", "HEAD")):
        assert {name for kind, name in document.parameters(method, path) if kind == "query"} | {token} == known


def test_parameters_of_publishing(plain, document):
    described = {name for kind, name in document.parameters("POST", "/channels/{channel}") if kind == "query"}
    assert described == {"type"} and plain.publish("d/parameters?type=x", "1").status == 201
    assert plain.publish("d/parameters?other=x", "1").problem()[0] == "bad-parameter"
    assert not [kind for kind, _ in document.parameters("POST", "/events") if kind == "query"]


def test_values_of_parameters(plain, document):
    """Each value that is listed is taken, those beyond the bounds aren't; a default is what one gets without."""
    def status(name, value, **more):
        return plain.call("HEAD", "/channels/t/x?" + "&".join(f"{k}={v}" for k, v in ({name: value} | more).items())).status

    for name, more in (("format", {}), ("payload", {"format": "sse"}), ("event", {"format": "sse"})):
        schema = document.components["parameters"][name]["schema"]
        for value in schema["enum"]:
            assert status(name, value, **more) == 200, (name, value)
        assert status(name, "nonsense", **more) == 400
    for name in ("wait", "limit"):
        schema = document.components["parameters"][name]["schema"]
        for value in (schema["minimum"], schema["default"], schema["maximum"]):
            assert status(name, value, format="poll") == 200, (name, value)
        for value in (schema["minimum"] - 1, schema["maximum"] + 1):
            assert status(name, value, format="poll") == 400, (name, value)
    text = (ROOT / "include/eventgate/request.h").read_text()
    for name, constant in (("wait", "WAIT_DEFAULT_S"), ("limit", "LIMIT_DEFAULT")):
        assert f"EG_POLL_{constant} {document.components['parameters'][name]['schema']['default']}\n" in text


def test_headers_of_requests(document):
    text = "\n".join(path.read_text() for path in HTTP.glob("*.c"))
    known = set(re.findall(r'(?:eg_exchange_header(?:_count|_list)?|joined)\(exchange, "([A-Za-z-]+)"', text))
    described = {name for method, path in document.operations() for kind, name in document.parameters(method, path)
                 if kind == "header"}
    assert known - OTHER_HEADERS == described


def test_tokens(document):
    """(Who needs one is told by the calls below: a 401 is described where there is one.)"""
    schemes = document.components["securitySchemes"]
    help_text = run("--help").stdout
    assert re.search(rf"--token-cookie(?s:.){{1,200}}{schemes['cookie']['name']}", help_text)
    assert schemes["bearer"]["scheme"] == "bearer" and schemes["query"]["name"] == "access_token"


def test_problems(document):
    table = (ROOT / "include/eventgate/problem.h").read_text()
    rows = re.findall(r'X\(\w+, (\d+), "([a-z-]+)", "([^"]+)"\)', table)
    known = [{"type": f"urn:pg-eventgate:problem:{name}", "status": int(status), "title": title}
             for status, name, title in rows]
    schema = document.components["schemas"]["Problem"]
    assert len(known) > 25 and schema["x-problems"] == known
    assert schema["properties"]["type"]["enum"] == [row["type"] for row in known]
    for name, response in document.components["responses"].items():  # each is where it may come
        statuses = {key for item in document.paths.values() for method, operation in item.items()
                    if method != "parameters" for key, value in operation["responses"].items()
                    if value.get("$ref", "").endswith(f"/{name}")}
        content = response.get("content", {}).get("application/problem+json")
        types = content["schema"]["properties"]["type"]["enum"] if content else []
        of = {row["type"]: str(row["status"]) for row in known}
        assert all({of[type]} == statuses or statuses == {"default"} for type in types), name
    told = {type for response in document.components["responses"].values() for content in
            response.get("content", {}).values() for type in
            content["schema"].get("properties", {}).get("type", {}).get("enum", [])}
    assert told == set(schema["properties"]["type"]["enum"])


def test_gap_reasons(document):
    names = re.search(r"EG_GAP_REASON_COUNT\] = \{(.*?)\}", (ROOT / "gateway/event/frame.c").read_text())[1]
    assert document.components["schemas"]["Gap"]["properties"]["reason"]["enum"] == re.findall(r'"(\w+)"', names)


def test_headers_of_cors(plain, document):
    """What a page may send and read is what there is."""
    allowed = plain.call("OPTIONS", "/events", Origin=APP, Access_Control_Request_Method="POST")
    sent = set(allowed.header("access-control-allow-headers").split(", "))
    described = {name for _, parameter in document.components["parameters"].items()
                 if parameter["in"] == "header" for name in (parameter["name"],)}
    assert sent - described <= {"Authorization", "Content-Type", "Cache-Control", "tracestate"}
    assert set(plain.get("/livez", Origin=APP).header("access-control-expose-headers").split(", ")) <= set(
        document.components["headers"])


def test_no_component_is_unused(document):
    for kind in ("schemas", "parameters", "headers", "responses"):
        for name in document.components[kind]:
            assert f'"#/components/{kind}/{name}"' in document.text, (kind, name)


def test_asyncapi(gateway, document):
    """Its messages are the other document's schemas; what there is to send and to receive is what can be called."""
    told = json.loads(gateway.get("/asyncapi.json").text())
    assert told["info"]["version"] == document.root["info"]["version"]
    channels = {f"#/channels/{name}": channel["address"] for name, channel in told["channels"].items()}
    calls = {(operation["bindings"]["http"]["method"], channels[operation["channel"]["$ref"]])
             for operation in told["operations"].values()}
    assert calls == {call for call in document.operations() if call[1] in (ONE, SEVERAL) and call[0] in ("GET", "POST")}
    for text in re.findall(r'"openapi.json#/components/schemas/(\w+)"', json.dumps(told)):
        assert text in document.components["schemas"], text
    for name, schema in (("event", "Event"), ("cursor", "CursorLine"), ("gap", "Gap"), ("poll", "Poll")):
        assert told["components"]["messages"][name]["payload"]["$ref"].endswith(f"/{schema}")


# --- what the program answers


@dataclasses.dataclass
class Call:
    """`of`: the path as the document has it. `twice`: the second one is looked at."""

    method: str
    of: str
    target: str
    status: int
    problem: str = None
    body: str = None
    headers: dict = dataclasses.field(default_factory=dict)
    twice: bool = False


ONE, SEVERAL = "/channels/{channel}", "/events"
JSON = {"Content_Type": "application/json"}
ELSEWHERE = {"Host": "evil.example"}


def reads(of, target, status, problem=None, twice=False, **headers):
    """GET, and HEAD the same."""
    return [Call(method, of, target, status, problem, None, headers, twice) for method in ("GET", "HEAD")]


def subscriptions(of, ok):
    """`ok`: a target for live channel t/x."""
    more = ok + ("&" if "?" in ok else "?")
    bad = [("format=xml", "bad-parameter"), ("after=nonsense", "bad-cursor"), ("channel=t//x", "bad-channel"),
           ("channel=t/1&channel=t/2&channel=t/3", "too-many-channels"), ("channel=%25%ff", "bad-request")]
    return [*reads(of, f"{more}wait=0", 200), *reads(of, f"{more}wait=0", 200, Origin=APP),
            *itertools.chain(*(reads(of, more + query, 400, problem) for query, problem in bad)),
            *reads(of, ok.replace("t/x", "nothing"), 404, "unknown-channel"),
            *reads(of, ok, 406, "not-acceptable", Accept="image/png"), *reads(of, ok, 421, "misdirected", **ELSEWHERE)]


def batch(*items):
    return json.dumps([dict(zip(("channel", "data", "key"), item)) for item in items])


def plain_calls(document):
    yield from subscriptions(ONE, "/channels/t/x")
    yield from subscriptions(SEVERAL, "/events?channel=t/x")
    keyed = JSON | {"Idempotency_Key": "one"}
    for target, status, problem, body, headers in [
            ("/channels/t/x", 202, None, "1", {}), ("/channels/d/x", 201, None, "1", JSON),
            ("/channels/d/x?type=a", 201, None, "1", keyed), ("/channels/d/x?type=a", 201, None, "1", keyed),
            ("/channels/d/x", 422, "idempotency-conflict", "2", keyed), ("/channels/d/x", 400, "bad-body", "{", JSON),
            ("/channels/t/*", 400, "bad-channel", "1", {}), ("/channels/t/x?type=a", 400, "bad-parameter", "1", {}),
            ("/channels/nothing", 404, "unknown-channel", "1", {}), ("/channels/t/x", 413, "too-large", "x" * 8000, {}),
            ("/channels/t/x", 415, "unsupported-type", "1", {"Content_Type": "image/png"}),
            ("/channels/t/x", 415, "unsupported-type", "1", {"Content_Encoding": "gzip"}),
            ("/channels/t/x", 421, "misdirected", "1", ELSEWHERE),
            ("/channels/t/x", 403, "forbidden", "1", {"Origin": "https://evil.example"})]:
        yield Call("POST", ONE, target, status, problem, body, headers)
    for body, status, problem, headers in [
            (batch(("d/x", 1, "two")), 201, None, JSON), (batch(("t/x", 1), ("t/x", 2)), 202, None, JSON),
            (batch(("t/x", 1), ("d/x", 1, "two")), 207, None, JSON), ("[", 400, "bad-body", JSON),
            (batch(("d/x", 2, "two")), 422, "idempotency-conflict", JSON),
            (batch(("nothing", 2)), 404, "unknown-channel", JSON), (batch(*[("t/x", 1)] * 4), 413, "too-large", JSON),
            ("1", 415, "unsupported-type", {"Content_Type": "image/png"}),
            (batch(("t/x", 1)), 421, "misdirected", ELSEWHERE)]:
        yield Call("POST", SEVERAL, "/events", status, problem, body, headers)
    for path in ("/channels", "/sets", "/metrics", "/healthz"):
        yield from reads(path, path, 200)
        yield from reads(path, path, 421, "misdirected", **ELSEWHERE)
        yield from reads(path, f"{path}?access_token=a&access_token=b", 400, "bad-request")
    for path in ("/livez", "/readyz"):
        yield from reads(path, path, 200, Origin=APP)
    for path in document.paths:
        if path == "/" or "." in path:  # a file
            yield from reads(path, path, 200, Origin=APP)
            yield from reads(path, path, 304, If_None_Match="*")
            yield from reads(path, path, 421, "misdirected", **ELSEWHERE)
    for method, headers, status, problem in [("PUT", {}, 405, "method-not-allowed"),
                                             ("GET", {"X_Filler": "x" * 20000}, 431, "header-too-large"),
                                             ("GET", {"Expect": "more"}, 417, "expectation-failed"),
                                             ("GET", {"Transfer_Encoding": "gzip"}, 501, "not-implemented")]:
        yield Call(method, "/livez", "/livez", status, problem, headers=headers)
    yield Call("GET", "/livez", "/nothing", 404, "not-found")
    yield Call("GET", "/livez", "/livez?" + "x" * 20000, 414, "uri-too-long")


def preflights(document):
    for path in document.paths:
        target = path.replace("{channel}", "t/x")
        yield Call("OPTIONS", path, target, 204)
        yield Call("OPTIONS", path, target, 204, headers={"Origin": APP, "Access_Control_Request_Method": "POST"})


def bearers(count, *grants, **more):
    return [bearer(*grants, subject=next(subjects), **more) for _ in range(count)]


def guarded_calls():
    for of, target in ((ONE, "/channels/t/x"), (SEVERAL, "/events?channel=t/x")):
        yield from reads(of, target, 401, "unauthorized", Authorization="Bearer nonsense")
        for call, headers in zip(reads(of, target, 403, "forbidden"), bearers(2, [], ["t/x"])):
            yield dataclasses.replace(call, headers=headers)
        for call, headers in zip(reads(of, f"{target}&wait=0" if "?" in target else f"{target}?wait=0", 429, "too-many",
                                       twice=True), bearers(2, ["t/x"])):
            yield dataclasses.replace(call, headers=headers)
    for of, target, body in ((ONE, "/channels/t/x", "1"), (SEVERAL, "/events", batch(("t/x", 1)))):
        yield Call("POST", of, target, 401, "unauthorized", body, {"Authorization": "Bearer nonsense"})
        yield Call("POST", of, target, 403, "forbidden", body, bearers(1, ["t/x"])[0])
        yield Call("POST", of, target, 429, "too-many", body, bearers(1, [], ["t/x"])[0], twice=True)
    for path in ("/channels", "/sets", "/metrics"):
        yield from reads(path, path, 401, "unauthorized")
        yield from reads(path, path, 403, "forbidden", **bearers(1, [], ["t/x"])[0])
        yield from reads(path, path, 200, **bearers(1, admin=True)[0])


def away_calls(away):
    token = bearers(1, ["t/x"], ["t/x"], admin=True)[0]
    for of, target in ((ONE, "/channels/t/x?format=ndjson"), (SEVERAL, "/events?channel=t/x&format=ndjson")):
        yield reads(of, target, 503, "database-away")[0]
    yield Call("POST", ONE, "/channels/t/x", 503, "database-away", "1", token)
    yield Call("POST", SEVERAL, "/events", 503, "database-away", batch(("t/x", 1)), token)
    for path in ("/channels", "/sets", "/metrics"):
        yield from reads(path, path, 503, "database-away", **token)
    for path in ("/readyz", "/healthz"):
        yield from reads(path, path, 503)
    with contextlib.ExitStack() as crowd:  # leaves no place for a stream
        for _ in range(12):
            crowd.enter_context(Connection(away.address))
        yield from reads(ONE, "/channels/t/x?format=ndjson", 503, "overloaded")
        yield from reads(SEVERAL, "/events?channel=t/x&format=ndjson", 503, "overloaded")


def make(gateway, call):
    for _ in range(1 + call.twice):
        with Connection(gateway.address) as connection:
            answer = connection.request(call.method, call.target, call.body, **call.headers).response(call.method)
    return answer


def test_every_operation_answers_as_it_is_described(plain, guarded, away, document):
    document.seen.clear()
    for gateway, calls in ((plain, plain_calls(document)), (plain, preflights(document)), (guarded, guarded_calls()),
                           (away, away_calls(away))):
        for call in calls:
            answer = make(gateway, call)
            assert answer.status == call.status, (call, answer)
            if call.problem and call.method != "HEAD":
                assert answer.problem()[0] == call.problem, (call, answer)
            document.check(call.method, call.of, answer)
            if call.body and call.status < 300:
                document.check_request(call.method, call.of, call.headers.get("Content_Type", "text/*"), call.body)
    described = {(operation["operationId"], status) for operation in document.operations().values()
                 for status in operation["responses"] if status != "default"}
    assert described <= document.seen, described - document.seen


@pytest.mark.parametrize("of, target", [(ONE, "/channels/{}?"), (SEVERAL, "/events?channel={}&")])
@pytest.mark.parametrize("query", ["format=sse", "format=ndjson", "format=sse&payload=cloudevents",
                                   "format=ndjson&payload=cloudevents"])
def test_what_streams_say(plain, document, durable_channel, of, target, query):
    operation = document.paths[of]["get"]
    plain.publish(f"{durable_channel}?type=made", "[1]", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    with plain.stream(target.format(durable_channel) + query, Last_Event_ID="nonsense") as stream:
        document.check("GET", of, Response(200, stream.head.headers, b""))
        kinds = []
        while "event" not in kinds:
            item = stream.read()
            document.check_item(operation, item)
            kinds.append(item.kind)
            if kinds == ["gap", "cursor"]:
                plain.publish(durable_channel, '{"a":1}')
        assert kinds == ["gap", "cursor", "event"]


@pytest.mark.parametrize("payload", ["event", "cloudevents"])
def test_what_long_polls_say(plain, document, durable_channel, payload):
    plain.publish(f"{durable_channel}?type=made", "[1]")
    for after in ("now", "earliest"):
        answer = plain.get(f"/channels/{durable_channel}?wait=0&after={after}&payload={payload}")
        document.check("GET", ONE, answer)
    assert len(answer.json()["events"]) == 1
    answer = plain.get(f"/channels/{durable_channel}?wait=0", Last_Event_ID="nonsense")
    document.check("GET", ONE, answer)
    assert answer.json()["gap"]["reason"] == "unknown"


def test_examples_are_like_the_real_ones(plain, document):
    """A cursor and an id of the examples can be read."""
    for text in re.findall(r"q3k9zt\.\d+(?:~[a-z2-7]{10}-\d+)?|0~[a-z2-7]{10}-\d+", document.text):
        assert plain.call("HEAD", f"/channels/d/x?after={text}").status == 200, text


# --- the checks themselves


@pytest.mark.parametrize("spoil", [
    lambda answer: answer.headers.append(("X-New", "1")), lambda answer: answer.headers.remove(
        ("X-Request-Id", answer.header("X-Request-Id"))),
    lambda answer: setattr(answer, "status", 400), lambda answer: setattr(answer, "status", 299),
    lambda answer: setattr(answer, "body", answer.body.replace(b'"live"', b'"lively"')),
    lambda answer: setattr(answer, "body", answer.body.replace(b'"not_shown"', b'"not_told"'))])
def test_what_is_otherwise_is_found(plain, document, spoil):
    answer = plain.get("/channels")
    document.check("GET", "/channels", answer)
    spoil(answer)
    with pytest.raises((AssertionError, jsonschema.ValidationError)):
        document.check("GET", "/channels", answer)


