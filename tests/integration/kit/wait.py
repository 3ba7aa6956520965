"""Waiting for a condition, never for time."""

import threading
import time

# Generous, since the sanitizers' builds are slow and the machine may be busy; a test that passes never waits this long.
DEADLINE = 20.0


def until(condition, what, timeout=DEADLINE):
    """Calls `condition` until it returns something true, and returns that; `what` is what we waited for."""
    deadline = time.monotonic() + timeout
    poll = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        poll.wait(0.01)
