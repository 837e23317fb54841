"""Runs the steps that it is told to, one after the other, and says of each what came out.

    python -m headwater.consumers.remaking REPORT     reads a request, JSON, from standard input

The report is written to the file REPORT after each step, so that it tells how far things came
whatever happens to this process. Values go from step to step in memory; the first step that
cannot be run, or whose outputs are not the recorded ones where others need them, is the last.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from headwater.consumers.remaking import surroundings
from headwater.consumers.remaking.arguments import call_of
from headwater.consumers.remaking.functions import step_function
from headwater.consumers.remaking.loading import loaded
from headwater.consumers.remaking.refusing import Refused
from headwater.emitter import MemorySink, configure, pipeline
from headwater.emitter.assets import Asset
from headwater.emitter.following import FOLLOWED
from headwater.emitter.settings import Settings, load
from headwater.emitter.tracking import tracker
from headwater.emitter.walking import inputs_in
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise

Document: TypeAlias = dict[str, Any]
#: Namespace, name and version of what a step made.
Key: TypeAlias = tuple[str, str, str]


def main(report: Path, request: Mapping[str, Any]) -> None:
    """Run what `request` asks for. Output of the steps goes to standard error."""
    sink = MemorySink()
    configure(_settings(), sink)
    said: list[Document] = []
    work = _Work(sink, request["folders"], request["policy"])
    with pipeline("reproduction") as outer:
        for step in request["steps"]:
            found = work.remake(step, outer.id)
            said.append(found)
            _write(report, {"steps": said})
            if found["refused"] or found["error"] or found["differs"]:
                break
    _write(report, {"steps": said, "done": True})


def _settings() -> Settings:
    """The project's, for what they say of verifying inputs; none of them leads to its log."""
    try:
        return load()
    except Misconfigured:
        return Settings()


def _write(report: Path, document: Document) -> None:
    part = report.with_suffix(".part")
    part.write_text(json.dumps(document, default=str), encoding="utf-8")
    part.replace(report)


class _Work:
    """The steps of one request, and what they made so far."""

    def __init__(self, sink: MemorySink, folders: list[str], policy: str) -> None:
        self._sink = sink
        self._folders = folders
        self._policy = policy
        self._made: dict[tuple[str, Key], Any] = {}

    def remake(self, step: Document, scope: str) -> Document:
        found: Document = {
            "run_id": step["run_id"],
            "refused": [],
            "caveats": [],
            "error": None,
            "ran": False,
            "outputs": [],
            "differs": [],
        }
        try:
            function, call = self._prepared(step, found)
            if call is not None:
                self._run(step, function, call, scope, found)
        except Refused as refusal:
            found["refused"].append(refusal.said)
        return found

    def _prepared(self, step: Document, found: Document) -> tuple[Callable[..., Any], Any]:
        """The function and its arguments, which are None when something speaks against the call."""
        recorded = step["environment"]
        if self._policy == "strict":
            found["refused"] += surroundings.environment_reasons(recorded, self._policy)
        code = step["code"]
        function = step_function(code["function"], code["path"], self._folders, step["name"])
        found["refused"] += surroundings.code_reasons(function, code, self._policy)
        found["caveats"] += surroundings.code_caveats(function, code)
        if self._policy != "strict":
            found["refused"] += surroundings.environment_reasons(recorded, self._policy)
        # All that is missing is told at once, so the arguments are put together all the same.
        with pipeline("inputs", project=step["project"]):
            assets = dict(self._assets(step["arguments"], found))
        call = call_of(function, assets, step["parameters"])
        return function, None if found["refused"] else call

    def _assets(self, arguments: Iterable[Document], found: Document) -> Iterator[tuple[str, Any]]:
        for wanted in arguments:
            try:
                yield wanted["place"], self._asset(wanted)
            except Refused as refusal:
                found["refused"].append(refusal.said)
                yield wanted["place"], None

    def _asset(self, wanted: Document) -> Any:
        if wanted["from"] is None:
            return loaded(wanted)
        key = (wanted["namespace"], wanted["name"], wanted["version"])
        if (wanted["from"], key) not in self._made:
            raise Refused(
                what=f"the input {wanted['name']}",
                reason="the step that made it was run again, and did not return it",
                remedy="let the step return what others read",
            )
        return self._made[wanted["from"], key]

    def _run(
        self, step: Document, function: Callable[..., Any], call: Any, scope: str, found: Document
    ) -> None:
        before = len(self._sink.values)
        with pipeline("step", project=step["project"]) as around:
            try:
                found["ran"] = True
                result = _exhausted(function(*call.args, **call.kwargs))
            except BaseException as error:  # noqa: BLE001 - whatever a step raises is the answer
                traceback.print_exc()
                found["error"] = {"type": type(error).__qualname__, "message": str(error)[:2_000]}
                return
        outputs = list(_outputs(self._sink.values[before:], around.id))
        del self._sink.values[before:]
        found["outputs"] = [_told(output) for output in outputs]
        found["caveats"] += surroundings.environment_caveats(step["environment"])
        self._keep(step["run_id"], result, scope)
        made = {(output.namespace, output.name, output.version) for output in outputs}
        found["differs"] = [list(key) for key in step["needed"] if tuple(key) not in made]

    def _keep(self, run_id: str, result: Any, scope: str) -> None:
        """What the step returned, under the versions that it was recorded as."""
        for _, value in inputs_in("result", result):
            ref = value.ref if isinstance(value, Asset) else _known(value, scope)
            if ref is not None:
                self._made.setdefault((run_id, (ref.namespace, ref.name, ref.version or "")), value)


