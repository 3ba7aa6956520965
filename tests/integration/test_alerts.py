"""The alert rules: each fires when it should, and doesn't when all is well or nearly so."""

import json
import re
import subprocess

import pytest

from kit.gateway import ROOT

RULES = ROOT / "docker/prometheus/alerts.yml"
JOB = 'job="pg_eventgate",instance="gw"'
SET = 'instance="gw",set="shop"'
MINUTES = 40  # how long the series are; what is expected is asked for at their end


def rules():
    """[(name, everything that the rule says)]"""
    return re.findall(r"^ +- alert: (\w+)\n(.*?)(?=^ +- alert:|\Z)", RULES.read_text(), re.MULTILINE | re.DOTALL)


def constant(series, value):
    return series, f"{value}x{MINUTES}" if "+" in str(value) else f"{value}+0x{MINUTES}"


def growing(series, by):
    """By so much a minute."""
    return series, f"0+{by}x{MINUTES}"


def buckets(name, labels, slow):
    """60 a minute, of which so many take between 2 and 5 s, and the others less than 1 ms."""
    return [growing(f'{name}_bucket{{{labels},le="{bound}"}}', 60 - (slow if bound in ("0.001", "2") else 0))
            for bound in ("0.001", "2", "5", "+Inf")]


# {alert: (series with which it fires, series with which it doesn't: near to that, if there is a threshold)}
CASES = {
    "EventgateDown": ([constant(f"up{{{JOB}}}", 0)],
                      [constant(f"up{{{JOB}}}", 1), constant('up{job="other",instance="x"}', 0)]),
    "EventgateRestarts": ([(f"process_start_time_seconds{{{JOB}}}", f"0x{MINUTES - 10} 1 2 3 4x6")],
                          [(f"process_start_time_seconds{{{JOB}}}", f"0x{MINUTES - 10} 1 2x8")]),
    "EventgatePostgresAway": ([constant(f'eventgate_postgres_up{{{SET},connection="listen"}}', 0)],
                              [(f'eventgate_postgres_up{{{SET},connection="listen"}}', f"1x{MINUTES - 1} 0")]),
    "EventgateReconnects": ([growing(f'eventgate_postgres_failures_total{{{SET},connection="read"}}', 1)],
                            [(f'eventgate_postgres_failures_total{{{SET},connection="read"}}',
                              f"0x{MINUTES - 3} 1 2 3")]),
    "EventgateNotificationQueueFilling": ([constant(f"eventgate_postgres_notification_queue_ratio{{{SET}}}", 0.31)],
                                          [constant(f"eventgate_postgres_notification_queue_ratio{{{SET}}}", 0.29)]),
    "EventgateDeliverySlow": (buckets("eventgate_delivery_seconds", SET, 3),
                              buckets("eventgate_delivery_seconds", SET, 0)),
    "EventgateLoopBlocked": (buckets("eventgate_loop_turn_seconds", 'instance="gw",thread="worker"', 3),
                             buckets("eventgate_loop_turn_seconds", 'instance="gw",thread="worker"', 0)),
    "EventgatePublishFailing": ([growing(f'eventgate_published_total{{{SET},kind="live",result="committed"}}', 94),
                                 growing(f'eventgate_published_total{{{SET},kind="live",result="unknown"}}', 6)],
                                [growing(f'eventgate_published_total{{{SET},kind="live",result="committed"}}', 94),
                                 growing(f'eventgate_published_total{{{SET},kind="live",result="conflict"}}', 6),
                                 growing(f'eventgate_published_total{{{SET},kind="durable",result="refused"}}', 0)]),
    "EventgatePublishSlow": (buckets("eventgate_publish_seconds", f'{SET},kind="durable"', 3),
                             buckets("eventgate_publish_seconds", f'{SET},kind="durable"', 0)),
    "EventgatePublishQueueFilling": ([constant(f'eventgate_publish_queue_items{{{SET},kind="live"}}', 71),
                                      constant(f'eventgate_publish_queue_limit_items{{{SET},kind="live"}}', 100)],
                                     [constant(f'eventgate_publish_queue_items{{{SET},kind="live"}}', 69),
                                      constant(f'eventgate_publish_queue_limit_items{{{SET},kind="live"}}', 100)]),
    "EventgateGaps": ([growing('eventgate_gaps_total{instance="gw",reason="slow"}', 61)],
                      [growing('eventgate_gaps_total{instance="gw",reason="slow"}', 59),
                       growing('eventgate_gaps_total{instance="gw",reason="reconnect"}', 600)]),
    "EventgateSlowSubscribers": ([constant('eventgate_streams_blocked{instance="gw"}', 25),
                                  constant('eventgate_streams{instance="gw",transport="sse"}', 200)],
                                 [constant('eventgate_streams_blocked{instance="gw"}', 25),
                                  constant('eventgate_streams{instance="gw",transport="sse"}', 90)]),
    "EventgateLogLag": ([constant(f"eventgate_log_lag_seconds{{{SET}}}", 11)],
                        [(f"eventgate_log_lag_seconds{{{SET}}}", f"0x{MINUTES - 1} 60")]),
    "EventgateLogNotMaintained": ([constant(f"eventgate_log_maintenance_timestamp_seconds{{{SET}}}", 100)],
                                  [constant(f"eventgate_log_maintenance_timestamp_seconds{{{SET}}}", 100),
                                   growing('eventgate_log_maintenance_timestamp_seconds{instance="b",set="shop"}',
                                           60)]),
    "EventgateRetentionBlocked": ([growing(f'eventgate_log_maintenance_total{{{SET},action="blocked"}}', 12),
                                   growing(f'eventgate_log_maintenance_total{{{SET},action="dropped"}}', 0)],
                                  [growing(f'eventgate_log_maintenance_total{{{SET},action="blocked"}}', 12),
                                   growing(f'eventgate_log_maintenance_total{{{SET},action="dropped"}}', 1)]),
    "EventgateLogBroke": ([(f"eventgate_log_breaks_total{{{SET}}}", f"0x{MINUTES - 5} 1x5")],
                          [constant(f"eventgate_log_breaks_total{{{SET}}}", 1)]),
    "EventgateEventsDropped": ([growing(f"eventgate_feed_dropped_total{{{SET}}}", 1),
                                growing(f"eventgate_notifications_lost_total{{{SET}}}", 0)],
                               [constant(f"eventgate_feed_dropped_total{{{SET}}}", 1),
                                growing(f"eventgate_notifications_lost_total{{{SET}}}", 0)]),
    "EventgateConnectionsNearLimit": ([constant('eventgate_connections{instance="gw"}', 91),
                                       constant('eventgate_connections_limit{instance="gw"}', 100)],
                                      [constant('eventgate_connections{instance="gw"}', 89),
                                       constant('eventgate_connections_limit{instance="gw"}', 100)]),
    "EventgateDescriptorsNearLimit": ([constant(f"process_open_fds{{{JOB}}}", 91),
                                       constant(f"process_max_fds{{{JOB}}}", 100)],
                                      [constant(f"process_open_fds{{{JOB}}}", 89),
                                       constant(f"process_max_fds{{{JOB}}}", 100)]),
    "EventgateLimitsHit": ([growing('eventgate_limited_total{instance="gw",limit="max_body"}', 61)],
                           [growing('eventgate_limited_total{instance="gw",limit="max_body"}', 59)]),
    "EventgateErrors": ([growing('eventgate_http_responses_total{instance="gw",class="2xx"}', 940),
                         growing('eventgate_http_responses_total{instance="gw",class="5xx"}', 60)],
                        [growing('eventgate_http_responses_total{instance="gw",class="2xx"}', 9),
                         growing('eventgate_http_responses_total{instance="gw",class="5xx"}', 1)]),
    "EventgateTokensRefused": ([growing('eventgate_tokens_refused_total{instance="gw",reason="signature"}', 61)],
                               [growing('eventgate_tokens_refused_total{instance="gw",reason="signature"}', 59),
                                growing('eventgate_tokens_refused_total{instance="gw",reason="expired"}', 600)]),
    "EventgateCertificateExpires": ([constant("eventgate_tls_certificate_expiry_timestamp_seconds", 13 * 86400)],
                                    [constant("eventgate_tls_certificate_expiry_timestamp_seconds", 15 * 86400)]),
    "EventgateLogLinesDropped": ([(f"eventgate_log_lines_dropped_total{{{JOB}}}", f"0x{MINUTES - 5} 7x5")],
                                 [constant(f"eventgate_log_lines_dropped_total{{{JOB}}}", 7)]),
}


def test_there_is_a_case_for_each():
    assert [name for name, _ in rules()] == list(CASES)


@pytest.mark.parametrize("name,text", rules(), ids=[name for name, _ in rules()])
def test_each_says_what_it_means_and_what_to_do(name, text):
    for part in ("summary", "description", "runbook"):
        said = re.search(rf"^ +{part}: \"(.+)\"$", text, re.MULTILINE)
        assert said and len(said[1]) >= (20 if part == "summary" else 40), (name, part)
    assert re.search(r"severity: (critical|warning)\b", text), name


def test_promtool_accepts_them():
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and f"{len(CASES)} rules found" in checked.stdout, checked


def case(name, series, fires):
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    return {"interval": "1m", "name": f"{name} {'fires' if fires else 'is quiet'}",
            "input_series": [{"series": one, "values": values} for one, values in series],
            "promql_expr_test": [{"expr": firing, "eval_time": f"{MINUTES}m",
                                  "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}]}


def test_they_fire_when_they_should_and_only_then(tmp_path):
    tests = [case(name, series, fires) for name, pair in CASES.items() for series, fires in zip(pair, (True, False))]
    file = tmp_path / "cases.json"  # which is YAML, too
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
