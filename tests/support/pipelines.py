"""Pipelines as their authors have them: files in a folder, run by an interpreter of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from headwater.consumers.asking import Lineage
from headwater.consumers.log import open_log
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store

CUSTOMERS = "customer,tenure,calls,churned\n" + "".join(
    f"{number},{number * 7 % 60},{number * 11 % 9},{int(number * 11 % 9 > 4)}\n" for number in range(1, 101)
)

STEPS = """
import os
import random
from pathlib import Path
from typing import Annotated

import pandas as pd

from headwater.emitter import Dataset, Metrics, Model, pipeline, step

MEASURED = ["tenure", "calls"]


@step
def load(path: Path) -> Dataset:
    return Dataset.from_csv(path, name="customers")


@step
def clean(customers: Dataset, least: int = 1) -> Annotated[pd.DataFrame, "plausible"]:
    frame = customers.data
    return frame[frame["calls"] >= least].reset_index(drop=True)


@step
def features(plausible: pd.DataFrame) -> Annotated[pd.DataFrame, "features"]:
    return plausible.assign(years=plausible["tenure"] / 12)


@step
def train(features: pd.DataFrame, strength: float = 1.0) -> Model:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=strength).fit(features[MEASURED], features["churned"])
    return Model.create(fitted, name="churn-model")


@step
def evaluate(models: list[Model], test: pd.DataFrame) -> Metrics:
    scores = [float(model.data.score(test[MEASURED], test["churned"])) for model in models]
    return Metrics.create({f"score{at}": score for at, score in enumerate(scores)}, name="evaluation")


@step
def shuffled(customers: Dataset) -> Annotated[pd.DataFrame, "shuffled"]:
    return customers.data.sample(frac=1.0, random_state=random.SystemRandom().randrange(2**31))


@step
def counted(shuffled: pd.DataFrame) -> Metrics:
    return Metrics.create({"rows": len(shuffled), "first": int(shuffled["customer"].iloc[0])}, name="counted")


@step
def signed(customers: Dataset, api_key: str) -> Metrics:
    return Metrics.create({"rows": customers.num_rows, "length": len(api_key)}, name="signed")


@step
def queried(connection: object) -> Metrics:
    return Metrics.create({"rows": connection.rows}, name="queried")


@step
def slow(customers: Dataset, seconds: float = 0.0) -> Metrics:
    import time

    time.sleep(float(os.environ.get("SLEEP", seconds)))
    return Metrics.create({"rows": customers.num_rows}, name="slow")


@step
def failing(customers: Dataset) -> Metrics:
    if os.environ.get("FAIL"):
        raise RuntimeError("the scale is broken")
    return Metrics.create({"rows": customers.num_rows}, name="failing")
"""

MAIN = """
import steps
from pathlib import Path
from headwater.emitter import pipeline

if __name__ == "__main__":
    with pipeline("churn", project="crm"):
        customers = steps.load(Path("customers.csv"))
        made = steps.features(steps.clean(customers))
        model = steps.train(made, strength=0.5)
        steps.evaluate([model], made)
"""


def project(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files and the customers."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"customers.csv": CUSTOMERS, **files}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def perform(folder: Path, script: str) -> None:
    """Run the script in the folder, its events into the folder's log."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=variables | {"HEADWATER_LOG": str(folder / "log")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def consumed(folder: Path, url: str | None = None) -> Lineage:
    """The lineage of the folder's log, opened."""
    found = url or f"sqlite:///{folder / 'lineage.db'}"
    with open_store(found, create=True) as store:
        Runner(store, open_log(str(folder / "log"))).run()
    return Lineage(found)
