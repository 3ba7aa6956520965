"""Measures the gateway beside its peers, interleaved: in every run each server does each work once, one after the other,
so that a machine that drifts drifts for all. Prints medians, spreads and ratios of the same run."""

import argparse
import os
import pathlib
import sys

from kit.postgres import Postgres

import capacity
import durable
import playground
import profiles
import runs
from servers import BUILD, COLUMNS, CPUS, GATEWAY
from works import WORKS


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WORK",
                        help="what to measure (default: all works): " + ", ".join(work.name for work in WORKS) +
                        "; durable: durable channels beside PostgreSQL itself; capacity: 1 to 20 gateways on one database; playground: the page in Chromium at 1,000 events a second; costs: against streams, channels, sets and workers, with plots; profile: where a saturated "
                        "core's time goes")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (5)")
    parser.add_argument("--seconds", type=int, help="measured in each work (4 or 10)")
    parser.add_argument("--events", type=int, default=1_000_000, help="of `durable`: replayed, and resumed (1,000,000)")
    parser.add_argument("--servers", help="only these, by name, separated by commas: raw-single,raw,gateway,nchan,node")
    parser.add_argument("--plots", type=pathlib.Path, help="folder for the plots of `costs` (default: beside the build)",
                        default=BUILD / "plots")
    return parser.parse_args()


def chosen(options):
    known = {work.name for work in WORKS} | {"costs", "profile", "durable", "capacity", "playground"}
    unknown = set(options.what) - known
    if unknown:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(known))}.")
    if {"durable", "capacity", "playground"} & set(options.what) and len(options.what) > 1:
        sys.exit("durable, capacity and playground are measured by themselves: they would be in the way of the others.")
    wanted = options.what or [work.name for work in WORKS]
    return [work for work in WORKS if work.name in wanted]


def main():
    options = arguments()
    works = chosen(options)
    if "playground" in options.what:
        playground.measure(options, GATEWAY)
        return
    postgres = Postgres(settings=("fsync=on",), on_disk=True)
    try:
        postgres.start()
        print(f"{len(CPUS)} processors, kernel {os.uname().release}, load {os.getloadavg()[0]:.1f} at the start, "
              f"PostgreSQL {postgres.sql('show server_version')[0][0]}, {options.runs} interleaved runs\n", flush=True)
        runs.run_works(works, options, postgres, COLUMNS, BUILD / "bench.json")
        if "durable" in options.what:
            durable.measure(postgres, options)
        if "capacity" in options.what:
            capacity.measure(postgres, options)
        if "costs" in options.what:
            import costs  # needs matplotlib, which nothing else does

            costs.measure(postgres, options)
        if "profile" in options.what:
            profiles.measure(postgres, options)
    finally:
        postgres.remove()


if __name__ == "__main__":
    main()
