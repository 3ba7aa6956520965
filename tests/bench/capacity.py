"""What streams, deliveries and events cost, and gateways on one database each other: POSTs through 1 to 20 of them, and a
model of it that is made of the first and has to foretell the rest."""

import concurrent.futures
import contextlib
import json
import pathlib
import resource
import statistics
import subprocess
import sys

from durable import CONNECTIONS, DurableGateway, scheduled
from servers import BUILD, CPUS, GATEWAY, LOAD, EventGateway, hold_idle, load
from works import PAYLOAD

COUNTS = (1, 2, 5, 10, 20)
LEARNED = 5  # the model is made of what is measured with up to so many gateways
WARM_UP_S = 1
COSTS = {"gateways_us": "gateways, µs", "postgres_us": "PostgreSQL, µs", "load_us": "load, µs"}
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
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # autovacuum's come and go
            total += scheduled(pathlib.Path(f"/proc/{pid}"))
    return total


def post(gateway, connections, seconds):
    """POSTs through one gateway; returns how many there were a second."""
    command = [str(LOAD), "post", "--channels", "1", "--channel", "bench/%u", "--server", gateway.post_at(),
               "--connections", str(connections), "--payload", str(PAYLOAD), "--seconds", str(seconds), "--warm-up",
               str(WARM_UP_S)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["posts_per_s"]


def spent(gateways, postgres):
    """Seconds of processor time so far, by who spent them."""
    load = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"gateways_us": sum(gateway.cpu_seconds() for gateway in gateways), "postgres_us": postgres_seconds(postgres),
            "load_us": load.ru_utime + load.ru_stime}


def through(kind, postgres, count, seconds):
    """Through `count` gateways at once, with the same number of connections in all, as far as that goes."""
    with contextlib.ExitStack() as stack:
        gateways = [stack.enter_context(kind(postgres)) for _ in range(count)]
        before = spent(gateways, postgres)
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            rates = list(pool.map(lambda gateway: post(gateway, max(1, 2 * CONNECTIONS // count), seconds), gateways))
        after = spent(gateways, postgres)
    events = sum(rates) * (seconds + WARM_UP_S)
    return {"rate": sum(rates)} | {key: (after[key] - before[key]) / events * 1e6 for key in COSTS}


class Model:
    """Processor time of an event, which is what limits the rate where all share a machine: a + b * gateways + c *
    gateways^2. Each gateway reads each event; and each transaction wakes each gateway, while the transactions have the fewer
    events the more gateways the same clients are spread over."""

    def __init__(self, medians):
        learned = [count for count in medians if count <= LEARNED]
        self.curves = {key: self.through([(count, medians[count][key]) for count in learned]) for key in COSTS}
        self.curves["load_us"] = statistics.mean(medians[count]["load_us"] for count in learned), 0, 0

    @staticmethod
    def through(points):
        """The parabola through three points."""
        (x0, y0), (x1, y1), (x2, y2) = points
        first, second = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
        c = (second - first) / (x2 - x0)
        b = first - c * (x0 + x1)
        return y0 - b * x0 - c * x0 * x0, b, c

    def tell(self, key, count):
        if key == "rate":
            return len(CPUS) * 1e6 / sum(self.tell(cost, count) for cost in COSTS)
        a, b, c = self.curves[key]
        return a + b * count + c * count * count


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
            "gateways, cores in all | PostgreSQL, cores |", "|---" * 7 + "|"]
    for streams, gateways, events, reached in ((10_000, 1, 1000, 10), (100_000, 10, 1000, 100), (1_000_000, 10, 1000, 1000),
                                               (1_000_000, 50, 1000, 1000)):
        memory = streams / gateways * (found["bytes_per_stream"] + found["kernel_bytes_per_stream"]) / 2**20
        cost = found["delivery_us"] if reached / gateways >= 100 else found["delivery_few_us"]
        cores = (events * reached * cost + events * live.tell("gateways_us", gateways)) / 1e6
        rows.append(f"| {streams:,} | {gateways} | {events:,} | {reached:,} | {memory:,.0f} | {cores:.2f} | "
                    f"{events * live.tell('postgres_us', gateways) / 1e6:.2f} |")
    return "\n".join(rows) + "\n"


def table(title, medians, model):
    keys = {"rate": "events/s"} | COSTS
    rows = [f"**{title}**", "", "| gateways | " + " | ".join(f"{words} | foretold" for words in keys.values()) + " |",
            "|---" * (1 + 2 * len(keys)) + "|"]
    for count, row in medians.items():
        cells = [str(count)]
        for key in keys:
            digits = 0 if key == "rate" else 1
            learned = count <= LEARNED and key != "rate"
            cells += [f"{row[key]:,.{digits}f}", "learned" if learned else f"{model.tell(key, count):,.{digits}f}"]
        rows.append("| " + " | ".join(cells) + " |")
    for key in ("gateways_us", "postgres_us"):
        (a, b, c), words = model.curves[key], COSTS[key]
        rows.append(f"\n{words}: {a:.1f} + {b:.2f} × gateways + {c:.3f} × gateways²")
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
