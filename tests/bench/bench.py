"""Measures the gateway beside its peers, interleaved: in every run each server does each work once, one after the other,
so that a machine that drifts drifts for all. Prints medians, spreads and ratios of the same run."""

import argparse
import json
import os
import pathlib
import sys

from kit.postgres import Postgres

import costs
import profiles
import report
from servers import BUILD, CPUS
from works import WORKS

RESULTS = BUILD / "bench.json"


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WORK",
                        help="what to measure (default: all works): " + ", ".join(work.name for work in WORKS) +
                        "; costs: against streams, channels, sets and workers, with plots; profile: where a saturated "
                        "core's time goes")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (5)")
    parser.add_argument("--seconds", type=int, help="measured in each work (4 or 10)")
    parser.add_argument("--servers", help="only these, by name, separated by commas: raw-single,raw,gateway,nchan,node")
    parser.add_argument("--plots", type=pathlib.Path, help="folder for the plots of `costs` (default: beside the build)",
                        default=BUILD / "plots")
    return parser.parse_args()


def chosen(options):
    known = {work.name for work in WORKS} | {"costs", "profile"}
    unknown = set(options.what) - known
    if unknown:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(known))}.")
    wanted = options.what or [work.name for work in WORKS]
    return [work for work in WORKS if work.name in wanted]


def measure(work, server, postgres, seconds):
    return work.run(lambda: server(postgres, work.channels), seconds or work.seconds)


def run_works(works, options, postgres):
    only = options.servers.split(",") if options.servers else None
    results = {work.name: {} for work in works}
    for number in range(options.runs):
        for work in works:
            for server in work.servers:
                if only and server.name not in only:
                    continue
                print(f"run {number + 1} of {options.runs}: {work.name}, {server.name}", file=sys.stderr, flush=True)
                row = measure(work, server, postgres, options.seconds)
                results[work.name].setdefault(server.name, []).append(row)
                RESULTS.write_text(json.dumps(results, indent=1))
    if works:
        print(report.table(works, results))


def main():
    options = arguments()
    works = chosen(options)
    postgres = Postgres(settings=("fsync=on",))
    try:
        postgres.start()
        print(f"{len(CPUS)} processors, kernel {os.uname().release}, load {os.getloadavg()[0]:.1f} at the start, "
              f"PostgreSQL {postgres.sql('show server_version')[0][0]}, {options.runs} interleaved runs\n", flush=True)
        run_works(works, options, postgres)
        if "costs" in options.what:
            costs.measure(postgres, options)
        if "profile" in options.what:
            profiles.measure(postgres, options)
    finally:
        postgres.remove()


if __name__ == "__main__":
    main()
