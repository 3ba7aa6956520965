"""Pages of other origins: what a browser is told, and which POSTs it may have been tricked into; as curl sees it."""

import subprocess

import pytest

from kit.gateway import Gateway
from kit.tokens import token

APP, SHOP, EVIL = "https://app.example", "https://a.shop.example", "https://evil.example"


@pytest.fixture(scope="session")
def start(postgres, secret_file):
    """Starts gateways for the whole file."""
    started = []

    def start(*arguments, keys=True):
        given = ("--keys", f"HS256:{secret_file}") if keys else ()
        started.append(Gateway("--postgres", postgres.conninfo, "--live", "t/**", *given, *arguments))
        return started[-1].wait_ready()

    yield start
    assert [process.stop() for process in started] == [0] * len(started)


@pytest.fixture(scope="session")
def listed(start):
    return start("--allowed-origins", f"{APP},https://*.shop.example,http://localhost:3000")


@pytest.fixture(scope="session")
def anybody(start):
    return start("--allowed-origins", f"*,{APP}")


@pytest.fixture(scope="session")
def nobody(start):
    return start()


@pytest.fixture(scope="session")
def open_to_all(start):
    """Without keys."""
    return start("--allowed-origins", APP, keys=False)


def curl(gateway, target, *arguments, method="GET", **headers):
    """Status and headers as curl has them; header names with `_` for `-`."""
    fields = [text for k, v in headers.items() for text in ("-H", f"{k.replace('_', '-')}: {v}")]
    shown = subprocess.run(["curl", "-sS", "-m", "20", "-X", method, "-D", "-", "-o", "/dev/null", *fields, *arguments,
                            gateway.url + target], check=True, capture_output=True, text=True).stdout
    status, *lines = shown.strip().splitlines()
    return int(status.split()[1]), {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines if line)}


def cors(headers):
    """What of the headers is about CORS: who may read it, with credentials or without."""
    allowed = headers.get("access-control-allow-origin")
    credentials = headers.get("access-control-allow-credentials")
    assert not (allowed == "*" and credentials), "never * with credentials"
    return allowed, credentials == "true"


# --- who may read ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("origin, allowed", [
    (APP, True), (SHOP, True), ("http://localhost:3000", True), (EVIL, False), ("https://shop.example", False),
    ("http://app.example", False), ("https://app.example:8443", False), ("https://app.example.evil.example", False),
    ("https://evilapp.example", False), ("null", False), ("https://*.shop.example", False)])
def test_a_listed_origin_may_use_credentials_and_no_other_may_read(listed, channel, origin, allowed):
    for target in (f"/channels/{channel}?wait=0&access_token={token([channel])}", "/livez"):
        status, headers = curl(listed, target, Origin=origin)
        assert status == 200 and cors(headers) == ((origin, True) if allowed else (None, False))
        assert headers["vary"] == "Origin"


@pytest.mark.parametrize("target, status", [
    ("/channels/t/x", 401), ("/channels/t/x?access_token=nonsense", 401), ("/nothing", 404), ("/channels/t/x?nonsense=1", 400),
    ("/channels/t/x?access_token=a&access_token=b", 400), ("/metrics", 401)])
def test_errors_can_be_read_by_those_who_may(listed, target, status):
    for origin, expected in ((APP, (APP, True)), (EVIL, (None, False))):
        got, headers = curl(listed, target, Origin=origin)
        assert (got, cors(headers), headers["vary"]) == (status, expected, "Origin")
    assert "X-Request-Id" in curl(listed, target, Origin=APP)[1]["access-control-expose-headers"]


def test_without_an_origin_the_answer_still_depends_on_it(listed):
    status, headers = curl(listed, "/livez")
    assert status == 200 and headers["vary"] == "Origin" and cors(headers) == (None, False)


def test_any_origin_may_read_without_credentials(anybody, channel):
    value = token([channel])
    target = f"/channels/{channel}?wait=0"
    for origin, expected in ((EVIL, ("*", False)), ("null", ("*", False)), (APP, (APP, True))):
        status, headers = curl(anybody, target, Origin=origin, Authorization=f"Bearer {value}")
        assert status == 200 and cors(headers) == expected and headers["vary"] == "Origin"


