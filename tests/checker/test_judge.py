"""The judges on records that are made up: good ones, and one of each kind of offence."""

import pytest

from cursors import matches, parse
from judge import RELOADED, UPGRADED, Fault, Told, Verdict, look_at_answers
from judge_durable import DurableJudge, Truth
from judge_live import LiveJudge

SEGMENT = 1 << 33
TAG = "abc123"


class Story:
    """A log of which 10 positions follow 1; channel `a` has the odd ones, `b` the even ones, of publisher 1."""

    def __init__(self):
        self.rows = {position: ("a" if position % 2 else "b", 1, (position + 1) // 2) for position in range(1, 11)}
        self.jumps, self.floors = [], [(0.0, 1)]
        self.pruned, self.end, self.faults, self.refusals = {}, 10, [], []
        self.published = {1: [(channel, number, 0.0, "committed", f"{TAG}.{position}")
                              for position, (channel, _, number) in self.rows.items()]}
        self.record = [("open", 1.0, "sse", None, 0), ("place", 1.1, f"{TAG}.0")]
        self.names = ("a", "b")

    def row(self, position, **changes):
        channel, publisher, number = changes.get("identity") or self.rows[position]
        self.record.append(("row", 2.0, changes.get("tag", TAG), position, None, 0, channel, publisher, number))
        return self

    def told(self, *positions):
        for position in positions:
            self.row(position)
        return self

    def place(self, position):
        self.record.append(("place", 3.0, f"{TAG}.{position}"))
        return self

    def gap(self, reason, begin, end, names=("a", "b")):
        self.record.append(("gap", 3.0, reason, f"{TAG}.{begin}", f"{TAG}.{end}", names))
        return self

    def lose_tail(self, begin):
        """What is beyond this was lost; two more events follow."""
        self.end = SEGMENT + 102
        self.jumps.append((begin, SEGMENT + 100))
        for number, position in enumerate((SEGMENT + 101, SEGMENT + 102), 6):
            self.rows[position] = ("a", 1, number)
            self.published[1].append(("a", number, 5.0, "committed", None))
        return self

    def drop(self, up_to, now=0.5):
        self.floors += [(now, up_to + 1), (100.0, up_to + 1)]
        for position in range(1, up_to + 1):
            self.pruned[self.rows[position][0]] = position
        return self

    def offences(self):
        verdict = Verdict().tally(told := {"reader": Told((), self.names, self.record)})
        lost = Truth(self.rows, self.jumps, [], set(), {}, 0, TAG).jump_around
        floor = max(position for _, position in self.floors)
        log = {position for position in self.rows if not lost(position) and position >= floor}
        truth = Truth(self.rows, self.jumps, self.floors, log, self.pruned, self.end, TAG)
        self.change(truth)
        DurableJudge(verdict, self.published, told, self.faults, truth, self.refusals).judge()
        return {offence.kind for offence in verdict.offences}

    def change(self, truth):
        pass


EVERYTHING = range(1, 11)
A = range(1, 11, 2)


def test_good_ones():
    assert Story().told(*EVERYTHING).offences() == set()
    assert Story().told(1, 2, 3).place(3).told(*range(4, 11)).place(10).offences() == set()
    one = Story()
    one.names = ("b",)
    assert one.told(2, 4, 6).place(7).told(8, 10).offences() == set()


def test_a_tail_was_lost():
    """Who had some of it is told; who had nothing of it isn't."""
    assert Story().lose_tail(4).told(*range(1, 8)).gap("failover", 7, SEGMENT + 100).told(
        SEGMENT + 101, SEGMENT + 102).offences() == set()
    assert Story().lose_tail(4).told(1, 2, 3, 4, SEGMENT + 101, SEGMENT + 102).offences() == set()
    assert Story().lose_tail(4).told(1, 2, 3, 4).place(SEGMENT + 100).told(
        SEGMENT + 101, SEGMENT + 102).offences() == set()


@pytest.mark.parametrize("reached", (5, 7, 10))
def test_a_tail_was_lost_in_silence(reached):
    story = Story().lose_tail(4).told(*range(1, reached + 1), SEGMENT + 101, SEGMENT + 102)
    assert story.offences() == {"lost"}


@pytest.mark.parametrize("cursor", (5, 7, 10))
def test_a_cursor_in_the_tail_is_enough(cursor):
    """Whether the subscriber had any event of the tail or not."""
    story = Story().lose_tail(4).told(1, 2, 3, 4).place(cursor)
    assert story.place(SEGMENT + 100).told(SEGMENT + 101, SEGMENT + 102).offences() == {"lost"}


@pytest.mark.parametrize("begin", (3, 4))
def test_a_failover_that_took_nothing(begin):
    story = Story().lose_tail(4).told(*range(1, begin + 1)).gap("failover", begin, SEGMENT + 100)
    assert story.told(SEGMENT + 101, SEGMENT + 102).offences() >= {"false gaps"}


def test_a_failover_gap_that_hides_events():
    story = Story().lose_tail(4).told(*range(1, 8)).gap("failover", 7, SEGMENT + 101).told(SEGMENT + 102)
    assert story.offences() == {"lost"}


def test_events_were_dropped():
    story = Story().drop(6).told(1).gap("retention", 1, 6).told(7, 8, 9, 10)
    assert story.offences() == set()
    # It came after the subscriber had had them.
    assert Story().drop(6, now=50.0).told(*EVERYTHING).offences() == set()


def test_events_were_dropped_in_silence():
    assert Story().drop(6).told(1, 7, 8, 9, 10).offences() == {"lost"}


def test_a_retention_gap_that_hides_events():
    assert Story().drop(6).told(1).gap("retention", 1, 7).told(8, 9, 10).offences() == {"lost"}


def test_a_retention_gap_before_its_time():
    story = Story().drop(6, now=50.0)
    story.floors.insert(1, (4.0, 1))
    assert story.told(1).gap("retention", 1, 6).told(7, 8, 9, 10).offences() == {"false gaps", "lost"}


def test_a_quiet_channel_has_missed_nothing():
    """5 is the last of `a` that was dropped, 6 of `b`: a reader of `a` at 5 lacks nothing."""
    story = Story().drop(6)
    story.names = ("a",)
    assert story.told(1, 3, 5).gap("retention", 5, 6, ("a",)).told(7, 9).place(10).offences() == {"false gaps"}
    story = Story().drop(6)
    story.names = ("a",)
    assert story.told(1, 3, 5).place(6).told(7, 9).place(10).offences() == set()


@pytest.mark.parametrize("reason", ("slow", "reconnect", "unknown"))
def test_gaps_that_durable_channels_never_have(reason):
    assert Story().told(1, 2).gap(reason, 2, 2).told(*range(3, 11)).offences() == {"false gaps"}


def test_a_gap_of_other_channels():
    assert "false gaps" in Story().drop(6).told(1).gap("retention", 1, 6, ("a", "c")).told(7, 8, 9, 10).offences()


def test_a_gap_from_before_the_cursor():
    assert Story().drop(3, 0.5).told(1, 2, 3).gap("retention", 2, 3).told(*range(4, 11)).offences() == {"false gaps"}


def test_lost():
    assert Story().told(1, 2, 4, *range(5, 11)).offences() == {"lost"}
    assert Story().told(1, 2, 3).place(10).offences() == {"lost"}


def test_never_comes_to_the_end():
    assert Story().told(*range(1, 10)).offences() == {"lost"}
    story = Story().told(*EVERYTHING)
    story.record.append(("stuck", 9.0, "stuck"))
    assert story.offences() == {"lost"}


def test_duplicated():
    assert Story().told(1, 2, 3, 3, *range(4, 11)).offences() == {"duplicated"}
    assert Story().told(*EVERYTHING, 2).offences() == {"duplicated"}


def test_unordered():
    assert Story().told(1, 3, 2, *range(4, 11)).offences() == {"unordered"}
    assert Story().told(*EVERYTHING).place(9).place(10).offences() == {"unordered"}


def test_phantom():
    assert Story().row(1, identity=("a", 1, 9)).told(*EVERYTHING).offences() >= {"phantom"}
    assert Story().row(11, identity=("a", 1, 9)).offences() >= {"phantom"}
    assert Story().row(1, tag="other").offences() >= {"phantom"}
    story = Story().told(*EVERYTHING)
    story.names = ("a",)
    assert story.offences() >= {"phantom"}


@pytest.mark.parametrize("row, kind", (
    (("a", 9, 0.0, "committed", None), "lost"),
    (("a", 1, 0.0, "never", None), "phantom"),
    (("a", 1, 0.0, "committed", f"{TAG}.2"), "unordered"),
    (("a", 1, 0.0, "committed", "other.1"), "unordered"),
))
def test_publishers(row, kind):
    story = Story().told(*EVERYTHING)
    rows = story.published[1]
    rows[:] = [one for one in rows if one[:2] != row[:2]]
    rows.insert(0, row)
    assert story.offences() == {kind}


def test_perhaps():
    story = Story().told(*EVERYTHING)
    story.published[1][0] = ("a", 1, 0.0, "perhaps", None)
    story.published[1].append(("a", 9, 0.0, "perhaps", None))
    assert story.offences() == set()


def test_never_published():
    story = Story().told(*EVERYTHING)
    del story.published[1][0]
    assert story.offences() == {"phantom"}


def test_twice_in_the_log():
    story = Story()
    story.rows[11], story.end = story.rows[10], 11
    assert story.told(*EVERYTHING, 11).offences() == {"duplicated"}


def test_again_behind_a_lost_tail():
    """The answer to 10 was lost with the tail; the publisher repeated it, and it was appended anew."""
    story = Story().lose_tail(8)
    story.rows[SEGMENT + 103], story.end = story.rows[10], SEGMENT + 103
    story.published[1] = [row for row in story.published[1] if row[:2] != ("b", 5)] + [
        ("b", 5, 5.0, "committed", f"{TAG}.{SEGMENT + 103}")]
    story.told(*EVERYTHING).gap("failover", 10, SEGMENT + 100)
    assert story.told(SEGMENT + 101, SEGMENT + 102, SEGMENT + 103).offences() == set()


def test_a_publishers_order():
    story = Story().told(*EVERYTHING)
    rows = story.published[1]
    rows[0], rows[2] = rows[2], rows[0]
    assert story.offences() == {"unordered"}


def test_refused():
    story = Story().told(*EVERYTHING)
    story.faults = [Fault("failover", 5.0, 6.0)]
    story.refusals = [(5.5, "excused")]
    assert story.offences() == set()
    story.refusals = [(4.5, "not excused")]
    assert story.offences() == {"refused"}


@pytest.mark.parametrize("kind, at, expected", [("gateway drained", 6.0, 0), ("gateway drained", 30.0, 1),
                                                 (UPGRADED, 6.0, 1), (RELOADED, 6.0, 1), (None, 6.0, 1)])
def test_without_a_fault_and_in_an_upgrade_everybody_is_answered(kind, at, expected):
    faults = [Fault(kind, 5.0, 7.0)] if kind else []
    told = {"reader": Told((), ("a",), [("open", 1.0, "sse", None, 0), ("unanswered", at, "no connection")])}
    verdict = Verdict().tally(told)
    look_at_answers(verdict, [(at, "no answer")], told, faults)
    assert verdict.counts["unanswered"] == 2 * expected


def test_the_log_itself():
    story = Story().told(*EVERYTHING)
    story.change = lambda truth: truth.log.discard(5)
    assert story.offences() == {"lost"}
    story = Story().told(*EVERYTHING)
    story.change = lambda truth: truth.log.add(77)
    assert story.offences() == {"phantom"}
    story = Story().told(*EVERYTHING)
    story.change = lambda truth: truth.pruned.update(a=3)
    assert story.offences() == {"false gaps"}


# --- live channels, on two gateways -----------------------------------------------------------------------------------

ONE, OTHER = "aaaaaaaaaa", "bbbbbbbbbb"  # LISTEN sessions


class LiveStory:
    """Publisher 1 has published five events on `l`."""

    def __init__(self):
        self.published = {0: [], 1: [("l", number, float(number), "committed", None) for number in range(1, 6)]}
        self.faults = []
        self.record = []

    def open(self, gateway, session, cursor=None, now=0.5):
        self.record.append(("open", now, "sse", cursor, gateway))
        if cursor is None:
            self.record.append(("place", now, f"{TAG}.0~{session}-0"))
        return self

    def told(self, session, *numbers):
        self.record += [("event", float(number), session, number, "l", 1, number) for number in numbers]
        return self

    def gap(self, reason, begin, end, now, names=("l",)):
        self.record.append(("gap", now, reason, f"{TAG}.0~{begin}", f"{TAG}.0~{end}", names))
        return self

    def offences(self):
        told = {"reader": Told(("l",), ("d",), self.record)}
        verdict = Verdict().tally(told)
        LiveJudge(verdict, self.published, told, self.faults, 1000, 60).judge()
        return {offence.kind for offence in verdict.offences}


def test_live_good_ones():
    assert LiveStory().open(0, ONE).told(ONE, 1, 2, 3, 4, 5).offences() == set()
    story = LiveStory().open(0, ONE).told(ONE, 1, 2).open(1, OTHER, f"{TAG}.0~{ONE}-2", 2.5)
    assert story.gap("reconnect", f"{ONE}-2", f"{OTHER}-3", 3.5).told(OTHER, 4, 5).offences() == set()
    story = LiveStory().open(0, ONE).told(ONE, 1, 2).open(1, OTHER, f"{TAG}.0~{ONE}-2", 2.5)
    assert story.gap("failover", f"{ONE}-2", f"{OTHER}-3", 3.5, ("d", "l")).told(OTHER, 4, 5).offences() == set()


def test_live_events_come_again_from_another_process_only():
    """What the one before an upgrade has delivered, the next one may still be told by PostgreSQL, however long before
    the upgrade it was sent."""
    story = LiveStory().open(0, ONE).told(ONE, 1, 2, 3)
    story.faults = [Fault(UPGRADED, 3.2, 3.5, True, 0)]
    story.gap("reconnect", f"{ONE}-3", f"{OTHER}-2", 3.5)
    story.record += [("event", 3.6, OTHER, 3, "l", 1, 3), ("event", 4.0, OTHER, 4, "l", 1, 4), ("event", 5.0, OTHER, 5, "l", 1, 5)]
    assert story.offences() == set()
    story.faults = [Fault("database crashed", 3.2, 3.5, True, None)]
    assert story.offences() == {"duplicated"}


def test_live_bad_ones():
    assert LiveStory().open(0, ONE).told(ONE, 1, 2, 4, 5).offences() == {"lost"}
    assert LiveStory().open(0, ONE).told(ONE, 1, 2, 2, 3, 4, 5).offences() == {"duplicated"}
    assert LiveStory().open(0, ONE).told(ONE, 1, 3, 2, 4, 5).offences() == {"unordered"}
    assert LiveStory().open(0, ONE).told(ONE, 1, 2, 3, 4, 5, 6).offences() == {"phantom"}
    assert LiveStory().open(0, ONE).told(ONE, 1, 2, 3).told(OTHER, 4, 5).offences() == {"lost"}


def test_another_process_may_lag():
    story = LiveStory().open(0, ONE).told(ONE, 1, 2, 3).open(1, OTHER, f"{TAG}.0~{ONE}-3", 3.5)
    assert story.gap("reconnect", f"{ONE}-3", f"{OTHER}-2", 3.5).told(OTHER, 3, 4, 5).offences() == set()


def test_what_was_not_answered_may_be_committed_late():
    story = LiveStory().open(0, ONE)
    story.published[1][1] = ("l", 2, 2.0, "perhaps", None)
    for place, number in enumerate((1, 3, 2, 4, 5), 1):
        story.record.append(("event", float(place), ONE, place, "l", 1, number))
    assert story.offences() == set()
    story.published[1][1] = ("l", 2, 2.0, "committed", None)
    assert story.offences() == {"unordered"}


def test_live_false_gaps():
    """The same gateway, without a fault; the same session; and a journal that holds everything."""
    story = LiveStory().open(0, ONE).told(ONE, 1, 2).gap("reconnect", f"{ONE}-2", f"{OTHER}-3", 3.5)
    assert story.told(OTHER, 4, 5).offences() == {"false gaps"}
    story.faults = [Fault("database crashed", 2.5, 3.5, True)]
    assert story.offences() == set()
    for reason in ("reconnect", "retention", "slow", "failover", "unknown"):
        story = LiveStory().open(0, ONE).told(ONE, 1, 2).gap(reason, f"{ONE}-2", f"{ONE}-3", 3.5)
        assert story.told(ONE, 4, 5).offences() == {"false gaps"}, reason


def test_cursors():
    assert parse("abc.7~abcdefghij-3") == ("abc", 7, "abcdefghij", 3)
    assert parse("7") == (None, 7, None, 0)
    assert parse("abcdefghij-3") == (None, None, "abcdefghij", 3)
    assert parse("7~") == parse("") == parse(None) == parse("a b") == (None, None, None, 0)


@pytest.mark.parametrize("pattern, yes, no", (
    ("a/b", ["a/b"], ["a", "a/b/c", "a/c"]),
    ("a/*", ["a/b", "a/c"], ["a", "a/b/c", "b/a"]),
    ("a/**", ["a/b", "a/b/c"], ["a", "b/a"]),
    ("*/b", ["a/b"], ["b", "a/b/b"]),
))
def test_patterns(pattern, yes, no):
    assert all(matches(pattern, channel) for channel in yes)
    assert not any(matches(pattern, channel) for channel in no)
