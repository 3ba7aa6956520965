"""The log: one line is one event, whatever clients send; and no secret of theirs, or of the configuration, is in it."""

import json
import re

import pytest

from kit.gateway import install_schema, run
from kit.http import Connection
from kit.wait import until

SECRET = "hunter2tr0ub4dor"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (ERROR|WARN |INFO |DEBUG) [a-zA-Z]")
formats = pytest.mark.parametrize("log_format", ["text", "json"])


@pytest.fixture
def quoting_database(fragile_postgres):
    """A log that refuses what a trigger dislikes, and quotes it in every part of its message."""
    install_schema(fragile_postgres.conninfo)
    fragile_postgres.sql("""
        create function dislike() returns trigger language plpgsql as $$
        begin
            if new.data::text like '%disliked%' then
                raise exception 'disliked: %', new.data using detail = new.data, hint = new.data;
            end if;
            return new;
        end $$;
        create trigger dislike before insert on eventgate.log for each row execute function dislike()""")
    return fragile_postgres


def check_lines(gateway, log_format):
    assert len(gateway.log) > 5
    for line in gateway.log:
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", line), line
        if log_format == "json":
            assert isinstance(json.loads(line)["message"], str), line
        else:
            assert LINE.match(line), line


def send_secrets(gateway, postgres):
    """Each as a client may send it, where it is taken, and where it is refused."""
    text, number = {"Content_Type": "text/plain"}, {"Content_Type": "application/json"}
    answers = [
        gateway.get(f"/channels/t/a?wait=0&access_token={SECRET}"),
        gateway.get(f"/channels/t/a?wait=0&{SECRET}={SECRET}"),
        gateway.get(f"/channels/t/a?wait={SECRET}"),
        gateway.get(f"/channels/t/a?format={SECRET}"),
        gateway.get(f"/channels/t/a?wait=0&after={SECRET}"),
        gateway.get(f"/{SECRET}?access_token={SECRET}"),
        gateway.get("/channels/t/a?wait=0", Last_Event_ID=SECRET),
        gateway.get("/channels/t/a?wait=0", Authorization=f"Bearer {SECRET}", Cookie=f"token={SECRET}"),
        gateway.get("/nothing", Authorization=f"Bearer {SECRET}", Cookie=f"token={SECRET}", X_Forwarded_For=SECRET),
        gateway.publish("t/a", SECRET, **text),
        gateway.publish("t/a", f'{{"a":"{SECRET}"', **number),
        gateway.publish("t/a", SECRET, Content_Type=f"image/{SECRET}"),
        gateway.publish("t/a", SECRET, Content_Encoding=SECRET),
        gateway.publish("t/a", SECRET.encode() + b"\xff", **text),
        gateway.publish("t/a", SECRET * 1000, **text),
        gateway.publish("d/a", f'"{SECRET}"', **number),
        gateway.publish("d/a", f'"disliked {SECRET}"', **number),
        gateway.publish("d/a?type=" + SECRET, f'"{SECRET}"', Idempotency_Key=SECRET, **number),
        gateway.publish("d/a?type=" + SECRET, f'"{SECRET}2"', Idempotency_Key=SECRET, **number),
        gateway.publish("d/a?type=%01" + SECRET, "1", **number),
        gateway.call("POST", "/events", f'[{{"channel":"t/a","data":"{SECRET}"}},]', **number),
        gateway.call("POST", "/events", f'[{{"channel":"t/a","data":{SECRET}}}]', **number),
        gateway.call("POST", "/events", f'[{{"channel":"t/a","data":1,"{SECRET}":1}}]', **number),
        gateway.call("POST", "/events", f'[{{"channel":"d/a","data":"disliked {SECRET}"}}]', **number),
        gateway.call("POST", "/events", f'[{{"channel":"t/a","data":"{SECRET}"}}]', **number),
    ]
    postgres.notify("t/a", SECRET)
    for head in (f"GET /livez HTTP/1.1\r\nHost: a\r\n{SECRET} : {SECRET}\r\n\r\n", f"{SECRET}\n\n",
                 f"GET http://{SECRET}/ HTTP/1.1\r\nHost: {SECRET}\r\n\r\n"):
        with Connection(gateway.address) as connection:
            connection.send(head.encode())
            assert connection.rest().startswith(b"HTTP/1.1 400 ")
    return answers


