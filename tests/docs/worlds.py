"""The folders in which documents' blocks run: what their reader is assumed to have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson

from headwater.consumers import open_log, replay
from headwater.emitter.spool import Spool
from headwater.schemas.ids import uuid7
from headwater.schemas.openlineage import parse_time
from tests.support.logs import chain, run_event, write_segment

CUSTOMERS = "customer,tenure,calls,churned\n" + "".join(
    f"{number},{number * 7 % 60},{number * 11 % 9},{int(number * 11 % 9 > 4)}\n" for number in range(1, 201)
)

ORDERS = """
import sys
from headwater.emitter import Dataset, Metrics, pipeline, step

@step
def load(day: int) -> Dataset:
    rows = [{"order": n, "amount": n * day} for n in range(1, 41)]
    return Dataset.create(rows, name="orders", tags={"team": "sales"})

@step
def clean(orders: Dataset) -> Dataset:
    return Dataset.create([row for row in orders.data if row["amount"] > 10], name="orders.clean")

@step
def total(clean: Dataset) -> Metrics:
    return Metrics.create({"total": float(sum(row["amount"] for row in clean.data))}, name="orders.total")

with pipeline("daily", project="sales", parameters={"day": int(sys.argv[1])}):
    total(clean(load(int(sys.argv[1]))))
"""


TRAINING = """
import math
import sys
from headwater.emitter import Dataset, Metrics, log_metric, pipeline, step

@step
def load() -> Dataset:
    rows = [{"customer": n, "email": f"{n}@example.com", "tenure": n % 60} for n in range(1, 41)]
    return Dataset.create(rows, name="customers", tags={"team": "crm"})

@step
def train(customers: Dataset, depth: int) -> Metrics:
    for n in range(200):
        log_metric("loss", 1 / (1 + n * depth / 40) + 0.05 * math.sin(n / 3), step=n)
        log_metric("rate", 0.1 if 80 <= n < 120 else 0.3 if n < 180 else math.nan, step=n)
    return Metrics.create({"auc": 0.8 + depth / 100, "f1": 0.7}, name="churn-metrics")

with pipeline("churn", project="crm", parameters={"depth": int(sys.argv[1])}):
    train(load(), depth=int(sys.argv[1]))
"""


TARIFFS = """
import random
from pathlib import Path
from typing import Annotated

import pandas as pd
from headwater.emitter import Dataset, Metrics, pipeline, step

@step
def load(path: Path) -> Dataset:
    return Dataset.from_csv(path, name="customers")

@step
def active(customers: Dataset, least: int = 3) -> Annotated[pd.DataFrame, "active"]:
    frame = customers.data
    return frame[frame["calls"] >= least].reset_index(drop=True)

@step
def rate(active: pd.DataFrame) -> Metrics:
    return Metrics.create({"churn": float(active["churned"].mean())}, name="churn-rate")

@step
def survey(active: pd.DataFrame) -> Annotated[pd.DataFrame, "survey"]:
    return active.sample(20, random_state=random.SystemRandom().randrange(2**31))

if __name__ == "__main__":
    with pipeline("tariffs", project="crm"):
        chosen = active(load(Path("customers.csv")))
        rate(chosen)
        survey(chosen)
