"""A small history as headwater's own steps record it: two days of customers and the models made of them."""

from __future__ import annotations

from pathlib import Path

from headwater.emitter.emitter import from_settings
from headwater.emitter.settings import Settings
from headwater.schemas import events as facts

SECOND = 1_000_000
START = 1_795_446_306_000_000
CUSTOMERS = ["table1:" + digit * 64 for digit in "ab"]
MODELS = ["json1:" + digit * 64 for digit in "cd"]


def run_of(number: int, job: str) -> facts.Run:
    return facts.Run(
        id=f"0198c2f4-0000-7000-8000-{number:012x}", job=facts.Job(namespace="crm", name=f"churn.{job}")
    )


def recorded_log(folder: Path) -> Path:
    """Two days of customers → churn-model, and an asset that a foreign run wrote without a version."""
    emitter = from_settings(Settings(log=folder / "log"))
    for day, (customers, model) in enumerate(zip(CUSTOMERS, MODELS, strict=True)):
        load, train = run_of(10 * day + 1, "load"), run_of(10 * day + 2, "train")
        at = START + day * 60 * SECOND
        data = facts.AssetRef(
            namespace="crm", name="customers", version=customers, type="Dataset", production=load.id
        )
        made = facts.Asset(namespace="crm", name="customers", version=customers, type="Dataset")
        fitted = facts.Asset(
            namespace="crm", name="churn-model", version=model, type="Model", tags={"team": "crm"}
        )
        for event in (
            facts.StepStarted(time=at, run=load),
            facts.AssetCreated(time=at + SECOND, run=load, asset=made),
            facts.StepCompleted(time=at + 2 * SECOND, run=load),
            facts.StepStarted(time=at + 3 * SECOND, run=train),
            facts.AssetConsumed(time=at + 4 * SECOND, run=train, asset=data),
            facts.AssetCreated(time=at + 5 * SECOND, run=train, asset=fitted),
            facts.StepCompleted(time=at + 6 * SECOND, run=train, inputs=(data,)),
        ):
            emitter.emit(event)
    unversioned = facts.AssetRef(namespace="spark", name="raw")
    emitter.emit(facts.StepCompleted(time=START, run=run_of(99, "spark"), outputs=(unversioned,)))
    emitter.close()
    return folder / "log"
