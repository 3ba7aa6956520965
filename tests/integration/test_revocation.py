"""Revoked subjects: eventgate.revoke() ends what their tokens opened, on all gateways, and refuses these tokens."""

import re
import signal
import threading
import time

import pytest

from kit.gateway import install_schema
from kit.http import call
from kit.tokens import bearer
from kit.wait import until

INVALID = ('Bearer realm="pg_eventgate", error="invalid_token", error_description="The token is not valid"')


@pytest.fixture
def start_guarded(start_gateway, secret_file):
    """Starts gateways with keys, whose clocks may differ a little, and that come back quickly."""
    def start(*arguments, **options):
        return start_gateway("--keys", f"HS256:{secret_file}", "--workers", "2", "--retry", "70ms", *arguments, **options)
    return start


def revoke(server, subject):
    server.sql("select eventgate.revoke(%s)", subject)


def issued_later(channel, subject):
    """What the subject is given after the revocation: `iat` has whole seconds."""
    return bearer([channel], [channel], subject=subject, iat=int(time.time()) + 2)


def is_refused(gateway, channel, rights):
    """Whatever it asks for; a stream last, which would never end."""
    for ask in (lambda: gateway.publish(channel, "x", **rights), lambda: gateway.get(f"/channels/{channel}?wait=0", **rights),
                lambda: gateway.get(f"/channels/{channel}", **rights)):
        answer = ask()
        if answer.status != 401:
            return False
        assert answer.header("www-authenticate") == INVALID
    return True


@pytest.mark.threads
def test_a_revoked_subjects_streams_end_on_all_gateways_and_its_tokens_are_refused(start_guarded, postgres, channel):
    first, second = [start_guarded(durable="d/**").wait_ready() for _ in range(2)]
    alice, bob = f"alice of {channel}", f"bob of {channel}"
    hers, his = bearer([channel], [channel], subject=alice), bearer([channel], subject=bob)
    place = first.poll(f"/channels/{channel}", **hers)["next"]
    polled = []
    waiting = threading.Thread(target=lambda: polled.append(
        first.poll(f"/channels/{channel}?after={place}&wait=60", **hers)))
    with first.stream(f"/channels/{channel}", **hers) as one, second.stream(f"/channels/{channel}", **his) as other, \
            second.stream(f"/channels/{channel}?format=ndjson", **hers) as two:
        cursor = one.cursor()
        two.cursor()
        other.cursor()
        postgres.notify(channel, "1")
        assert [stream.event().data for stream in (one, two, other)] == [1, 1, 1]
        place = first.poll(f"/channels/{channel}?after={place}", **hers)["next"]
        waiting.start()
        until(lambda: 'eventgate_streams{transport="poll"} 1' in first.get("/metrics", **bearer(admin=True)).text(),
              "the long-poll waits")
        revoke(postgres, alice)
        assert one.until_closed() == [] and two.until_closed() == []
        waiting.join()
        assert polled == [{"events": [], "next": place}]
        postgres.notify(channel, "2")
        assert other.event().data == 2, "another subject's goes on"
    for gateway in (first, second):
        assert is_refused(gateway, channel, hers)
        gateway.wait_log("reason=revoked")
        assert gateway.get(f"/channels/{channel}?wait=0", **his).status == 200
        with gateway.stream(f"/channels/{channel}", Last_Event_ID=cursor, **issued_later(channel, alice)) as stream:
            stream.next()


def test_a_revocation_is_taken_back(start_guarded, postgres, channel):
    gateway = start_guarded(durable="d/**").wait_ready()
    subject = f"dave of {channel}"
    rights = bearer([channel], [channel], subject=subject)
    revoke(postgres, subject)
    until(lambda: is_refused(gateway, channel, rights), "the token is refused")
    postgres.sql("select eventgate.unrevoke(%s)", subject)
    until(lambda: gateway.publish(channel, "1", **rights).status == 202, "the token is good again")


def test_a_token_without_a_date_is_revoked(start_guarded, postgres, channel):
    gateway = start_guarded(durable="d/**").wait_ready()
    subject = f"erin of {channel}"
    revoke(postgres, subject)
    until(lambda: is_refused(gateway, channel, bearer([channel], [channel], subject=subject, iat=None)), "it is refused")


