"""What real steps recorded, compared: the causes are what was changed between the two runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater.consumers.asking import Lineage
from headwater.consumers.differences import Difference
from headwater.consumers.log import SegmentLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store

PROGRAM = """
import sys
from headwater.emitter import Dataset, Metrics, pipeline, step, log_metrics

@step
def load(path: str) -> Dataset:
    rows = [{"n": int(line)} for line in open(path)]
    return Dataset.create(rows, name="numbers")

@step
def double(numbers: Dataset, factor: int = 2) -> Dataset:
    return Dataset.create([{"n": row["n"] * factor} for row in numbers.data], name="doubled")

@step
def total(doubled: Dataset, password: str) -> Metrics:
    log_metrics({"rows": float(len(doubled.data))})
    return Metrics.create({"sum": float(sum(row["n"] for row in doubled.data))}, name="total")

with pipeline("daily", project="sales", parameters={"factor": int(sys.argv[1])}):
    total(double(load("numbers.txt"), factor=int(sys.argv[1])), password=sys.argv[2])
"""


class Folder:
    """Where a program runs twice, and what is asked of it then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program(PROGRAM)
        self.numbers(range(40))

    def program(self, text: str) -> None:
        (self.path / "daily.py").write_text(text)

    def numbers(self, numbers: range) -> None:
        (self.path / "numbers.txt").write_text("".join(f"{number}\n" for number in numbers))

    def run(self, factor: int = 2, password: str = "hunter2") -> None:
        environment = {"PATH": "/usr/bin:/bin", "HEADWATER_LOG": str(self.path / "log")}
        command = [sys.executable, "daily.py", str(factor), password]
        subprocess.run(command, cwd=self.path, env=environment, check=True)

    def diff(self, url: str, name: str = "daily") -> Difference:
        with open_store(url, create=True) as store, SegmentLog(self.path / "log") as source:
            Runner(store, source).run()
            return Lineage(store).diff(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def kinds(found: Difference) -> list[tuple[str, str]]:
    return [(cause.kind, cause.name) for cause in found.causes]


def test_two_equal_runs_do_not_differ(folder: Folder, store_url: str) -> None:
    folder.run()
    folder.run()
    found = folder.diff(store_url)
    assert (found.differs, found.equal, found.unknown) == (False, 4, 0)


def test_a_changed_parameter_is_told_once_for_the_pipeline_and_its_step(
    folder: Folder, store_url: str
) -> None:
    folder.run(2)
    folder.run(3)
    found = folder.diff(store_url)
    assert kinds(found) == [("parameter", "factor")]
    assert [step.name for step in found.causes[0].steps] == ["daily", "double"]
    assert found.causes[0].path == ("doubled", "total")
    assert [(one.of, one.name, one.before, one.after) for one in found.metrics] == [
        ("total", "sum", 1560.0, 2340.0)
    ]


def test_a_changed_input_is_the_source(folder: Folder, store_url: str) -> None:
    folder.run()
    folder.numbers(range(10, 50))
    folder.run()
    found = folder.diff(store_url, "total")
    assert kinds(found) == [("source", "numbers")]
    measures = {one.measure for asset in found.assets if asset.name == "numbers" for one in asset.drift}
    assert measures == {"standardized mean difference", "population stability index"}


def test_a_step_whose_source_was_edited_is_the_cause(folder: Folder, store_url: str) -> None:
    folder.run()
    folder.program(PROGRAM.replace('row["n"] * factor', 'row["n"] * factor + 1'))
    folder.run()
    found = folder.diff(store_url)
    assert kinds(found) == [("code", "source")]
    assert [step.name for step in found.causes[0].steps] == ["double"]


def test_a_secret_stays_redacted_and_is_no_difference(folder: Folder, store_url: str) -> None:
    folder.run(password="hunter2")
    folder.run(password="hunter3")
    found = folder.diff(store_url)
    assert not found.differs
    assert "hunter" not in repr(found)
