"""The faults and bad inputs that such a gateway meets, each a row of a table: what is done, what users see, and that nothing
is lost. The rows stand in rows_*.py."""

import importlib
import pathlib

import pytest

from kit.gateway import Gateway, install_schema
from scene import ROWS, Scene, Template

for path in sorted(pathlib.Path(__file__).parent.glob("rows_*.py")):
    importlib.import_module(path.stem)


@pytest.fixture(scope="module")
def template():
    made = Template()
    yield made
    made.server.remove()


@pytest.fixture(scope="module")
def shared_gateway(postgres):
    install_schema(postgres.conninfo)
    gateway = Gateway("--postgres", postgres.conninfo, "--live", "t/**,listed", "--durable", "d/**", "--workers", "2",
                      "--log-level", "debug")
    try:
        yield gateway.wait_ready()
    finally:
        code = gateway.stop()
    assert code == 0, gateway.log_text()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_row(row, shared_gateway, postgres, template):
    scene = Scene(shared_gateway, postgres, template)
    try:
        if row.shared:
            scene.use_shared()
        row.run(scene)
        scene.witness.judge(row.stays, row.returns)
    finally:
        scene.close()


def test_the_table_is_whole():
    assert len(ROWS) >= 60
    assert all(row.does and row.sees for row in ROWS)
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
