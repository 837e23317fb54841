"""One run, several processes: joined by an id or through the environment, ended by its owner alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

from headwater.emitter import pipeline, start_step
from headwater.emitter.address import ambient, asset_read, environ, read, run_id_of, written
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import AssetRef, Job, Run
from headwater.schemas.ids import is_uuid, uuid7
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise
from headwater.schemas.segment import SegmentReader, list_segments
from tests.support.recorded import Recorded

RUN_ID = "0198c0de-0000-7000-8000-000000000001"
ORCHESTRATOR = """
import subprocess, sys
from headwater.emitter import Artifact, pipeline
with pipeline("churn", project="crm") as run:
    import os
    env = {**os.environ, **run.environ()}
    load = [sys.executable, "-c", sys.argv[1]]
    made = subprocess.run(load, env=env, check=True, capture_output=True, text=True)
    subprocess.run([sys.executable, "-c", sys.argv[2], made.stdout.strip()], env=env, check=True)
"""
LOAD = """
from headwater.emitter import Artifact, pipeline, step
@step
def load() -> Artifact:
    return Artifact.create({"rows": 3}, name="customers")
with pipeline("churn", project="crm"):
    print(load().address)
"""
TRAIN = """
import sys
from headwater.emitter import start_step
with start_step("train", inputs=[sys.argv[1]]) as run:
    run.produce({"weights": [1]}, name="model")
"""


class TestRealProcesses:
    def test_tasks_join_the_run_that_the_environment_names(self, tmp_path: Path) -> None:
        _run(ORCHESTRATOR, LOAD, TRAIN, log=tmp_path)
        found = _events(tmp_path)
        started = _of(found, events.PipelineStarted)
        assert len(started) == len(_of(found, events.PipelineCompleted)) == 1
        steps = {event.run.job.name: event for event in _of(found, events.StepStarted)}
        assert steps.keys() == {"churn.load", "churn.train"}
        assert {event.parent for event in steps.values()} == {started[0].run}
        [consumed] = _of(found, events.AssetConsumed)
        [customers] = [e for e in _of(found, events.AssetCreated) if e.asset.name == "customers"]
        assert (consumed.asset.version, consumed.asset.production) == (
            customers.asset.version,
            customers.run.id,
        )
        emitters = {e.emission.emitter_id for e in found if isinstance(e, events.RunFact) and e.emission}
        assert len(emitters) == 3

    def test_tasks_without_a_common_parent_process_join_by_the_orchestrators_id(self, tmp_path: Path) -> None:
        begin = 'from headwater.emitter import *; start_pipeline("churn", project="crm", run_id="dag 1")'
        work = (
            'from headwater.emitter import *\nwith pipeline("churn", project="crm", run_id="dag 1"):\n'
            '    start_step("train").complete()'
        )
        end = 'from headwater.emitter import *; pipeline("churn", project="crm", run_id="dag 1").complete()'
        for program in (begin, work, end):
            _run(program, log=tmp_path)
        found = _events(tmp_path)
        run_id = run_id_of("crm", "churn", "dag 1")
        assert [e.run.id for e in _of(found, events.PipelineStarted)] == [run_id]
        assert [e.run.id for e in _of(found, events.PipelineCompleted)] == [run_id]
        assert [e.parent.id for e in _of(found, events.StepStarted) if e.parent] == [run_id]

    def test_a_task_that_dies_leaves_the_pipeline_to_its_owner(self, tmp_path: Path) -> None:
        program = """
import os, subprocess, sys
from headwater.emitter import pipeline
with pipeline("churn", project="crm") as run:
    child = 'from headwater.emitter import *\\nimport os\\nwith pipeline("churn", project="crm"): os._exit(9)'
    code = subprocess.run([sys.executable, "-c", child], env={**os.environ, **run.environ()}).returncode
    assert code == 9
