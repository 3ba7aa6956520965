"""The fixtures of the torture, and the line at its end that counts."""

import pytest

from kit.fixtures import postgres  # noqa: F401
from world import Tally

TALLY = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="every allocation of every scenario")


def pytest_configure(config):
    config.stash[TALLY] = Tally()


@pytest.fixture(scope="session")
def tally(pytestconfig):
    return pytestconfig.stash[TALLY]


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(str(config.stash[TALLY]))
