"""The playground's modules that need no page, in Node."""

import os
import subprocess

from kit.gateway import ROOT
from running import PROGRAMS


def test_in_node():
    done = subprocess.run(["node", "--test", "--test-reporter=spec", str(PROGRAMS / "history.test.mjs")], text=True, check=False,
                          capture_output=True, env=os.environ | {"PLAYGROUND": str(ROOT / "gateway/web/playground")})
    assert done.returncode == 0, done.stdout + done.stderr
