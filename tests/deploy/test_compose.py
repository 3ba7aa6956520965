"""docker/compose.yml, as far as that goes where no engine runs: the file, and what it hands to each service."""

import json
import os
import shutil
import socket
import subprocess

import pytest

from kit.gateway import ROOT, run
from kit.http import Closed, Connection
from kit.streams import Stream
from kit.wait import until

DOCKER = ROOT / "docker"


@pytest.fixture(scope="module")
def services():
    checked = subprocess.run(["docker-compose", "-f", DOCKER / "compose.yml", "config"], capture_output=True, text=True,
                             check=False)
    assert checked.returncode == 0, checked.stderr
    read = subprocess.run(["node", "-e", "console.log(JSON.stringify(require('js-yaml').load("
                           "require('fs').readFileSync(0, 'utf8'))))"], input=checked.stdout, text=True, check=True,
                          capture_output=True, cwd=os.environ["EVENTGATE_DEPLOY"])
    return json.loads(read.stdout)["services"]


def test_all_of_it_is_there(services):
    assert set(services) == {"postgres", "schema", "gateway-1", "gateway-2", "proxy", "prometheus", "grafana"}


def test_files_that_are_mounted_exist(services):
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            assert not source.startswith("/") or (ROOT / source).exists(), source


def test_only_this_machine_can_reach_it(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 3 and all(str(port).startswith("127.0.0.1:") for port in ports), ports


def test_the_gateways_are_told_something_valid(services):
    for name in ("gateway-1", "gateway-2"):
        variables = services[name]["environment"]
        checked = run("--check-config", EVENTGATE_LISTEN=":8080", **variables)
        assert checked.returncode == 0, checked.stderr
        port = variables["EVENTGATE_ADMIN_LISTEN"]
        assert f'"{name}{port}"' in (DOCKER / "prometheus" / "prometheus.yml").read_text()


def test_prometheus_reads_its_configuration():
    checked = subprocess.run(["promtool", "check", "config", DOCKER / "prometheus" / "prometheus.yml"],
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_proxy_passes_streams(start_gateway, postgres, channel, tmp_path):
    pair = [start_gateway("--trusted-proxies", "127.0.0.1").wait_ready() for _ in range(2)]
    conf = (DOCKER / "nginx.conf").read_text()
    for number, gateway in enumerate(pair, 1):
        conf = conf.replace(f"gateway-{number}:8080", "%s:%d" % gateway.address)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    assert "listen 8080;" in conf
    conf = conf.replace("listen 8080;", "listen %s:%d;" % address)
    path = tmp_path / "nginx.conf"
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path.write_text(f"daemon off; user root; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
                    f"http {{ access_log off; {temporary}\n{conf}\n}}\n")
    nginx = subprocess.Popen([shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-p", tmp_path, "-c", path])
    try:
        def connect():
            return Connection(address)

        def ready():
            try:
                with connect() as connection:
                    return connection.request("GET", "/readyz", Connection="close").response().status == 200
            except (OSError, Closed):
                return False

        until(ready, "nginx serves")
        with Stream.on(connect().request("GET", f"/channels/{channel}", Accept="text/event-stream")) as stream:
            stream.cursor()
            postgres.notify(channel, "1", "2")
            assert [event.data for event in stream.events(2)] == [1, 2]
    finally:
        nginx.terminate()
        nginx.wait(20)
