"""What a test needs and a machine may lack: the test skips and says what, and fails where CI is set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import postgres


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def lacking(reason: str) -> NoReturn:
    """Ends the test: here it cannot tell anything, and CI must not take that for success."""
    if in_ci():
        pytest.fail(f"CI must not skip: {reason}", pytrace=False)
    pytest.skip(reason)


def server() -> postgres.Server:
    """The server that `postgres.start` finds."""
    try:
        return postgres.start()
    except postgres.Unavailable as problem:
        lacking(f"no PostgreSQL: {problem}")


def cluster(binaries: Path | None = None) -> postgres.Cluster:
    """A throwaway cluster of the test's own, which it may kill; of `binaries` where they are given."""
    try:
        return postgres.start_cluster(binaries)
    except postgres.Unavailable as problem:
        lacking(f"no PostgreSQL of our own: {problem}")
