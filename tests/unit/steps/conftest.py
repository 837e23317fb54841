"""An emitter of its own for every test, on a memory sink, away from this process's environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater.emitter import MemorySink, Settings, configure, failures
from tests.support.recorded import Recorded


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """What the test emits; fails the test when headwater itself failed and nobody expected it."""
    for name in ("HEADWATER_PARENT", "HEADWATER_ROOT", "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID"):
        monkeypatch.delenv(name, raising=False)
    before = failures()
    recorded = Recorded(MemorySink())
    configure(Settings(project="crm"), recorded.sink)
    yield recorded
    configure(Settings(project="crm"), MemorySink())
    if not recorded.failures_expected:
        assert failures() == before
