"""What is measured: each work runs on one server and returns a flat dictionary of figures."""

import dataclasses
import typing

from servers import EventGateway, Nchan, Node, Raw, RawSingle, hold_idle, load

PAYLOAD = 128


def saturate(streams, window=16):
    def work(make, seconds):
        with make() as server:
            return load("saturate", server, "--window", window, "--payload", PAYLOAD, "--seconds", seconds,
                        "--warm-up", 2, streams=streams)

    return work


def pace(streams, rate):
    def work(make, seconds):
        with make() as server:
            return load("pace", server, "--rate", rate, "--payload", PAYLOAD, "--seconds", seconds, "--warm-up", 2,
                        streams=streams)

    return work


def idle(streams):
    def work(make, _):
        with make() as server:
            return hold_idle(server, streams)

    return work


def post(connections):
    def work(make, seconds):
        with make() as server:
            return load("post", server, "--connections", connections, "--payload", PAYLOAD, "--seconds", seconds,
                        publish=False)

    return work


@dataclasses.dataclass
class Figure:
    """One column of a table: `key` of the result, the reference that ratios are taken against, and the goal."""

    key: str
    title: str
    unit: str
    reference: str = ""
    scale: float = 1
    digits: int = 0
    goal: typing.Callable = None
    goal_text: str = ""


@dataclasses.dataclass
class Work:
    name: str
    title: str
    run: typing.Callable
    servers: list
    figures: list
    channels: int = 1
    seconds: int = 4


def at_least(bound):
    return lambda ratio: ratio >= bound


def at_most(bound):
    return lambda ratio: ratio <= bound


AGES = [Figure("p50_ms", "p50", "ms", "node", digits=2), Figure("p99_ms", "p99", "ms", "node", digits=2)]

WORKS = [
    Work("fanout-1k", "One channel, 1,000 streams, saturated", saturate(1000), [RawSingle, Raw, EventGateway, Nchan, Node],
         [Figure("deliveries_per_s", "deliveries", "k/s", "raw", 1e-3, goal=at_least(0.85), goal_text="≥ 0.85 of raw")]),
    Work("fanout-10k", "One channel, 10,000 streams, saturated", saturate(10000),
         [RawSingle, Raw, EventGateway, Nchan, Node],
         [Figure("deliveries_per_s", "deliveries", "k/s", "raw", 1e-3, goal=at_least(0.85), goal_text="≥ 0.85 of raw")]),
    Work("steady-1k", "One channel, 1,000 streams, 10 events/s", pace(1000, 10), [Raw, EventGateway, Nchan, Node], AGES),
    Work("steady-10k", "One channel, 10,000 streams, 10 events/s", pace(10000, 10), [Raw, EventGateway, Nchan, Node],
         AGES),
    Work("channels", "10,000 streams over 1,000 channels, 1,000 events/s", pace(10000, 1000),
         [Raw, EventGateway, Nchan, Node],
         [Figure("p50_ms", "p50", "ms", "node", digits=2),
          Figure("p99_ms", "p99", "ms", "node", digits=2, goal=at_most(1 / 3), goal_text="≤ 1/3 of Node"),
          Figure("server_cpu_s", "server CPU in 10 s", "s", "nchan", digits=2, goal=at_most(1),
                 goal_text="≤ nchan")], channels=1000, seconds=10),
    Work("channels-3k", "10,000 streams over 1,000 channels, 3,000 events/s", pace(10000, 3000), [Raw, EventGateway, Nchan, Node],
         [*AGES, Figure("server_cpu_s", "server CPU in 10 s", "s", "nchan", digits=2)], channels=1000, seconds=10),
    Work("idle", "10,000 idle streams", idle(10000), [EventGateway, Nchan, Node],
         [Figure("bytes_per_stream", "resident per stream", "KiB", "", 1 / 1024, 2, goal=at_most(1), goal_text="≤ 1 KiB"),
          Figure("opened_per_s", "opened", "k/s", "node", 1e-3, 1)]),
    Work("publish", "POST over 32 connections", post(32), [EventGateway, Nchan, Node],
         [Figure("posts_per_s", "POSTs", "k/s", "node", 1e-3, 1, goal=at_least(4), goal_text="≥ 4 × Node"),
          Figure("p99_ms", "p99", "ms", "node", digits=2)]),
    Work("publish-128", "POST over 128 connections", post(128), [EventGateway, Nchan, Node],
         [Figure("posts_per_s", "POSTs", "k/s", "node", 1e-3, 1), Figure("p99_ms", "p99", "ms", "node", digits=2)]),
    Work("most", "19,000 streams on one process, 5 events/s", pace(19000, 5), [EventGateway],
         [Figure("deliveries_per_s", "deliveries", "k/s", "", 1e-3, 1, goal=lambda value: value > 94,
                 goal_text="all 95 k/s"), Figure("p50_ms", "p50", "ms", digits=1), Figure("p99_ms", "p99", "ms", digits=1)]),
]
