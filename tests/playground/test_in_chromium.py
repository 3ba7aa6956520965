"""The playground in Chromium, as the gateway serves it."""

import pytest

from kit.chromium import chromium
from running import run


@pytest.mark.parametrize("program", ["controls.test.mjs", "events.test.mjs", "faults.test.mjs", "everybody.test.mjs"])
def test_in_chromium(tmp_path, program):
    run(tmp_path, program, BROWSER=chromium())
