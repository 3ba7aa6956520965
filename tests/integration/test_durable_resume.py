"""Resuming durable channels, alone and beside live ones: on any gateway, by any transport, from the journal or from the
log, each event once and in order, and a gap only where one is due."""

import itertools
import random
import signal
import threading

import pytest

from kit.gateway import Gateway
from kit.schema import Database
from kit.wait import until

pytestmark = pytest.mark.threads

TRANSPORTS = ("sse", "ndjson", "poll")
SMALL = ("--journal-events", "16", "--workers", "2", "--heartbeat", "200ms")


@pytest.fixture(scope="module")
def database(postgres):
    """A database of these tests' own."""
    one = Database(postgres)
    yield one
    one.drop()


@pytest.fixture(scope="module")
def pair(postgres, database):
    """Two gateways with small journals, so that the log is needed."""
    both = [Gateway("--postgres", database.conninfo, "--live", "t/**", "--durable", "d/**", *SMALL) for _ in range(2)]
    try:
        yield [gateway.wait_ready() for gateway in both]
    finally:
        codes = [gateway.stop() for gateway in both]
    assert codes == [0, 0], [gateway.log_text() for gateway in both]


def fill(database, channel, first, last):
    """Numbered events, in one transaction; a `%` in the channel's name stands for a number of three channels."""
    database.sql("select eventgate.publish(replace(%s, '%%', (n %% 3)::text), to_json(n))"
                 " from generate_series(%s, %s) n", channel, first, last)


def positions(database, pattern):
    return [row[0] for row in database.sql("select pos from eventgate.log where channel like %s order by pos", pattern)]


def tag_of(database):
    return database.value("select tag from eventgate.attach(0)")


def wait_read(gateway, database):
    """Until the gateway has read the log to its end."""
    position = database.value("select eventgate.position()")
    until(lambda: gateway.get("/sets").json()["sets"][0]["position"] >= position, "the gateway has read the log")


class Client:
    """Follows by one transport after the other, and keeps its cursor as each of them says."""

    def __init__(self, query, cursor=None):
        self.query, self.cursor = query, cursor
        self.numbers, self.live, self.gaps, self.ids = [], [], [], []

    def target(self, transport):
        after = f"&after={self.cursor}" if self.cursor is not None else ""
        form = "" if transport == "poll" else f"&format={transport}"
        return f"/events?{self.query}{form}{after}"

    def take(self, item):
        event = item.json()
        if event["channel"].startswith("t/"):
            self.live.append(event["data"])
        else:
            self.numbers.append(event["data"])
            self.ids.append(event["id"])

    def stream(self, gateway, transport, enough):
        """Until `enough()` says so, which is asked between items."""
        with gateway.stream(self.target(transport)) as stream:
            while not enough():
                item = stream.read()
                if item.kind == "event":
                    self.take(item)
                elif item.kind == "gap":
                    self.gaps.append(item.json())
                if transport == "sse":
                    self.cursor = item.id
                elif item.kind == "cursor":
                    self.cursor = item.json()
                elif not self.query.count("t/"):
                    self.cursor = self.ids[-1] if self.ids else self.cursor

    def poll(self, gateway, enough, wait=2, limit=7):
        while not enough():
            answer = gateway.poll(self.target("poll") + f"&wait={wait}&limit={limit}")
            self.gaps += [answer["gap"]] if "gap" in answer else []
            for event in answer["events"]:
                (self.live if event["channel"].startswith("t/") else self.numbers).append(event["data"])
                if not event["channel"].startswith("t/"):
                    self.ids.append(event["id"])
            self.cursor = answer["next"]

    def read(self, gateway, transport, enough):
        if transport == "poll":
            self.poll(gateway, enough)
        else:
            self.stream(gateway, transport, enough)


