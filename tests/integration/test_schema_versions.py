"""Gateways and schemas of different versions: either may be the first to be upgraded, while the other one works."""

import pytest

from kit.schema import Database, former, script, version
from kit.wait import until


@pytest.fixture
def bare(postgres):
    """A database without the schema."""
    database = Database(postgres, installed=False)
    yield database
    database.drop()


def serves(gateway, number):
    """It reads and writes, and has had all that was published before."""
    assert gateway.publish("d/a", str(number)).status == 201, gateway.log_text()
    with gateway.stream("/channels/d/a?after=earliest") as stream:
        assert [event.data for event in stream.events(number)] == list(range(1, number + 1))


def reconnect(gateway, database):
    def sessions():
        return {pid for pid, in database.sql("select pid from pg_stat_activity where datname = %s and"
                                             " application_name like 'pg_eventgate%%'", database.name)}
    before = sessions()
    assert before
    for pid in before:
        database.sql("select pg_terminate_backend(%s)", pid)
    until(lambda: len(sessions() - before) >= len(before), "it has as many sessions again")
    gateway.wait_ready()


@pytest.mark.parametrize("before, after", [
    pytest.param(version(), version() + 1, id="a newer schema"),
    pytest.param(2, version(), id="version 2"),
    pytest.param(1, version(), id="version 1"),
])
def test_a_gateway_works_with_a_schema_that_is_upgraded_under_it(bare, start_gateway, before, after):
    bare.sql(script() if before == version() else former(before))
    gateway = start_gateway("--durable", "d/**", database=bare).wait_ready()
    serves(gateway, 1)
    reconnect(gateway, bare)
    serves(gateway, 2)
    bare.install(version=after)
    assert bare.value("select eventgate.version()") == after
    serves(gateway, 3)
    reconnect(gateway, bare)
    serves(gateway, 4)
    assert gateway.stop() == 0, gateway.log_text()
    serves(start_gateway("--durable", "d/**", database=bare).wait_ready(), 5)
