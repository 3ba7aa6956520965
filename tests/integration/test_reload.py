"""SIGHUP: sets and channels come, change and go while the gateway runs."""

import signal
import threading
import time

import psycopg2
import pytest

from kit.gateway import install_schema
from kit.http import Closed, Connection
from kit.tokens import token
from kit.wait import until


class Configured:
    """A gateway with a configuration file: `sets`: {name: {option: value}}."""

    def __init__(self, start_gateway, path, postgres, *arguments, gateway="", **sets):
        self.path, self.postgres, self.gateway_options = path, postgres, gateway
        self.write(**sets)
        self.gateway = start_gateway("--config", str(path), *arguments, database=None).wait_ready()

    def write(self, **sets):
        self.sets = sets
        text = f"[gateway]\n{self.gateway_options}\n"
        for name, options in sets.items():
            options = {"postgres": self.postgres.conninfo} | options
            text += f"[set {name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        self.path.write_text(text)

    def hup(self):
        lines = len(self.gateway.log)
        self.gateway.process.send_signal(signal.SIGHUP)
        return lines

    def reload(self, **sets):
        """Writes the file, and waits until it has its effect and every set is ready."""
        self.write(**sets)
        line = self.gateway.wait_log_behind(self.hup(), "configuration (not )?reloaded")
        assert "not reloaded" not in line, line
        self.gateway.wait_ready()

    def refused(self, **sets):
        """Writes a file that can't have any effect; returns what the log says of it."""
        before = self.sets
        self.write(**sets)
        line = self.gateway.wait_log_behind(self.hup(), "configuration (not )?reloaded")
        assert "nothing has changed" in line, line
        self.sets = before
        return line

    def names(self):
        return sorted(one["name"] for one in self.gateway.get("/sets").json()["sets"])

    def wait_gone(self, lines=0):
        self.gateway.wait_log_behind(lines, "the set is gone")


@pytest.fixture
def configure(start_gateway, postgres, tmp_path):
    def make(*arguments, **sets):
        return Configured(start_gateway, tmp_path / "gateway.conf", postgres, *arguments, **sets)

    return make


@pytest.mark.threads
def test_a_set_comes_and_others_do_not_notice(configure, postgres):
    at = configure("--workers", "2", one={"live": "one/*"})
    with at.gateway.stream("/channels/one/a") as stream:
        cursor = stream.cursor()
        assert at.gateway.get("/channels/two/a").status == 404
        at.reload(one={"live": "one/*"}, two={"live": "two/*"})
        assert at.names() == ["one", "two"]
        postgres.notify("one/a", "1")
        item = stream.event()
        assert item.data == 1 and item.id.rsplit("-", 1)[0] == cursor.rsplit("-", 1)[0], "the same session goes on"
        with at.gateway.stream("/channels/two/a") as second:
            second.cursor()
            assert at.gateway.publish("two/a", "2").status == 202
            assert second.event().data == 2


@pytest.mark.threads
def test_a_set_goes_with_all_that_it_had(configure, postgres):
    at = configure("--workers", "2", one={"live": "one/*"}, two={"live": "two/*,listed"})
    before = at.gateway.descriptors()
    with at.gateway.stream("/channels/one/a") as stays, at.gateway.stream("/channels/two/a") as goes, \
            Connection(at.gateway.address) as poll:
        stays.cursor()
        cursor = goes.cursor()
        poll.request("GET", f"/channels/two/a?wait=60&after={cursor}")
        until(lambda: at.gateway.metric("eventgate_streams") == 3, "the poll waits")
        lines = len(at.gateway.log)
        at.reload(one={"live": "one/*"})
        goes.until_closed()
        assert goes.parser.retry > 0 and poll.response().json()["events"] == []
        assert at.gateway.get("/channels/two/a").status == 404 and at.gateway.publish("listed", "1").status == 404
        at.wait_gone(lines)
        assert at.names() == ["one"]
        postgres.notify("one/a", "1")
        assert stays.event().data == 1
    until(lambda: at.gateway.descriptors() < before, "its connections are closed")
    rows = postgres.sql("select count(*) from pg_stat_activity where application_name like 'pg_eventgate two %'")
    assert rows[0][0] == 0


