"""The demo's two runs and which of their models is the best, asked through the Python interface.

The demo's pipeline and its names are all that is assumed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.consumers import Lineage
from headwater.consumers.answers import AssetDetails, RunDetails, Written
from headwater.consumers.demo.patients import ASSET, CLEANED
from headwater.schemas.errors import Rejected

PIPELINE = "progression"

_EVALUATION = ".evaluation"


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the pipeline: what it was told, what it read, how good its models are."""

    run_id: str
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, float]]

    @property
    def best(self) -> str:
        """The name of the model that explains most."""
        return max(self.metrics, key=lambda model: self.metrics[model]["r2"])

    def named(self, asset: str) -> str:
        """`asset` as this run wrote it, in a text that commands understand."""
        return f"{asset}@{shortened(self.versions[asset])}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the demo tells of both: `best` and `wrong` are texts that commands understand.

    `unchanged` says that cleaning changed nothing in the run of the best model.
    """

    best: str
    which: str
    wrong: str
    unchanged: bool


def findings(store: str) -> Findings:
    """Which model is the best of all in `store`, and what went wrong."""
    first, second = trials(store)
    trial = max((first, second), key=lambda trial: trial.metrics[trial.best]["r2"])
    return Findings(
        best=trial.named(trial.best),
        which="first" if trial is first else "second",
        wrong=first.named(ASSET),
        unchanged=trial.versions[ASSET] == trial.versions[CLEANED],
    )


def trials(store: str) -> tuple[Trial, Trial]:
    """Both runs, in the order in which they happened; raises `Rejected` when it is not two that completed."""
    with Lineage(store) as lineage:
        found = lineage.runs(job=PIPELINE, state="COMPLETE")
        if len(found) != 2:
            raise Rejected(f"the store has {len(found)} complete runs of {PIPELINE}, and not two")
        return _trial(lineage, found[1].id), _trial(lineage, found[0].id)


def _trial(lineage: Lineage, run_id: str) -> Trial:
    run = _run(lineage, run_id)
    written = [output for step in run.children for output in _run(lineage, step.id).outputs]
    return Trial(
        run_id=run_id,
        parameters=run.parameters,
        versions={output.name: output.version or "" for output in written},
        metrics={
            output.name.removesuffix(_EVALUATION): _values(lineage, output)
            for output in written
            if output.name.endswith(_EVALUATION)
        },
    )


def _run(lineage: Lineage, run_id: str) -> RunDetails:
    found = lineage.show(run_id)
    if not isinstance(found, RunDetails):
        raise Rejected(f"{run_id} is no run")
    return found


def _values(lineage: Lineage, written: Written) -> Mapping[str, float]:
    found = lineage.show(written.id)
    values = (
        found.facets.get("headwater_metrics", {}).get("values") if isinstance(found, AssetDetails) else None
    )
    if not values:
        raise Rejected(f"{written.name} has no values")
    return {str(name): float(value) for name, value in values.items()}


def shortened(version: str) -> str:
    """The canonical form and the first eight digits: enough to name a version among a few."""
    form, _, digits = version.partition(":")
    return f"{form}:{digits[:8]}"
