"""How smooth the playground is at 1,000 events a second: measure.mjs, with a stage of its own.

Where that is allowed the browser runs before whatever else the machine has to do (SCHED_RR), so that the page is measured
and not its neighbours.
"""

import json
import os
import shutil
import subprocess

from kit.chromium import chromium
from running import PROGRAMS
from stage import Control, Stage

FIRST = ["chrt", "-r", "1"]


def has_priority():
    return bool(shutil.which(FIRST[0])) and subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode == 0


def measure(folder, seconds):
    """What measure.mjs prints, as a dictionary."""
    stage = Stage(folder)
    try:
        with Control(stage) as control:
            variables = {"STAGE": f"http://127.0.0.1:{control.server_port}", "BROWSER": chromium()}
            command = ["node", str(PROGRAMS / "measure.mjs"), str(seconds)]
            done = subprocess.run(FIRST * has_priority() + command, text=True, check=True, stdout=subprocess.PIPE, env=os.environ | variables)
            control.shutdown()
    finally:
        stage.close()
    return json.loads(done.stdout)