def test_a_restart_of_the_database_loses_no_revocation(start_guarded, fragile_postgres, channel):
    alice, bob = bearer([channel], [channel], subject="alice"), bearer([channel], [channel], subject="bob")
    old = start_guarded(database=fragile_postgres, durable="d/**").wait_ready()
    revoke(fragile_postgres, "alice")
    until(lambda: is_refused(old, channel, alice), "the token is refused")
    with old.stream(f"/channels/{channel}", **bob) as stream:
        stream.cursor()
        fragile_postgres.stop(signal.SIGQUIT)
        old.wait_unready()
        assert is_refused(old, channel, alice), "what is known holds while the database is away"
        fragile_postgres.start()
        revoke(fragile_postgres, "bob")
        assert [item for item in stream.until_closed() if item.kind == "event"] == []
    new = start_guarded(database=fragile_postgres, durable="d/**").wait_ready()
    for gateway in (old, new):
        until(lambda: is_refused(gateway, channel, alice) and is_refused(gateway, channel, bob), "both are refused")


def test_tokens_wait_for_the_revocations_of_a_database_that_is_away_at_the_start(start_guarded, fragile_postgres, channel):
    install_schema(fragile_postgres.conninfo)
    alice, bob = bearer([channel], [channel], subject="alice"), bearer([channel], [channel], subject="bob")
    revoke(fragile_postgres, "alice")
    fragile_postgres.stop()
    gateway = start_guarded("--revocations", "on", "--subscribe-timeout", "1h", "--admin-listen", "127.0.0.1:0",
                            database=fragile_postgres)
    until(lambda: gateway.status_of("/livez") == 200, "it answers")
    answer = gateway.publish(channel, "1", **bob)
    kind, detail = answer.problem()
    assert answer.status == 503 and kind == "database-away" and "revoked" in detail, answer
    answers = {}
    waiting = [threading.Thread(target=lambda who=who, rights=rights: answers.update(
        {who: gateway.get(f"/channels/{channel}?wait=0", **rights).status})) for who, rights in
        (("alice", alice), ("bob", bob))]
    for thread in waiting:
        thread.start()
    host, port = re.search(r'listening for operators address="?([0-9.]+):(\d+)', gateway.log_text()).groups()
    until(lambda: "eventgate_connections 3\n" in call((host, int(port)), "GET", "/metrics").text(),
          "both are there, beside this question")
    assert answers == {}
    fragile_postgres.start()
    for thread in waiting:
        thread.join()
    assert answers == {"alice": 401, "bob": 200}
    until(lambda: gateway.publish(channel, "1", **bob).status == 202, "his token is good")


def test_it_is_not_ready_before_it_knows_what_is_revoked(start_guarded, fragile_postgres, channel):
    gateway = start_guarded("--revocations", "on", "--admin-listen", "127.0.0.1:0", database=fragile_postgres)
    host, port = re.search(r'listening for operators address="?([0-9.]+):(\d+)', gateway.log_text()).groups()

    def health():
        return call((host, int(port)), "GET", "/healthz").json()

    until(lambda: health()["sets"][0]["listening"] and health()["sets"][0]["publishing"], "the set does what it should")
    assert gateway.get("/readyz").status == 503, "it takes no token: the schema is missing"
    assert health()["revocations_known"] is False
    install_schema(fragile_postgres.conninfo)
    gateway.wait_ready()
    assert health()["revocations_known"] is True
    assert gateway.publish(channel, "1", **bearer([], [channel])).status == 202


def test_a_set_may_leave_revocations_alone(start_guarded, postgres, channel):
    durable = start_guarded("--revocations", "off", durable="d/**").wait_ready()
    live = start_guarded().wait_ready()
    told = start_guarded("--revocations", "on").wait_ready()
    subject = f"frank of {channel}"
    rights = bearer([channel], [channel], subject=subject)
    revoke(postgres, subject)
    until(lambda: is_refused(told, channel, rights), "it is refused where revocations are read")
    assert durable.publish(channel, "1", **rights).status == 202
    assert live.publish(channel, "1", **rights).status == 202


def test_revocations_are_read_from_the_reload_on_that_brings_keys(start_gateway, secret_file, tmp_path, postgres, channel):
    install_schema(postgres.conninfo)
    config = tmp_path / "gateway.conf"

    def write(*more):
        config.write_text("\n".join(["[gateway]", "listen = 127.0.0.1:0", *more, "[set default]",
                                     f"postgres = {postgres.conninfo}", "live = t/**", "revocations = on"]))

    subject = f"grace of {channel}"
    rights = bearer([channel], [channel], subject=subject)
    revoke(postgres, subject)
    write()
    gateway = start_gateway("--config", str(config), database=None, listen=None).wait_ready()
    assert gateway.publish(channel, "1").status == 202
    write(f"keys = HS256:{secret_file}")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")
    until(lambda: is_refused(gateway, channel, rights), "it is refused")
    until(lambda: gateway.publish(channel, "1", **bearer([], [channel], subject="heidi")).status == 202, "others aren't")
