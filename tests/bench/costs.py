"""What a delivery and an event cost, against the number of streams, channels, sets and workers: tables and plots."""

import statistics
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "pg_eventgate", "svg.fonttype": "none", "font.size": 10,
                            "axes.spines.top": False, "axes.spines.right": False, "figure.figsize": (6.4, 3.6)})
import matplotlib.pyplot as plt  # noqa: E402, after its backend has been chosen
from servers import EventGateway, Raw, load  # noqa: E402

COLORS = {"pg_eventgate": "#1f5fa8", "raw loop": "#9a9a9a", "deliveries": "#1f5fa8", "cost": "#b5532a"}
DELIVERIES_PER_S = 50_000
MANY = 10_000  # streams, over the channels


def pace(server, streams, rate, seconds):
    return load("pace", server, "--rate", rate, "--seconds", seconds, "--warm-up", 1, streams=streams)


def per_delivery(result):
    return result["server_cpu_s"] / result["deliveries"] * 1e6


def against_streams(postgres, seconds):
    for streams in (10, 100, 1000, 5000, 10000, 19000):
        rate = round(DELIVERIES_PER_S / streams)
        for name, kind in (("pg_eventgate", EventGateway), ("raw loop", Raw)):
            with kind(postgres) as server:
                yield streams, name, per_delivery(pace(server, streams, rate, seconds))


def against_channels(postgres, seconds):
    for channels in (1, 10, 100, 1000, 5000):
        for name, kind in (("pg_eventgate", EventGateway), ("raw loop", Raw)):
            with kind(postgres, channels) as server:
                yield channels, name, per_delivery(pace(server, MANY, 2 * channels, seconds))


def against_sets(postgres, seconds):
    for sets in (1, 2, 4, 8, 16, 32, 64):
        with EventGateway(postgres, sets, sets=sets) as server:
            result = pace(server, 16 * sets, 500, seconds)
            yield sets, "pg_eventgate", result["server_cpu_s"] / (500 * seconds) * 1e6


def against_workers(postgres, seconds):
    for workers in (1, 2, 4):
        with EventGateway(postgres, pin=False, workers=workers) as server:
            result = load("saturate", server, "--window", 16, "--seconds", seconds, "--warm-up", 1, streams=1000)
            yield workers, "deliveries", result["deliveries_per_s"] / 1e3
            yield workers, "cost", per_delivery(result)


class Curve:
    """`deliveries_of_event`: how many there are at a place of the axis; None: costs are not of deliveries."""

    def __init__(self, name, title, axis, units, measure, deliveries_of_event=None):
        self.name, self.title, self.axis, self.units, self.measure = name, title, axis, units, measure
        self.deliveries_of_event = deliveries_of_event
        self.points = {}

    def run(self, postgres, seconds):
        for x, line, value in self.measure(postgres, seconds):
            self.points.setdefault(line, {}).setdefault(x, []).append(value)

    def medians(self, line):
        return {x: statistics.median(values) for x, values in self.points[line].items()}

    def cell(self, line, x, scale=1):
        values = [value * scale for value in self.points[line][x]]
        middle = f"{statistics.median(values):,.2f}"
        return middle if len(values) == 1 else f"{middle} ({min(values):,.2f} to {max(values):,.2f})"

    def table(self):
        head = [self.axis, *(f"{line}, {self.units[line]}" for line in self.points)]
        rows = [[f"{x:,}", *(self.cell(line, x) for line in self.points)] for x in next(iter(self.points.values()))]
        if self.deliveries_of_event:
            head.append("pg_eventgate, µs of CPU per event")
            for row, x in zip(rows, self.points["pg_eventgate"]):
                row.append(self.cell("pg_eventgate", x, self.deliveries_of_event(x)))
        lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
        return "\n".join([f"**{self.title}**", "", lines[0], "|---" * len(head) + "|", *lines[1:]]) + "\n"

    def plot(self, folder):
        figure, axes = plt.subplots()
        for number, line in enumerate(self.points):
            target = axes if number == 0 or len(set(self.units.values())) == 1 else axes.twinx()
            xs, ys = zip(*self.medians(line).items())
            low = [min(self.points[line][x]) for x in xs]
            high = [max(self.points[line][x]) for x in xs]
            target.plot(xs, ys, marker="o", color=COLORS[line], label=line)
            target.fill_between(xs, low, high, color=COLORS[line], alpha=0.15, linewidth=0)
            target.autoscale_view()
            target.set_ylim(bottom=0, top=max(target.get_ylim()[1], 1.1 * max(high)))
            target.set_ylabel(f"{self.units[line]}" if target is axes else f"{line}: {self.units[line]}")
            if target is not axes:
                target.spines["right"].set_visible(True)
        axes.set_xscale("log")
        apart = [x for x, after in zip(xs, (*xs[1:], None)) if after is None or after >= 1.95 * x]  # their labels
        axes.set_xticks(apart, [f"{x:,}" for x in apart])
        axes.minorticks_off()
        axes.set_xlabel(self.axis)
        axes.set_title(self.title, loc="left", fontsize=11)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        figure.legend(loc="lower center", ncols=2, frameon=False, bbox_to_anchor=(0.5, -0.03))
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        figure.savefig(folder / f"costs-{self.name}.svg", metadata={"Date": None}, facecolor="white")
        plt.close(figure)


def curves():
    both = {"pg_eventgate": "µs of CPU per delivery", "raw loop": "µs of CPU per delivery"}
    return [Curve("streams", "Cost of a delivery: one channel, about 50,000 deliveries/s", "streams", both,
                  against_streams, lambda streams: streams),
            Curve("channels", "Cost of a delivery: 10,000 streams over the channels, 20,000 deliveries/s", "channels", both,
                  against_channels, lambda channels: MANY / channels),
            Curve("sets", "Cost of an event: 16 streams on each set, 500 events/s in all", "sets",
                  {"pg_eventgate": "µs of CPU per event"}, against_sets),
            Curve("workers", "Workers: one channel, 1,000 streams, saturated, two cores for all", "workers",
                  {"deliveries": "1,000 deliveries/s", "cost": "µs of CPU per delivery"}, against_workers)]


def measure(postgres, options):
    options.plots.mkdir(parents=True, exist_ok=True)
    made = curves()
    for number in range(options.runs):
        for curve in made:
            print(f"run {number + 1} of {options.runs}: cost against {curve.axis}", file=sys.stderr, flush=True)
            curve.run(postgres, options.seconds or 3)
    for curve in made:
        print(curve.table())
        curve.plot(options.plots)
    print(f"Plots: {options.plots}")