def test_a_set_of_another_database_takes_its_place(configure, postgres):
    postgres.sql("create database another")
    other = postgres.conninfo.replace("dbname=postgres", "dbname=another")
    at = configure(one={"live": "one/*"})
    with at.gateway.stream("/channels/one/a") as stream:
        cursor = stream.cursor()
        at.reload(one={"live": "one/*", "postgres": other})
        stream.until_closed()
    at.gateway.wait_log("the set has been replaced.*set=one")
    assert "the set is gone" not in at.gateway.log_text()
    with at.gateway.stream("/channels/one/a", Last_Event_ID=cursor) as stream:
        assert stream.gap()["reason"] == "reconnect"
        postgres.notify("one/a", "1")
        with psycopg2.connect(other) as connection, connection.cursor() as sql:
            sql.execute("select pg_notify('one/a', '2')")
        connection.close()
        assert stream.event().data == 2


def test_durable_streams_of_a_set_that_is_replaced_go_on_exactly(configure, postgres, durable_channel):
    install_schema(postgres.conninfo)
    at = configure(log={"durable": "d/**"})
    with at.gateway.stream(f"/channels/{durable_channel}") as stream:
        cursor = stream.cursor()
        assert at.gateway.publish(durable_channel, "1").status == 201
        item = stream.event()
        assert item.data == 1
        at.reload(log={"durable": "d/**", "query_timeout": "4s"})
        assert at.gateway.publish(durable_channel, "2").status == 201
        stream.until_closed()
    with at.gateway.stream(f"/channels/{durable_channel}?after={cursor}") as stream:
        assert [one.data for one in stream.events(2)] == [1, 2]


def epoch(cursor):
    return cursor.split("~")[-1].rsplit("-", 1)[0]


@pytest.mark.threads
def test_live_channels_come_and_go_within_a_session(configure, postgres):
    """The set's LISTEN goes on: whoever has other channels gets everything, on one connection."""
    at = configure("--workers", "2", one={"live": "stays,goes,both,p/*"})
    stays, goes, both = (at.gateway.stream(target) for target in
                         ("/channels/stays", "/channels/goes", "/events?channel=both&channel=goes"))
    pattern = at.gateway.stream("/channels/p/a")
    session = epoch(stays.cursor())
    for stream in (goes, both, pattern):
        assert epoch(stream.cursor()) == session
    postgres.notify("goes", "1")
    assert goes.event().data == 1 and both.event().data == 1
    at.reload(one={"live": "stays,both,comes,q/*"})
    for stream in (goes, both, pattern):
        stream.until_closed()
        assert stream.parser.retry > 0
        stream.close()
    assert at.gateway.get("/channels/goes").status == at.gateway.get("/channels/p/a").status == 404
    with at.gateway.stream("/channels/comes") as comes, at.gateway.stream("/channels/q/a") as asked, \
            at.gateway.stream("/channels/both") as again:
        assert epoch(comes.cursor()) == epoch(asked.cursor()) == epoch(again.cursor()) == session
        for number, (channel, stream) in enumerate((("comes", comes), ("q/a", asked), ("both", again), ("stays", stays))):
            postgres.notify(channel, str(number))
            assert stream.event().data == number
    until(lambda: {row["name"] for row in at.gateway.get("/channels").json()["channels"]} == {"stays", "both", "comes", "q/a"},
          "what has gone is UNLISTENed at once, whatever linger says")
    assert at.gateway.get("/sets").json()["sets"][0]["reconnects"] == 0
    stays.close()