names = (f"d/{n}" for n in itertools.count())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_position_resumes_on_every_gateway(pair, database, transport):
    name = next(names)
    fill(database, f"{name}/%", 1, 120)
    rows = positions(database, f"{name}/%")
    tag = tag_of(database)
    for gateway, had in itertools.product(pair, (0, 1, 60, 118, 119, 120)):
        wait_read(gateway, database)
        last = 120
        client = Client(f"channel={name}/**", f"{tag}.{rows[had - 1] if had else rows[0] - 1}")
        client.read(gateway, transport, lambda: len(client.numbers) >= last - had)
        assert client.numbers == list(range(had + 1, last + 1))
        assert client.gaps == []
        assert client.ids == [f"{tag}.{position}" for position in rows[had:]]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_from_the_past_into_the_present(pair, database, transport):
    """What is published while the client reads pages comes behind them, once."""
    name = next(names)
    fill(database, name, 1, 3000)
    client = Client(f"channel={name}", "earliest")
    done = threading.Event()

    def publish():
        for first in range(3001, 4001, 20):
            fill(database, name, first, first + 19)
        done.set()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        client.read(pair[0], transport, lambda: len(client.numbers) >= 4000)
    finally:
        publisher.join()
    assert client.numbers == list(range(1, 4001))
    assert client.gaps == []


def test_many_channels_names_and_patterns(pair, database):
    """Names, patterns that match the same channels, and others beside them."""
    name = next(names)
    database.sql("select eventgate.publish(%s || '/' || n %% 500 || case n %% 2 when 0 then '/even' else '' end,"
                 " to_json(n)) from generate_series(1, 1500) n", name)
    wants = {f"channel={name}/**": range(1, 1501),
             f"channel={name}/*": range(1, 1501, 2),
             f"channel={name}/*/even&channel={name}/7": [n for n in range(1, 1501) if n % 2 == 0 or n % 500 == 7],
             f"channel={name}/7&channel={name}/*&channel={name}/**": range(1, 1501),
             f"channel={name}/7&channel={name}/9": [n for n in range(1, 1501) if n % 500 in (7, 9)]}
    for (query, numbers), transport in itertools.product(wants.items(), TRANSPORTS):
        client = Client(query, "earliest")
        client.read(pair[1], transport, lambda: len(client.numbers) >= len(numbers))
        assert client.numbers == list(numbers), query
        assert client.gaps == []


def test_a_first_event_of_a_channel_reaches_who_waits_for_it(pair, database):
    name = next(names)
    with pair[0].stream(f"/channels/{name}/new") as by_name, pair[0].stream(f"/events?channel={name}/**") as by_pattern:
        by_name.cursor(), by_pattern.cursor()
        fill(database, f"{name}/new", 1, 2)
        assert [event.data for event in by_name.events(2)] == [1, 2]
        assert [event.data for event in by_pattern.events(2)] == [1, 2]


def test_channels_that_are_forgotten_and_come_back(start_gateway, database):
    """More channels than are remembered: who subscribes to one of them, or to a pattern, misses nothing."""
    gateway = start_gateway(*SMALL, "--max-channels", "20", database=database, durable="d/**").wait_ready()
    name = next(names)
    with gateway.stream(f"/channels/{name}/7") as one, gateway.stream(f"/events?channel={name}/**") as all_of_them:
        one.cursor(), all_of_them.cursor()
        for first in range(0, 1000, 10):
            database.sql("select eventgate.publish(%s || '/' || n %% 200, to_json(n)) from generate_series(%s, %s) n",
                         name, first, first + 9)
        assert [event.data for event in one.events(5)] == [7, 207, 407, 607, 807]
        assert [event.data for event in all_of_them.events(1000)] == list(range(1000))
        listed = [row for row in gateway.get("/channels").json()["channels"] if row["name"].startswith(f"{name}/")]
        assert len(listed) < 100, "most are forgotten"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ones_own_write_is_read_on_any_gateway(pair, database, transport):
    name = next(names)
    for n in range(20):
        here, there = random.sample(pair, 2)
        ids = [here.publish(name, str(2 * n)).json()["id"], here.publish(name, str(2 * n + 1)).json()["id"]]
        client = Client(f"channel={name}", ids[0])
        client.read(there, transport, lambda: client.numbers)
        assert (client.numbers, client.gaps) == ([2 * n + 1], [])
        client = Client(f"channel={name}", ids[1])
        client.poll(there, lambda: client.cursor != ids[1], wait=0)
        assert client.numbers == [] and client.gaps == []


def test_a_cursor_by_sql_goes_on_behind_what_its_snapshot_shows(pair, database):
    channel = "d/snapshot"
    fill(database, channel, 1, 3)
    session = database.session(isolation="repeatable read")
    session.sql("begin")
    seen, cursor = session.sql("select (select count(*) from eventgate.log where channel = %s), eventgate.cursor()", channel)[0]
    fill(database, channel, 4, 6)
    assert seen == 3 and session.value("select eventgate.cursor()") == cursor, "that of the snapshot"
    session.sql("commit")
    for gateway, transport in itertools.product(pair, TRANSPORTS):
        client = Client(f"channel={channel}", cursor)
        client.read(gateway, transport, lambda: len(client.numbers) >= 3)
        assert (client.numbers, client.gaps) == ([4, 5, 6], [])


