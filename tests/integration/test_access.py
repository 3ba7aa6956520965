"""Who may do what: tokens, grants, anonymous clients, operators; and what happens when keys or time move on."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from kit.gateway import BINARY, ROOT, Gateway, environment, install_schema, run
from kit.http import Connection, call
from kit.tokens import SECRET, KeyPair, bearer, claims, encode, signed, token
from kit.wait import DEADLINE, until

INVALID = ('Bearer realm="pg_eventgate", error="invalid_token", error_description="The token is not valid"')


@pytest.fixture(scope="session")
def guarded(postgres, secret_file):
    """A gateway with keys that no test may disturb: live channels t/..., open/... to everybody, and durable ones d/..."""
    install_schema(postgres.conninfo)
    process = Gateway("--postgres", postgres.conninfo, "--live", "t/**,open/**,both/**", "--durable", "d/**",
                      "--keys", f"HS256:{secret_file}", "--workers", "2", "--log-level", "debug",
                      "--anonymous-subscribe", "open/**,both/**", "--anonymous-publish", "both/*")
    try:
        yield process.wait_ready()
    finally:
        code = process.stop()
    assert code == 0, process.log_text()


def refused(answer, status):
    """The problem of an answer of this status, and its challenge."""
    assert answer.status == status, answer
    return answer.problem(), answer.header("www-authenticate")


# --- which token counts ----------------------------------------------------------------------------------------------

def ways(value):
    return {"header": {"Authorization": f"Bearer {value}"}, "lower case": {"authorization": f"bearer {value}"},
            "cookie": {"Cookie": f"a=b; eventgate_token={value}; c=d"}}


@pytest.mark.parametrize("way", ["header", "lower case", "cookie", "query"])
def test_a_token_may_come_in_three_places(guarded, channel, way):
    value = token([channel])
    target = f"/channels/{channel}" + (f"?access_token={value}" if way == "query" else "")
    with guarded.stream(target, **ways(value).get(way, {})) as stream:
        stream.cursor()


def test_the_first_place_that_has_a_token_decides(guarded, channel):
    good, bad = token([channel]), token([channel], lifetime=-100)
    target = f"/channels/{channel}?wait=0&format=poll"
    for first, second, third, status in [(good, bad, bad, 200), (bad, good, good, 401), (None, good, bad, 200),
                                         (None, bad, good, 401), (None, None, good, 200), (None, None, None, 401)]:
        headers = ({"Authorization": f"Bearer {first}"} if first else {}) | (
            {"Cookie": f"eventgate_token={second}"} if second else {})
        query = f"&access_token={third}" if third else ""
        assert guarded.get(target + query, **headers).status == status, (first, second, third)


def test_another_scheme_and_an_empty_cookie_are_no_token(guarded, channel):
    headers = {"Authorization": "Basic dXNlcjpwYXNz", "Cookie": "eventgate_token=; eventgate_tokens=x"}
    answer = guarded.get(f"/channels/{channel}?access_token={token([channel])}&wait=0", **headers)
    assert answer.status == 200
    answer = guarded.get(f"/channels/{channel}", **headers)
    assert refused(answer, 401)[1] == 'Bearer realm="pg_eventgate"'


def test_two_tokens_in_one_place_are_refused(guarded, gateway, channel):
    value = token([channel])
    for target in (guarded, gateway):
        answer = target.get(f"/channels/{channel}?access_token={value}&access_token={value}")
        assert refused(answer, 400)[0][0] == "bad-request"
        with Connection(target.address) as connection:
            connection.send(f"GET /channels/{channel} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {value}\r\n"
                            f"Authorization: Bearer {value}\r\nConnection: close\r\n\r\n".encode())
            assert connection.response().problem()[0] == "bad-request"


def none_signed(body):
    return f"{encode({'alg': 'none'})}.{encode(body)}."


def bad_tokens():
    good = claims(["t/**"])
    valid = signed(good)
    yield "malformed", "nonsense"
    yield "empty", ""
    yield "algorithm", none_signed(good)
    yield "algorithm", signed(good, algorithm="HS512")
    yield "signature", signed(good, secret=b"another secret that is as long as one has to be for HS256")
    yield "signature", valid[:-4] + ("AAAA" if valid[-4:] != "AAAA" else "BBBB")
    yield "expired", signed(claims(["t/**"], lifetime=-60))
    yield "not yet", signed(good | {"nbf": int(time.time()) + 600})
    yield "no end", signed(claims(["t/**"], lifetime=None))
    yield "bad claim", signed(good | {"eventgate": {"subscribe": ["a//b"]}})


@pytest.mark.parametrize("reason, value", list(bad_tokens()), ids=lambda value: value[:20])
def test_every_bad_token_reads_the_same_on_the_wire_and_its_reason_is_in_the_log(guarded, channel, reason, value):
    answer = guarded.get(f"/channels/{channel}?access_token={value}")
    (problem, sentence), challenge = refused(answer, 401)
    assert (problem, challenge) == ("unauthorized", INVALID)
    assert sentence == "The token is not valid here, or no longer. Get a new one, and try again with it."
    line = guarded.wait_log(f"token refused.*{answer.header('x-request-id')}")
    assert "reason=" in line and "INFO" in line


def test_issuer_and_audience(start_gateway, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--token-issuer", "https://id.example,me",
                            "--token-audience", "eventgate", "--token-expiry", "optional").wait_ready()
    good = {"iss": "me", "aud": ["x", "eventgate"], "exp": None}
    for more, status in [({}, 200), ({"iss": "you"}, 401), ({"iss": None}, 401), ({"aud": "x"}, 401), ({"aud": None}, 401),
                         ({"aud": "eventgate"}, 200)]:
        answer = gateway.get(f"/channels/{channel}?wait=0", **bearer([channel], **(good | more)))
        assert answer.status == status, more


def test_mercure_and_postgres_websockets_tokens(start_gateway, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--token-claims", "mercure, postgres-websockets").wait_ready()
    for more, status in [({"mercure": {"subscribe": ["*"]}}, 200), ({"mode": "r", "channels": [channel]}, 200),
                         ({"mode": "w", "channels": [channel]}, 403), ({}, 403)]:
        answer = gateway.get(f"/channels/{channel}?wait=0", **bearer(**({"eventgate": None} | more)))
        assert answer.status == status, more


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
def test_public_keys(start_gateway, tmp_path, channel, algorithm):
    pair = KeyPair(tmp_path, algorithm)
    prefix = "PS256:" if algorithm == "PS256" else ""
    gateway = start_gateway("--keys", f"{prefix}{pair.public}").wait_ready()
    good = pair.signed(claims([channel]))
    assert gateway.get(f"/channels/{channel}?wait=0", Authorization=f"Bearer {good}").status == 200
    # The public key, which everybody may have, is no shared secret.
    confused = signed(claims([channel]), secret=pair.public.read_bytes())
    assert gateway.get(f"/channels/{channel}?wait=0", Authorization=f"Bearer {confused}").status == 401


def test_the_readme_makes_a_token(start_gateway, tmp_path):
    readme = (ROOT / "README.md").read_text()
    chapter = readme[readme.index("## Access"):readme.index("## Operating it")]
    (code,) = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    command = re.search(r"\$ (openssl rand .*)", chapter)[1]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    made = subprocess.run(["/usr/bin/python3", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    gateway = start_gateway("--keys", f"HS256:{tmp_path / 'secret'}", live="orders,chat/*").wait_ready()
    rights = {"Authorization": "Bearer " + made.stdout.strip()}
    assert gateway.get("/channels/orders?wait=0", **rights).status == 200
    assert gateway.publish("chat/lobby", "hello", **rights).status == 202
    assert gateway.publish("orders", "hello", **rights).status == 403


# --- what it grants --------------------------------------------------------------------------------------------------

def test_subscribing_needs_a_grant_for_all_that_is_asked_for(guarded):
    rights = bearer(["t/a", "t/b/*", "d/x/**"])
    for query, status in [("t/a", 200), ("t/a&channel=t/b/c", 200), ("t/b/c/d", 403), ("t/a&channel=t/z", 403),
                          ("d/x/*", 200), ("d/x/**", 200), ("d/**", 403), ("d/*/x", 403), ("d/x/y/z", 200)]:
        answer = guarded.get(f"/events?channel={query}&format=poll&wait=0", **rights)
        assert answer.status == status, (query, answer)
    answer = guarded.get("/events?channel=t/a&channel=t/z", **rights)
    (problem, sentence), challenge = refused(answer, 403)
    assert problem == "forbidden" and '"t/z"' in sentence
    assert challenge == 'Bearer realm="pg_eventgate", error="insufficient_scope"'


def test_without_a_token_one_is_asked_for(guarded, channel):
    for answer in (guarded.get(f"/channels/{channel}"), guarded.publish(channel, "1"), guarded.get("/metrics"),
                   guarded.get("/sets"), guarded.call("HEAD", f"/channels/{channel}")):
        assert answer.status == 401 and answer.header("www-authenticate") == 'Bearer realm="pg_eventgate"', answer


def test_a_token_without_the_claim_is_403(guarded, channel):
    answer = guarded.get(f"/channels/{channel}", **bearer(eventgate=None))
    (problem, sentence), challenge = refused(answer, 403)
    assert problem == "forbidden" and "claim" in sentence and "insufficient_scope" in challenge
    assert guarded.get("/channels/open/a?wait=0", **bearer(eventgate=None)).status == 403


def test_whether_a_channel_exists_is_for_those_who_may_subscribe_to_it(guarded):
    rights = bearer(["t/**", "nowhere/**"])
    assert guarded.get("/channels/elsewhere/a", **rights).status == 403
    answer = guarded.get("/channels/nowhere/a", **rights)
    (problem, sentence), _ = refused(answer, 404)
    assert problem == "unknown-channel" and "t/**" in sentence
    assert "d/**" not in sentence and "open/**" in sentence, "what everybody may have is shown"
    answer = guarded.call("POST", "/channels/nowhere/a", "1", **bearer([], ["nowhere/**"]))
    assert answer.status == 404 and "t/**" not in answer.problem()[1]


def test_publishing_needs_a_grant(guarded, channel):
    assert guarded.publish(channel, "1", **bearer([channel])).status == 403
    assert guarded.publish(channel, "1", **bearer([], ["t/other"])).status == 403
    assert guarded.publish(channel, "1", **bearer([], [channel])).status == 202
    assert guarded.publish("d/one", "1", **bearer([], ["d/*"])).status == 201


def test_every_item_of_a_batch_is_authorised_before_anything_is_published(guarded, channel, durable_channel):
    with guarded.stream(f"/channels/{channel}", **bearer([channel])) as stream:
        stream.cursor()
        batch = [{"channel": channel, "data": 1}, {"channel": durable_channel, "data": 2}, {"channel": "t/no", "data": 3}]
        rights = bearer([durable_channel], [channel, durable_channel])
        answer = guarded.call("POST", "/events", json.dumps(batch), Content_Type="application/json", **rights)
        (problem, sentence), _ = refused(answer, 403)
        assert problem == "forbidden" and "Item 3" in sentence and '"t/no"' in sentence
        assert guarded.publish(channel, "last", **rights).status == 202
        assert stream.event().data == "last"
    answer = guarded.get(f"/channels/{durable_channel}?after=earliest&wait=0", **rights)
    assert answer.json()["events"] == []


def test_a_post_that_may_go_nowhere_is_refused_before_its_body_comes(guarded, channel):
    with Connection(guarded.address) as connection:
        connection.send(f"POST /channels/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
                        f"Authorization: Bearer {token([channel])}\r\n\r\n".encode())
        assert connection.response().status == 403


def test_anonymous_grants(guarded):
    with guarded.stream("/channels/both/a") as stream:
        stream.cursor()
        assert guarded.publish("both/a", "1").status == 202
        assert stream.event().data == 1
    answer = guarded.publish("open/a", "1")
    (problem, sentence), _ = refused(answer, 401)
    assert problem == "unauthorized" and '"open/a"' in sentence
    assert guarded.get("/channels/open/a?wait=0", **bearer(["t/a"])).status == 200, "with a token, too"
    assert guarded.get("/channels/open/a?wait=0", **bearer(["t/a"], lifetime=-100)).status == 401, "but not a bad one"


def test_anonymous_grants_are_of_their_set(start_gateway, tmp_path, postgres, secret_file):
    config = tmp_path / "gateway.conf"
    config.write_text(f"[gateway]\nlisten = 127.0.0.1:0\nkeys = HS256:{secret_file}\n"
                      f"[set one]\npostgres = {postgres.conninfo}\nlive = one/**\nanonymous_subscribe = **\n"
                      f"[set two]\npostgres = {postgres.conninfo}\nlive = two/**\nanonymous_publish = **\n")
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    assert [gateway.get(f"/channels/{name}/a?wait=0").status for name in ("one", "two")] == [200, 401]
    assert [gateway.publish(f"{name}/a", "1").status for name in ("one", "two")] == [401, 202]
    listing = gateway.get("/channels").json()
    assert [row["pattern"] for row in listing["patterns"]] == ["one/**"]


def test_keys_of_idempotency_belong_to_their_subject(guarded, durable_channel):
    def post(subject, body, key="k"):
        return guarded.publish(durable_channel, body, Idempotency_Key=key, **bearer([], ["d/**"], subject=subject))

    first, again, other = post("ann", "1"), post("ann", "1"), post("bob", "2")
    assert again.json() == first.json() and again.header("idempotency-replayed") == "true"
    assert other.status == 201 and other.json()["id"] != first.json()["id"]
    assert other.header("idempotency-replayed") is None
    assert post("ann", "2").status == 422
    assert post(None, "3").json()["id"] not in (first.json()["id"], other.json()["id"]), "no subject is one, too"


def test_batch_keys_belong_to_their_subject(guarded, durable_channel):
    def post(subject, body):
        batch = [{"channel": durable_channel, "data": body, "key": "k"}, {"channel": durable_channel, "data": body}]
        answer = guarded.call("POST", "/events", json.dumps(batch), Content_Type="application/json",
                              **bearer([], ["d/**"], subject=subject))
        assert answer.status == 201, answer
        return answer.json()["results"][0]

    first, again, other = post("ann", 1), post("ann", 1), post("bob", 2)
    assert again["id"] == first["id"] and again["replayed"]
    assert other["id"] != first["id"] and "replayed" not in other


def test_rates_are_each_subjects_own(start_gateway, secret_file, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--publish-rate", "1/h", "--publish-burst", "1",
                            "--anonymous-publish", "t/**").wait_ready()
    rights = [bearer([], [channel], subject=name) for name in ("ann", "bob")] + [{}]
    assert [gateway.publish(channel, "1", **each).status for each in rights * 2] == [202] * 3 + [429] * 3


# --- operators -------------------------------------------------------------------------------------------------------

def test_operators_need_a_grant(guarded, channel):
    for target in ("/metrics", "/sets"):
        assert guarded.get(target).status == 401
        assert refused(guarded.get(target, **bearer(["**"], ["**"])), 403)[0][0] == "forbidden"
        assert guarded.get(target, **bearer(admin=True)).status == 200
    assert "sets" not in guarded.get("/healthz").json() and guarded.get("/healthz").status == 200
    assert "sets" not in guarded.get("/healthz", **bearer(lifetime=-100)).json()
    assert "sets" in guarded.get("/healthz", **bearer(admin=True)).json()
    for target in ("/livez", "/readyz"):
        assert guarded.get(target, **bearer(lifetime=-100)).status == 200


def test_the_list_of_channels_shows_what_one_may_subscribe_to(guarded, channel):
    with guarded.stream(f"/events?channel={channel}&channel={channel}/b", **bearer(["t/**"])) as stream:
        stream.cursor()

        def names(**headers):
            listing = guarded.get("/channels", **headers).json()
            return {row.get("name") for row in listing["channels"]}, {row["pattern"] for row in listing["patterns"]}

        assert {channel, f"{channel}/b"} <= names(**bearer(admin=True))[0]
        assert names(**bearer(admin=True))[1] == {"t/**", "open/**", "both/**", "d/**"}
        shown, patterns = names(**bearer([f"{channel}/b"]))
        assert f"{channel}/b" in shown and channel not in shown and patterns == {"open/**", "both/**"}
        shown, patterns = names()
        assert not [name for name in shown if name.startswith("t/")] and patterns == {"open/**", "both/**"}


def test_the_list_of_channels_is_not_for_those_who_may_subscribe_to_nothing(start_gateway, secret_file):
    gateway = start_gateway("--keys", f"HS256:{secret_file}").wait_ready()
    assert gateway.get("/channels").status == 401
    assert gateway.get("/channels", **bearer([], ["**"])).status == 403
    assert gateway.get("/channels", **bearer(["t/a"])).json()["patterns"] == []


def admin_address(gateway):
    line = gateway.wait_log("listening for operators")
    host, _, port = line.split("address=")[1].split()[0].strip('"').rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("keys", [True, False])
def test_operators_may_have_an_address_of_their_own(start_gateway, secret_file, keys):
    given = ["--keys", f"HS256:{secret_file}"] if keys else []
    gateway = start_gateway("--admin-listen", "127.0.0.1:0", *given).wait_ready()
    with Connection(admin_address(gateway)) as admin:
        for target in ("/metrics", "/sets", "/channels", "/healthz"):
            answer = admin.request("GET", target).response()
            assert answer.status == 200, answer
        assert "sets" in answer.json()
    for target in ("/metrics", "/sets", "/channels"):
        assert gateway.get(target).status == (401 if keys else 403)
    assert gateway.get("/channels").problem()[1].startswith("This is for operators" if not keys else "The list shows")
    assert gateway.get("/healthz").status == 200 and "sets" not in gateway.get("/healthz").json()


@pytest.mark.parametrize("keys", [True, False])
def test_pages_in_the_browser_of_an_operator_learn_nothing(start_gateway, secret_file, keys):
    given = ["--keys", f"HS256:{secret_file}"] if keys else []
    gateway = start_gateway("--admin-listen", "127.0.0.1:0", "--allowed-origins", "*,https://app.example", *given)
    address = admin_address(gateway)
    for target in ("/metrics", "/sets", "/channels", "/healthz"):
        assert call(address, "GET", target, Host="rebound.example").status == 421, target
        for origin in ("https://app.example", "https://evil.example"):
            assert gateway.get(target, Origin=origin).header("access-control-allow-origin"), target
            answer = call(address, "GET", target, Origin=origin)
            assert answer.status in (200, 503) and not answer.header("access-control-allow-origin"), answer


# --- without keys ----------------------------------------------------------------------------------------------------

def test_without_keys_only_this_machine_is_served(postgres):
    database = ("--postgres", postgres.conninfo, "--live", "a")
    for listen in (["--listen", ":8080"], ["--listen", "0.0.0.0:8080"], ["--listen", "127.0.0.1:0,192.0.2.1:80"],
                   ["--listen", "[::]:80"], ["--listen", "127.0.0.1:0", "--admin-listen", ":0"]):
        for action in ([], ["--check-config"]):
            ended = run(*database, *listen, *action)
            assert ended.returncode == 2 and "--insecure" in ended.stderr and "keys" in ended.stderr, ended
    for listen in ("127.0.0.1:80,[::1]:80", "127.9.9.9:80"):
        assert run(*database, "--listen", listen, "--check-config").returncode == 0
    assert run(*database, "--listen", ":8080", "--check-config", "--insecure").returncode == 0
    assert run(*database, "--insecure", "yes", "--listen", ":8080", "--check-config").returncode == 0
    assert run(*database, "--insecure=no", "--listen", ":8080", "--check-config").returncode == 2
    assert run(*database, "--listen", ":8080", "--check-config", EVENTGATE_INSECURE="yes").returncode == 0


def test_insecure_is_said_in_the_log(start_gateway):
    gateway = start_gateway("--insecure", listen="0.0.0.0:0").wait_ready()
    assert "WARN" in gateway.wait_log("insecure")
    assert gateway.get("/channels", Host="events.example").status == 200


@pytest.mark.parametrize("address, served", [("0.0.0.0", False), ("127.0.0.1", True)])
def test_inherited_sockets_are_looked_at_too(postgres, address, served):
    with socket.create_server((address, 0)) as listener:
        shell = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listener.fileno()}']
        command = [*shell, BINARY, "--postgres", postgres.conninfo, "--live", "a", "--listen", ":8080"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(), text=True,
                                   pass_fds=[listener.fileno()])
        if served:
            next(line for line in process.stderr if "listening address=" in line)
            process.terminate()
        log = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == (0 if served else 2), log
    assert served or "--insecure" in log


def test_a_bad_file_of_keys_is_named(postgres, tmp_path):
    short = tmp_path / "short"
    short.write_bytes(b"short")
    for keys in (f"HS256:{short}", tmp_path / "absent", f"{short}"):
        for action in ([], ["--check-config"]):
            ended = run("--postgres", postgres.conninfo, "--live", "a", "--keys", str(keys), "--listen", "127.0.0.1:0", *action)
            assert ended.returncode == 2 and str(keys).removeprefix("HS256:") in ended.stderr, ended


def test_anonymous_grants_without_keys_are_a_mistake(postgres):
    ended = run("--postgres", postgres.conninfo, "--live", "a", "--anonymous-subscribe", "a", "--check-config")
    assert ended.returncode == 2 and "anonymous_subscribe" in ended.stderr


# --- hosts -----------------------------------------------------------------------------------------------------------

def test_a_host_that_could_be_a_strangers_is_refused_without_keys(gateway, channel):
    for host in ("localhost", "127.0.0.1:1234", "[::1]:80", "gateway", "app.localhost:3000", "gateway.test"):
        assert gateway.get(f"/channels/{channel}?wait=0", Host=host).status == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080"):
        answer = gateway.get(f"/channels/{channel}?wait=0", Host=host)
        (problem, sentence), _ = refused(answer, 421)
        assert problem == "misdirected" and "allowed_hosts" in sentence
        assert gateway.call("POST", f"/channels/{channel}", "1", Host=host).status == 421
        assert gateway.get("/livez", Host=host).status == 200, "probes ask by any name"


def test_allowed_hosts(start_gateway, guarded, channel):
    gateway = start_gateway("--allowed-hosts", "events.example,*.shop.example:8443").wait_ready()
    for host, status in [("events.example", 200), ("EVENTS.example:99", 200), ("a.shop.example:8443", 200),
                         ("a.shop.example", 421), ("localhost", 421), ("evil.example", 421)]:
        assert gateway.get(f"/channels/{channel}?wait=0", Host=host).status == status, host
    with Connection(gateway.address) as old:
        assert old.request("GET", "/sets", version="1.0", Host=None).response().status == 200
    assert guarded.get("/channels/open/a?wait=0", Host="any.example").status == 200, "with keys, any"


# --- the end of a token ----------------------------------------------------------------------------------------------

def ending(*arguments, **named):
    """A token that ends in a few seconds; the gateway has no leeway."""
    return bearer(*arguments, lifetime=4, **named)


@pytest.fixture
def strict(start_gateway, secret_file):
    return start_gateway("--keys", f"HS256:{secret_file}", "--token-leeway", "0s", "--retry", "70ms").wait_ready()


@pytest.mark.parametrize("format", ["sse", "ndjson"])
def test_a_stream_ends_with_its_token(strict, postgres, channel, format):
    rights = ending([channel])
    with strict.stream(f"/channels/{channel}?format={format}", **rights) as stream, \
            strict.stream(f"/channels/{channel}", **bearer([channel])) as other:
        cursor = stream.cursor()
        other.cursor()
        postgres.notify(channel, "1")
        assert stream.event().data == 1
        assert [item.kind for item in stream.until_closed()] == []
        postgres.notify(channel, "2")
        assert [event.data for event in other.events(2)] == [1, 2], "another token's goes on"
    answer = strict.get(f"/channels/{channel}?format={format}", Last_Event_ID=cursor, **rights)
    assert refused(answer, 401)[1] == INVALID


def test_a_long_poll_ends_with_its_token(strict, channel):
    rights = ending([channel])
    cursor = strict.poll(f"/channels/{channel}", **rights)["next"]
    assert strict.poll(f"/channels/{channel}?after={cursor}&wait=60", **rights) == {"events": [], "next": cursor}
    assert strict.get(f"/channels/{channel}?after={cursor}&wait=60", **rights).status == 401


def test_a_subscription_that_waits_ends_with_its_token(start_gateway, secret_file, fragile_postgres, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--token-leeway", "0s", "--subscribe-timeout", "1h",
                            database=fragile_postgres).wait_ready()
    fragile_postgres.stop()
    gateway.wait_unready()
    assert refused(gateway.get(f"/channels/{channel}", **ending([channel])), 401)[1] == INVALID


def test_a_slow_reader_ends_with_its_token_between_whole_frames(strict, postgres, channel):
    rights, operator = ending([f"{channel}/**", channel]), bearer(admin=True)
    with strict.stream(f"/channels/{channel}", receive_buffer=4096, **rights) as slow, \
            strict.stream(f"/channels/{channel}/quiet", **rights) as quiet:
        slow.cursor()
        quiet.cursor()
        postgres.flood(channel, 1, 2000, 7000)
        until(lambda: "\neventgate_streams_blocked 1" in strict.get("/metrics", **operator).text(), "it is blocked")
        quiet.until_closed()
        items = slow.until_closed()
        assert items and all(len(item.data["fill"]) == 7000 for item in items if item.kind == "event")


def test_a_reader_that_takes_nothing_ends_with_its_token(start_gateway, secret_file, postgres, channel):
    gateway = start_gateway("--keys", f"HS256:{secret_file}", "--token-leeway", "0s", "--heartbeat", "100ms").wait_ready()

    def shows(row):
        return f"\n{row}\n" in gateway.get("/metrics", **bearer(admin=True)).text()

    with gateway.stream(f"/channels/{channel}", receive_buffer=4096, **ending([channel])) as stuck:
        stuck.cursor()
        postgres.flood(channel, 1, 2000, 7000)
        until(lambda: shows("eventgate_streams_blocked 1"), "it is blocked")
        until(lambda: shows('eventgate_streams{transport="sse"} 0'), "it is closed")
        assert shows("eventgate_stuck_streams_closed_total 1")
        until(lambda: shows("eventgate_connections 1"), "the questions' connections are closed, too")


# --- reload ----------------------------------------------------------------------------------------------------------

def reload(gateway, line):
    before = len(gateway.log)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: any(line in each for each in gateway.log[before:]), line)


@pytest.mark.threads
def test_keys_are_rotated_while_streams_go_on(start_gateway, tmp_path, postgres, channel):
    secrets = [letter * 40 for letter in (b"a", b"b")]
    files = [tmp_path / name for name in "ab"]
    for file, secret in zip(files, secrets):
        file.write_bytes(secret)
    config = tmp_path / "gateway.conf"

    def write(*keys):
        config.write_text("[gateway]\nlisten = 127.0.0.1:0\nworkers = 2\nkeys = " + ", ".join(f"HS256:{key}" for key in keys) +
                          f"\n[set default]\npostgres = {postgres.conninfo}\nlive = t/**\n")

    def status(secret):
        return gateway.get(f"/channels/{channel}?wait=0",
                           Authorization="Bearer " + signed(claims([channel]), secret)).status

    write(files[0])
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    assert [status(secret) for secret in secrets] == [200, 401]
    with gateway.stream(f"/channels/{channel}",
                        Authorization="Bearer " + signed(claims([channel]), secrets[0])) as stream:
        stream.cursor()
        write(*files)
        reload(gateway, "configuration reloaded")
        until(lambda: status(secrets[1]) == 200, "the new key counts")
        assert status(secrets[0]) == 200
        write(files[1])
        reload(gateway, "configuration reloaded")
        until(lambda: status(secrets[0]) == 401, "the old one no longer does")
        assert status(secrets[1]) == 200
        postgres.notify(channel, "still here")
        assert stream.event().data == "still here"


def test_a_bad_key_at_reload_changes_nothing(start_gateway, tmp_path, postgres, channel):
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    gateway = start_gateway("--keys", f"HS256:{key}").wait_ready()
    key.write_bytes(b"short")
    reload(gateway, "nothing has changed")
    assert str(key) in gateway.log_text()
    assert gateway.get(f"/channels/{channel}?wait=0", **bearer([channel])).status == 200
    key.unlink()
    reload(gateway, "nothing has changed")
    assert gateway.get(f"/channels/{channel}?wait=0", **bearer([channel])).status == 200


@pytest.mark.parametrize("what", ["pipe", "device"])
def test_keys_are_in_regular_files_so_that_a_reload_never_waits(start_gateway, tmp_path, channel, what):
    file, key = tmp_path / "file", tmp_path / "key"
    file.write_bytes(SECRET)
    key.symlink_to(file)
    gateway = start_gateway("--keys", f"HS256:{key}").wait_ready()
    key.unlink()
    os.mkfifo(key) if what == "pipe" else key.symlink_to("/dev/zero")
    reload(gateway, "nothing has changed")
    gateway.wait_log(f"keys: {key}: cannot be read: it is no regular file")
    assert gateway.get(f"/channels/{channel}?wait=0", **bearer([channel])).status == 200


def test_keys_cannot_be_taken_away_from_an_open_address(start_gateway, tmp_path, secret_file, postgres, channel):
    config = tmp_path / "gateway.conf"
    text = f"[gateway]\nlisten = 0.0.0.0:0\nkeys = HS256:{secret_file}\n[set default]\n" \
           f"postgres = {postgres.conninfo}\nlive = t/**\n"
    config.write_text(text)
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    config.write_text(text.replace("keys", "# keys"))
    reload(gateway, "nothing has changed")
    assert gateway.get(f"/channels/{channel}").status == 401


def test_anonymous_grants_and_names_change_at_reload(start_gateway, tmp_path, secret_file, postgres, channel):
    config = tmp_path / "gateway.conf"
    text = f"[gateway]\nlisten = 127.0.0.1:0\nkeys = HS256:{secret_file}\n[set default]\n" \
           f"postgres = {postgres.conninfo}\nlive = t/**\n"
    config.write_text(text)
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    assert gateway.get(f"/channels/{channel}?wait=0").status == 401
    config.write_text(text + "anonymous_subscribe = t/**\n")
    for _ in range(2):
        reload(gateway, "configuration reloaded")
    until(lambda: gateway.get(f"/channels/{channel}?wait=0").status == 200, "everybody may")
    changed = [line for line in gateway.log if "anonymous_subscribe" in line]
    assert len(changed) == 1 and "INFO" in changed[0], "said once"


@pytest.mark.threads
def test_streams_without_a_grant_end_when_keys_come_and_anonymous_grants_go(start_gateway, tmp_path, secret_file, postgres):
    """What was begun without a token, too; who has one that grants it, or needs none, notices nothing."""
    config = tmp_path / "gateway.conf"

    def write(keys, anonymous):
        config.write_text("[gateway]\nlisten = 127.0.0.1:0\nworkers = 2\n" + f"keys = HS256:{secret_file}\n" * keys +
                          f"[set default]\npostgres = {postgres.conninfo}\nlive = t/*, u\n" +
                          f"anonymous_subscribe = {anonymous}\n" * bool(anonymous))

    write(False, "")
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    with gateway.stream("/events?channel=t/a") as never, gateway.stream("/events?channel=t/b") as first:
        for stream in never, first:
            stream.cursor()
        place = gateway.poll("/channels/t/a")["next"]
        with Connection(gateway.address) as waiting:
            waiting.request("GET", f"/channels/t/a?wait=60&after={place}")
            until(lambda: gateway.metric('eventgate_streams{transport="poll"}') == 1, "it waits")
            write(True, "t/b, t/c, u")
            reload(gateway, "configuration reloaded")
            never.until_closed()
            assert waiting.response().json()["events"] == []
        assert gateway.get("/channels/t/a?wait=0").status == 401
        both = gateway.stream("/events?channel=t/a&channel=t/c", **bearer(["t/a"]))
        told, other = gateway.stream("/channels/t/c", **bearer(["t/*"])), gateway.stream("/channels/u")
        with both, told, other:
            for stream in both, told, other:
                stream.cursor()
            write(True, "u")
            reload(gateway, "configuration reloaded")
            first.until_closed()
            both.until_closed() # one of its channels would have to be granted by its token now
            postgres.notify("t/c", "1")
            postgres.notify("u", "2")
            assert [told.event().data, other.event().data] == [1, 2]


def test_a_post_is_refused_whose_body_comes_behind_the_first_keys(start_gateway, tmp_path, secret_file, postgres, channel):
    config = tmp_path / "gateway.conf"
    text = f"[gateway]\nlisten = 127.0.0.1:0\n[set default]\npostgres = {postgres.conninfo}\nlive = t/**\n"
    config.write_text(text)
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    batch = json.dumps([{"channel": channel, "data": 1}])
    posts = [(Connection(gateway.address), target, kind, body) for target, kind, body in
             ((f"/channels/{channel}", "text/plain", "hello"), ("/events", "application/json", batch))]
    with gateway.stream(f"/channels/{channel}", **bearer([channel])) as stream:
        stream.cursor()
        for connection, target, kind, body in posts:
            connection.send(f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
            assert connection.head().status == 100, "its head has been judged"
        config.write_text(text.replace("[set", f"keys = HS256:{secret_file}\n[set"))
        reload(gateway, "configuration reloaded")
        until(lambda: gateway.get(f"/channels/{channel}?wait=0").status == 401, "a token is asked for")
        for connection, _, _, body in posts:
            connection.send(body.encode())
            refused(connection.response(), 401)
            connection.close()


# --- logs ------------------------------------------------------------------------------------------------------------

def test_no_token_is_ever_in_the_log(guarded, channel):
    marked = [signed(claims([channel], subject="s3cr3t-subject") | {"jti": f"planted-{n}"}) for n in range(4)]
    bad = marked[3][:-3] + "AAA"
    with guarded.stream(f"/channels/{channel}?access_token={marked[0]}") as stream:
        stream.cursor()
    guarded.get(f"/channels/{channel}?access_token={bad}")
    guarded.get(f"/nowhere?access_token={marked[0]}")
    guarded.get(f"/channels/{channel}?access_token={marked[0]}&access_token={marked[1]}")
    guarded.get(f"/channels/{channel}?access_token={marked[0]}%zz")
    guarded.get(f"/channels/{channel}?token={marked[0]}&after={marked[0]}")
    guarded.get(f"/channels/t/other?access_token={marked[0]}")
    guarded.publish(channel, "1", Cookie=f"eventgate_token={marked[2]}")
    guarded.publish(channel, "1", Authorization=f"Bearer {bad}")
    answer = guarded.get("/nothing")
    guarded.wait_log(answer.header("x-request-id"))
    text = guarded.log_text()
    for each in (*marked, bad):
        for part in each.split("."):
            assert part == marked[0].split(".")[0] or part[:40] not in text, "a token is in the log"
