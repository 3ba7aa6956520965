"""What gateways on one database cost each other: POSTs through 1 to 20 of them, and a model of it that is made of the
first and has to foretell the rest."""

import concurrent.futures
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import time

from durable import CONNECTIONS, DurableGateway, scheduled
from servers import BUILD, CPUS, GATEWAY, LOAD, EventGateway, hold_idle, load
from works import PAYLOAD

COUNTS = (1, 2, 5, 10, 20)
LEARNED = 5  # the model is made of what is measured with up to so many gateways
RESULTS = BUILD / "capacity.json"


class LiveGateway(EventGateway):
    """Unpinned, with one worker: twenty of them share the machine with PostgreSQL and the load."""

    def __init__(self, postgres):
        super().__init__(postgres, pin=False)


class DurableOne(DurableGateway):
    def __init__(self, postgres):
        super().__init__(postgres)
        self.workers = 1


def processes_of(postgres):
    """PostgreSQL's own processes: the server and its children."""
    pid = postgres.process.pid
    return [pid, *map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def postgres_seconds(postgres):
    total = 0.0
    for pid in processes_of(postgres):
        with contextlib.suppress(FileNotFoundError):  # autovacuum's come and go
            total += scheduled(pathlib.Path(f"/proc/{pid}"))
    return total


def post(gateway, connections, seconds):
    """POSTs through one gateway; returns how many there were in how long."""
    command = [str(LOAD), "post", "--channels", "1", "--channel", "bench/%u", "--server", gateway.post_at(),
               "--connections", str(connections), "--payload", str(PAYLOAD), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["posts_per_s"]


def through(kind, postgres, count, seconds):
    """Through `count` gateways at once, with the same number of connections in all, as far as that goes."""
    with contextlib.ExitStack() as stack:
        gateways = [stack.enter_context(kind(postgres)) for _ in range(count)]
        before = [gateway.cpu_seconds() for gateway in gateways], postgres_seconds(postgres), time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            rates = list(pool.map(lambda gateway: post(gateway, max(1, 2 * CONNECTIONS // count), seconds), gateways))
        elapsed = time.monotonic() - before[2]
        spent = sum(gateway.cpu_seconds() for gateway in gateways) - sum(before[0])
        events = sum(rates) * seconds
        return {"rate": sum(rates), "gateways_us": spent / events * 1e6,
                "postgres_us": (postgres_seconds(postgres) - before[1]) / events * 1e6, "elapsed_s": elapsed}


def line(points):
    """The straight line through points, by least squares: what there is anyhow, and what each gateway adds."""
    xs, ys = zip(*points)
    middle_x, middle_y = statistics.mean(xs), statistics.mean(ys)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x in xs)
    return middle_y - slope * middle_x, slope


class Model:
    """An event's time is a straight line over the number of gateways: each of them has a session that is woken, and
    reads it. That holds for the rate's reciprocal and for processor time, which is what the rate is limited by here."""

    def __init__(self, medians):
        learned = [count for count in medians if count <= LEARNED]
        self.lines = {key: line([(count, self.time(medians[count], key)) for count in learned])
                      for key in ("rate", "gateways_us", "postgres_us")}

    @staticmethod
    def time(row, key):
        return 1e6 / row[key] if key == "rate" else row[key]

    def tell(self, key, count):
        base, each = self.lines[key]
        value = base + each * count
        return 1e6 / value if key == "rate" else value


# --- what one gateway needs


def kernel_bytes():
    for text in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if text.startswith("Slab:"):
            return int(text.split()[1]) * 1024
    raise KeyError("Slab")


class Holding(EventGateway):
    """Looks at the kernel's memory, too, while streams are held."""

    def resident_bytes(self):
        self.kernel = kernel_bytes()
        return super().resident_bytes()


def costs(postgres, seconds):
    with Holding(postgres) as server:
        before = kernel_bytes()
        held = hold_idle(server, 10_000)
        kernel = (server.kernel - before) / 10_000 / 2  # both ends are here
    found = {"bytes_per_stream": held["bytes_per_stream"], "kernel_bytes_per_stream": kernel,
             "open_us": open_us(postgres)}
    for name, streams, rate in (("delivery_many_us", 10_000, 5), ("delivery_us", 1000, 50), ("delivery_few_us", 10, 1000)):
        with EventGateway(postgres) as server:
            result = load("pace", server, "--rate", rate, "--payload", PAYLOAD, "--seconds", seconds, "--warm-up", 1,
                          streams=streams)
            found[name] = result["server_cpu_s"] / result["deliveries"] * 1e6
    return found


def open_us(postgres):
    """Processor time of a gateway for each stream that is opened."""
    with EventGateway(postgres) as server:
        before = server.cpu_seconds()
        hold_idle(server, 10_000)
        return (server.cpu_seconds() - before) / 10_000 * 1e6


def sizes(live, found):
    """A table for installations: what the costs and the model come to."""
    rows = ["| streams | gateways | events/s | streams that get each | memory of a gateway and of its kernel, MiB | "
            "gateways, cores in all | PostgreSQL, cores | events/s at most |", "|---" * 8 + "|"]
    for streams, gateways, events, reached in ((10_000, 1, 1000, 10), (100_000, 10, 1000, 100), (1_000_000, 10, 1000, 1000),
                                               (1_000_000, 50, 1000, 1000)):
        memory = streams / gateways * (found["bytes_per_stream"] + found["kernel_bytes_per_stream"]) / 2**20
        cost = found["delivery_us"] if reached / gateways >= 100 else found["delivery_few_us"]
        cores = (events * reached * cost + events * live.tell("gateways_us", gateways)) / 1e6
        rows.append(f"| {streams:,} | {gateways} | {events:,} | {reached:,} | {memory:,.0f} | {cores:.2f} | "
                    f"{events * live.tell('postgres_us', gateways) / 1e6:.2f} | {live.tell('rate', gateways):,.0f} |")
    return "\n".join(rows) + "\n"


def table(title, medians, model):
    rows = [f"**{title}**", "",
            "| gateways | events/s | foretold | gateways, µs of processor an event | foretold | PostgreSQL, µs | foretold |",
            "|---|---|---|---|---|---|---|"]
    for count, row in medians.items():
        cells = [str(count)]
        for key, digits in (("rate", 0), ("gateways_us", 1), ("postgres_us", 1)):
            told = "(learned)" if count <= LEARNED else f"{model.tell(key, count):,.{digits}f}"
            cells += [f"{row[key]:,.{digits}f}", told]
        rows.append("| " + " | ".join(cells) + " |")
    for key, words in (("rate", "time of an event, µs"), ("gateways_us", "gateways, µs"), ("postgres_us", "PostgreSQL, µs")):
        rows.append(f"\n{words}: {model.lines[key][0]:.1f} + {model.lines[key][1]:.2f} × gateways")
    return "\n".join(rows) + "\n"


def middle(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def measure(postgres, options):
    subprocess.run([str(GATEWAY), "schema", "install", "--postgres", postgres.conninfo], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results, seconds = {"costs": []}, options.seconds or 4
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs}: streams and deliveries", file=sys.stderr, flush=True)
        results["costs"].append(costs(postgres, seconds))
        for name, kind in (("live", LiveGateway), ("durable", DurableOne)):
            for count in COUNTS:
                print(f"run {number + 1} of {options.runs}: {name}, {count} gateways", file=sys.stderr, flush=True)
                results.setdefault(name, {}).setdefault(count, []).append(through(kind, postgres, count, seconds))
                RESULTS.write_text(json.dumps(results, indent=1))
    found = middle(results["costs"])
    print("| what one gateway needs | |\n|---|---|")
    for key, words in (("bytes_per_stream", "an idle stream, resident bytes"),
                       ("kernel_bytes_per_stream", "its socket, bytes of the kernel"),
                       ("open_us", "to open a stream, µs of processor"),
                       ("delivery_many_us", "a delivery, 10,000 streams get each event, µs"),
                       ("delivery_us", "1,000 streams, µs"), ("delivery_few_us", "10 streams, µs")):
        print(f"| {words} | {found[key]:,.{0 if 'bytes' in key else 2}f} |")
    print(f"\n{len(CPUS)} processors for the load, the gateways and PostgreSQL; {2 * CONNECTIONS} connections that POST, spread "
          "over the gateways, each of which LISTENs to what is published.\n")
    models = {}
    for name, title in (("live", "Live events: POST, pg_notify"), ("durable", "Durable events: POST, the log")):
        medians = {count: middle(rows) for count, rows in results[name].items()}
        models[name] = Model(medians)
        print(table(title, medians, models[name]))
    print(sizes(models["live"], found))
