"""Microservices: order_shipped and the services that live on it, instead of an outbox table, Debezium and Kafka.

Billing is killed, is down for a while, and catches up; the stock is killed while it works; notifications come later.
"""

import collections
import pathlib
import secrets

import pytest

from counting import Count
from ground import Database
from kit.prometheus import Prometheus
from kit.wait import until

HERE = pathlib.Path(__file__).parent / "microservices"
CANCELLED = 5  # every fifth order is rolled back


class Shop:
    """Ships orders, each in a transaction of its own; every fifth time it thinks better of it."""

    def __init__(self, database):
        self.session = database.server.connect_to(database.name)
        self.session.autocommit = False
        self.shipped, self.trace_ids, self.rolled_back = [], {}, 0

    def ship(self, orders):
        for number in range(1, orders + 1):
            trace_id = secrets.token_hex(16)
            with self.session.cursor() as sql:
                sql.execute("insert into orders (item, cents) values ('tea', 320) returning id")
                order = sql.fetchone()[0]
                sql.execute("select ship(%s, %s)", (order, f"00-{trace_id}-{secrets.token_hex(8)}-01"))
            if number % CANCELLED == 0:
                self.session.rollback()
                self.rolled_back += 1
                continue
            self.session.commit()
            self.shipped.append(order)
            self.trace_ids[order] = trace_id


def orders_in(database, table):
    return [order for (order,) in database.sql(f"select order_id from {table} order by id")]


def events_of(gateway, pattern):
    """All that the log has."""
    return gateway.poll(f"/events?channel={pattern}&after=earliest&wait=0&limit=1000")["events"]


def orders_of(events):
    return [int(event["channel"].split("/")[1]) for event in events]


def paths_of(events):
    """{trace id: what happened in that trace, in order}"""
    paths = collections.defaultdict(list)
    for event in sorted(events, key=lambda event: event["time"]):
        paths[event["trace"].split("-")[1]].append(f"{event['type']} {event['channel']}")
    return paths


@pytest.fixture
def databases(fragile_postgres):
    """One for each service, on a server of their own."""
    made = {name: Database(fragile_postgres, name=name, installed=name != "stock") for name in ("shop", "billing", "stock")}
    for name, database in made.items():
        database.sql((HERE / f"{name}.sql").read_text())
    return made


@pytest.fixture
def place(fragile_postgres):
    return {"PGHOST": fragile_postgres.folder, "PGUSER": "postgres"}


@pytest.fixture
def gateway(start_gateway, databases, place):
    return start_gateway("--config", str(HERE / "gateway.conf"), database=None, variables=place).wait_ready()


@pytest.fixture
def prometheus(tmp_path, gateway):
    started = Prometheus(tmp_path, [(gateway, None)])
    yield started
    started.stop()


def test_microservices(databases, gateway, place, prometheus, launch, tell, tmp_path):
    shop = Shop(databases["shop"])

    def start(service, *arguments):
        return launch(f"microservices/{service}", *arguments, GATEWAY=gateway.url, **place)

    def prometheus_sees(streams):
        until(lambda: prometheus.query("sum(eventgate_streams)") == [streams], f"Prometheus sees {streams} streams")

    billing, stock = start("billing.py"), start("stock.mjs")
    prometheus_sees(2)
    shop.ship(40)
    until(lambda: orders_in(databases["billing"], "invoice"), "billing is at work")
    billing.kill()
    shop.ship(40)
    stock.kill()
    prometheus_sees(0)
    late, behind = shop.shipped[-1], len(shop.shipped) - len(orders_in(databases["billing"], "invoice"))
    start("stock.mjs")
    start("billing.py")
    start("notifications.mjs", tmp_path / "place")
    shop.ship(20)
    last = shop.shipped[-1]
    until(lambda: last in orders_in(databases["stock"], "movement"), "the stock has the last order")
    until(lambda: last in orders_of(events_of(gateway, "notice/*")), "the last customer has been told")
    prometheus_sees(3)

    orders, invoices, notices = [events_of(gateway, f"{kind}/*") for kind in ("order", "invoice", "notice")]
    events = [*orders, *invoices, *notices]
    until(lambda: prometheus.query("sum(eventgate_events_received_total)") == [len(events)], "Prometheus sees all events")
    paths = paths_of(events)
    count = Count()
    for got in (orders_of(orders), orders_in(databases["billing"], "invoice"), orders_of(invoices),
                orders_in(databases["stock"], "movement"), orders_of(notices)):
        count.add(shop.shipped, got)
    tell(f"microservices: {len(shop.shipped)} orders shipped, {shop.rolled_back} rolled back; billing was killed and came "
         f"back {behind} orders late; one trace: {', '.join(paths[shop.trace_ids[late]])}; {count}")
    assert count.is_exact and shop.rolled_back > 0
    for order, trace_id in shop.trace_ids.items():
        assert paths[trace_id] == [f"order_shipped order/{order}", f"invoice_made invoice/{order}",
                                   f"customer_told notice/{order}"]
    assert f"notice/{late}" in gateway.wait_log(f"request answered.*trace_id={shop.trace_ids[late]}")
