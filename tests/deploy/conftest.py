"""The fixtures that the tests here ask for by name."""

from kit.fixtures import channel, durable_channel, make_proxy, postgres, start_gateway  # noqa: F401
from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401
