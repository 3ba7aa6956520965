"""The README names the tests that prove what it guarantees."""

import re

from kit.gateway import ROOT


def test_the_tests_that_it_names_exist():
    readme = (ROOT / "README.md").read_text()
    chapter = readme[readme.index("## What is guaranteed"):readme.index("## Performance")]
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", chapter))
    there = {name for path in ROOT.glob("tests/integration/test_*.py")
             for name in re.findall(r"^def (test_[a-z0-9_]+)", path.read_text(), re.MULTILINE)}
    assert named and named <= there, named - there
    files = re.findall(r"`(tests/sql/[a-z]+\.sql)`", chapter)
    assert files and all((ROOT / file).is_file() for file in files), files
