"""Cursors: exact where nothing was missed, a gap with its reason where something was."""

import pytest

from kit.wait import until

pytestmark = pytest.mark.threads


def keep_listening(gateway, channel):
    """A stream that keeps a pattern's channel LISTENed."""
    stream = gateway.stream(f"/channels/{channel}")
    stream.cursor()
    return stream


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_resume_is_exact_across_connections_and_workers(gateway, postgres, channel, form):
    with keep_listening(gateway, channel) as first:
        postgres.notify(channel, *[str(n) for n in range(10)])
        cursors = [item.id for item in first.events(10)]
        # Many connections, so that each worker sees some.
        for place in list(range(10)) * 2:
            with gateway.stream(f"/channels/{channel}?format={form}", Last_Event_ID=cursors[place]) as stream:
                assert stream.cursor() == cursors[place], "the place it continues from, never the head"
                assert [item.data for item in stream.events(9 - place)] == list(range(place + 1, 10))


def test_after_is_the_same_and_last_event_id_goes_before_it(gateway, postgres, channel):
    with keep_listening(gateway, channel) as first:
        postgres.notify(channel, "1", "2", "3")
        one, two, _ = (item.id for item in first.events(3))
        with gateway.stream(f"/channels/{channel}?after={one}") as stream:
            assert [item.data for item in stream.events(2)] == [2, 3]
        with gateway.stream(f"/channels/{channel}?after={one}", Last_Event_ID=two) as stream:
            assert stream.event().data == 3


def test_the_first_cursor_is_a_place_to_resume_from(gateway, postgres, channel):
    with keep_listening(gateway, channel):
        with gateway.stream(f"/channels/{channel}") as stream:
            cursor = stream.cursor()
        postgres.notify(channel, "1")
        with gateway.stream(f"/channels/{channel}", Last_Event_ID=cursor) as stream:
            assert stream.event().data == 1


def test_one_cursor_serves_all_transports(gateway, postgres, channel):
    with keep_listening(gateway, channel):
        poll = gateway.poll(f"/channels/{channel}")["next"]
        postgres.notify(channel, "1", "2", "3", "4")
        with gateway.stream(f"/channels/{channel}", Last_Event_ID=poll) as sse:
            item = sse.event()
        assert item.data == 1
        answer = gateway.poll(f"/channels/{channel}?after={item.id}&limit=1")
        assert [event["data"] for event in answer["events"]] == [2]
        with gateway.stream(f"/channels/{channel}?format=ndjson&after={answer['next']}") as ndjson:
            assert ndjson.cursor() == answer["next"]
            assert [item.data for item in ndjson.events(2)] == [3, 4]


def test_now_skips_what_was_and_earliest_gives_what_is_held(gateway, postgres, channel):
    with keep_listening(gateway, channel) as first:
        postgres.notify(channel, "1", "2")
        first.events(2)
        with gateway.stream(f"/channels/{channel}?after=now") as now:
            now.cursor()
            postgres.notify(channel, "3")
            assert now.event().data == 3
        with gateway.stream(f"/channels/{channel}?after=earliest") as earliest:
            assert [item.data for item in earliest.events(3)] == [1, 2, 3]


@pytest.mark.parametrize("nonsense", ["nonsense", "0", "%%%", "-1~abc-2", "0~aaaaaaaaaa-99999999999999999999",
                                      "x" * 500])
def test_nonsense_in_last_event_id_is_a_gap_and_the_stream_goes_on(gateway, postgres, channel, nonsense):
    with gateway.stream(f"/channels/{channel}", Last_Event_ID=nonsense) as stream:
        gap = stream.gap()
        assert gap["reason"] in ("unknown", "reconnect") and gap["channels"] == [channel]
        assert gap["reason"] == "unknown" or nonsense == "0"
        postgres.notify(channel, "1")
        assert stream.event().data == 1


def test_nonsense_in_after_is_400(gateway, channel):
    answer = gateway.get(f"/channels/{channel}?after=nonsense")
    assert answer.status == 400 and answer.problem()[0] == "bad-cursor"


def test_a_cursor_of_another_gateway_is_a_gap_reconnect(gateway, start_gateway, postgres, channel):
    other = start_gateway().wait_ready()
    with other.stream(f"/channels/{channel}") as stream:
        alien = stream.cursor()
    with gateway.stream(f"/channels/{channel}", Last_Event_ID=alien) as stream:
        gap = stream.gap()
        assert (gap["reason"], gap["from"], gap["channels"]) == ("reconnect", alien, [channel])
        postgres.notify(channel, "1")
        item = stream.event()
    with gateway.stream(f"/channels/{channel}", Last_Event_ID=gap["to"]) as stream:
        assert stream.event().id == item.id