@pytest.mark.parametrize("query", ("payload=raw", "payload=cloudevents", "event=type", "event=channel"))
def test_every_format_comes_out_of_the_log_as_out_of_the_journal(pair, database, query):
    name = next(names)
    database.sql("select eventgate.publish(%s, '{\"a\":\n1e400}', 'made')", name)
    with pair[0].stream(f"/channels/{name}?after=earliest&{query}") as behind:
        from_journal = behind.event()
    fill(database, f"{name}/other", 1, 40)
    wait_read(pair[0], database)
    with pair[0].stream(f"/channels/{name}?after=earliest&{query}") as behind:
        from_log = behind.event()
    assert (from_log.kind, from_log.text, from_log.name) == (from_journal.kind, from_journal.text, from_journal.name)


# --- both kinds -------------------------------------------------------------------------------------------------------


def numbered_live(database, channel, numbers):
    session = database.session()
    for n in numbers:
        session.sql("select pg_notify(%s, %s)", channel, str(n))
    session.close()


def test_both_kinds_through_hops(pair, database):
    """A client that goes from transport to transport on one gateway with its cursor: all of both kinds."""
    name = next(names)
    live = f"t/{name}"
    client = Client(f"channel={name}&channel={live}")
    client.poll(pair[0], lambda: client.cursor, wait=0)
    stop = 600

    def publish():
        for first in range(1, stop + 1, 12):
            fill(database, name, first, first + 11)
            numbered_live(database, live, range(first, first + 12))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        while len(client.numbers) < stop:
            transport = random.choice(("sse", "poll"))
            goal = min(stop, len(client.numbers) + random.randint(1, 60))
            client.read(pair[0], transport, lambda: len(client.numbers) >= goal)
    finally:
        publisher.join()
    client.poll(pair[0], lambda: client.live and client.live[-1] == stop)
    assert client.numbers == list(range(1, stop + 1))
    assert client.live == sorted(set(client.live)), "in order, none twice"
    assert all(set(gap["channels"]) == {live} for gap in client.gaps), client.gaps
    assert len(client.live) == stop or client.gaps, "a gap for what is missing"


def test_both_kinds_between_gateways(pair, database):
    """The log's half of a cursor means the same everywhere; the live one is a gap elsewhere, each time."""
    name = next(names)
    live = f"t/{name}"
    client = Client(f"channel={name}&channel={live}")
    client.poll(pair[0], lambda: client.cursor, wait=0)
    for hop in range(1, 11):
        fill(database, name, 10 * hop - 9, 10 * hop)
        gateway = pair[hop % 2]
        client.read(gateway, random.choice(("sse", "poll")), lambda: len(client.numbers) >= 10 * hop)
    assert client.numbers == list(range(1, 101))
    assert [gap["channels"] for gap in client.gaps] == [[live]] * 10
    assert {gap["reason"] for gap in client.gaps} == {"reconnect"}


def test_a_slow_reader_of_both_kinds(start_gateway, database):
    """It falls behind and comes back again and again, and live events pass it by."""
    gateway = start_gateway(*SMALL, "--heartbeat", "15s", database=database, durable="d/**").wait_ready()
    name = next(names)
    live = f"t/{name}"
    with gateway.stream(f"/events?channel={name}&channel={live}", receive_buffer=4096) as stream:
        stream.cursor()
        numbers, lives, told, lost = [], [0], False, 0
        for first in range(1, 401, 50):
            for n in range(first, first + 50, 10):
                database.sql("select eventgate.publish(%s, json_build_object('n', n, 'fill', repeat('x', 20000)))"
                             " from generate_series(%s, %s) n", name, n, n + 9)
                database.sql("select pg_notify(%s, json_build_object('n', n, 'fill', repeat('x', 3000))::text)"
                             " from generate_series(%s, %s) n", live, n, n + 9)
            wait_read(gateway, database)
            goal = 0 if first < 251 else 400 if first == 351 else random.randint(0, 300)
            while len(numbers) < min(goal, first + 49):
                item = stream.next()
                if item.kind == "gap":
                    assert (item.json()["reason"], item.json()["channels"]) == ("slow", [live])
                    told = True
                elif item.json()["channel"] == name:
                    numbers.append(item.data["n"])
                else:
                    number = item.data["n"]
                    assert number == lives[-1] + 1 or (told and number > lives[-1])
                    lost += number - lives[-1] - 1
                    lives.append(number)
                    told = False
        assert numbers == list(range(1, 401))
        assert lost > 0, "it was slow enough"


