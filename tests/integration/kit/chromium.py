"""Where Chromium is."""

import glob

import pytest

BROWSERS = ["/usr/lib/chromium/chromium", "/usr/bin/chromium", "/opt/google/chrome/chrome", "/usr/bin/google-chrome*"]


def chromium():
    found = [path for pattern in BROWSERS for path in glob.glob(pattern)]
    if not found:
        pytest.skip("no Chromium here: install the package chromium, or google-chrome-stable on Ubuntu")
    return found[0]
