"""Concurrent processes and one audience, instead of Socket.IO with a Redis store and sticky sessions.

What somebody says is taken by one worker of the site, and heard by all, wherever they are connected. The gateway that a
page and half of the others are connected to is killed meanwhile.
"""

import concurrent.futures
import contextlib
import json
import pathlib
import resource
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from counting import Count
from kit.chromium import chromium
from kit.ports import free_port
from kit.wait import until

HERE = pathlib.Path(__file__).parent / "audience"
VISITORS = 2000  # for each of the two gateways, each of one worker
VOICES, WORDS = 4, 6  # who speak at the same time, and how often each does
LOOK = "[document.title, [...document.querySelectorAll('li')].map((line) => line.textContent)]"


@pytest.fixture(autouse=True)
def descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture
def gateways(start_gateway, database):
    options = "--workers", "1", "--retry", "300ms", "--trusted-proxies", "127.0.0.1"
    return [start_gateway(*options, database=database, live=None, durable="stage/*").wait_ready() for _ in range(2)]


@pytest.fixture
def site(gateways, launch, tmp_path):
    """The URL of nginx, which has two workers of the site and two gateways behind it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    workers = [launch("audience/site.mjs", GATEWAY=url) for _ in range(2)]
    ports = [gateway.address[1] for gateway in gateways] + [worker.wait("listening")[0] for worker in workers] + [port]
    text = (HERE / "nginx.conf").read_text()
    for old, new in zip((8080, 8081, 3000, 3001, 8000), ports):
        assert f"127.0.0.1:{old};" in text
        text = text.replace(f"127.0.0.1:{old};", f"127.0.0.1:{new};")
    (tmp_path / "nginx.conf").write_text(text)
    nginx = subprocess.Popen([shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-p", tmp_path, "-c", "nginx.conf"],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: serves(url), "nginx serves")
    yield url
    nginx.send_signal(signal.SIGINT)
    nginx.wait(20)


def serves(url):
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


def say(site, text):
    """As the page does. Returns where in the log it stands, what was said, and which worker of the site took it."""
    with urllib.request.urlopen(site, text.encode()) as answer:
        said = json.load(answer)
    return int(said["id"].split(".")[1]), text, said["worker"]


class Page:
    """The site in Chromium."""

    def __init__(self, launch, url):
        self.browser = launch("visitors.mjs", BROWSER=chromium())
        self.browser.ask({"do": "open", "who": "ann", "url": url})
        until(lambda: "live" in self.look()[0], "the page is live")

    def look(self):
        """Its title, and what it shows."""
        return self.browser.ask({"do": "look", "page": 0, "script": LOOK})

    def say(self, text):
        script = f"document.querySelector('#text').value = {json.dumps(text)}"
        self.browser.ask({"do": "look", "page": 0, "script": script})
        self.browser.ask({"do": "click", "page": 0, "name": "Say"})


def test_audience(gateways, site, launch, tell):
    def streams():
        return [int(gateway.metric("eventgate_streams")) for gateway in gateways]

    page = Page(launch, site)
    with_page = gateways[streams().index(1)]
    crowds = [launch("audience/crowd.mjs", site, VISITORS) for _ in gateways]
    for crowd in crowds:
        crowd.wait("here", timeout=120)
    connected = streams()

    begin = time.monotonic()
    answers = []
    with concurrent.futures.ThreadPoolExecutor(VOICES) as voices:
        words = [voices.submit(say, site, f"voice {voice}, word {word}") for word in range(WORDS) for voice in range(VOICES)]
        for word in concurrent.futures.as_completed(words):
            answers.append(word.result())
            if len(answers) == len(words) // 2:
                with_page.stop(signal.SIGKILL)
    page.say("bye")
    with contextlib.suppress(AssertionError):  # who has missed it is counted
        for crowd in crowds:
            crowd.wait("gone", timeout=120)
        until(lambda: "bye" in page.look()[1], "the page shows it all")
    seconds = time.monotonic() - begin

    said = [text for _, text, _ in sorted(answers)] + ["bye"]
    count = Count()
    for heard in [page.look()[1], *(talk for crowd in crowds for talk in crowd.ask(None))]:
        count.add(said, heard)
    workers = {worker for _, _, worker in answers}
    tell(f"audience: {len(said)} words taken by {len(workers)} workers of the site, heard on {connected[0]} and "
         f"{connected[1]} connections of two gateways, one of which was killed; {count.delivered} deliveries, "
         f"{count.delivered / seconds:.0f} a second: {count}")
    assert count.is_exact and count.receivers == 2 * VISITORS + 1
    assert len(workers) == 2 and min(connected) > VISITORS / 2
    assert not any(crowd.of("gap") for crowd in crowds)
