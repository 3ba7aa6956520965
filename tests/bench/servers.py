"""The servers that are compared: how each is started, asked and published to."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from kit.gateway import ROOT, Gateway
from kit.wait import until

BENCH = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ["BENCH_BUILD"])
LOAD = BUILD / "tests" / "bench_load"
RAW = BUILD / "tests" / "bench_raw"
GATEWAY = BUILD / "pg_eventgate"
MAX_STREAMS = 19200

# The load generator has the first processor, the server under test the last; PostgreSQL is where the kernel puts it.
CPUS = sorted(os.sched_getaffinity(0))


def pinned(cpu):
    return ["taskset", "-c", str(cpu)] if len(CPUS) > 1 else []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processor_clock(pid):
    """What clock_getcpuclockid(3) returns, which Python lacks: the clock of all threads of a process."""
    return ~pid << 3 | 2


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Server:
    """`channels`: how many there are, called bench/0, bench/1 …; `pinned`: on one processor."""

    label = name = ""
    through_postgres = True

    def __init__(self, postgres, channels=1, pin=True):
        self.postgres = postgres
        self.channels = channels
        self.prefix = pinned(CPUS[-1]) if pin else []
        self.folder = tempfile.mkdtemp(prefix="eventgate-bench-")
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)

    def run(self, *command, **options):
        self.process = subprocess.Popen([*self.prefix, *map(str, command)], stdin=subprocess.DEVNULL, **options)
        until(lambda: accepts(self.port), f"{self.name} accepts connections", 60)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def pids(self):
        """The process and its children, recursively."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                queue += map(int, (task / "children").read_text().split())
        return found

    def cpu_seconds(self):
        """As the scheduler counts it: the ticks of 10 ms in /proc are as much as a hundred events cost."""
        return sum(time.clock_gettime(processor_clock(pid)) for pid in self.pids())

    def resident_bytes(self):
        """Private memory and its share of what is shared, so that nothing is counted twice."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def subscribe_at(self):
        """Where the streams are: ADDRESS:PORT/TARGET, `%u` being the number of the channel."""
        return f"127.0.0.1:{self.port}/events?channel=bench/%u"

    def publish_how(self):
        return f"postgres:{self.postgres.conninfo}"

    def post_at(self):
        return None


class EventGateway(Server):
    name = "gateway"
    label = "pg_eventgate"

    def __init__(self, postgres, channels=1, pin=True, workers=1, sets=0):
        super().__init__(postgres, channels, pin)
        self.workers = workers
        self.sets = sets
        self.gateway = None

    def arguments(self):
        if not self.sets:
            names = ",".join(f"bench/{i}" for i in range(self.channels)) if self.channels <= 100 else "bench/*"
            return ["--postgres", self.postgres.conninfo, "--live", names]
        path = pathlib.Path(self.folder, "gateway.conf")
        path.write_text("".join(f"[set s{i}]\npostgres = {self.postgres.conninfo}\nlive = bench/{i}\n\n"
                                for i in range(self.sets)))
        return ["--config", str(path)]

    def start(self):
        self.gateway = Gateway(*self.arguments(), "--workers", str(self.workers), "--max-connections", str(MAX_STREAMS),
                               binary=str(GATEWAY), wrapper=self.prefix).wait_ready()
        self.process = self.gateway.process
        self.port = self.gateway.address[1]

    def stop(self):
        code = self.gateway.stop()
        assert code == 0, self.gateway.log_text()

    def post_at(self):
        return f"127.0.0.1:{self.port}/channels/bench/0"


class Raw(Server):
    """The raw writing loop; what comes together leaves in one write."""

    name = "raw"
    label = "raw loop, coalescing"
    mode = "joined"
    through_postgres = False

    def start(self):
        self.publish_port = free_port()
        self.run(RAW, f"127.0.0.1:{self.port}", f"127.0.0.1:{self.publish_port}", self.mode)

    def subscribe_at(self):
        return f"127.0.0.1:{self.port}/bench/%u"

    def publish_how(self):
        return f"lines:127.0.0.1:{self.publish_port}"


class RawSingle(Raw):
    name = "raw-single"
    label = "raw loop"
    mode = "single"


class Nchan(Server):
    """Without a database: it has no way to one. Events come by HTTP, pipelined over one connection."""

    name = "nchan"
    label = "nchan, no database"
    through_postgres = False

    def start(self):
        config = pathlib.Path(self.folder, "nginx.conf")
        module = next(iter(pathlib.Path("/usr/lib/nginx/modules").glob("ngx_nchan_module.so")))
        config.write_text(f"""
