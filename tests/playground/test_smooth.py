"""The playground stays smooth at 1,000 events a second (tests/bench/run playground prints more)."""

import pytest

from smooth import measure


@pytest.mark.long
def test_at_most_five_tasks_in_half_a_minute_are_long(tmp_path):
    measured = measure(tmp_path, 30)
    assert measured["tasks_over_50_ms"] <= 5 and measured["rows"] < 60, measured
