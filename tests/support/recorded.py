"""What an emitter put into a memory sink, read back as a consumer of the log would read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from headwater.emitter.sinks import MemorySink
from headwater.schemas import events as facts
from headwater.schemas.events import AssetRef
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise

E = TypeVar("E")


class Recorded:
    """The events of a sink, parsed and recognised; every value must be one of ours."""

    def __init__(self, sink: MemorySink) -> None:
        self.sink = sink
        self.failures_expected = False

    @property
    def events(self) -> list[facts.Event]:
        found = [recognise(parse(value)) for value in self.sink.values]
        assert all(found), "an event of ours was not recognised"
        return [event for event in found if event is not None]

    def of(self, kind: type[E], job: str | None = None) -> list[E]:
        """The events of a kind, of the job named `job` where that is given."""
        return [e for e in self.events if isinstance(e, kind) and (job is None or _job(e) == job)]

    def one(self, kind: type[E], job: str | None = None) -> E:
        found = self.of(kind, job)
        assert len(found) == 1, f"{len(found)} of {kind.__name__}: {self.story()}"
        return found[0]

    def consumed(self, job: str) -> list[AssetRef]:
        return [event.asset for event in self.of(facts.AssetConsumed, job)]

    def created(self, job: str) -> list[facts.Asset]:
        return [event.asset for event in self.of(facts.AssetCreated, job)]

    def story(self) -> list[str]:
        """The events as short lines, in the order in which they were emitted."""
        return [_line(event) for event in self.events]


def names(assets: Iterable[AssetRef | facts.Asset]) -> list[str]:
    return [asset.name for asset in assets]


def _job(event: object) -> str | None:
    run = getattr(event, "run", None)
    return run.job.name if isinstance(run, facts.Run) else None


def _line(event: facts.Event) -> str:
    asset = getattr(event, "asset", None)
    return f"{type(event).__name__} {_job(event)}{f' {asset.name}' if asset else ''}"
