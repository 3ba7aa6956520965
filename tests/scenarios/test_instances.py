"""Application instances share events: three processes of a shop with one bus, instead of Redis pub/sub or mubsub.

Customers' requests go to any of them. On the way one is killed, and the gateway, too; who gets no answer asks another
instance. In the end each instance has heard of every change once, and all of them answer the same.
"""

import concurrent.futures
import itertools
import json
import random

import pytest

from counting import Count
from ground import SteadyGateway
from kit import http
from kit.wait import until

NAMES = ("red", "green", "blue")
CUSTOMERS = ("ann", "bob", "cid", "dan", "eve", "fay")


def text_of(customer, number):
    return f"tea that {customer} likes {number}"


class Shop:
    def __init__(self, database, gateway, launch, folder):
        self.database, self.gateway, self.launch, self.folder = database, gateway, launch, folder
        self.instances, self.turns, self.unanswered, self.is_open = {}, {}, 0, True

    def start(self, *names):
        started = {name: self.launch("instances/instance.mjs", self.file(name), GATEWAY=self.gateway.url,
                                     **self.database.variables) for name in names}
        for instance in started.values():
            instance.wait("port")
        self.instances |= started

    def file(self, name):
        return self.folder / name

    def ask(self, name, method, path, body=None, **headers):
        port = self.instances[name].of("port")[0]
        answer = http.call(("127.0.0.1", port), method, path, body, **headers)
        assert answer.status == 200, answer
        return answer.json()

    def request(self, *given, **headers):
        """As a load balancer does it: to any instance, and where that doesn't answer, to another one."""
        names = itertools.cycle(random.sample(list(self.instances), len(self.instances)))
        return until(lambda: self.attempt(next(names), *given, **headers), "an instance answers")[0]

    def attempt(self, *given, **headers):
        try:
            return [self.ask(*given, **headers)]
        except (OSError, http.Closed):
            self.unanswered += 1
            return None

    def turn(self, customer, number):
        product = number % 4
        self.request("PUT", f"/session/{customer}", json.dumps({"basket": number}), Idempotency_Key=f"{customer} {number}")
        self.request("PUT", f"/product/{product}", json.dumps(text_of(customer, number)))
        self.request("GET", f"/product/{product}")
        self.turns[customer] = number

    def shopping(self, customer):
        for number in itertools.count(1):
            if not self.is_open:
                return
            self.turn(customer, number)

    def wait_turns(self, customers, more):
        """Until the customers have had so many more turns."""

        def had():
            for customer in customers:
                assert not customer.done(), customer.exception()
            return sum(self.turns.values())

        before = had()
        until(lambda: had() >= before + more, f"{more} turns", 60)

    def count_put(self):
        """The baskets in the log, against those that customers have put."""
        data = [data for _, _, data in self.database.published()]
        count = Count()
        for customer, turns in self.turns.items():
            count.add(range(1, turns + 1), [each["data"]["basket"] for each in data if each["id"] == customer])
            texts = {each.get("text") for each in data}
            assert all(text_of(customer, turn) in texts for turn in range(1, turns + 1)), "products are told once at least"
        return count

    def change(self, first, last):
        self.database.sql("select eventgate.publish('app/session', json_build_object('id', 'ann', 'data', number))"
                          " from generate_series(%s, %s) as number", first, last)

    def published(self):
        return [id for id, _, _ in self.database.published()]

    def heard(self, name):
        file = self.file(name)
        return [json.loads(line)["id"] for line in file.read_text().split("\n")[:-1]] if file.exists() else []

    def count_heard(self):
        """What each instance has heard, against the log."""
        count, ids = Count(), self.published()
        for name in self.instances:
            until(lambda: ids[-1] in self.heard(name), f"{name} hears of the last change")
            count.add(ids, self.heard(name))
        return count

    def state(self, name):
        return ([self.ask(name, "GET", f"/session/{customer}") for customer in CUSTOMERS],
                [self.ask(name, "GET", f"/product/{product}") for product in range(4)],
                [self.ask(name, "GET", f"/search/{customer}") for customer in CUSTOMERS])


@pytest.fixture
def shop(database, start_gateway, launch, tmp_path):
    database.sql("create table product (id text primary key, text text not null)")
    gateway = SteadyGateway(start_gateway, database=database, durable="app/**")
    return Shop(database, gateway, launch, tmp_path)


def test_instances(shop, tell):
    shop.start(*NAMES)
    with concurrent.futures.ThreadPoolExecutor(len(CUSTOMERS)) as pool:
        customers = [pool.submit(shop.shopping, customer) for customer in CUSTOMERS]
        try:
            shop.wait_turns(customers, 30)
            until(lambda: shop.heard("green"), "green has heard of something")
            shop.instances["green"].kill()
            shop.wait_turns(customers, 30)
            shop.gateway.kill()
            shop.gateway.start()
            shop.wait_turns(customers, 30)
            shop.start("green")
            shop.wait_turns(customers, 30)
        finally:
            shop.is_open = False
        for customer in customers:
            customer.result()
    put, heard = shop.count_put(), shop.count_heard()
    tell(f"instances: {len(NAMES)} instances heard of {heard.published} changes each, one of them and the gateway were killed: "
         f"{heard}; {put.delivered} baskets put, {shop.unanswered} requests asked again: {put}")
    assert heard.is_exact and put.is_exact
    states = [shop.state(name) for name in NAMES]
    assert states[0] == states[1] == states[2]
    assert states[0][1] == [text for (text,) in shop.database.sql("select text from product order by id")]


@pytest.mark.parametrize("place, said", [(1, "missed 0, repeated 3"), (7, "missed 3, repeated 0")])
def test_a_wrong_place_is_noticed(shop, place, said):
    """An instance comes back and goes on too early, or too late; a line that a crash has cut off doesn't matter."""
    shop.change(1, 5)
    shop.start("green")
    until(lambda: len(shop.heard("green")) == 5, "green hears of 5 changes")
    shop.instances["green"].kill()
    shop.change(6, 10)
    *lines, last = shop.file("green").read_text().splitlines()
    lines.append(json.dumps(json.loads(last) | {"id": shop.published()[place]}))
    shop.file("green").write_text("\n".join([*lines, '{"id":"cut o']))
    shop.start("green")
    assert str(shop.count_heard()) == said
