"""Tests of the browser client, gateway/web/eventgate.js: hooks and fixtures."""

from kit.long import pytest_addoption, pytest_collection_modifyitems  # noqa: F401
