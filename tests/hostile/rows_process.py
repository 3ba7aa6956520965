"""Rows: the gateway's own process is ended, reloaded, stopped, or can't get rid of its log."""

import os
import pathlib
import signal
import threading

from kit.gateway import Gateway
from kit.wait import until
from scene import row


def successor(scene):
    """Another gateway, to which the clients are led."""
    gateway = scene.launch().wait_ready()
    scene.witness.has_gone_to(gateway)
    scene.gateway = gateway


@row("SIGTERM while streams run", "streams end with retry:, exit 0; another gateway goes on", gap="reconnect")
def sigterm_with_streams(scene):
    gateway = scene.start()
    assert gateway.stop() == 0
    successor(scene)


@row("SIGTERM while a POST waits for its commit", "201, then exit 0", gap="reconnect")
def sigterm_with_a_post(scene):
    proxy = scene.proxy()
    gateway = scene.start_behind(proxy, "--query-timeout", "20s", "--drain-timeout", "20s")
    posting = scene.connect()
    proxy.stall()
    posting.request("POST", f"/channels/{scene.durable}", "1")
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "the POST waits")
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_log("drain")
    proxy.flow()
    assert posting.response().status == 201 and gateway.ended() == 0
    assert scene.in_log(scene.durable) == ["1"]
    successor(scene)


@row("SIGTERM in the middle of a body", "the rest is taken and answered, or the connection ends; nothing half",
     gap="reconnect")
def sigterm_in_a_body(scene):
    gateway = scene.start()
    posting = scene.connect().request("POST", f"/channels/{scene.durable}", Content_Length="4", Expect="100-continue")
    assert posting.head().status == 100
    posting.send(b'"a')
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_log("drain")
    posting.send(b'b"')
    answer = posting.rest()
    assert gateway.ended() == 0
    assert scene.in_log(scene.durable) == (['"ab"'] if answer.startswith(b"HTTP/1.1 201 ") else [])
    successor(scene)


@row("SIGTERM twice", "exit 143 at once; what was answered is in the log", gap="reconnect")
def sigterm_twice(scene):
    proxy = scene.proxy()
    gateway = scene.start_behind(proxy, "--query-timeout", "60s")
    scene.posts(scene.durable)
    posting = scene.connect()
    proxy.stall()
    posting.request("POST", f"/channels/{scene.durable}", "2")
    until(lambda: gateway.metric('eventgate_publish_queue_items{kind="durable"}') == 1, "the POST waits")
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_log("drain")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.ended() == 143
    proxy.flow()
    assert scene.in_log(scene.durable)[0] == "1"
    successor(scene)


@row("the gateway is killed (SIGKILL) among POSTs", "what was answered 201 is in the log; another gateway goes on",
     gap="reconnect")
def sigkill(scene):
    gateway = scene.start()
    connection = scene.connect()
    for n in range(50):
        connection.request("POST", f"/channels/{scene.durable}", str(n))
    answered = [connection.response().status for _ in range(20)]
    assert gateway.stop(signal.SIGKILL) == -9
    assert answered == [201] * 20
    kept = [int(data) for data in scene.in_log(scene.durable)]
    assert kept == list(range(len(kept))) and len(kept) >= 20
    successor(scene)


@row("the gateway is stopped for a while (SIGSTOP), as a machine that is moved", "nothing, once it runs again")
def sigstop(scene):
    gateway = scene.start()
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        scene.witness.publish(50)
        connection = scene.connect().request("POST", f"/channels/{scene.durable}", "1")
    finally:
        os.kill(gateway.pid, signal.SIGCONT)
    assert connection.response().status == 201


def configured(scene, *, heartbeat="15s", sets=None):
    """A gateway with a configuration file; the file."""
    path = pathlib.Path(scene.folder(), "gateway.conf")
    good = (f"[gateway]\nheartbeat = {heartbeat}\n[set shop]\npostgres = {scene.postgres.conninfo}\nlive = t/**\n"
            "durable = d/**\n")
    path.write_text(good)
    scene.start("--config", str(path), sets=False)
    return path, good


def reload(scene, told):
    scene.gateway.process.send_signal(signal.SIGHUP)
    scene.gateway.wait_log(told)
    assert scene.gateway.status_of("/readyz") == 200


@row("SIGHUP with a file that is wrong", "nothing changes; the log names file and line")
def sighup_bad_file(scene):
    path, _ = configured(scene)
    path.write_text("[gateway]\nheartbeat = never\n")
    reload(scene, "gateway.conf:2")


@row("SIGHUP with a file that is gone", "nothing changes; the log says so")
def sighup_no_file(scene):
    path, _ = configured(scene)
    path.unlink()
    reload(scene, "gateway.conf")


@row("SIGHUP with a file of garbage and NUL bytes", "nothing changes; the log says so")
def sighup_garbage(scene):
    path, _ = configured(scene)
    path.write_bytes(b"[gateway]\n\0\xff\xfe" + os.urandom(2000))
    reload(scene, "gateway.conf")


@row("SIGHUP fifty times, with good and bad files in turn", "streams and POSTs go on")
def sighup_storm(scene):
    path, good = configured(scene)
    for n in range(50):
        path.write_text(good if n % 2 else "[nonsense]\n")
        scene.gateway.process.send_signal(signal.SIGHUP)
        if n % 10 == 0:
            scene.posts(scene.durable)
    path.write_text(good.replace("15s", "14s"))
    reload(scene, "heartbeat")


class Stalled(Gateway):
    """Its log isn't read any more once it has said where it listens."""

    def _read_log(self):
        self.go_on = threading.Event()
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip("\n"))
            if "listening address=" in self.log[-1]:
                break
        self.go_on.wait()
        super()._read_log()

    def ended(self):
        self.go_on.set()
        return super().ended()


@row("nobody reads the gateway's log any more, and its pipe is full", "lines are dropped and counted; nothing waits")
def log_stalled(scene):
    gateway = scene.launch("--log-level", "debug", make=Stalled)
    until(lambda: gateway.status_of("/readyz") == 200, "ready")
    scene.watch(gateway)
    until(lambda: [gateway.get("/nowhere/" + "x" * 1000) for _ in range(100)] and
          scene.metric("eventgate_log_lines_dropped_total") > 0, "lines are dropped")
    scene.posts(scene.durable)
    gateway.go_on.set()


class Unread(Gateway):
    """The other end of its log is closed once it has said where it listens."""

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip("\n"))
            if "listening address=" in self.log[-1]:
                break
        self.process.stderr.close()


@row("the reader of the gateway's log is gone (EPIPE)", "nothing: no SIGPIPE, no wait")
def log_reader_gone(scene):
    gateway = scene.launch("--log-level", "debug", make=Unread)
    scene.watch(gateway.wait_ready())
    for _ in range(100):
        gateway.get("/nowhere")
    scene.posts(scene.durable)
