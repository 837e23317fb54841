"""import: how long a step's program waits for us before its first line, beside two peers.

Each value is one fresh process; its interpreter's own start is not counted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.emit import CLIENT
from bench.isolated import ROOT, run
from bench.rows import Figure
from bench.scale import Scale

BUDGET_MS = 120.0

_BARE = "import headwater.emitter"
_ALL = "from headwater.emitter import *"
_CLIENT = "from openlineage.client import OpenLineageClient, event_v2, facet_v2"
_FIRST = """
from headwater.emitter import pipeline, step, Artifact
@step
def make() -> Artifact:
    return Artifact.create({"a": 1}, name="thing")
with pipeline("first", project="bench"):
    make()
"""


def figures(scale: Scale) -> Iterator[Figure]:
    taken: dict[str, list[float]] = {program: [] for program in (_BARE, _ALL, _CLIENT, _FIRST)}
    flowyml = list[float]()
    for number in range(scale.imports + 1):
        for program, values in taken.items():
            milliseconds = _milliseconds(program)
            if number:  # the first one warms the page cache and writes the byte code
                values.append(milliseconds)
        if number <= 5:
            flowyml.append(peers.FLOWYML.call("importing") * 1e3)
    fixture = (
        "a fresh process each, modules in the page cache, byte code written; Python's own start excluded"
    )
    for name, program, budget, peer, theirs in (
        ("import:emitter", _BARE, BUDGET_MS, peers.FLOWYML.title, flowyml[1:] or flowyml),
        ("import:every-name", _ALL, BUDGET_MS, CLIENT, taken[_CLIENT]),
        ("import:first-step", _FIRST, None, None, []),
    ):
        yield Figure(
            name=name,
            unit="ms",
            values=taken[program],
            budget=budget,
            peer=peer,
            peer_values=theirs,
            fixture=fixture,
            note=_NOTES[name],
        )


_NOTES = {
    "import:emitter": "`import headwater.emitter` alone: its names are fetched when they are used",
    "import:every-name": "`from headwater.emitter import *`: all of it; the peer's client, events, facets",
    "import:first-step": "until a first pipeline with one step is in the log, imports and git included",
}


def _milliseconds(program: str) -> float:
    timed = f"import time; began = time.perf_counter()\n{program}\nprint((time.perf_counter() - began) * 1e3)"
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        path = f"{ROOT}/emitter:{ROOT}/schemas"
        # The first step finds the repository's own git, as a project's would be found.
        log = str(Path(folder) / "log")
        value: float = run([sys.executable, "-c", timed], ROOT, PYTHONPATH=path, HEADWATER_LOG=log)
        return value
