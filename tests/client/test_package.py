"""The npm package of the same file, and its types."""

import json
import re
import subprocess

import pytest

from kit.gateway import ROOT
from running import HERE, PROGRAMS, WEB


def test_it_installs_and_imports(tmp_path):
    packed = subprocess.run(["npm", "pack", "--json", "--pack-destination", tmp_path, WEB], text=True, check=True,
                            capture_output=True)
    (package,) = json.loads(packed.stdout)
    files = {each["path"] for each in package["files"]}
    assert files == {"eventgate.js", "eventgate.d.ts", "package.json", "README.md"}
    (tmp_path / "package.json").write_text('{"private": true}')
    install = ["npm", "install", "--offline", "--no-audit", "--no-fund", tmp_path / package["filename"]]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    code = 'import { EventGate } from "pg-eventgate"; console.log(typeof new EventGate("http://127.0.0.1:1").on)'
    done = subprocess.run(["node", "--input-type=module", "-e", code], cwd=tmp_path, text=True, check=True,
                          capture_output=True)
    assert done.stdout == "function\n"


def test_one_version():
    project = re.search(r"project\(pg_eventgate VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert json.loads((WEB / "package.json").read_text())["version"] == project
    assert f'const VERSION = "{project}";' in (WEB / "eventgate.js").read_text()


@pytest.mark.long
def test_types(tmp_path):
    """The types allow what the README shows, and find mistakes."""
    text = (HERE / "types.test.ts").read_text().replace("../../gateway/web", str(WEB))
    (tmp_path / "types.test.ts").write_text(text)
    compile_it = [PROGRAMS / "node_modules" / ".bin" / "tsc", "--noEmit", "--strict", "--target", "es2022", "--module",
                  "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", tmp_path / "types.test.ts"]
    done = subprocess.run(compile_it, text=True, check=False, capture_output=True)
    assert done.returncode == 0, done.stdout
