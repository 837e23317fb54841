"""headwater's emitter: what the author of a step touches.

    from headwater.emitter import Dataset, Model, pipeline, step

Importing this imports nothing else: each name is fetched when it is first used, and none of
them brings numpy, pandas, a database or a broker's client into the process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.emitter.assets import Artifact as Artifact
    from headwater.emitter.assets import Asset as Asset
    from headwater.emitter.assets import Dataset as Dataset
    from headwater.emitter.assets import Metrics as Metrics
    from headwater.emitter.assets import Model as Model
    from headwater.emitter.context import active_run as active_run
    from headwater.emitter.context import in_context as in_context
    from headwater.emitter.context import log_metric as log_metric
    from headwater.emitter.context import log_metrics as log_metrics
    from headwater.emitter.decorator import step as step
    from headwater.emitter.emitter import configure as configure
    from headwater.emitter.pipelines import PipelineRun as PipelineRun
    from headwater.emitter.pipelines import pipeline as pipeline
    from headwater.emitter.pipelines import start_pipeline as start_pipeline
    from headwater.emitter.report import failures as failures
    from headwater.emitter.settings import Settings as Settings
    from headwater.emitter.sinks import MemorySink as MemorySink
    from headwater.emitter.steps import StepRun as StepRun
    from headwater.emitter.steps import resume_step as resume_step
    from headwater.emitter.steps import start_step as start_step

_HOMES = {
    "Artifact": "assets",
    "Asset": "assets",
    "Dataset": "assets",
    "MemorySink": "sinks",
    "Metrics": "assets",
    "Model": "assets",
    "PipelineRun": "pipelines",
    "Settings": "settings",
    "StepRun": "steps",
    "active_run": "context",
    "configure": "emitter",
    "failures": "report",
    "in_context": "context",
    "log_metric": "context",
    "log_metrics": "context",
    "pipeline": "pipelines",
    "resume_step": "steps",
    "start_pipeline": "pipelines",
    "start_step": "steps",
    "step": "decorator",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