def test_a_channel_that_is_no_longer_listed_but_matches_a_pattern(configure, postgres):
    """Its stream comes back, and misses nothing: it stays LISTENed, until it lingers no more."""
    at = configure(one={"live": "p/*,p/a", "linger": "300ms"})
    with at.gateway.stream("/channels/p/a") as stream:
        cursor = stream.cursor()
        at.reload(one={"live": "p/*", "linger": "300ms"})
        stream.until_closed()
        postgres.notify("p/a", "1")
    with at.gateway.stream("/channels/p/a", Last_Event_ID=cursor) as stream:
        assert stream.event().data == 1
        at.reload(one={"live": "p/*,p/a", "linger": "300ms"})
        postgres.notify("p/a", "2")
        assert stream.event().data == 2, "that it is listed now is no reason to end"
    at.reload(one={"live": "p/*,p/b", "linger": "300ms"})
    until(lambda: {row["name"] for row in at.gateway.get("/channels").json()["channels"]} == {"p/b"}, "it has left")


def test_a_channel_that_comes_back_has_a_gap(configure, postgres):
    at = configure(one={"live": "here,back"})
    with at.gateway.stream("/channels/back") as stream:
        cursor = stream.cursor()
    at.reload(one={"live": "here"})
    until(lambda: [row["name"] for row in at.gateway.get("/channels").json()["channels"]] == ["here"], "it has left")
    postgres.notify("back", "1")
    at.reload(one={"live": "here,back"})
    with at.gateway.stream("/channels/back", Last_Event_ID=cursor) as stream:
        assert stream.gap()["reason"] == "retention"


def test_bounds_change_without_a_new_session(configure, postgres):
    at = configure(one={"live": "one/*", "max_channels": "1", "publish_queue": "2", "journal_events": "1000"})
    with at.gateway.stream("/channels/one/a") as stream:
        session = epoch(stream.cursor())
        assert at.gateway.get("/channels/one/b?wait=0").status == 503
        batch = "[" + ",".join(['{"channel":"one/a","data":1}', '{"channel":"one/a","data":2}', '{"channel":"one/a","data":3}']) + "]"
        json = {"Content_Type": "application/json"}
        assert at.gateway.call("POST", "/events", batch, **json).status == 413
        at.reload(one={"live": "one/*", "max_channels": "2", "publish_queue": "3", "journal_events": "16"})
        assert at.gateway.get("/channels/one/b?wait=0").status == 200
        assert at.gateway.call("POST", "/events", batch, **json).status == 202
        assert [item.data for item in stream.events(3)] == [1, 2, 3]
        postgres.notify("one/a", *map(str, range(100)))
        assert [item.data for item in stream.events(100)] == list(range(100))
        until(lambda: at.gateway.metric("eventgate_journal_events") <= 16 * 2, "the journal is shorter")
        with at.gateway.stream("/channels/one/b") as other:
            assert epoch(other.cursor()) == session


@pytest.mark.parametrize("sets, told", [
    (dict(one={"live": "one/*"}, two={"live": "one/a"}), "in common"),
    (dict(one={"live": "one/*"}, two={"durable": "one/**"}), "live or durable"),
    (dict(one={"live": "one/*"}, two={"live": "two", "nonsense": "1"}), "nonsense"),
    (dict(one={"live": "one/*"}, two={"live": "two", "postgres": "host=db nonsense"}), "conninfo|missing"),
    (dict(one={"live": "one/*"}, two={}), "gateway.conf: the set two has no channels"),
    ({}, "gateway.conf: no channels"),
])
def test_a_bad_file_changes_nothing(configure, sets, told):
    at = configure(one={"live": "one/*"}, here={"live": "here"})
    with at.gateway.stream("/channels/here") as stream:
        stream.cursor()
        line = at.refused(**sets)
        assert any(word in line for word in told.split("|")), line
        assert at.names() == ["here", "one"]
        assert at.gateway.publish("here", "1").status == 202
        assert stream.event().data == 1


def test_two_reloads_at_once_end_with_the_last_one(configure):
    at = configure(one={"live": "one"})
    at.write(one={"live": "one"}, two={"live": "two"})
    lines = at.hup()
    at.write(one={"live": "one"}, three={"live": "three"})
    at.hup()
    until(lambda: at.names() == ["one", "three"], "the last one counts")
    at.gateway.wait_log_behind(lines, "configuration reloaded")
    assert at.gateway.publish("three", "1").status in (202, 503)


