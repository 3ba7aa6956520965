"""The counters that the scenarios print notice what they are there for."""

import pytest

from counting import Count

PUBLISHED = ["a", "b", "c", "d"]


@pytest.mark.parametrize("got, said", [
    ("abcd", "missed 0, repeated 0"),
    ("abd", "missed 1, repeated 0"),
    ("", "missed 4, repeated 0"),
    ("abbcdb", "missed 0, repeated 2"),
    ("acbd", "missed 0, repeated 0, out of order 1"),
    ("abcdx", "missed 0, repeated 0, never published 1"),
    ("bad", "missed 1, repeated 0, out of order 1"),
])
def test_each_receiver_is_held_against_what_was_published(got, said):
    count = Count().add(PUBLISHED, got)
    assert str(count) == said
    assert count.is_exact == (got == "abcd")


def test_receivers_are_added_up():
    count = Count().add(PUBLISHED, "abcd").add(PUBLISHED, "abc").add(PUBLISHED, "aabcd")
    assert str(count) == "missed 1, repeated 1" and not count.is_exact
    assert (count.receivers, count.delivered) == (3, 12)


def test_where_nothing_arrived_nothing_is_exact():
    assert not Count().is_exact and not Count().add([], []).is_exact
