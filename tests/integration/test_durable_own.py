"""What a gateway appends itself goes to its subscribers without being read back from the log."""

import threading

import pytest

from kit.schema import Database


@pytest.fixture
def database(postgres):
    one = Database(postgres)
    yield one
    one.drop()


def test_what_several_gateways_and_sql_append_at_once_has_one_order(database, start_gateway):
    """A gateway doesn't read back what it has appended itself, where it is sure to be the log's next."""
    gateways = [start_gateway("--durable", "order/**", database=database).wait_ready() for _ in range(2)]
    with gateways[0].stream("/channels/order/1") as one, gateways[1].stream("/channels/order/1") as other:
        one.cursor(), other.cursor()
        alone = [gateways[0].publish("order/1", str(n)).json()["id"] for n in range(20)]
        assert [one.event().json()["id"] for _ in alone] == [other.event().json()["id"] for _ in alone] == alone
        assert gateways[0].metric('eventgate_log_rows_total{set="default",kind="end"}') == 0
        session = database.session()
        work = [lambda: [gateways[0].publish("order/1", '"a"') for _ in range(50)],
                lambda: [gateways[1].publish("order/1", '"b"') for _ in range(50)],
                lambda: [session.publish("order/1", '"c"') for _ in range(50)]]
        threads = [threading.Thread(target=part) for part in work]
        for thread in threads:
            thread.start()
        seen = [[stream.event().json() for _ in range(150)] for stream in (one, other)]
        for thread in threads:
            thread.join()
    assert seen[0] == seen[1]
    assert [event["id"].split(".")[1] for event in seen[0]] == [
        pos for (pos,) in database.sql("select l.pos::text from eventgate.log l where l.pos > 20 order by l.pos")]
    assert {event["data"] for event in seen[0]} == {"a", "b", "c"}