def test_nothing_is_said_where_no_origin_is_listed(nobody):
    for origin in (APP, "null"):
        _, headers = curl(nobody, "/livez", Origin=origin)
        assert not [name for name in headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize("format", ["sse", "ndjson"])
def test_the_heads_of_streams_say_it_too(listed, channel, format):
    value = token([channel])
    for origin, expected in ((APP, (APP, "true")), (EVIL, (None, None))):
        with listed.stream(f"/channels/{channel}?format={format}", Origin=origin,
                           Cookie=f"eventgate_token={value}") as stream:
            stream.cursor()
            head = stream.head
            assert (head.header("access-control-allow-origin"), head.header("access-control-allow-credentials")) == expected
            assert head.header("vary") == "Origin"


# --- preflights ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("target", ["/events", "/channels/t/x", "/channels"])
def test_a_preflight_is_answered_without_a_token_and_kept(listed, target):
    status, headers = curl(listed, target, method="OPTIONS", Origin=APP, Access_Control_Request_Method="POST",
                           Access_Control_Request_Headers="authorization,idempotency-key")
    assert status == 204 and cors(headers) == (APP, True)
    assert int(headers["access-control-max-age"]) >= 600
    assert headers["access-control-allow-methods"] == headers["allow"]
    allowed = {name.strip().lower() for name in headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "idempotency-key", "last-event-id", "traceparent"} <= allowed
    assert {name.strip() for name in headers["vary"].split(",")} == {
        "Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}


def test_a_preflight_of_another_origin_allows_nothing(listed, nobody):
    for gateway in (listed, nobody):
        status, headers = curl(gateway, "/events", method="OPTIONS", Origin=EVIL, Access_Control_Request_Method="POST")
        assert status == 204 and not [name for name in headers if name.startswith("access-control")]


def test_a_preflight_where_any_origin_may_read(anybody):
    status, headers = curl(anybody, "/events", method="OPTIONS", Origin=EVIL, Access_Control_Request_Method="POST",
                           Access_Control_Request_Headers="authorization")
    assert status == 204 and cors(headers) == ("*", False)
    assert "authorization" in headers["access-control-allow-headers"].lower(), "* would not stand for it"


def test_options_without_a_preflight(listed):
    status, headers = curl(listed, "/events", method="OPTIONS", Origin=APP)
    assert status == 204 and headers["allow"] and "access-control-max-age" not in headers


# --- POSTs that a browser was made to send -----------------------------------------------------------------------------

def post(gateway, channel, **headers):
    return curl(gateway, f"/channels/{channel}", "-d", "1", method="POST", Content_Type="text/plain", **headers)[0]


def test_a_cookie_needs_an_origin_that_may(listed, anybody, channel):
    cookie = f"eventgate_token={token([], [channel])}"
    host = "{}:{}".format(*listed.address)
    matrix = [
        ({"Origin": APP}, 202),
        ({"Origin": SHOP}, 202),
        ({"Origin": EVIL}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
        ({"Referer": APP + "/page"}, 403),
        ({"Origin": f"http://{host}"}, 202),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 202),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://rewritten.example"}, 202),
        ({"Sec_Fetch_Site": "same-site", "Origin": EVIL}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": EVIL}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
    ]
    for headers, status in matrix:
        assert post(listed, channel, Cookie=cookie, **headers) == status, headers
    assert post(anybody, channel, Cookie=cookie, Origin=EVIL) == 403, "* is for requests without cookies"
    assert post(anybody, channel, Cookie=cookie, Origin=APP) == 202


def test_a_refused_post_publishes_nothing(listed, channel):
    value = token([channel], [channel])
    with listed.stream(f"/channels/{channel}", Authorization=f"Bearer {value}") as stream:
        stream.cursor()
        assert post(listed, channel, Cookie=f"eventgate_token={value}", Origin=EVIL) == 403
        assert post(listed, channel, Authorization=f"Bearer {value}") == 202
        assert stream.event().data == 1
        assert post(listed, channel, Authorization=f"Bearer {value}") == 202
        assert stream.event().data == 1


def test_a_token_that_the_page_itself_has_needs_no_origin(listed, nobody, channel):
    value = token([], [channel])
    for gateway in (listed, nobody):
        for origin in (EVIL, "null"):
            assert post(gateway, channel, Authorization=f"Bearer {value}", Origin=origin) == 202
            assert post(gateway, f"{channel}?access_token={value}", Origin=origin) == 202
        assert post(gateway, channel, Authorization=f"Bearer {value}") == 202


def test_without_keys_other_pages_may_not_publish_either(open_to_all, gateway, channel):
    host = "{}:{}".format(*open_to_all.address)
    for headers, status in [({}, 202), ({"Origin": APP}, 202), ({"Origin": EVIL}, 403), ({"Origin": "null"}, 403),
                            ({"Origin": f"http://{host}"}, 202), ({"Sec_Fetch_Site": "same-origin"}, 202)]:
        assert post(open_to_all, channel, **headers) == status, headers
    assert post(gateway, channel, Origin=APP) == 403


def test_reading_with_a_cookie_needs_no_origin(listed, channel):
    cookie = f"eventgate_token={token([channel])}"
    status, headers = curl(listed, f"/channels/{channel}?wait=0", Cookie=cookie)
    assert status == 200 and cors(headers) == (None, False)