@formats
def test_no_secret_is_logged(start_gateway, quoting_database, log_format):
    url = f"postgresql://postgres:{SECRET}@/postgres?host={quoting_database.folder}"
    gateway = start_gateway("--live", "t/**", "--durable", "d/**", "--log-level", "debug", "--log-format", log_format,
                            "--trusted-proxies", "127.0.0.1", database=None,
                            variables={"DATABASE_URL": url, "PGPASSWORD": SECRET}).wait_ready()
    with gateway.stream("/channels/t/a", Authorization=f"Bearer {SECRET}") as stream:
        stream.cursor()
        answers = send_secrets(gateway, quoting_database)
        assert sum(answer.status >= 400 for answer in answers) > 12, "most are refused"
        assert any(answer.status == 422 and SECRET in answer.text() for answer in answers), "its client is told"
    quoting_database.stop()
    gateway.wait_unready()
    gateway.wait_log("connection lost|cannot connect")
    page = gateway.get("/sets").text() + gateway.get("/healthz").text() + gateway.get("/metrics").text()
    assert SECRET not in page
    gateway.stop()
    assert SECRET not in gateway.log_text()
    assert "request refused" in gateway.log_text() and "PostgreSQL refuses to append" in gateway.log_text()
    check_lines(gateway, log_format)


@pytest.mark.parametrize("conninfo", [
    f"host=/nowhere dbname=x password={SECRET}", f"postgresql://someone:{SECRET}@127.0.0.1:1/x",
])
def test_the_password_of_a_server_that_is_away(start_gateway, conninfo):
    gateway = start_gateway("--log-level", "debug", database=conninfo)
    gateway.wait_log("cannot connect")
    until(lambda: "problem" in gateway.get("/sets").text(), "the page says what is wrong")
    assert SECRET not in gateway.get("/sets").text() + gateway.get("/healthz").text()
    gateway.stop()
    assert SECRET not in gateway.log_text()


@pytest.mark.parametrize("conninfo", [
    f"host=x password=two {SECRET}", f"host=x password=two {SECRET}=", f"host=x password='{SECRET}",
    f"postgresql://someone:two {SECRET}@x/y", f"postgresql://someone:%zz{SECRET}@x/y", f"postgresql://x/y?{SECRET}",
    f"postgresql://x/y?a={SECRET}", f"postgresql://[{SECRET}", f"postgresql://x/y?password={SECRET}=a",
])
def test_a_connection_string_that_is_none_is_not_quoted(conninfo):
    done = run("--postgres", conninfo, "--live", "a", "--check-config")
    if done.returncode == 0:
        return  # this libpq takes it
    assert done.returncode == 2 and "postgres: " in done.stderr
    assert SECRET not in done.stderr + done.stdout


@formats
def test_one_line_is_one_event(start_gateway, log_format):
    gateway = start_gateway("--log-level", "debug", "--log-format", log_format,
                            "--trusted-proxies", "127.0.0.1").wait_ready()
    evil = "%0A2026-01-01T00:00:00.000Z%20INFO%20forged%1B%5B31m%22%7D%7B%C2%9B31m%E2%80%A8%7F"
    for target in (f"/channels/{evil}", f"/{evil}", f"/channels/t/a?{evil}=1", f"/channels/t/a?format={evil}",
                   f"/events?channel={evil}", "/channels/t/%22%7D%7B%22level%22?wait=x", "/channels/t/%C2%9B?wait=x",
                   f"/channels/t/%C2%85%E2%80%A8?wait=0&format={evil}"):
        assert gateway.get(target).status in (400, 404)
    for header in ("\u009b31m", "\u2028", '"}', "\t1.2.3.4\tINFO forged"):
        with Connection(gateway.address) as connection:
            connection.send(f"GET /nothing HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {header}\r\n\r\n".encode())
            assert connection.response().status in (400, 404)
    stream = gateway.stream("/channels/t/%C2%85%E2%80%A8x")  # a channel that may be, and is LISTENed
    stream.cursor()
    stream.close()
    gateway.stop()
    assert "forged" not in gateway.log_text()
    check_lines(gateway, log_format)
