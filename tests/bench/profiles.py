"""Where a saturated core's time goes: samples of the gateway's stacks, each put into the first row that fits."""

import bisect
import collections
import os
import re
import shutil
import subprocess
import tempfile

from servers import GATEWAY, EventGateway, load

LEAST = 0.002  # smaller rows are counted as `other`
KERNEL = r"\[kernel"
# (thread, row, what is looked at, pattern): `leaf` is the function where the sample was taken, `stack` any of its callers,
# too, while it is the kernel's, `library` the object of the leaf, `module` the gateway's source file with it.
ROWS = [
    ("worker", "kernel: copying the bytes", "leaf", r"_copy_from_iter|copy_user|__check_object_size|import_iovec"),
    ("worker", "kernel: waking the reader", "stack", r"sock_def_readable|ep_poll_callback|__wake_up|try_to_wake_up"),
    ("worker", "kernel: loopback and the reader's side of TCP", "stack", r"net_rx_action|process_backlog|tcp_v4_rcv"),
    ("worker", "kernel: reading requests", "stack", r"recvfrom|tcp_recvmsg"),
    ("worker", "kernel: TCP's sending side", "stack", r"tcp_sendmsg|tcp_write|tcp_push|inet_send|sock_sendmsg|release_sock"),
    ("worker", "kernel: waiting (epoll, switching)", "stack", r"epoll_wait|schedule|eventfd|exit_to_user"),
    ("worker", "kernel: system calls", "library", KERNEL),
    ("worker", "gateway: streams (collecting, sending)", "module", r"^(stream|stream_run|stream_count|delivery_times|metrics)$"),
    ("worker", "gateway: journal, index, mailbox", "module", r"^(worker|journal|subscribers|channel|feed|mailbox|loop)$"),
    ("worker", "gateway: frames", "module", r"^(event|frame|json|cursor|buffer)$"),
    ("worker", "jansson: is it JSON?", "library", r"jansson"),
    ("worker", "libmicrohttpd: requests and answers", "library", r"microhttpd"),
    ("worker", "gateway: requests, publishing", "library", r"pg_eventgate"),
    ("worker", "libc (sending, memory)", "library", r"libc|vdso|pthread|ld-linux"),
    ("postgres", "kernel: reading from PostgreSQL", "stack", r"recv|unix_stream|sock_read"),
    ("postgres", "kernel: waking the worker", "stack", r"eventfd|ksys_write|vfs_write"),
    ("postgres", "kernel: waiting (epoll, switching)", "stack", r"epoll_wait|schedule|exit_to_user"),
    ("postgres", "kernel: system calls", "library", KERNEL),
    ("postgres", "libpq", "library", r"libpq"),
    ("postgres", "jansson: is it JSON?", "library", r"jansson"),
    ("postgres", "gateway: event and its JSON form", "module", r"^(event|frame|json|utf8|cursor|buffer)$"),
    ("postgres", "gateway: listener and mailbox", "library", r"pg_eventgate"),
    ("postgres", "libc (memory, time, numbers)", "library", r"libc|vdso|pthread|libm\b"),
]
ORDER = {row[:2]: number for number, row in enumerate(ROWS)}


class Modules:
    """Which source file of the gateway a place in it comes from: names of static functions are not unique."""

    def __init__(self):
        symbols = subprocess.run(["nm", "-nl", GATEWAY], capture_output=True, text=True, check=True).stdout
        found = re.findall(r"^([0-9a-f]+) [tT] [^\t\n]*\t.*/(\w+)\.[ch]:", symbols, re.MULTILINE)
        self.starts = [int(start, 16) for start, _ in found]
        self.names = [name for _, name in found]

    def at(self, address):
        place = bisect.bisect_right(self.starts, address)
        return self.names[place - 1] if place else ""


def row_of(thread, frames, modules):
    address, leaf, library = frames[0]
    looked_at = {"leaf": [leaf], "library": [library]}
    if re.search(KERNEL, library):
        looked_at["stack"] = [symbol for _, symbol, _ in frames]
    if library == str(GATEWAY):
        looked_at["module"] = [modules.at(address)]
    for who, name, what, pattern in ROWS:
        if thread.startswith(who) and any(re.search(pattern, text) for text in looked_at.get(what, ())):
            return who, name
    return "", "other"


def samples(data, result):
    """(thread, [(address, symbol, library), …] from the leaf outwards) of each sample while it was measured."""
    text = subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym,dso", "--time",
                           f"{result['begin_s']:.6f},{result['end_s']:.6f}"], capture_output=True, text=True,
                          check=True).stdout
    for block in text.strip("\n").split("\n\n"):
        thread, *lines = block.strip("\n").splitlines()
        frames = [re.match(r"\s*([0-9a-f]+) (.*) \((.*)\)$", line).groups() for line in lines]
        yield thread.strip(), [(int(address, 16), symbol, library) for address, symbol, library in frames]


def profile(server, run, unit):
    """Prints the table; `run` works on the server and returns its result, `unit` names what is counted in it."""
    with tempfile.NamedTemporaryFile() as data:
        recording = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-k", "mono", "-o", data.name,
                                      "-p", str(server.process.pid)], stderr=subprocess.DEVNULL)
        result = run()
        recording.terminate()
        recording.wait()
        modules = Modules()
        rows = collections.Counter(row_of(thread, frames, modules) for thread, frames in samples(data.name, result))
    each_ns = result["server_cpu_s"] / result[{"delivery": "deliveries", "event": "events", "POST": "posts"}[unit]] * 1e9
    total = sum(rows.values())
    shares = {row: rows[row] / total for row in ORDER if rows[row] >= LEAST * total}
    shares["", "other"] = 1 - sum(shares.values())
    print(f"| thread | where | share | ns per {unit} |\n|---|---|---|---|")
    for (thread, name), share in shares.items():
        print(f"| {thread} | {name} | {100 * share:.1f} % | {each_ns * share:,.0f} |")
    print(f"| | **all** | | **{each_ns:,.0f}** |\n")


def permitted():
    """Whether perf is there and may sample the kernel; asked for both sides it would leave out the kernel in silence."""
    trial = ["perf", "record", "-q", "-e", "cpu-clock:k", "-o", os.devnull, "true"]
    return shutil.which("perf") and subprocess.run(trial, capture_output=True).returncode == 0


def deliveries(postgres, seconds):
    with EventGateway(postgres) as server:
        print("**One channel, 1,000 streams, saturated: a delivery** (16 events at most under way)\n")
        profile(server, lambda: load("saturate", server, "--window", 16, "--seconds", seconds, "--warm-up", 1,
                                     streams=1000), "delivery")


def events(postgres, seconds):
    def run():
        result = load("saturate", server, "--window", 1024, "--seconds", seconds, "--warm-up", 1, streams=1)
        return result | {"events": result["deliveries"]}

    with EventGateway(postgres) as server:
        print("**One channel, one stream, saturated: an event** (1,024 at most under way)\n")
        profile(server, run, "event")


def posts(postgres, seconds):
    def run():
        result = load("post", server, "--connections", 32, "--seconds", seconds, publish=False)
        return result | {"posts": result["posts_per_s"] * seconds}

    with EventGateway(postgres) as server:
        print("**32 connections that POST: a POST**, and the event that comes back\n")
        profile(server, run, "POST")


def measure(postgres, options):
    if not permitted():
        print("The profile needs perf (Debian: linux-perf) and the right to sample the kernel (root, or "
              "kernel.perf_event_paranoid of at most 1).")
        return
    deliveries(postgres, options.seconds or 5)
    events(postgres, options.seconds or 5)
    posts(postgres, options.seconds or 5)
