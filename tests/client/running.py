"""Runs tests in JavaScript, which have a stage do what happens to the gateway."""

import os
import pathlib
import subprocess

from kit.gateway import ROOT
from stage import Control, Stage

HERE = pathlib.Path(__file__).parent
PROGRAMS = pathlib.Path(os.environ.get("EVENTGATE_CLIENT_PROGRAMS") or HERE)
WEB = ROOT / "gateway" / "web"


def run(folder, program, **more):
    """All tests of one file; what failed is told in their own words."""
    stage = Stage(folder)
    try:
        with Control(stage) as control:
            variables = {"STAGE": f"http://127.0.0.1:{control.server_port}", "CLIENT": str(WEB / "eventgate.js")} | more
            done = subprocess.run(["node", "--test", "--test-reporter=spec", str(PROGRAMS / program)], text=True,
                                  check=False, capture_output=True, timeout=300, env=os.environ | variables)
            control.shutdown()
    finally:
        stage.close()
    assert done.returncode == 0, done.stdout + done.stderr