load_module {module};
daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log; user root;
worker_rlimit_nofile 20000;
events {{ worker_connections 19900; }}
http {{
  access_log off; keepalive_requests 1000000000; nchan_shared_memory_size 256M; tcp_nodelay on;
  client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy; fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location ~ ^/publish/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 1000;
                                  nchan_message_timeout 30s; }}
    location ~ ^/events/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1;
                                 nchan_subscriber_first_message newest; }}
  }}
}}
""".replace("user root;", "user root;" if os.getuid() == 0 else ""))
        self.run("/usr/sbin/nginx", "-c", config, "-p", self.folder, stderr=subprocess.DEVNULL)

    def subscribe_at(self):
        return f"127.0.0.1:{self.port}/events/bench/%u"

    def publish_how(self):
        return f"http:127.0.0.1:{self.port}/publish/%s"

    def post_at(self):
        return f"127.0.0.1:{self.port}/publish/bench/0"


class Node(Server):
    name = "node"
    label = "Node, pg"

    def start(self):
        names = ",".join(f"bench/{i}" for i in range(self.channels))
        self.run("node", os.path.join(os.environ["BENCH_NODE"], "server.mjs"), self.port, names, self.postgres.folder)

    def post_at(self):
        return f"127.0.0.1:{self.port}/events?channel=bench/0"


COLUMNS = [RawSingle, Raw, EventGateway, Nchan, Node]


def load(work, server, *arguments, streams=None, publish=True):
    """Runs the load generator against a server and returns what it says, with the server's processor seconds and when (CLOCK_MONOTONIC)."""
    command = [*pinned(CPUS[0]), str(LOAD), work, "--channels", str(server.channels), "--channel", "bench/%u",
               "--server", server.post_at() if work == "post" else server.subscribe_at(), *map(str, arguments)]
    if streams:
        command += ["--streams", str(streams)]
    if publish:
        command += ["--publish", server.publish_how()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    marks = {}
    for line in process.stderr:
        if line.strip() in ("begin", "end"):
            marks[line.strip()] = server.cpu_seconds(), time.monotonic()
        else:
            raise SystemExit(f"{server.name}, {work}: {line}")
    output = process.stdout.read()
    assert process.wait() == 0, (command, output)
    result = json.loads(output)
    if marks:
        (cpu_before_s, result["begin_s"]), (cpu_after_s, result["end_s"]) = marks["begin"], marks["end"]
        result["server_cpu_s"] = cpu_after_s - cpu_before_s
    assert result.get("gaps", 0) == 0, (server.name, work, result)
    return result


def hold_idle(server, streams):
    """Resident bytes of the server for each idle stream, and how fast they were opened."""
    before = server.resident_bytes()
    process = subprocess.Popen([*pinned(CPUS[0]), str(LOAD), "idle", "--server", server.subscribe_at(), "--channels",
                                str(server.channels), "--streams", str(streams)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    result = json.loads(process.stdout.readline())
    result["bytes_per_stream"] = (server.resident_bytes() - before) / streams
    process.stdin.close()
    process.wait()
    process.stdout.close()
    return result


__all__ = ["COLUMNS", "EventGateway", "Nchan", "Node", "Raw", "RawSingle", "ROOT", "hold_idle", "load"]