"""


def empty(folder: Path) -> None:
    """Nothing."""


def customers(folder: Path) -> None:
    """A CSV file of customers, and nothing else."""
    (folder / "customers.csv").write_text(CUSTOMERS, encoding="utf-8")


def orders(folder: Path) -> None:
    """A log of two runs of a small pipeline, not yet consumed."""
    (folder / "daily.py").write_text(ORDERS, encoding="utf-8")
    for day in ("1", "2"):
        subprocess.run([sys.executable, "daily.py", day], cwd=folder, check=True)


def training(folder: Path) -> None:
    """A log of two runs of a training, not yet consumed."""
    (folder / "churn.py").write_text(TRAINING, encoding="utf-8")
    for depth in ("6", "12"):
        subprocess.run([sys.executable, "churn.py", depth], cwd=folder, check=True)


def tariffs(folder: Path) -> None:
    """A log of a pipeline in a file of its own, run once over the customers, and not yet consumed."""
    customers(folder)
    (folder / "tariffs.py").write_text(TARIFFS, encoding="utf-8")
    subprocess.run([sys.executable, "tariffs.py"], cwd=folder, check=True)


def lossy(folder: Path) -> None:
    """A log from which something is missing: of every kind, something."""
    log = folder / ".headwater" / "log"
    emitted = [value for number, value in enumerate(chain(9, closed=False)) if number not in (2, 3, 6)]
    write_segment(log, emitted)
    convert = orjson.loads(
        run_event(102, job={"namespace": "airflow", "name": "convert"}, inputs=["raw", "rates"])
    )
    convert["inputs"][1]["facets"] = {"version": {"datasetVersion": "2026-02"}}
    spool = Spool(log, emitter_id=uuid7())
    spool.append(
        run_event(101, "START", at="2026-03-01T09:00:00Z", job={"namespace": "airflow", "name": "hang"})
    )
    spool.append(orjson.dumps(convert))
    spool.close()


def parked(folder: Path) -> None:
    """As `orders`, and a template that nobody filled in among the events."""
    orders(folder)
    emitter = uuid7()
    spool = Spool(folder / ".headwater" / "log", emitter_id=emitter)
    spool.append(b'{"eventType": "START", "eventTime": "{{ ts }}", "run": {"runId": "1"}, "job": ')
    spool.append(
        b'{"eventType": "START", "eventTime": "{{ ts }}", "run": {"runId": "1"}, '
        b'"job": {"namespace": "airflow", "name": "load"}}'
    )
    spool.close()


def _told(kind: str, at: str, run: int, job: str, **lists: list[tuple[str, str | None]]) -> dict[str, object]:
    """A foreign run event; datasets are (name, version)."""
    named = {
        side: [
            {
                "namespace": "crm",
                "name": name,
                "facets": {"version": {"datasetVersion": version}} if version else {},
            }
            for name, version in datasets
        ]
        for side, datasets in lists.items()
    }
    return {
        "eventType": kind,
        "eventTime": f"2026-{at}Z",
        "producer": "https://example.com/scheduler",
        "run": {"runId": f"00000000-0000-7000-8000-{run:012x}"},
        "job": {"namespace": "crm", "name": job},
        **named,
    }


def late_news(folder: Path) -> None:
    """A model, trained on 1 March on customers of which the log learned only on 5 March, and consumed."""
    by_day = {
        "2026-02-28T22:00:00Z": [
            _told("COMPLETE", "02-28T21:59:00", 1, "load", outputs=[("customers", "february")])
        ],
        "2026-03-01T10:20:00Z": [
            _told("START", "03-01T10:00:00", 2, "train", inputs=[("customers", None)]),
            _told("COMPLETE", "03-01T10:19:00", 2, "train", outputs=[("churn-model", "first")]),
        ],
        "2026-03-04T10:20:00Z": [
            _told("START", "03-04T10:00:00", 3, "train", inputs=[("customers", None)]),
            _told("COMPLETE", "03-04T10:19:00", 3, "train", outputs=[("churn-model", "second")]),
        ],
        # It ran on 1 March; the machine was cut off, and delivered what it had to say on the 5th.
        "2026-03-05T08:00:00Z": [
            _told("COMPLETE", "03-01T09:30:00", 4, "repair", outputs=[("customers", "repaired")])
        ],
    }
    for appended, events in by_day.items():
        values = [orjson.dumps(event) for event in events]
        write_segment(folder / ".headwater" / "log", values, appended_at=parse_time(appended), sealed=True)
    url = f"sqlite:///{folder}/.headwater/lineage.db"
    with open_log(str(folder / ".headwater" / "log")) as log:
        replay(log, url)


def _from(name: str, field: str, *way: str, masking: bool = False) -> dict[str, object]:
    """A column of a dataset as a source, made use of in one way."""
    told = {**dict(zip(("type", "subtype"), way, strict=True)), "masking": masking}
    return {"namespace": "sales", "name": name, "field": field, "transformations": [told]}


def _table(name: str, columns: str, **facets: object) -> dict[str, object]:
    schema = {"fields": [{"name": column, "type": "string"} for column in columns.split()]}
    return {"namespace": "sales", "name": name, "facets": {"schema": schema, **facets}}


def columns(folder: Path) -> None:
    """A log of four foreign runs, of which three say what their columns were made of; not yet consumed."""
    cleaned = {
        "fields": {
            "amount": {"inputFields": [_from("orders", "amount", "DIRECT", "IDENTITY")]},
            "buyer": {"inputFields": [_from("orders", "mail", "DIRECT", "TRANSFORMATION", masking=True)]},
        },
        "dataset": [_from("orders", "status", "INDIRECT", "FILTER")],
    }
    summed = {
        "type": "DATASET",
        "namespace": "sales",
        "name": "revenue",
        "fields": {
            "euros": {
                "inputs": [
                    {**_from("orders.clean", "amount", "DIRECT", "AGGREGATION"), "type": "DATASET"},
                    {**_from("rates", "euro", "DIRECT", "TRANSFORMATION"), "type": "DATASET"},
                ]
            }
        },
    }
    steps: list[tuple[str, list[str], dict[str, object], dict[str, object]]] = [
        ("load", [], _table("orders", "id amount mail status"), {}),
        ("clean", ["orders"], _table("orders.clean", "amount buyer", columnLineage=cleaned), {}),
        ("sum", ["orders.clean", "rates"], _table("revenue", "euros"), {"lineage": {"entries": [summed]}}),
        ("report", ["revenue"], _table("report", "page"), {}),
    ]
    values = [
        orjson.dumps(
            {
                "eventType": "COMPLETE",
                "eventTime": f"2026-03-01T10:{number:02d}:00Z",
                "producer": "https://example.com/spark",
                "run": {"runId": f"00000000-0000-7000-8000-{number:012x}"},
                "job": {"namespace": "sales", "name": job, "facets": facets},
                "inputs": [{"namespace": "sales", "name": name} for name in inputs],
                "outputs": [output],
            }
        )
        for number, (job, inputs, output, facets) in enumerate(steps)
    ]
    appended = parse_time("2026-03-01T10:30:00Z")
    write_segment(folder / ".headwater" / "log", values, appended_at=appended, sealed=True)


WORLDS: dict[str, Callable[[Path], None]] = {
    "empty": empty,
    "customers": customers,
    "orders": orders,
    "tariffs": tariffs,
    "parked": parked,
    "training": training,
    "lossy": lossy,
    "late news": late_news,
    "columns": columns,
}
