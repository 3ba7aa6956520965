"""Scenarios: hooks and fixtures."""

import contextlib

import pytest

from ground import Database
from kit.fixtures import fragile_postgres, make_proxy, postgres, start_gateway  # noqa: F401
from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401
from programs import Program


@pytest.fixture
def database(postgres):
    return Database(postgres)


@pytest.fixture
def launch():
    """Starts processes of an application, and ends them; see Program."""
    started = []

    def start(*command, **variables):
        started.append(Program(*command, **variables))
        return started[-1]

    yield start
    with contextlib.ExitStack() as stack:  # each is stopped, though another one may not end
        for program in started:
            stack.callback(program.stop)
    for program in started:
        program.check()


@pytest.fixture
def tell(record_property):
    """Has a line printed at the end of the run."""
    return lambda line: record_property("told", line)


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports
               if getattr(report, "when", None) == "call"]
    lines = [line for report in reports for name, line in report.user_properties if name == "told"]
    if lines:
        terminalreporter.write_sep("-", "what the scenarios counted")
    for line in sorted(lines):
        terminalreporter.write_line(line)
