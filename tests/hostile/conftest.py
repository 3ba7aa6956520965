"""The fixtures that the tests here ask for by name."""

from kit.fixtures import (channel, durable_channel, durable_gateway, fragile_postgres, gateway,  # noqa: F401
                          make_proxy, postgres, start_gateway)
from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401


def pytest_terminal_summary(terminalreporter):
    """How many rows and cases have passed."""
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    rows, cases = (sum(f"{test}[" in name for name in passed) for test in ("test_row", "test_framing"))
    terminalreporter.write_line(f"{rows} faults and bad inputs, nothing lost in any; {cases} cases of framing, each in six ways")
