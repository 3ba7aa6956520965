"""Behind a proxy, a client's address is what the proxy says: if it is trusted, and else not."""

import signal

import pytest

from kit.http import Connection
from kit.wait import until

TRUSTED = ("--trusted-proxies", "127.0.0.2,127.1.0.0/16", "--log-level", "debug")


def client_of(gateway, source, *forwarded):
    """Asks for what there isn't, as `source`, and returns the address that the log has for it."""
    gateway.wait_ready()
    with Connection(gateway.address, source=source) as connection:
        lines = "".join(f"{line}\r\n" for line in forwarded)
        connection.send(f"GET /nothing HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        answer = connection.response()
    line = gateway.wait_log(f"request refused request={answer.header('x-request-id')}")
    return answer.status, line.partition(" client=")[2].split()[0]


@pytest.mark.parametrize("forwarded, client", [
    ((), "127.0.0.2"),
    (("X-Forwarded-For: 203.0.113.9",), "203.0.113.9"),
    (("x-forwarded-for: 198.51.100.1, 203.0.113.9, 127.1.2.3",), "203.0.113.9"),
    (("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9"),
    (("X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 127.1.2.3:80"), "203.0.113.9"),
    (("X-Forwarded-For: [2001:db8::7]:443",), "2001:db8::7"),
    (("X-Forwarded-For: 127.1.0.1, 127.1.0.2",), "127.1.0.1"),
    (("X-Forwarded-For: nonsense, 203.0.113.9",), "203.0.113.9"),
    (("Forwarded: for=203.0.113.9",), "127.0.0.2"),
    (("Forwarded: for=203.0.113.9", "X-Forwarded-For: 198.51.100.1"), "198.51.100.1"),
    (("X-Real-IP: 203.0.113.9",), "127.0.0.2"),
])
def test_what_a_trusted_proxy_says_is_believed(start_gateway, forwarded, client):
    assert client_of(start_gateway(*TRUSTED), "127.0.0.2", *forwarded) == (404, client)


def test_what_anybody_else_says_is_ignored(start_gateway):
    gateway = start_gateway(*TRUSTED)
    for header in ("203.0.113.9", "127.0.0.2", "nonsense"):
        assert client_of(gateway, "127.0.0.3", f"X-Forwarded-For: {header}") == (404, "127.0.0.3")


@pytest.mark.parametrize("header", ["nonsense", "", "203.0.113.9, ", "unknown", "for=203.0.113.9", "x" * 5000])
def test_a_malformed_header_of_a_trusted_proxy_is_refused(start_gateway, channel, header):
    gateway = start_gateway(*TRUSTED).wait_ready()
    with Connection(gateway.address, source="127.0.0.2") as connection:
        answer = connection.request("GET", f"/channels/{channel}?wait=0", X_Forwarded_For=header).response()
        assert answer.status == 400 and "X-Forwarded-For" in answer.problem()[1]
    assert "nonsense" not in gateway.log_text() and "xxxx" not in gateway.log_text()


def test_trusted_proxies_reload(start_gateway, tmp_path, postgres):
    file = tmp_path / "gateway.conf"
    text = f"[gateway]\nlog_level = debug\ntrusted_proxies = {{}}\n[set a]\npostgres = {postgres.conninfo}\nlive = t/**\n"
    file.write_text(text.format(""))
    gateway = start_gateway("--config", str(file), database=None)
    assert client_of(gateway, "127.0.0.2", "X-Forwarded-For: 203.0.113.9")[1] == "127.0.0.2"
    file.write_text(text.format("127.0.0.2"))
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")
    assert "reloaded option=\"[gateway] trusted_proxies\"" in gateway.log_text()
    until(lambda: client_of(gateway, "127.0.0.2", "X-Forwarded-For: 203.0.113.9")[1] == "203.0.113.9",
          "it is trusted")


# --- limits by address


def through(gateway, client):
    return Connection(gateway.address, source="127.0.0.2"), {"X_Forwarded_For": client}


def stream_of(gateway, channel, client):
    """A stream through the proxy, or None if EventSource is told to come again later."""
    connection, headers = through(gateway, client)
    head = connection.request("GET", f"/channels/{channel}", **headers).head()
    assert head.status == 200
    if head.header("content-length") is None:
        return connection
    assert connection.take(int(head.header("content-length"))).startswith(b"retry: ")
    connection.close()
    return None


def limited(gateway):
    return gateway.metric('eventgate_limited_total{limit="max_connections_per_address"}')


def test_clients_of_a_proxy_have_the_limit_each(start_gateway, channel):
    gateway = start_gateway(*TRUSTED, "--max-connections-per-address", "3").wait_ready()
    first = [stream_of(gateway, channel, "203.0.113.1") for _ in range(3)]
    second = [stream_of(gateway, channel, "2001:db8::1") for _ in range(3)]
    assert all(first + second)
    assert stream_of(gateway, channel, "203.0.113.1") is None
    assert stream_of(gateway, channel, "2001:db8::ffff") is None, "of the same /64 network"
    for target in (f"/channels/{channel}?format=poll", f"/channels/{channel}?format=ndjson"):
        connection, headers = through(gateway, "203.0.113.1")
        answer = connection.request("GET", target, **headers).response()
        assert answer.status == 429 and answer.problem()[0] == "too-many" and answer.header("retry-after")
        connection.close()
    connection, headers = through(gateway, "203.0.113.1")
    assert connection.request("GET", "/livez").response().status == 200, "the proxy's own"
    assert connection.request("POST", f"/channels/{channel}", "1", **headers).response().status == 429
    connection.close()
    assert limited(gateway) == 5
    for stream in first:
        stream.close()
    until(lambda: gateway.metric("eventgate_streams") == 3, "the streams of the first are gone")
    again = stream_of(gateway, channel, "203.0.113.1")
    assert again
    for stream in [again, *second]:
        stream.close()


def test_requests_on_a_kept_connection_count_while_they_last(start_gateway, channel):
    gateway = start_gateway(*TRUSTED, "--max-connections-per-address", "1").wait_ready()
    connection, headers = through(gateway, "203.0.113.1")
    for _ in range(5):
        assert connection.request("POST", f"/channels/{channel}", "1", **headers).response().status == 202
    poll, _ = through(gateway, "203.0.113.1")

    def first_answer():  # a request has its answer before it is forgotten
        answer = poll.request("GET", f"/channels/{channel}?format=poll", **headers).response()
        return answer.json() if answer.status == 200 else None

    answer = until(first_answer, "the last POST no longer counts")
    poll.request("GET", f"/channels/{channel}?wait=60&after={answer['next']}", **headers)
    until(lambda: gateway.metric("eventgate_streams") == 1, "the poll waits")
    crowded, _ = through(gateway, "203.0.113.1")
    assert crowded.request("GET", "/livez", **headers).response().status == 429
    crowded.close()
    other = {"X_Forwarded_For": "203.0.113.2"}
    assert connection.request("POST", f"/channels/{channel}", "1", **other).response().status == 202
    assert poll.response().json()["events"][0]["data"] == 1
    assert connection.request("POST", f"/channels/{channel}", "1", **headers).response().status == 202
    connection.close()
    poll.close()


def test_a_proxy_may_have_as_many_connections_as_it_likes(start_gateway):
    gateway = start_gateway(*TRUSTED, "--max-connections-per-address", "2").wait_ready()
    connections = [Connection(gateway.address, source="127.0.0.2") for _ in range(10)]
    for connection in connections:
        assert connection.request("GET", "/livez").response().status == 200
    for connection in connections:
        connection.close()
    assert limited(gateway) == 0
