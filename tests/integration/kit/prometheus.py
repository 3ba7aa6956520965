"""A Prometheus of one test's own, which scrapes twice a second."""

import json
import math
import re
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

from kit.wait import until


class Prometheus:
    """`targets`: [(gateway, token or None)], scraped as the job pg_eventgate."""

    def __init__(self, folder, targets, rules=None):
        scrapes = [{"job_name": f"target {number}", "scheme": gateway.url.split(":")[0],
                    "tls_config": {"insecure_skip_verify": True},
                    "static_configs": [{"targets": [gateway.url.split("/")[2]], "labels": {"job": "pg_eventgate"}}]}
                   | ({"authorization": {"credentials": token}} if token else {})
                   for number, (gateway, token) in enumerate(targets)]
        config = folder / "prometheus.json"  # which is YAML, too
        config.write_text(json.dumps({"global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
                                      "rule_files": [str(rules)] if rules else [], "scrape_configs": scrapes}))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             "--web.listen-address=127.0.0.1:0"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.port = until(self._port, "Prometheus listens")
        until(self._is_ready, "Prometheus is ready")

    def _port(self):
        assert self.process.poll() is None, self.log
        found = re.search(r'"Listening on" address=127.0.0.1:(\d+)', "".join(list(self.log)))
        return found and found[1]

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready") as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    def _get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """The numbers of an instant query."""
        found = self._get("/api/v1/query", query=expression)["result"]
        return [number for number in (float(row["value"][1]) for row in found) if not math.isnan(number)]

    def alerts(self):
        """[{"labels": …, "annotations": …, "state": …}]"""
        return self._get("/api/v1/alerts")["alerts"]

    def rules(self):
        """{name: whether it could be evaluated: "ok", "err", or "unknown" before it was}"""
        groups = self._get("/api/v1/rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def unscraped(self):
        """What it could not scrape: sentences."""
        targets = self._get("/api/v1/targets")["activeTargets"]
        return [target["lastError"] or "not yet" for target in targets if target["health"] != "up"]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
