"""What is recalled and what was made from it, computed slowly from the reference tables.

Nothing of the product's is used: every input is followed, every statement is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from tests.replay.binding import Bound
from tests.replay.rows import Tables

#: A production's id, or (dataset, version) of what was read and nobody is known to have written.
Stop: TypeAlias = bytes | tuple[bytes, bytes | None]


class Tainted:
    """The recalls that hold (as of a time), and what descends from what."""

    def __init__(self, tables: Tables, as_of: int | None = None) -> None:
        self.bound = Bound(tables, as_of)
        self._group = {d["dataset_id"]: d["group_id"] for d in tables.named("dataset")}
        self._text = {v["version_id"]: v["version"] for v in tables.named("version")}
        said = [g for g in tables.named("governance") if g["kind"] == "recall"]
        said = [g for g in said if as_of is None or g["at"] <= as_of]
        last: dict[tuple[bytes, Any], dict[str, Any]] = {}
        for word in sorted(said, key=lambda g: (g["at"], g["event_id"])):
            last[self._subject(word["dataset_id"], word["version_id"])] = word
        self.standing = {subject: word for subject, word in last.items() if not word["withdrawn"]}
        self.sources = {id: self._sources(id) for id in self.bound.outputs}

    def _subject(self, dataset: bytes, version: bytes | None) -> tuple[bytes, Any]:
        """The asset under all its names, and the version's text; its id where no text names it."""
        return self._group[dataset], None if version is None else self._text.get(version, version)

    def is_recalled(self, stop: Stop) -> bool:
        if isinstance(stop, bytes):
            output = self.bound.outputs.get(stop)
            if output is None:
                return False
            stop = (output["dataset_id"], output["version_id"])
        dataset, version = stop
        own = version is not None and self._subject(dataset, version) in self.standing
        return own or (self._group[dataset], None) in self.standing

    def _sources(self, production: bytes) -> set[Stop]:
        return self._stops(self.bound.read_for(production)) - {production}

    def _stops(self, read: Iterable[dict[str, Any]]) -> set[Stop]:
        """What the inputs `read` are bound to."""
        found: set[Stop] = set()
        for row in read:
            bound = self.bound.resolved.get(Bound.key(row))
            if bound is None:
                continue
            found |= bound.later
            if bound.production is not None and bound.production in self.bound.outputs:
                found.add(bound.production)
            elif not bound.dropped:  # of a production that the log has not shown, its content
                found.add((row["dataset_id"], row["version_id"]))
        return found

    def written(self) -> list[bytes]:
        """The productions; what a DatasetEvent says without a version writes nothing (R26)."""
        kinds = {id: self.bound.runs[output["run_id"]]["kind"] for id, output in self.bound.outputs.items()}
        outputs = self.bound.outputs
        return [id for id in outputs if kinds[id] != 2 or outputs[id]["published_at"] is not None]

    def above(self, stop: Stop) -> set[Stop]:
        """Everything that went into it, however far up; itself when it is in a circle."""
        found: set[Stop] = set()
        waiting = [stop]
        while waiting:
            here = waiting.pop()
            for source in self.sources.get(here, ()) if isinstance(here, bytes) else ():
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found

    def descends(self, production: bytes) -> bool:
        return any(self.is_recalled(stop) for stop in self.above(production))

    def is_marked(self, run: bytes) -> tuple[bool, bool]:
        """Whether a run wrote something recalled; whether it read such a thing, or what was made from one."""
        wrote = {id for id in self.written() if self.bound.outputs[id]["run_id"] == run}
        read = self._stops(row for row in self.bound.inputs if row["run_id"] == run)
        above = read.union(*(self.above(stop) for stop in read))
        return any(map(self.is_recalled, wrote)), any(map(self.is_recalled, above))

    def reads_itself(self, run: bytes) -> bool:
        """Whether it read what it wrote itself."""
        read = self._stops(row for row in self.bound.inputs if row["run_id"] == run)
        known = (self.bound.outputs.get(stop) for stop in read if isinstance(stop, bytes))
        return any(output is not None and output["run_id"] == run for output in known)

    def met(self, stop: Stop) -> set[int]:
        """When the recalls were stated that hold for `stop`, or for what it was made of."""
        stops = {stop, *self.above(stop)}
        return {word["at"] for subject, word in self.standing.items() if self.of_subject(subject) & stops}

    def below(self, starts: set[Stop]) -> set[bytes]:
        """Every production that one of `starts` went into, without the starts."""
        return {id for id in self.bound.outputs if id not in starts and self.above(id) & starts}

    def copies(self, production: bytes) -> set[Stop]:
        """All productions of the same content."""
        output = self.bound.outputs[production]
        if not output["versioned"]:
            return {production}
        subject = self._subject(output["dataset_id"], output["version_id"])
        return {
            id
            for id, other in self.bound.outputs.items()
            if other["versioned"] and self._subject(other["dataset_id"], other["version_id"]) == subject
        }

    def of_subject(self, subject: tuple[bytes, Any]) -> set[Stop]:
        """Everything a recall is about: productions, and what was read that nobody wrote."""
        stops: set[Stop] = {*self.bound.outputs, *(s for found in self.sources.values() for s in found)}
        return {stop for stop in stops if self._is_of(stop, subject)}

    def _is_of(self, stop: Stop, subject: tuple[bytes, Any]) -> bool:
        if isinstance(stop, bytes):
            output = self.bound.outputs.get(stop)
            if output is None:
                return False
            stop = (output["dataset_id"], output["version_id"])
        group, content = self._subject(*stop)
        return group == subject[0] and (subject[1] is None or content == subject[1])
