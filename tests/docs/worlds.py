"""The folders in which documents' blocks run: what their reader is assumed to have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from headwater.emitter.spool import Spool
from headwater.schemas.ids import uuid7

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


WORLDS: dict[str, Callable[[Path], None]] = {
    "empty": empty,
    "customers": customers,
    "orders": orders,
    "parked": parked,
}
