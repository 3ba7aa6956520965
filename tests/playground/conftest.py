"""Tests of the playground, gateway/web/index.html: hooks, and the stage of the browser client's tests."""

import pathlib
import sys

from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401

sys.path.append(str(pathlib.Path(__file__).parent.parent / "client"))