def test_a_cursor_of_both_halves_is_never_ahead(pair, database):
    """Whatever item a client stops at, its id resumes exactly: nothing of the log is lost or repeated."""
    name = next(names)
    live = f"t/{name}"
    fill(database, name, 1, 300)
    cursors = []
    with pair[0].stream(f"/events?channel={name}&channel={live}&after=earliest") as stream:
        had = 0
        for n in range(1, 400):
            if n % 10 == 0:
                numbered_live(database, live, [n])
            if n % 7 == 0 and n > 300:
                fill(database, name, n, n)
            item = stream.read()
            if item.kind == "event" and item.json()["channel"] == name:
                had = item.data
            cursors.append((item.id, had))
            if had == 300 and item.kind == "event" and n > 330:
                break
    for cursor, had in random.sample(cursors, 25):
        client = Client(f"channel={name}&channel={live}", cursor)
        client.read(pair[0], "sse", lambda: client.numbers and client.numbers[-1] == 300 or had >= 300)
        assert client.numbers[:1] in ([], [had + 1]), (cursor, had)
        assert client.numbers == list(range(had + 1, had + 1 + len(client.numbers))), cursor


# --- gaps where they are due ------------------------------------------------------------------------------------------


def drop_everything(database):
    database.sql("select eventgate.configure('segment_bytes', '1'), eventgate.configure('retention_bytes', '1')")
    while database.sql("select 1 from eventgate.log"):
        database.sql("select eventgate.maintain()")


@pytest.fixture
def own(postgres):
    one = Database(postgres)
    yield one
    one.drop()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_retention_is_a_gap_of_who_has_missed_something(start_gateway, own, transport):
    own.sql("select eventgate.configure('retention_bytes', '1000000000')")
    fill(own, "d/busy", 1, 50)
    own.sql("select eventgate.publish('d/quiet', '1')")
    rows, tag = positions(own, "d/%"), tag_of(own)
    drop_everything(own)
    own.sql("select eventgate.configure('retention_bytes', '1000000000')")
    fill(own, "d/busy", 51, 60)
    gateway = start_gateway(*SMALL, database=own, durable="d/**").wait_ready()

    def resume(channel, cursor, count):
        client = Client(f"channel={channel}", cursor)
        client.read(gateway, transport, lambda: len(client.numbers) >= count)
        return client

    missed = resume("d/busy", f"{tag}.{rows[10]}", 10)
    assert [gap["reason"] for gap in missed.gaps] == ["retention"]
    assert missed.gaps[0]["from"].partition("~")[0] == f"{tag}.{rows[10]}"
    assert missed.numbers == list(range(51, 61))
    for cursor in (f"{tag}.{rows[49]}", f"{tag}.{rows[50]}", "earliest"):
        assert (resume("d/busy", cursor, 10).numbers, resume("d/busy", cursor, 10).gaps) == (list(range(51, 61)), [])
    never = Client("channel=d/never", f"{tag}.{rows[10]}")
    never.poll(gateway, lambda: never.cursor != f"{tag}.{rows[10]}", wait=0)
    assert never.gaps == [], "nothing of this channel was dropped"
    assert [gap["channels"] for gap in resume("d/busy&channel=d/never", f"{tag}.{rows[10]}", 10).gaps] != []


class WholeServer:
    """What these tests ask of a database, of a whole server."""

    def __init__(self, server):
        self.sql = server.sql

    def value(self, query, *arguments):
        return self.sql(query, *arguments)[0][0]


def restart(server, how=signal.SIGQUIT):
    server.stop(how)
    server.start()