"""
        _run(program, log=tmp_path)
        assert len(_of(_events(tmp_path), events.PipelineCompleted)) == 1


class TestTheEnvironment:
    def test_a_pipeline_of_another_name_becomes_a_child(
        self, log: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outer = Run(id=uuid7(), job=Job(namespace="crm", name="nightly"))
        root = Run(id=uuid7(), job=Job(namespace="ops", name="everything"))
        for name, value in environ(outer, root).items():
            monkeypatch.setenv(name, value)
        with pipeline("churn") as run:
            assert not run.attached
        started = log.one(events.PipelineStarted)
        assert (started.parent, started.root) == (outer, root)

    def test_a_step_without_a_pipeline_belongs_to_the_run_it_names(
        self, log: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outer = Run(id=uuid7(), job=Job(namespace="sales", name="churn"))
        monkeypatch.setenv("HEADWATER_PARENT", written(outer))
        start_step("train").complete()
        started = log.one(events.StepStarted)
        assert started.run.job == Job(namespace="sales", name="churn.train")
        assert started.parent == started.root == outer

    def test_a_joined_pipeline_needs_no_project(self, log: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        outer = Run(id=uuid7(), job=Job(namespace="sales", name="churn"))
        monkeypatch.setenv("HEADWATER_PARENT", written(outer))
        with pipeline("churn") as run:
            assert run.attached
            assert run.run == outer
        assert log.events == []

    def test_an_openlineage_scheduler_is_joined_too(
        self, log: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = uuid7()
        monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"s3://odd/namespace/dag.task/{run_id}")
        start_step("train").complete()
        parent = log.one(events.StepStarted).parent
        assert parent == Run(id=run_id, job=Job(namespace="s3://odd/namespace", name="dag.task"))

    def test_an_unreadable_one_is_told_and_does_not_stop_the_step(
        self, log: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HEADWATER_PARENT", "nonsense")
        log.failures_expected = True
        start_step("train").complete()
        assert log.one(events.StepCompleted).parent is None

    def test_a_step_passes_itself_on_as_the_parent(self, log: Recorded) -> None:
        with pipeline("churn") as outer, start_step("train") as run:
            found = ambient(run.environ())
        assert found is not None
        assert (found.parent, found.root) == (run.run, outer.run)


class TestAddresses:
    @pytest.mark.parametrize("name", ["churn", "a/b", "a b%2F", "ключ/☃", "..", "a\n#?@"])
    def test_of_runs_are_read_back(self, name: str) -> None:
        run = Run(id=uuid7(), job=Job(namespace=f"s3://{name}", name=name))
        assert read(written(run)) == run

    @pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c", f"/b/{RUN_ID}", f"a//{RUN_ID}"])
    def test_that_name_no_run_are_refused(self, text: str) -> None:
        with pytest.raises(Misconfigured):
            read(text)

    @pytest.mark.parametrize("text", ["headwater:", "headwater:a", "headwater:/b", "headwater:a/"])
    def test_that_name_no_asset_are_refused(self, text: str) -> None:
        with pytest.raises(Misconfigured):
            asset_read(text)

    def test_of_assets_may_leave_parts_out(self) -> None:
        assert asset_read("headwater:crm/customers") == AssetRef(namespace="crm", name="customers")

    def test_a_uuid_stands_for_itself_and_any_text_for_a_uuid(self) -> None:
        run_id = uuid7()
        assert run_id_of("crm", "churn", run_id.upper()) == run_id
        computed = run_id_of("crm", "churn", "scheduled__2026")
        assert is_uuid(computed)
        assert computed[14] == "8"
        assert computed == run_id_of("crm", "churn", "scheduled__2026")


def _run(program: str, *arguments: str, log: Path) -> None:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "OPENLINEAGE_"))
    }
    environment = {**kept, "HEADWATER_LOG": str(log), "HEADWATER_PROJECT": "crm"}
    subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, cwd=log, check=True, timeout=120
    )


def _events(folder: Path) -> list[events.Event]:
    found: list[events.Event] = []
    for path in list_segments(folder):
        reader = SegmentReader(path)
        found += [event for frame in reader.read() if (event := recognise(parse(frame.value))) is not None]
        reader.close()
    return found


E = TypeVar("E")


def _of(found: list[events.Event], kind: type[E]) -> list[E]:
    return [event for event in found if isinstance(event, kind)]
