"""The demo's pipeline: how far will a patient's diabetes have progressed in a year?

An ordinary program: it reads a CSV file, trains two models, and writes a page about the better
one. All that headwater asks of it is `@step` and `pipeline`. Nothing here knows of a log,
a database or a demo around it:

    python -m headwater.consumers.demo.pipeline patients.csv --depth 3
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated

import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

from headwater.emitter import Artifact, Dataset, Metrics, Model, pipeline, step

TARGET = "progression"
PLAUSIBLE_BMI = (10, 80)


@step
def load(path: Path) -> Dataset:
    """One row a patient: ten measurements, and how far the disease had progressed a year later."""
    return Dataset.from_csv(path, name="patients", owner="clinic")


@step
def clean(patients: Dataset) -> Annotated[pd.DataFrame, "patients.plausible"]:
    """Without the patients whose body mass index cannot be right."""
    frame = patients.data
    return frame[frame["bmi"].between(*PLAUSIBLE_BMI)].reset_index(drop=True)


@step(outputs=["patients.training", "patients.test"])
def split(
    patients: pd.DataFrame, test_share: float = 0.25, seed: int = 7
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two parts: to learn from, and to be asked about."""
    training, test = train_test_split(patients, test_size=test_share, random_state=seed)
    return training, test


@step
def features(training: pd.DataFrame, test: pd.DataFrame) -> tuple[Dataset, Dataset]:
    """Two ratios that doctors use, and all measurements in units of the training part's spread.

    What each part was made of is said, so that the lineage shows that no test row reached a model.
    """
    parts = [
        part.assign(cholesterol_ratio=part["s1"] / part["s3"], pressure_by_age=part["bp"] / part["age"])
        for part in (training, test)
    ]
    measured = [column for column in parts[0] if column != TARGET]
    mean, spread = parts[0][measured].mean(), parts[0][measured].std()
    for part in parts:
        part[measured] = (part[measured] - mean) / spread
    return (
        Dataset.create(parts[0], name="features.training", parents=[training]),
        Dataset.create(parts[1], name="features.test", parents=[training, test]),
    )


@step
def train_forest(training: Dataset, depth: int) -> Model:
    """Many trees side by side."""
    model = RandomForestRegressor(n_estimators=120, max_depth=depth, random_state=0)
    return Model.create(_fitted(model, training), name="forest")


@step
def train_boosted(training: Dataset, depth: int) -> Model:
    """Many trees, each correcting the ones before."""
    model = GradientBoostingRegressor(n_estimators=80, learning_rate=0.06, max_depth=depth, random_state=0)
    return Model.create(_fitted(model, training), name="boosted")


def _fitted(model: RegressorMixin, training: Dataset) -> RegressorMixin:
    return model.fit(training.data.drop(columns=TARGET), training.data[TARGET])


@step
def evaluate(models: list[Model], test: Dataset) -> list[Metrics]:
    """How well each model foretells patients that it has not seen."""
    return [_measured(model, test) for model in models]


def _measured(model: Model, test: Dataset) -> Metrics:
    seen = test.data[TARGET]
    foretold = model.data.predict(test.data.drop(columns=TARGET))
    return Metrics.create(
        r2=float(r2_score(seen, foretold)),
        mean_error=float(mean_absolute_error(seen, foretold)),
        name=f"{model.name}.evaluation",
        parents=[model, test],
    )


@step
def report(best: Model, measured: Metrics, page: str) -> Artifact:
    """A page for people, about the better model."""
    text = f"# {best.name}\n\nExplains {measured['r2']:.0%} of what differs between patients.\n"
    Path(page).write_text(text, encoding="utf-8")
    return Artifact.create(location=page, name="report", parents=[best, measured])


def train_and_choose(data: Path, depth: int, page: str) -> None:
    """The whole pipeline, in the order in which it reads."""
    patients = load(data)
    plausible = clean(patients)
    tell(f"{patients.num_rows} patients, {len(plausible)} of them plausible")
    training, test = split(plausible)
    tell(f"{len(training)} to learn from, {len(test)} to be asked about")
    known, unknown = features(training, test)
    models = [train_forest(known, depth=depth), train_boosted(known, depth=depth)]
    candidates = list(zip(models, evaluate(models, unknown), strict=True))
    for model, measured in candidates:
        tell(f"{model.name:8} R² {measured['r2']:.3f}   mean error {measured['mean_error']:.1f}")
    best, measured = max(candidates, key=lambda candidate: candidate[1]["r2"])
    report(best, measured, page)


def tell(line: str) -> None:
    """Say what was done, at once."""
    print(f"  {line}", flush=True)  # noqa: T201 - a program talks to whoever started it


def main() -> None:
    """Run the pipeline once, as a process of its own."""
    parser = argparse.ArgumentParser(description="Foretell the progression of diabetes.")
    parser.add_argument("data", type=Path, help="the patients, as CSV")
    parser.add_argument("--depth", type=int, default=3, help="how deep a tree may grow")
    parser.add_argument("--page", default="report.md", help="where the report goes")
    options = parser.parse_args()
    with pipeline("progression", project="clinic", parameters={"depth": options.depth, "data": options.data}):
        train_and_choose(options.data, options.depth, options.page)


if __name__ == "__main__":
    main()