def test_a_jump_is_a_gap_only_inside(fragile_postgres, start_gateway):
    server = fragile_postgres
    gateway = start_gateway(*SMALL, database=server, durable="d/**").wait_ready()
    database = WholeServer(server)
    fill(database, "d/a", 1, 5)
    rows, tag = positions(database, "d/a"), tag_of(database)
    wait_read(gateway, database)
    restart(server)
    gateway.wait_unready()
    gateway.wait_ready()
    fill(database, "d/a", 6, 8)
    jumped = positions(database, "d/a")[5]
    assert jumped > rows[-1] + 1000
    for transport in TRANSPORTS:
        exact = Client("channel=d/a", f"{tag}.{rows[-1]}")
        exact.read(gateway, transport, lambda: len(exact.numbers) >= 3)
        assert (exact.numbers, exact.gaps) == ([6, 7, 8], [])
        lost = Client("channel=d/a", f"{tag}.{rows[-1] + 1}")
        lost.read(gateway, transport, lambda: len(lost.numbers) >= 3)
        assert lost.numbers == [6, 7, 8]
        assert [(gap["reason"], gap["channels"]) for gap in lost.gaps] == [("failover", ["d/a"])]
    beyond = Client("channel=d/a", f"{tag}.{jumped + 1000}")
    beyond.poll(gateway, lambda: beyond.gaps)
    assert beyond.gaps[0]["reason"] == "failover"


@pytest.mark.parametrize("cursor", ("other1.5", "5", "nonsense"))
def test_what_is_no_cursor_of_this_log_is_unknown(pair, database, cursor):
    name = next(names)
    fill(database, name, 1, 3)
    wait_read(pair[0], database)
    with pair[0].stream(f"/channels/{name}", Last_Event_ID=cursor) as stream:
        assert stream.gap()["reason"] == "unknown"
        fill(database, name, 4, 4)
        assert stream.event().data == 4


# --- while something is away ------------------------------------------------------------------------------------------


def test_the_database_is_away_while_clients_are_behind(fragile_postgres, start_gateway):
    server = fragile_postgres
    gateway = start_gateway(*SMALL, "--subscribe-timeout", "60s", database=server, durable="d/**").wait_ready()
    database = WholeServer(server)
    fill(database, "d/a", 1, 500)
    wait_read(gateway, database)
    server.stop(signal.SIGQUIT)
    gateway.wait_unready()
    clients = [Client("channel=d/a", "earliest") for _ in range(6)]
    threads = [threading.Thread(target=client.read, args=(gateway, transport, lambda c=client: len(c.numbers) >= 501))
               for client, transport in zip(clients, TRANSPORTS * 2)]
    for thread in threads:
        thread.start()
    until(lambda: gateway.metric("eventgate_log_pages_waiting") >= 4, "the streams wait for pages")
    server.start()
    gateway.wait_ready()
    fill(database, "d/a", 501, 501)
    for thread in threads:
        thread.join()
    for client in clients:
        assert (client.numbers, client.gaps) == (list(range(1, 502)), [])


def test_a_drain_while_clients_are_behind(start_gateway, database):
    name = next(names)
    gateway = start_gateway(*SMALL, database=database, durable="d/**").wait_ready()
    database.sql("select eventgate.publish(%s, json_build_object('n', n, 'fill', repeat('x', 20000)))"
                 " from generate_series(1, 400) n", name)
    streams = [gateway.stream(f"/channels/{name}?after=earliest", receive_buffer=4096) for _ in range(5)]
    firsts = [stream.events(3) for stream in streams]
    gateway.process.send_signal(signal.SIGTERM)
    other = start_gateway(*SMALL, database=database, durable="d/**").wait_ready()
    for stream, first in zip(streams, firsts):
        items = [item for item in stream.until_closed() if item.kind == "event"]
        numbers = [item.data["n"] for item in [*first, *items]]
        last = [*first, *items][-1].id
        stream.close()
        with other.stream(f"/channels/{name}", Last_Event_ID=last) as rest:
            numbers += [event.data["n"] for event in rest.events(400 - len(numbers))]
        assert numbers == list(range(1, 401))
    assert gateway.ended() == 0


def test_many_clients_resume_at_once(start_gateway, database):
    """They share pages, and each gets everything."""
    name = next(names)
    fill(database, name, 1, 2500)
    gateway = start_gateway(*SMALL, database=database, durable="d/**").wait_ready()
    streams = [gateway.stream(f"/channels/{name}?after=earliest", version=version) for version in ("1.0", "1.1") * 30]
    for stream in streams:
        assert [event.data for event in stream.events(2500)] == list(range(1, 2501))
        stream.close()
    assert 0 < gateway.metric('eventgate_log_reads_total{kind="page"}') < 150  # alone, each would have five of its own
