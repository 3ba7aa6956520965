"""The set checker: publishers and subscribers around gateways, a fault every few seconds, and then the question for every
event and every subscriber whether it came once and in its order, and for every gap whether it had to be told."""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import threading
import time

import connects
import publishers
import subscribers
from judge import OFFENCES, Verdict, look_at_answers
from kit.gateway import BINARY
from scene_durable import DurableWorld
from scene_live import LiveWorld
from world import processes

EXPECTED_S = 120


def run(world, options):
    """Publishes, subscribes and breaks things for a while; returns what was published, told and broken."""
    over = processes.Event()
    arguments = [(publishers.run, options.seed, world.publishers(), over, world.acknowledged)]
    arguments += [(subscribers.run, number, people, world.addresses, world.signals, world.gauges[number])
                  for number, people in enumerate(world.cast())]
    arguments += [(connects.run, world.addresses, over, world.connects)] if options.connects else []
    with concurrent.futures.ThreadPoolExecutor(len(arguments)) as pool:
        publishing, *subscribing = futures = [pool.submit(in_process, *call) for call in arguments]
        connecting = subscribing.pop() if options.connects else None
        try:
            faults = make_faults(world, options, futures)
            over.set()
            published, refusals, unanswered = publishing.result()
            unanswered += connecting.result() if connecting else []
            world.settle()
            world.signals.closing.set()
            published[0] = world.publish_markers(lambda: all(future.done() for future in subscribing))
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        told = {name: record for future in subscribing for name, record in future.result().items()}
    world.look()
    world.refusals += refusals
    world.unanswered += unanswered
    return published, told, faults


def make_faults(world, options, futures):
    faults = world.Faults(world, options.seed, options.faults.split(",") if options.faults else None)
    end = time.monotonic() + options.seconds
    least = max(options.rounds * len(faults.kinds), 0 if options.short else world.LEAST.get("faults", 0))
    pause = threading.Event()
    while time.monotonic() < end or len(faults.log) < least:  # on a slow machine it takes longer
        pause.wait(options.every)
        faults.next()
        for future in futures:
            assert not future.done(), f"somebody has given up: {future.exception()}"
    return faults.log


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


def report(verdict, events, told, faults, least, options):
    """Prints the figures; returns the exit code."""
    kinds = {kind: sum(one.kind == kind for one in faults) for kind in sorted({one.kind for one in faults})}
    figures = {"events": events, "deliveries": verdict.counts["deliveries"], "subscribers": len(told),
               "faults": len(faults), "kinds of faults": len(kinds), "exact resumes": verdict.counts["exact"],
               "gaps": sum(verdict.gaps.values())} | {kind: verdict.counts[kind] for kind in OFFENCES}
    detail = {"faults": ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
              "gaps": ", ".join(f"{count} {reason}" for reason, count in sorted(verdict.gaps.items()))}
    for name, value in figures.items():
        print(f"{name:>16} {value:>10,}   {detail.get(name, '')}")
    known = figures | {f"gaps {reason}": count for reason, count in verdict.gaps.items()}
    short = [f"{name}: {known.get(name, 0):,}, at least {count:,} are needed" for name, count in least.items()
             if known.get(name, 0) < count and not options.short]
    bad = any(verdict.counts[kind] for kind in OFFENCES)
    for kind in OFFENCES:
        for offence in [one for one in verdict.offences if one.kind == kind][:options.details]:
            print(f"  {kind}: {offence.subscriber}: {offence.text}")
    for sentence in short:
        print(f"  {sentence}")
    print("FAIL" if bad or short else "PASS", f"(seed {options.seed})", flush=True)
    if options.expect:
        print(f"{options.expect} was {'' if figures[options.expect] else 'NOT '}found")
        return 0 if bad and figures[options.expect] else 1
    return 1 if bad or short else 0


def arguments():
    parser = argparse.ArgumentParser(prog="tests/run checker|durable", description=__doc__)
    parser.add_argument("--durable", action="store_true", help="durable channels, on two gateways")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are made, at least (60)")
    parser.add_argument("--rounds", type=int, default=0, help="at least so many faults of each kind (0)")
    parser.add_argument("--every", type=float, default=1.5, help="pause between two faults (1.5)")
    parser.add_argument("--faults", help="only these, separated by commas")
    parser.add_argument("--connects", action="store_true", help="beside it clients that come for one answer each")
    parser.add_argument("--seed", default=str(os.getpid()))
    parser.add_argument("--binary", default=BINARY, help="the gateway")
    parser.add_argument("--sabotage", help="how pg_eventgate_sabotaged breaks its promises: see sabotage.c")
    parser.add_argument("--expect", choices=OFFENCES, help="the run must fail, by this")
    parser.add_argument("--short", action="store_true", help="don't ask for the least numbers of events and faults")
    parser.add_argument("--details", type=int, default=3, help="offences of each kind to print (3)")
    return parser.parse_args()


def once(options):
    world = (DurableWorld if options.durable else LiveWorld)(options)
    with world.stack:
        published, told, faults = run(world, options)
    verdict = Verdict().tally(told)
    events = world.judge(verdict, published, told, faults)
    look_at_answers(verdict, world.unanswered, told, faults)
    if options.connects:
        print(f"{'connects':>16} {world.connects.value:>10,}")
    return report(verdict, events, told, faults, world.LEAST, options)


def main():
    """What is expected may not have happened in one run: then it is tried again."""
    options = arguments()
    deadline = time.monotonic() + EXPECTED_S
    code = once(options)
    while code and options.expect and time.monotonic() < deadline:
        code = once(options)
    sys.exit(code)


if __name__ == "__main__":
    main()
