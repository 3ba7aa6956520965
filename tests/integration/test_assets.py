"""The files that are compiled in, as browsers and tools are served them."""

import gzip
import re

import pytest

from kit.gateway import ROOT, Gateway
from kit.http import Connection
from kit.tokens import token

APP = "https://app.example"
WEB = ROOT / "gateway/web"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".json": "application/json", ".svg": "image/svg+xml"}
FILES = {"/" if path.name == "index.html" else f"/{path.relative_to(WEB)}": path for path in WEB.rglob("*.*")
         if path.suffix in TYPES and path.name != "package.json"}
each_file = pytest.mark.parametrize("target", sorted(FILES))


@pytest.fixture(scope="module")
def guarded(postgres, secret_file):
    """With keys, and an origin whose pages may use it."""
    gateway = Gateway("--postgres", postgres.conninfo, "--live", "t/**", "--keys", f"HS256:{secret_file}",
                      "--allowed-origins", APP, "--allowed-hosts", "gateway.test").wait_ready()
    yield gateway
    assert gateway.stop() == 0


def vary(answer):
    return [value for name, value in answer.headers if name == "Vary"]


def test_there_are_files():
    assert {"/", "/openapi.json", "/eventgate.js", "/playground/main.js"} <= set(FILES)


@each_file
def test_a_file_is_served_byte_for_byte(gateway, target):
    answer = gateway.get(target)
    assert answer.status == 200 and answer.body == FILES[target].read_bytes()
    assert answer.header("content-type") == TYPES[FILES[target].suffix]
    assert answer.header("cache-control") == "no-cache" and answer.header("referrer-policy") == "no-referrer"
    assert answer.header("x-content-type-options") == "nosniff" and answer.header("x-request-id")
    assert gateway.get(target + "?v=1").body == answer.body
    head = gateway.call("HEAD", target)
    assert head.status == 200 and head.body == b""
    assert all(head.header(name) == answer.header(name) for name in ("content-length", "etag", "content-type"))


def test_it_is_the_same_over_tls(tls_gateway):
    with Connection(tls_gateway.address) as connection:
        for _ in range(2):
            assert connection.request("GET", "/openapi.json").response().body == FILES["/openapi.json"].read_bytes()


@each_file
def test_who_has_it_gets_no_body(gateway, target):
    etag = gateway.get(target).header("etag")
    for method in ("GET", "HEAD"):
        with Connection(gateway.address) as connection:
            answer = connection.request(method, target, If_None_Match=f'"other", W/{etag}').response(method)
            assert answer.status == 304 and answer.header("etag") == etag
            assert answer.header("cache-control") == "no-cache"
            assert answer.header("content-length") in (None, str(FILES[target].stat().st_size))
            # Nothing of a body came behind it: the next answer begins at once.
            assert connection.request("GET", "/livez").response().status == 200
    assert gateway.get(target, If_None_Match='"other"').status == 200
    assert gateway.get(target, If_None_Match="*").status == 304


@each_file
def test_gzip_for_those_who_want_it(gateway, target):
    plain, packed = gateway.get(target), gateway.get(target, Accept_Encoding="deflate, gzip")
    assert packed.header("content-encoding") == "gzip" and gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) and int(packed.header("content-length")) == len(packed.body)
    assert vary(plain) == vary(packed) == ["Accept-Encoding"] and packed.header("etag") != plain.header("etag")
    etag = packed.header("etag")
    assert gateway.get(target, Accept_Encoding="gzip", If_None_Match=etag).status == 304
    assert gateway.get(target, If_None_Match=etag).body == plain.body, "other bytes than it has"


def test_a_condition_may_stand_in_several_headers(gateway):
    etag = gateway.get("/openapi.json").header("etag")
    with Connection(gateway.address) as connection:
        connection.send(f'GET /openapi.json HTTP/1.1\r\nHost: gateway.test\r\nIf-None-Match: "other"\r\n'
                        f"If-None-Match: {etag}\r\n\r\n".encode())
        assert connection.response().status == 304


@each_file
def test_no_token_is_needed_whatever_comes_with_the_request(guarded, target):
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Cookie": "eventgate_token=nonsense"},
                    {"Authorization": f"Bearer {token(['t/x'])}"}):
        assert guarded.get(target, **headers).status == 200, headers
    assert guarded.get(target + "?access_token=nonsense").status == 200


@each_file
def test_pages_of_allowed_origins_may_import_it(guarded, target):
    answer = guarded.get(target, Origin=APP)
    etag = answer.header("etag")
    for answer in (answer, guarded.get(target, Origin=APP, If_None_Match=etag)):
        assert answer.header("access-control-allow-origin") == APP and vary(answer) == ["Accept-Encoding", "Origin"]
    answer = guarded.get(target, Origin="https://evil.example")
    assert answer.status == 200 and answer.header("access-control-allow-origin") is None


@each_file
def test_what_else_may_be_asked(guarded, target):
    answer = guarded.call("OPTIONS", target)
    assert answer.status == 204 and answer.header("allow") == "GET, HEAD, OPTIONS"
    for method in ("POST", "PUT", "DELETE"):
        answer = guarded.call(method, target, body="x")
        assert answer.status == 405 and answer.problem()[0] == "method-not-allowed"
        assert answer.header("allow") == "GET, HEAD, OPTIONS"
    assert guarded.get(target, Host="evil.example").problem()[0] == "misdirected"
    for path in (f"{target.rstrip('/')}/x", target + ".map", target[:-1] or "/index"):
        assert guarded.get(path).problem()[0] == "not-found"


def test_the_page_may_load_what_is_served_here_and_nothing_else(gateway):
    answer = gateway.get("/")
    policy = dict(part.split(" ", 1) for part in answer.header("content-security-policy").split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert gateway.get("/", If_None_Match=answer.header("etag")).header("content-security-policy")
    assert gateway.get("/playground/main.js").header("content-security-policy") is None
    named = re.findall(r'(?:src|href)="([^"#]*)"', answer.text())
    assert len(named) >= 6 and all(f"/{name}" in FILES for name in named), named
    assert not re.search(r"<style|<script[^>]*>[^<]|\son[a-z]+=|\sstyle=", answer.text())


def test_nothing_but_the_files_is_served(gateway):
    for path in ("/index.html", "/embed", "/CMakeLists.txt", "/web/openapi.json", "/package.json", "/playground", "/playground/",
                 "/playground/uPlot.LICENSE", "/main.js"):
        assert gateway.get(path).status == 404, path
