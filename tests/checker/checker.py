"""The set checker: publishers and subscribers around one gateway, a fault every few seconds, and then the question for
every event and every subscriber whether it came once and in its order, and for every gap whether it had to be told."""

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time

import channels
import publishers
import subscribers
from faults import Faults
from judge import Judge
from kit.gateway import BINARY, Gateway
from kit.postgres import Postgres
from kit.proxy import Proxy
from kit.wait import until

# Least numbers of a run that proves something.
LEAST = {"events": 100_000, "faults": 15, "kinds of faults": 5, "exact resumes": 1, "gaps": 1}
# Not forked: the proxy's connections are this process's alone, so that a cut is a cut.
processes = multiprocessing.get_context("spawn")
OFFENCES = ("lost", "duplicated", "unordered", "phantom", "false gaps")


class World:
    def __init__(self, binary, sabotage):
        self.stack = contextlib.ExitStack()
        self.postgres = Postgres()
        self.stack.callback(self.postgres.remove)
        self.postgres.start()
        self.proxy = Proxy(self.postgres.socket)
        self.stack.callback(self.proxy.close)
        self.binary, self.sabotage = binary, sabotage
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        self.configuration = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()), "gateway.conf")
        self.configuration.write_text(channels.CONFIGURATION.format(
            conninfo=f"host=127.0.0.1 port={self.proxy.port} user=postgres dbname=postgres"))
        self.resets = processes.Value("i", 0)
        self.gateway = None
        self.start_gateway()
        self.stack.callback(lambda: self.gateway.stop())

    def start_gateway(self):
        variables = {"EVENTGATE_SABOTAGE": self.sabotage} if self.sabotage else {}
        self.gateway = Gateway("--config", str(self.configuration), listen="%s:%d" % self.address, binary=self.binary,
                               variables=variables)
        self.gateway.wait_ready()


def publish_markers(world, futures):
    """Marks every channel again and again, until every subscriber has seen the end of each of its channels."""
    rows = []
    number = 0

    def all_done():
        nonlocal number
        number += 1
        for channel in channels.ALL:
            sent_at = time.monotonic()
            world.postgres.notify(channel, f'{{"p":0,"n":{number}}}')
            rows.append((channel, number, sent_at, publishers.COMMITTED))
        return all(future.done() for future in futures)

    until(all_done, "every subscriber sees the markers", 90)
    return rows


def run(options):
    """Publishes, subscribes and breaks things for a while; returns the judge and the faults."""
    world = World(options.binary, options.sabotage)
    over, closing = processes.Event(), processes.Event()
    arguments = [(publishers.run, options.seed, world.postgres.conninfo, world.address, 4, 4, over)]
    arguments += [(subscribers.run, process, world.address, closing, world.resets) for process in range(2)]
    with world.stack, concurrent.futures.ThreadPoolExecutor(len(arguments)) as pool:
        publishing, *subscribing = [pool.submit(in_process, *call) for call in arguments]
        try:
            faults = Faults(world, options.seed)
            end = time.monotonic() + options.seconds
            pause = threading.Event()
            while time.monotonic() < end:
                pause.wait(options.every)
                faults.next()
                assert not any(future.done() for future in (publishing, *subscribing)), "somebody has given up"
            over.set()
            published = publishing.result()
            closing.set()
            published[0] = publish_markers(world, subscribing)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        told = {name: record for future in subscribing for name, record in future.result().items()}
    return Judge(published, told, faults.log).judge(), faults.log


def send_result(pipe, function, *arguments):
    pipe.send(function(*arguments))


def in_process(function, *arguments):
    """Calls the function in a process of its own, and returns what it returns."""
    near, far = processes.Pipe(duplex=False)
    process = processes.Process(target=send_result, args=(far, function, *arguments), daemon=True)
    process.start()
    far.close()
    try:
        return near.recv()
    except EOFError:
        raise RuntimeError(f"{function.__module__} has failed; see above") from None
    finally:
        process.join()


def report(judge, faults, options):
    committed = sum(outcome == publishers.COMMITTED for rows in judge.rows.values() for _, outcome in rows.values())
    kinds = {kind: sum(one[0] == kind for one in faults) for kind in sorted({one[0] for one in faults})}
    figures = {"events": committed, "deliveries": judge.counts["deliveries"], "subscribers": len(judge.told),
               "faults": len(faults), "kinds of faults": len(kinds), "exact resumes": judge.counts["exact"],
               "gaps": sum(judge.gaps.values())} | {kind: judge.counts[kind] for kind in OFFENCES}
    detail = {"faults": ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
              "gaps": ", ".join(f"{count} {reason}" for reason, count in sorted(judge.gaps.items()))}
    for name, value in figures.items():
        print(f"{name:>16} {value:>10,}   {detail.get(name, '')}")
    short = [f"{name}: {figures[name]:,}, at least {least:,} are needed" for name, least in LEAST.items()
             if figures[name] < least and not options.short]
    bad = any(judge.counts[kind] for kind in OFFENCES)
    for kind in OFFENCES:
        for offence in [one for one in judge.offences if one.kind == kind][:options.details]:
            print(f"  {kind}: {offence.subscriber}: {offence.text}")
    for sentence in short:
        print(f"  {sentence}")
    print("FAIL" if bad or short else "PASS", f"(seed {options.seed})", flush=True)
    if options.expect:
        print(f"{options.expect} was {'' if figures[options.expect] else 'NOT '}found")
        return 0 if bad and figures[options.expect] else 1
    return 1 if bad or short else 0


def main():
    parser = argparse.ArgumentParser(prog="tests/run checker", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are made (60)")
    parser.add_argument("--every", type=float, default=1.5, help="pause between two faults (1.5)")
    parser.add_argument("--seed", default=str(os.getpid()))
    parser.add_argument("--binary", default=BINARY, help="the gateway")
    parser.add_argument("--sabotage", help="how pg_eventgate_sabotaged breaks its promises: see sabotage.c")
    parser.add_argument("--expect", choices=OFFENCES, help="the run must fail, by this")
    parser.add_argument("--short", action="store_true", help="don't ask for 100,000 events and 15 faults")
    parser.add_argument("--details", type=int, default=3, help="offences of each kind to print (3)")
    options = parser.parse_args()
    judge, faults = run(options)
    sys.exit(report(judge, faults, options))


if __name__ == "__main__":
    main()
