"""The fixtures that the tests here ask for by name."""

from kit.fixtures import (certificate, channel, durable_channel, durable_gateway, fragile_postgres,  # noqa: F401
                          gateway, make_proxy, postgres, secret_file, start_gateway, start_tls_gateway, tls_gateway)
from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401
