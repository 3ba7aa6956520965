"""The fixtures that the tests here ask for by name."""

from kit.fixtures import (channel, durable_channel, durable_gateway, fragile_postgres, gateway,  # noqa: F401
                          make_proxy, postgres, start_gateway)
from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401
