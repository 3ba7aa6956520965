"""The playground in Chromium at 1,000 events a second: its long tasks and its frames, a column for each run."""

import os
import pathlib
import sys
import tempfile

TESTS = pathlib.Path(__file__).parent.parent
FIGURES = [("tasks over 50 ms", "tasks_over_50_ms"), ("the longest of these, ms", "longest_task_ms"),
           ("the page's thread is busy, %", "main_thread_percent"), ("frames", "frames"), ("frames dropped", "frames_dropped"),
           ("longest frame, ms", "longest_frame_ms"), ("rows in the document", "rows"), ("elements", "elements"),
           ("JavaScript heap, MiB", "heap_mib")]


def measure(options, gateway):
    sys.path += [str(TESTS / "playground"), str(TESTS / "client")]
    os.environ["EVENTGATE_BINARY"] = str(gateway)
    import smooth  # finds the gateway and its programs by the environment

    runs = []
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs}: playground", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            runs.append(smooth.measure(pathlib.Path(folder), options.seconds or 30))
    print(f"{runs[0]['events']:,} events in {runs[0]['seconds']} s, in Chromium without a graphics card; the browser "
          f"{'runs before whatever else the machine does' if smooth.has_priority() else 'has no priority here'}\n")
    print("| run | " + " | ".join(str(number + 1) for number in range(len(runs))) + " |\n|" + "---|" * (len(runs) + 1))
    for name, key in FIGURES:
        print(f"| {name} | " + " | ".join(f"{run[key]:,}" for run in runs) + " |")
