"""The pgTAP files of tests/sql, each in a database of its own."""

import pathlib
import re

import pytest

from kit.schema import Database

FILES = sorted((pathlib.Path(__file__).parents[1] / "sql").glob("*.sql"))


@pytest.fixture(scope="module")
def template(postgres):
    database = Database(postgres, name="pgtap")
    database.sql("create extension pgtap schema public")
    yield database
    database.drop()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_pgtap(postgres, template, file):
    database = Database(postgres, template=template.name)
    try:
        output = postgres.run("psql", "-X", "-d", database.conninfo, "-q", "-A", "-t", "--set=ON_ERROR_STOP=1",
                              "--pset=pager=off", "-f", "-", text=file.read_text())  # its user may not see the file
    finally:
        database.drop()
    failed = re.findall(r"^(?:not ok|# Looks like|Bail out).*(?:\n#.*)*", output, re.MULTILINE)
    assert not failed, "\n".join(failed)
    assert re.search(r"^ok ", output, re.MULTILINE) and re.search(r"^1\.\.[1-9]", output, re.MULTILINE), output
