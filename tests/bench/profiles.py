"""Where a saturated core's time goes: samples of the gateway's stacks, each put into the first row that fits."""

import collections
import re
import shutil
import subprocess
import tempfile

from servers import EventGateway, load

KERNEL = r"\[kernel"
# (thread, row, what is looked at, pattern): `leaf` is where the sample was taken, `stack` any of its callers, too,
# `library` the object of the leaf.
ROWS = [
    ("worker", "kernel: copying the bytes", "leaf", r"_copy_from_iter|copy_user|__check_object_size|import_iovec"),
    ("worker", "kernel: waking the reader", "stack", r"sock_def_readable|ep_poll_callback|__wake_up|try_to_wake_up"),
    ("worker", "kernel: loopback and the reader's side of TCP", "stack", r"net_rx_action|process_backlog|tcp_v4_rcv"),
    ("worker", "kernel: reading requests", "stack", r"recvfrom|tcp_recvmsg"),
    ("worker", "kernel: TCP's sending side", "stack", r"tcp_sendmsg|tcp_write|tcp_push|inet_send|sock_sendmsg|release_sock"),
    ("worker", "kernel: waiting (epoll, switching)", "stack", r"epoll_wait|schedule|eventfd|exit_to_user"),
    ("worker", "kernel: system calls", "library", KERNEL),
    ("worker", "gateway: streams (collecting, sending)", "leaf",
     r"^(flush|flush_round|send_\w+|advance|collect|add_frame|shared_channel|is_for|join|label|unlabel|ready|"
     r"half_is_alone|eg_stream\w*|worker_of|note_\w+|eg_metrics_add)"),
    ("worker", "gateway: journal, index, mailbox", "leaf",
     r"^(eg_subscriber\w*|eg_journal\w*|eg_feed\w*|take_feed|apply|append\w*|mark\w*|undirty|turn|eg_loop\w*|trim\w*|"
     r"entry_at|make_room|wants|find|find_\w+|put_\w+|local_of|count_of|compact|raise_to|show_journal)"),
    ("worker", "gateway: frames", "leaf", r"^(eg_event\w*|frame_new|add_\w+|eg_frame\w*|eg_buffer\w*|eg_cursor\w*|chunk_head)"),
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
    ("postgres", "gateway: event and its JSON form", "leaf",
     r"^(eg_event\w*|eg_json\w*|eg_utf8\w*|eg_buffer\w*|eg_cursor\w*|add_\w+|copy_\w+|is_\w+|format_\w+|eg_wall_us|"
     r"decode\w*|number\w*|find_data|make_\w+)"),
    ("postgres", "gateway: listener and mailbox", "library", r"pg_eventgate"),
    ("postgres", "libc (memory, time, numbers)", "library", r"libc|vdso|pthread|libm\b"),
]


def row_of(thread, frames):
    leaf, library = frames[0]
    for who, name, what, pattern in ROWS:
        if not thread.startswith(who):
            continue
        looked_at = {"leaf": [leaf], "library": [library], "stack": [symbol for symbol, _ in frames]}[what]
        if what == "leaf" and not name.startswith("kernel") and "pg_eventgate" not in library:
            continue
        if what == "stack" and not re.search(KERNEL, library):
            continue
        if any(re.search(pattern, text) for text in looked_at):
            return who, name
    return (thread.split()[0], "other")


def samples(data):
    """(thread, [(symbol, library), …] from the leaf outwards) of each sample."""
    text = subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym,dso"], capture_output=True, text=True,
                          check=True).stdout
    for block in text.split("\n\n"):
        lines = block.strip("\n").splitlines()
        frames = []
        for line in lines[1:]:
            found = re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line)
            if found:
                frames.append((found[1], found[2]))
        if frames:
            yield lines[0].strip(), frames


def profile(server, run, unit):
    """Prints the table; `run` works on the server and returns its result, `unit` names what is counted in it."""
    with tempfile.NamedTemporaryFile() as data:
        recording = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-o", data.name, "-p",
                                      str(server.process.pid)], stderr=subprocess.DEVNULL)
        result = run()
        recording.terminate()
        recording.wait()
        rows = collections.Counter(row_of(thread, frames) for thread, frames in samples(data.name))
    each_ns = result["server_cpu_s"] / result[{"delivery": "deliveries", "event": "events", "POST": "posts"}[unit]] * 1e9
    total = sum(rows.values())
    print(f"| thread | where | share | ns per {unit} |\n|---|---|---|---|")
    order = {(who, name): number for number, (who, name, _, _) in enumerate(ROWS)}
    for (thread, name), count in sorted(rows.items(), key=lambda row: (order.get(row[0], 99), row[0])):
        if count / total >= 0.002:
            print(f"| {thread} | {name} | {100 * count / total:.1f} % | {each_ns * count / total:,.0f} |")
    print(f"| | **all** | | **{each_ns:,.0f}** |\n")


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
    if not shutil.which("perf"):
        print("The profile needs perf (Debian: linux-perf).")
        return
    deliveries(postgres, options.seconds or 5)
    events(postgres, options.seconds or 5)
    posts(postgres, options.seconds or 5)
