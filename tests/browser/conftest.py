"""The fixtures that the tests here ask for by name."""

from kit.fixtures import channel, durable_channel, fragile_postgres, gateway, make_proxy, postgres, start_gateway  # noqa: F401
