"""Databases for the tests of a whole module; those for one test are fixtures (`tests/conftest.py`)."""

from __future__ import annotations

import pytest


def empty_url(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> str:
    """Of an empty database of the kind that the fixture is parametrised with: sqlite or postgresql."""
    if request.param == "sqlite":
        return f"sqlite:///{folders.mktemp('store') / 'lineage.db'}"
    url: str = request.getfixturevalue("postgres_server").create()
    return url
