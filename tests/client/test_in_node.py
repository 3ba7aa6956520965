"""gateway/web/eventgate.js in Node."""

from running import run


def test_in_node(tmp_path):
    run(tmp_path, "node.test.mjs")
