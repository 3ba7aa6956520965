"""The image of docker/Dockerfile, built and run without an engine: by buildah, in a chroot, on a bare Debian."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from kit import http
from kit.gateway import ROOT
from kit.wait import until

BUILDS = 540  # seconds, at most

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="debootstrap needs root")


class Images:
    """A store of images of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="eventgate-images-", dir="/var/tmp")

    def command(self, program, *arguments):
        return [program, "--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run", *arguments]

    def run(self, program, *arguments, check=True):
        done = subprocess.run(self.command(program, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=BUILDS, check=False)
        assert not check or done.returncode == 0, done.stdout[-6000:]
        return done

    def remove(self):
        self.run("buildah", "rm", "--all", check=False)
        self.run("buildah", "rmi", "--all", "--force", check=False)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def images():
    base = subprocess.run([ROOT / "tests" / "bare", "--base", "bookworm"], check=True, text=True, stdout=subprocess.PIPE)
    made = Images()
    try:
        made.run("podman", "import", base.stdout.strip(), "localhost/debian:bookworm")
        made.run("buildah", "bud", "--isolation", "chroot", "--format", "docker", "--build-arg",
                 "BASE=localhost/debian:bookworm", "-f", ROOT / "docker" / "Dockerfile", "-t", "pg_eventgate", ROOT)
        yield made
    finally:
        made.remove()


@pytest.fixture
def container(images):
    name = images.run("buildah", "from", "localhost/pg_eventgate").stdout.split()[-1]
    try:
        yield lambda *arguments, options=(): images.command("buildah", "run", "--isolation", "chroot", *options, name,
                                                            "--", *arguments)
    finally:
        images.run("buildah", "rm", name)


def output(command):
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def test_it_has_the_program_and_nobody_to_be(container):
    assert output(container("pg_eventgate", "--version")).startswith("pg_eventgate ")
    assert output(container("id", "-u")).strip() == "10001"
    assert subprocess.run(container("sh", "-c", "command -v gcc"), check=False).returncode != 0


def test_it_serves_and_says_whether_it_is_well(images, container, postgres, make_proxy):
    config = json.loads(images.run("buildah", "inspect", "--type", "image", "localhost/pg_eventgate").stdout)["Docker"][
        "config"]
    assert config["User"] == "10001:10001" and config["Entrypoint"] == ["pg_eventgate"], config
    check = config["Healthcheck"]["Test"]
    assert check[0] == "CMD", check
    database = make_proxy(postgres.socket)  # the container has no way to the socket
    variables = {"DATABASE_URL": "postgresql://postgres@%s:%d/postgres" % database.address,
                 "EVENTGATE_LIVE": "orders", "EVENTGATE_LISTEN": "127.0.0.1:0"}
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    log = tempfile.TemporaryFile()
    gateway = subprocess.Popen(container(*config["Entrypoint"], options=options), stdin=subprocess.DEVNULL, stderr=log,
                               start_new_session=True)
    try:
        def address():
            log.seek(0)
            line = next((line for line in log.read().decode().splitlines() if " listening address=" in line), "")
            return line.rpartition("address=")[2].split()[0].strip('"') if "address=" in line else None

        host, _, port = until(address, "the gateway says where it listens").rpartition(":")
        url = f"http://{host}:{port}"

        def health():
            return subprocess.run(container(*check[1:], options=["--env", f"EVENTGATE_URL={url}"]), check=False,
                                  capture_output=True, text=True)

        until(lambda: health().returncode == 0, "the container is healthy")
        answer = http.call((host, int(port)), "POST", "/channels/orders", "hello")
        assert answer.status == 202, answer
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(gateway.pid, signal.SIGTERM)
        gateway.wait(30)
    assert health().returncode == 1
