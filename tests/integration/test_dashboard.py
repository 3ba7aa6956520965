"""The dashboard: a real Prometheus answers each of its queries, while gateways do all that they can be asked for."""

import json
import re
import threading

import pytest

from kit.gateway import ROOT
from kit.http import Connection
from kit.prometheus import Prometheus
from kit.tokens import claims, signed, token
from kit.wait import until

DASHBOARD = ROOT / "docker/grafana/pg_eventgate.json"
RULES = ROOT / "docker/prometheus/alerts.yml"
# What nothing here brings about; for these, and for what is mostly none, 0 is an answer.
QUIET = {"eventgate_notifications_ignored_total", "eventgate_notifications_lost_total",
         "eventgate_feed_dropped_total", "eventgate_log_breaks_total", "eventgate_log_maintenance_total",
         "eventgate_rates_forgotten_total", "eventgate_log_lines_dropped_total",
         "eventgate_stuck_streams_closed_total", "eventgate_postgres_failures_total",
         "eventgate_postgres_sessions_total", "eventgate_postgres_notification_queue_ratio",
         "eventgate_log_lag_seconds", "eventgate_log_position", "eventgate_log_pages_waiting",
         "eventgate_log_catching_up", "eventgate_log_pages_shared_total", "eventgate_publish_queue_items"}


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries():
    """[(panel, expression as Grafana sends it with all chosen)]"""
    return [(panel["title"], target["expr"].replace("$__rate_interval", "5s").replace("$instance", ".*")
             .replace("$set", ".*")) for panel in panels() for target in panel["targets"]]


def test_it_can_be_imported():
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and {"instance", "set"} <= set(variables)
    assert dashboard["uid"] and dashboard["title"] and "id" not in dashboard
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & places, (panel["title"], "overlaps")
        places |= cells
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"], panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert not re.search(r"\$(?!__rate_interval|instance|set\b)", json.dumps([t["expr"] for t in panel["targets"]]))


class Load:
    """All that clients do, again and again until it is stopped."""

    def __init__(self, plain, guarded, postgres):
        self.plain, self.guarded, self.postgres = plain, guarded, postgres
        self.stopped = threading.Event()
        self.failed = []
        self.round = 0
        self.streams = [plain.stream("/events?channel=t/a&channel=d/a"), plain.stream("/channels/t/a?format=ndjson"),
                        plain.stream("/channels/d/a")]
        self.cursors = [stream.cursor() for stream in self.streams]
        self.threads = [threading.Thread(target=self.run, args=(act,)) for act in (
            self.publish, self.drain, self.resume, self.be_refused, self.read_slowly)]
        for thread in self.threads:
            thread.start()

    def run(self, act):
        try:
            while not self.stopped.wait(0.02):
                act()
        except Exception as error:  # pylint: disable=broad-except
            self.failed.append((act.__name__, error))

    def wait(self, condition):
        until(lambda: condition() or self.stopped.is_set(), "it happens")

    def publish(self):
        self.round += 1
        assert self.plain.publish("t/a", f"{self.round}").status == 202
        assert self.plain.publish("d/a", f"{self.round}", Idempotency_Key=f"{self.round // 2}").status in (201, 422)
        batch = [{"channel": name, "data": n} for n in range(20) for name in ("t/a", "d/a")]
        assert self.plain.call("POST", "/events", json.dumps(batch), Content_Type="application/json").status == 207
        self.postgres.notify("t/a", f'"{self.round}"')

    def drain(self):
        for stream in self.streams:
            stream.event()

    def resume(self):
        for target, after in (("t/a", self.cursors[1]), ("t/a", "nonsense"), ("d/a", self.cursors[2])):
            with self.plain.stream(f"/channels/{target}", Last_Event_ID=after) as stream:
                stream.next()
        with self.plain.stream("/channels/d/first?after=earliest") as stream:  # all of it is behind the journal
            stream.event()
            self.wait(lambda: self.plain.metric("eventgate_log_catching_up") == 0)
        first = self.plain.get("/channels/t/a?wait=0").json()["next"]
        assert self.plain.get(f"/channels/t/a?wait=5&after={first}").status == 200

    def be_refused(self):
        assert self.plain.publish("t/a", "x" * 9000).status == 413
        assert self.plain.get("/nothing").status == 404
        bad = signed(claims(["**"]), secret=b"another secret than that of the gateway, and long enough")
        for authorization in ("Bearer nonsense", f"Bearer {bad}"):
            assert self.guarded.get("/channels/t/a?wait=0", Authorization=authorization).status == 401
        assert self.guarded.get("/sets").status == 401

    def read_slowly(self):
        """Not at all, until its socket is full."""
        with Connection(self.plain.address, receive_buffer=4096) as connection:
            connection.request("GET", "/channels/t/large")
            connection.head()
            for _ in range(5):
                self.postgres.flood("t/large", 0, 1000, 2000)
            self.wait(lambda: self.plain.metric("eventgate_streams_blocked") > 0)
            self.stopped.wait(2)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
        for stream in self.streams:
            stream.close()


@pytest.fixture
def prometheus(start_gateway, certificate, secret_file, postgres, tmp_path):
    plain = start_gateway("--journal-events", "500", durable="d/**").wait_ready()
    assert plain.publish("d/first", "1").status == 201
    guarded = start_gateway("--keys", f"HS256:{secret_file}", durable="d/**", certificate=certificate).wait_ready()
    started = Prometheus(tmp_path, [(plain, None), (guarded, token(admin=True))], RULES)
    load = Load(plain, guarded, postgres)
    try:
        yield started
    finally:
        load.stop()
        started.stop()
    assert not load.failed, load.failed


def test_each_query_has_an_answer(prometheus):
    until(lambda: not prometheus.unscraped(), "both gateways are scraped")
    left = queries()
    assert len(left) > 60

    def answered():
        for query in list(left):
            numbers = prometheus.query(query[1])
            zero_will_do = set(re.findall(r"\b(?:eventgate|process)_\w+", query[1])) & QUIET
            if numbers and (zero_will_do or any(number > 0 for number in numbers)):
                left.remove(query)
        return not left

    try:
        until(answered, "every query has an answer")
    except AssertionError as error:
        raise AssertionError([(title, query, prometheus.query(query)) for title, query in left]) from error
    until(lambda: set(prometheus.rules().values()) == {"ok"}, "the rules are evaluated")
    assert not [alert for alert in prometheus.alerts() if "error expanding" in json.dumps(alert)]
