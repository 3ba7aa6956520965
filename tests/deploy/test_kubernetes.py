"""The manifests of docker/kubernetes/: by Kubernetes' published schemas, and against the gateway itself."""

import json
import os
import re
import subprocess

import pytest

from kit.gateway import ROOT, run
from kit.tls import Certificate

MANIFESTS = (ROOT / "docker" / "kubernetes" / "pg_eventgate.yaml").read_text()


def check(text):
    clients = os.environ["EVENTGATE_DEPLOY"]  # where tests/run has installed the packages that it needs
    return subprocess.run(["node", f"{clients}/kubernetes.mjs"], input=text, text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def documents():
    checked = check(MANIFESTS)
    assert checked.returncode == 0, checked.stderr
    return {(one := json.loads(line))["kind"]: one for line in checked.stdout.splitlines()}


@pytest.fixture
def container(documents):
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def test_all_that_is_wanted_is_there(documents):
    assert set(documents) == {"ConfigMap", "Deployment", "Service", "Ingress", "PodDisruptionBudget",
                              "HorizontalPodAutoscaler", "NetworkPolicy"}


@pytest.mark.parametrize("right,wrong,told", (
    ("readOnlyRootFilesystem", "readonlyRootFilesystem", "must NOT have additional properties"),
    ("minReplicas: 2", "minReplicas: two", "must be integer"),
    ("pathType: Prefix", "", "must have required property 'pathType'"),
    ("autoscaling/v2", "autoscaling/v9", "there is no HorizontalPodAutoscaler in autoscaling/v9"),
))
def test_the_check_finds_mistakes(right, wrong, told):
    assert right in MANIFESTS
    checked = check(MANIFESTS.replace(right, wrong))
    assert checked.returncode == 1 and told in checked.stderr, checked.stderr


def test_the_configuration_is_valid(documents, tmp_path):
    key = Certificate()
    try:
        public = tmp_path / "jwt.pem"
        subprocess.run(["openssl", "x509", "-in", key.certificate, "-pubkey", "-noout", "-out", public], check=True)
    finally:
        key.remove()
    text = documents["ConfigMap"]["data"]["pg_eventgate.conf"]
    file = tmp_path / "pg_eventgate.conf"
    file.write_text(text.replace("/etc/pg_eventgate/keys/jwt.pem", str(public)))
    checked = run("--check-config", "--config", str(file))
    assert checked.returncode == 0, checked.stderr


def test_selectors_and_names_fit_together(documents, container):
    spec = documents["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"]["matchLabels"], documents["Service"]["spec"]["selector"],
                     documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
                     documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]):
        assert selector == labels
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    conf = documents["ConfigMap"]["data"]["pg_eventgate.conf"]
    assert f"\nlisten = :{ports['http']}\n" in conf and f"\nadmin_listen = :{ports['admin']}\n" in conf
    (service,) = documents["Service"]["spec"]["ports"]
    (path,) = documents["Ingress"]["spec"]["rules"][0]["http"]["paths"]
    assert service["targetPort"] in ports and path["backend"]["service"]["port"]["name"] == service["name"]
    for rule in documents["NetworkPolicy"]["spec"]["ingress"]:
        assert all(port["port"] in ports for port in rule["ports"])
    target = documents["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert target == documents["Deployment"]["metadata"]["name"]


def test_a_pod_has_no_more_rights_than_it_needs(documents, container):
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}


def test_probes_ask_for_what_there_is(start_gateway, container, documents):
    gateway = start_gateway("--admin-listen", "127.0.0.1:0").wait_ready()
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert all(gateway.get(path).status == 200 for path in probes.values())
    # The database being away must not restart Pods.
    away = start_gateway(database="host=127.0.0.1 port=1")
    assert away.get(probes["livenessProbe"]).status == 200 and away.get(probes["startupProbe"]).status == 200
    assert away.get(probes["readinessProbe"]).status == 503


def test_there_is_time_for_the_drain(documents, container):
    (pause,) = [int(word) for word in container["lifecycle"]["preStop"]["exec"]["command"] if word.isdigit()]
    drain = int(re.search(r"drain_timeout = (\d+)s", documents["ConfigMap"]["data"]["pg_eventgate.conf"])[1])
    assert pause + drain < documents["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_it_is_scaled_by_a_metric_that_there_is(start_gateway, documents):
    gateway = start_gateway().wait_ready()
    (metric,) = documents["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in gateway.get("/metrics").text()
    assert name in (ROOT / "docker" / "kubernetes" / "prometheus-adapter.yaml").read_text()
