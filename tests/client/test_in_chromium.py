"""gateway/web/eventgate.js in Chromium, as the gateway serves it."""

from kit.chromium import chromium
from running import run


def test_in_chromium(tmp_path):
    run(tmp_path, "chromium.test.mjs", BROWSER=chromium())
