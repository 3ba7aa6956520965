"""The build page: every open page shows a build as it goes, instead of Socket.IO with Redis or RabbitMQ behind it.

A process builds and writes into the database; pages in three browsers start it, stop it, and follow. On the way pages are
reloaded, one more is opened, and the gateway is killed. In the end each page has each line of the build's log, once.
"""

import pytest

from counting import Count
from ground import SteadyGateway
from kit.chromium import chromium
from kit.wait import until
from programs import HERE

LOOK = """({
    title: document.getElementById('title').textContent,
    state: document.getElementById('state').textContent,
    color: getComputedStyle(document.querySelector('#bar div')).backgroundColor,
    log: [...document.querySelectorAll('li')].map((line) => line.textContent),
})"""
GREEN, RED, GREY = "rgb(31, 157, 85)", "rgb(214, 69, 69)", "rgb(138, 143, 152)"


class Visitors:
    def __init__(self, launch, url):
        self.url = url
        self.program = launch("visitors.mjs", BROWSER=chromium())
        self.pages = []

    def do(self, what, **more):
        return self.program.ask({"do": what} | more)

    def open(self, *browsers):
        for browser in browsers:
            self.pages.append(self.do("open", who=browser, url=self.url))

    def look(self, page):
        return self.do("look", page=page, script=LOOK)

    def percent(self, page):
        return int(self.look(page)["state"].partition(" %")[0] or 0)

    def wait_percent(self, percent, *pages):
        for page in pages or self.pages:
            until(lambda: self.percent(page) >= percent, f"page {page} shows {percent} %")

    def count(self, database, count, state, color):
        """What each page shows of the last build, when it is over, against the database."""
        build, log = until(lambda: database.sql("select id, log from build where state = %s and id = (select max(id) from build)",
                                                state), f"a build has {state}")[0]
        for page in self.pages:
            until(lambda: self.look(page)["log"][-1:] == log[-1:], f"page {page} shows the end")
            seen = self.look(page)
            assert (seen["title"], seen["state"].split(", ")[1], seen["color"]) == (f"Build {build}", state, color)
            count.add(log, seen["log"])


@pytest.fixture
def gateway(database, start_gateway):
    database.sql((HERE / "build_page" / "build.sql").read_text())
    return SteadyGateway(start_gateway, "--allowed-origins", "*", database=database, durable="build")


def test_build_page(gateway, database, launch, tell):
    server = launch("build_page/server.mjs", GATEWAY=gateway.url, **database.variables)
    visitors = Visitors(launch, "http://127.0.0.1:{}/".format(*server.wait("port")))
    count = Count()
    visitors.open("ann", "ann", "bob", "bob")

    visitors.do("click", page=0, name="Start")
    visitors.wait_percent(15)
    gateway.kill()
    until(lambda: database.value("select percent from build") >= 40, "the build goes on")
    visitors.do("reload", page=2)
    gateway.start()
    visitors.count(database, count, "passed", GREEN)

    visitors.do("click", page=2, name="Start one that fails")
    visitors.wait_percent(20)
    visitors.do("reload", page=1)
    visitors.open("cid")
    visitors.count(database, count, "failed", RED)
    assert visitors.look(4)["state"].startswith("70 %")

    visitors.do("click", page=4, name="Start")
    visitors.wait_percent(20)
    visitors.do("click", page=3, name="Stop")
    visitors.count(database, count, "stopped", GREY)

    assert visitors.program.of("error") == []
    tell(f"build_page: {len(visitors.pages)} pages in 3 browsers showed {count.delivered} lines of 3 builds, 2 of them were reloaded "
         f"and the gateway was killed on the way: {count}")
    assert count.is_exact
