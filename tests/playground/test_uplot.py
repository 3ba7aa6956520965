"""The copy of uPlot is what npm has under the version that is stated."""

import json
import re

from kit.gateway import ROOT
from running import PROGRAMS

HERE = ROOT / "gateway/web/playground"
PACKAGE = PROGRAMS / "node_modules" / "uplot"


def test_the_files_are_those_of_the_package():
    for name, original in (("uPlot.esm.js", "dist/uPlot.esm.js"), ("uPlot.min.css", "dist/uPlot.min.css"), ("uPlot.LICENSE", "LICENSE")):
        assert (HERE / name).read_bytes() == (PACKAGE / original).read_bytes(), name


def test_its_version_and_licence_are_stated():
    package = json.loads((PACKAGE / "package.json").read_text())
    stated = re.search(r"(\S+) ([0-9.]+), under the (\S+) licence", (HERE / "uPlot.md").read_text().replace("](https://github.com/leeoniya/uPlot)", ""))
    assert stated.groups() == ("[uPlot", package["version"], package["license"])