def test_a_token_that_is_revoked_stays_so_while_sets_change(configure, postgres, secret_file):
    """Whichever set reads what the database has revoked."""
    install_schema(postgres.conninfo)
    one, two = {"live": "one", "revocations": "on"}, {"live": "two", "revocations": "on"}
    at = configure("--keys", f"HS256:{secret_file}", one=one, two=two)
    postgres.sql("select eventgate.revoke('mallory')")

    def statuses():
        granted = {"subscribe": ["**"], "publish": ["**"]}
        return [at.gateway.publish("two", "1", Authorization="Bearer " + token(sub=who, eventgate=granted, iat=1)).status
                for who in ("mallory", "ann")]

    try:
        until(lambda: statuses() == [401, 202], "it is known")
        for sets in (dict(two=two), dict(two=two, one=one), dict(two=two | {"query_timeout": "4s"}), dict(two=two)):
            at.reload(**sets)
            for _ in range(20):
                mallory, ann = statuses()
                assert mallory == 401 and ann in (202, 503)
            until(lambda: statuses() == [401, 202], "the others go on")
        postgres.sql("select eventgate.unrevoke('mallory')")
        until(lambda: statuses() == [202, 202], "what is taken back counts, too: nobody remembers it")
    finally:
        postgres.sql("select eventgate.unrevoke('mallory')")


@pytest.mark.threads
def test_sets_come_and_go_under_load(configure, postgres):
    """Streams and publishers of a set that stays get everything, in order, on one connection each; those of sets that
    come and go get answers that make sense."""
    install_schema(postgres.conninfo)
    stays = {"live": "stays/*", "durable": "kept/**"}
    at = configure("--workers", "2", stays=stays)
    over, failures, sent = threading.Event(), [], [0]

    def guarded(function):
        def run():
            try:
                while not over.is_set():
                    function()
            except BaseException as error:  # noqa: B902, a thread's failure is the test's
                failures.append(error)
        return threading.Thread(target=run)

    connection = Connection(at.gateway.address)

    def publish():
        sent[0] += 1
        for channel in ("stays/a", "kept/a"):
            answer = connection.request("POST", f"/channels/{channel}", str(sent[0])).response()
            assert answer.status in (201, 202), answer
        over.wait(0.003)

    def come_and_go():
        for name in ("x", "y"):
            answer = at.gateway.publish(f"{name}/a", "1")
            assert answer.status in (202, 404, 503), answer
        with Connection(at.gateway.address) as asking:
            head = asking.request("GET", "/channels/x/a?format=ndjson").head()
            assert head.status in (200, 404, 503), head
            if head.status == 200:
                try:
                    first = asking.chunk()
                except Closed:
                    first = b'{"cursor"'
                assert first.startswith((b'{"cursor"', b"")), first

    threads = [guarded(publish), guarded(come_and_go), guarded(come_and_go)]
    with at.gateway.stream("/channels/stays/a") as live, at.gateway.stream("/channels/kept/a") as durable:
        live.cursor(), durable.cursor()
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 2
        rounds = 0
        while time.monotonic() < deadline or rounds < 8:
            some = [dict(x={"live": "x/*"}), dict(y={"live": "y/*"}, x={"live": "x/*"}), dict(y={"live": "y/*"}), {}]
            at.write(stays=stays, **some[rounds % 4])
            at.gateway.wait_log_behind(at.hup(), "configuration reloaded")
            rounds += 1
        over.set()
        for thread in threads:
            thread.join()
        connection.close()
        assert not failures, failures
        for stream in (live, durable):
            assert [item.data for item in stream.events(sent[0])] == list(range(1, sent[0] + 1))
    at.reload(stays=stays)
    until(lambda: at.names() == ["stays"], "only what stays is left")
    print(f"{rounds} reloads, {sent[0]} events of each kind")