def test_a_cursor_of_the_future_is_a_gap(gateway, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        cursor = stream.cursor()
    future = cursor.rsplit("-", 1)[0] + "-9007199254740000"
    with gateway.stream(f"/channels/{channel}", Last_Event_ID=future) as stream:
        assert stream.gap()["reason"] == "reconnect"


def test_a_gap_in_a_poll_precedes_its_events(gateway, postgres, channel):
    with keep_listening(gateway, channel) as first:
        postgres.notify(channel, "1")
        first.event()
        answer = gateway.poll(f"/channels/{channel}?after=earliest")
        assert [event["data"] for event in answer["events"]] == [1] and "gap" not in answer
        alien = "0~" + "a" * 10 + "-5"
        answer = gateway.poll(f"/channels/{channel}?after={alien}")
        assert answer["gap"]["reason"] == "reconnect" and answer["next"]
        postgres.notify(channel, "2")
        assert [event["data"] for event in gateway.poll(f"/channels/{channel}?after={answer['next']}")["events"]] == [2]


def test_ndjson_gap_is_a_line(gateway, channel):
    with gateway.stream(f"/channels/{channel}?format=ndjson", Last_Event_ID="nonsense") as stream:
        assert stream.gap()["reason"] == "unknown"


@pytest.fixture
def small(start_gateway):
    """A gateway whose journal holds 100 events."""
    return start_gateway("--journal-events", "100").wait_ready()


def test_a_busy_neighbour_leaves_a_quiet_channel_exact(small, postgres, channel):
    quiet, busy = f"{channel}/quiet", f"{channel}/busy"
    with keep_listening(small, quiet) as first, keep_listening(small, busy) as noise:
        postgres.notify(quiet, "1")
        cursor = first.event().id
        postgres.notify(busy, *[str(n) for n in range(500)])
        noise.events(500)
        with small.stream(f"/channels/{quiet}", Last_Event_ID=cursor) as stream:
            postgres.notify(quiet, "2")
            item = stream.next()
            assert item.kind == "event" and item.data == 2, item


def test_what_was_trimmed_is_a_gap_retention(small, postgres, channel):
    with keep_listening(small, channel) as first:
        postgres.notify(channel, *[str(n) for n in range(500)])
        items = first.events(500)
        with small.stream(f"/channels/{channel}", Last_Event_ID=items[10].id) as stream:
            gap = stream.gap()
            assert (gap["reason"], gap["from"]) == ("retention", items[10].id)
            rest = [stream.event().data]
            while rest[-1] != 499:
                rest.append(stream.event().data)
        assert rest == list(range(rest[0], 500)) and len(rest) <= 100
        with small.stream(f"/channels/{channel}", Last_Event_ID=items[450].id) as stream:
            assert [item.data for item in stream.events(49)] == list(range(451, 500)), "this much is still held"


def test_of_two_channels_only_the_one_that_missed_something_is_named(small, postgres, channel):
    quiet, busy = f"{channel}/quiet", f"{channel}/busy"
    with keep_listening(small, quiet), keep_listening(small, busy) as noise:
        postgres.notify(busy, "0")
        cursor = noise.event().id
        postgres.notify(busy, *[str(n) for n in range(300)])
        noise.events(300)
        with small.stream(f"/events?channel={quiet}&channel={busy}", Last_Event_ID=cursor) as stream:
            gap = stream.gap()
            assert (gap["reason"], gap["channels"]) == ("retention", [busy])


@pytest.mark.parametrize("form", ["sse", "ndjson", "poll"])
def test_one_gap_tells_of_all_channels_whatever_the_journal_has_trimmed_of_each(small, postgres, channel, form):
    first, second, noise = f"{channel}/first", f"{channel}/second", f"{channel}/noise"
    with keep_listening(small, first) as reader, keep_listening(small, second), keep_listening(small, noise) as busy:
        postgres.notify(first, "0")
        cursor = reader.event().id
        postgres.notify(first, "1")
        postgres.notify(second, "2")
        postgres.notify(noise, *[str(n) for n in range(200)])
        busy.events(200)
        target = f"/events?channel={first}&channel={second}"
        if form == "poll":
            answer = small.poll(f"{target}&after={cursor}")
            assert answer["gap"]["channels"] == [first, second] and answer["events"] == []
            postgres.notify(second, "3")
            answer = small.poll(f"{target}&after={answer['next']}")
            assert "gap" not in answer and [event["data"] for event in answer["events"]] == [3]
            return
        with small.stream(f"{target}&format={form}&after={cursor}") as stream:
            gap = stream.gap()
            assert (gap["reason"], gap["channels"]) == ("retention", [first, second])
            postgres.notify(second, "3")
            assert stream.event().data == 3, "and no second gap"


def test_a_channel_that_was_not_listened_to_meanwhile_is_a_gap(start_gateway, postgres, channel):
    own = start_gateway("--linger", "0s").wait_ready()
    with own.stream(f"/channels/{channel}") as stream:
        cursor = stream.cursor()
    until(lambda: own.metric("eventgate_channels") == 0, "the channel is UNLISTENed")
    postgres.notify(channel, "1")
    with own.stream(f"/channels/{channel}", Last_Event_ID=cursor) as stream:
        assert stream.gap()["reason"] == "retention"


def test_linger_keeps_a_channel_exact_without_subscribers(gateway, postgres, channel):
    with gateway.stream(f"/channels/{channel}") as stream:
        cursor = stream.cursor()
    postgres.notify(channel, "1")
    with gateway.stream(f"/channels/{channel}", Last_Event_ID=cursor) as stream:
        assert stream.event().data == 1