def _known(value: Any, scope: str) -> events.AssetRef | None:
    known = tracker.recall(value)
    if known is None and isinstance(value, (dict, list)):
        known = tracker.recall_value(scope, value)
    if known is None and isinstance(value, os.PathLike):
        known = tracker.recall_file(value)
    return None if known is None else known.ref


def _exhausted(result: Any) -> Any:
    """What the step returned; of one that yields, all that it yielded."""
    if inspect.iscoroutine(result):
        return asyncio.run(_awaited(result))
    if inspect.isasyncgen(result):
        return asyncio.run(_collected(result))
    return list(result) if type(result) in FOLLOWED else result


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


async def _collected(items: Any) -> list[Any]:
    return [item async for item in items]


def _outputs(values: Iterable[bytes], above: str) -> Iterator[events.Asset]:
    """What the first step below the run `above` wrote, as it was recorded."""
    run_id = None
    for value in values:
        fact = recognise(parse(value))
        if (
            run_id is None
            and isinstance(fact, events.StepStarted)
            and fact.parent
            and fact.parent.id == above
        ):
            run_id = fact.run.id
        if isinstance(fact, events.AssetCreated) and fact.run.id == run_id:
            yield fact.asset


def _told(output: events.Asset) -> Document:
    statistics = output.statistics
    sizes = {
        "row_count": statistics.row_count if statistics else None,
        "size": statistics.size if statistics else None,
        "file_count": statistics.file_count if statistics else None,
    }
    details = {
        name.removeprefix("headwater_"): dict(body)
        for name, body in output.details.items()
        if name in ("headwater_model", "headwater_metrics", "headwater_dataset")
    }
    return {
        "namespace": output.namespace,
        "name": output.name,
        "version": output.version,
        "type": output.type,
        "location": output.location,
        "columns": list(_columns(output.columns)),
        "statistics": {key: value for key, value in sizes.items() if value is not None},
        "metrics": {name: dict(found) for name, found in output.column_metrics.items()},
        "details": details,
    }


def _columns(columns: Iterable[events.Column], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for column in columns:
        yield f"{prefix}{column.name}", column.type
        yield from _columns(column.fields, f"{prefix}{column.name}.")


if __name__ == "__main__":
    # Whatever a step prints must not mix with the answer of the command that asked.
    asked = json.load(sys.stdin)
    os.dup2(2, 1)
    sys.path[:0] = [folder for folder in asked["paths"] if folder not in sys.path]
    main(Path(sys.argv[1]), asked)
