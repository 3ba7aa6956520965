"""Tests that take a minute or more run only with --long: hooks for a conftest.py to import."""


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take a minute, too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long", False):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
    items[:] = [item for item in items if not item.get_closest_marker("long")]
