"""The fixtures that the tests here ask for by name."""

from kit.fixtures import (  # noqa: F401
    channel, durable_channel, fragile_postgres, gateway, make_proxy, postgres, secret_file, start_gateway)
