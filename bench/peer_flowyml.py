"""What flowyml takes; run by the interpreter of its own environment, prints one line of JSON.

This file sees neither headwater nor the rest of the benchmarks, only its arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from typing import Any


def importing() -> float:
    """Seconds for `import flowyml`."""
    began = time.perf_counter()
    import flowyml  # noqa: F401 - the import is what is measured

    return time.perf_counter() - began


def steps(count: int, runs: int) -> list[float]:
    """Seconds for each step of a pipeline of `count` trivial steps; its web page is not started."""
    from flowyml import Pipeline, step

    def pipeline() -> Any:
        made = Pipeline("bench")
        first = step(outputs=["o0"], register=False, name="s0")(lambda: 1)
        made.add_step(first)
        for number in range(1, count):
            source = f"o{number - 1}"
            space: dict[str, Any] = {}
            exec(f"def s{number}({source}):\n    return {source} + 1", space)
            function = space[f"s{number}"]
            made.add_step(step(inputs=[source], outputs=[f"o{number}"], register=False)(function))
        return made

    taken = []
    for _ in range(runs + 1):
        made = pipeline()
        began = time.perf_counter()
        result = made.run(auto_start_ui=False)
        taken.append((time.perf_counter() - began) / count)
        if not result.success:
            raise SystemExit("the peer's pipeline failed")
    return taken[1:]


def datasets(path: str, shape: str, runs: int) -> list[float]:
    """Seconds for `Dataset.create` of the table in the CSV file at `path`, handed over as `shape`."""
    from flowyml import Dataset

    data = _loaded(path, shape)
    taken = []
    for number in range(runs + 1):
        copy = [dict(row) for row in data] if isinstance(data, list) else data.copy()
        began = time.perf_counter()
        Dataset.create(data=copy, name=f"frame-{number}")
        taken.append(time.perf_counter() - began)
    return taken[1:]


def _loaded(path: str, shape: str) -> Any:
    import numpy
    import pandas

    frame = pandas.read_csv(path, parse_dates=["at"] if shape == "mixed" else None)
    if shape == "array":
        return numpy.ascontiguousarray(frame.to_numpy())
    return frame.to_dict("records") if shape == "records" else frame


def ancestry(path: str, steps: int, reach: int, runs: int) -> dict[str, Any]:
    """Seconds for all ancestors of the end of a chain in flowyml's catalog, asked node by node.

    The catalog at `path` is filled on first use. It has no query for ancestry: one asks for an
    entry, then for each of its parents.
    """
    from flowyml.storage.catalog.backend import CatalogEntry
    from flowyml.storage.catalog.local_backend import LocalCatalogBackend

    fresh = not os.path.exists(path)
    catalog = LocalCatalogBackend(path + ".new" if fresh else path)
    if fresh:
        for number in range(steps):
            parents = [str(before) for before in range(max(0, number - reach), number)]
            catalog.register(
                CatalogEntry(
                    artifact_id=str(number),
                    name=f"artifact-{number}",
                    artifact_type="Dataset",
                    parent_ids=parents,
                )
            )
        os.rename(path + ".new", path)
        catalog = LocalCatalogBackend(path)
    taken, found = [], 0
    for _ in range(runs):
        began = time.perf_counter()
        found = len(_ancestors(catalog, str(steps - 1)))
        taken.append(time.perf_counter() - began)
    return {"seconds": taken, "nodes": found}


def _ancestors(catalog: Any, start: str) -> set[str]:
    seen, waiting = {start}, deque([start])
    while waiting:
        for parent in catalog.get(waiting.popleft()).parent_ids:
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return seen


def main() -> None:
    answer = os.dup(1)
    os.dup2(2, 1)
    functions = {"importing": importing, "steps": steps, "datasets": datasets, "ancestry": ancestry}
    result = functions[sys.argv[1]](**json.loads(sys.argv[2]))  # type: ignore[operator]
    os.write(answer, f"{json.dumps(result)}\n".encode())


if __name__ == "__main__":
    main()
