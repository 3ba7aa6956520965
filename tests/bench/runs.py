"""Runs works interleaved: in every run each server does each work once, one after the other, so that a machine that drifts
drifts for all."""

import json
import sys

import report


def run_works(works, options, postgres, columns, path):
    """Prints their table, and keeps what was measured at `path`."""
    only = options.servers.split(",") if options.servers else None
    results = {work.name: {} for work in works}
    for number in range(options.runs):
        for work in works:
            for server in work.servers:
                if only and server.name not in only:
                    continue
                print(f"run {number + 1} of {options.runs}: {work.name}, {server.name}", file=sys.stderr, flush=True)

                def make(server=server, work=work):
                    return server(postgres, work.channels)

                row = work.run(make, options.seconds or work.seconds)
                results[work.name].setdefault(server.name, []).append(row)
                path.write_text(json.dumps(results, indent=1))
    if works:
        print(report.table(works, results, columns))
