"""OpenLineage's own client writes into headwater's log: nothing lost, nothing raised, nothing secret."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Dataset, DatasetEvent, Job, JobEvent, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from headwater.consumers.log import SegmentLog, records_of
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.emitter import kafka_settings
from headwater.emitter.adoption import adopt
from headwater.emitter.emitter import EventTooLarge
from headwater.emitter.openlineage import HeadwaterConfig, HeadwaterTransport, _Cleaner
from headwater.emitter.redaction import REDACTED, Redactor
from headwater.emitter.settings import RedactionRules
from headwater.schemas.errors import Misconfigured
from headwater.schemas.openlineage import parse

TYPE = "headwater.emitter.openlineage.HeadwaterTransport"
PRODUCER = "https://example.com/airflow"
TIME = "2026-11-23T09:00:00.000000+00:00"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's."""
    for name in [name for name in os.environ if name.startswith(("OPENLINEAGE", "HEADWATER"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def transport(folder: Path) -> Iterator[HeadwaterTransport]:
    made = transport_of(log=str(folder))
    yield made
    made.close()


def transport_of(**config: Any) -> HeadwaterTransport:
    return HeadwaterTransport(HeadwaterConfig.from_dict(config))


def run_event(state: RunState = RunState.START, run: int = 1, **facets: Any) -> RunEvent:
    return RunEvent(
        eventType=state,
        eventTime=TIME,
        run=Run(runId=str(uuid.UUID(int=run, version=4)), facets=facets),
        job=Job(namespace="airflow", name="dag.task"),
        producer=PRODUCER,
        inputs=[],
        outputs=[],
    )


def kept(folder: Path) -> list[dict[str, Any]]:
    with SegmentLog(folder) as source:
        return [json.loads(record.value) for record in records_of(source)]


class TestConfiguration:
    def test_a_file_says_it(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "openlineage.yml").write_text(
            f"transport:\n  type: {TYPE}\n  log: {folder}\n  mode: spool+fsync\n"
            "  spool: {max_bytes: 1 GiB}\n  redact: {keys: [patient]}\n"
        )
        client = OpenLineageClient()
        assert isinstance(client.transport, HeadwaterTransport)
        chosen = client.transport.settings
        assert (chosen.mode, chosen.spool.max_bytes, chosen.redact.keys) == (
            "spool+fsync",
            1 << 30,
            ("patient",),
        )
        client.emit(run_event())
        assert client.close()
        assert [event["eventType"] for event in kept(folder)] == ["START"]

    def test_variables_say_it(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", TYPE)
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG", str(folder))
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__SPOOL__SEGMENT_BYTES", "65536")
        client = OpenLineageClient()
        assert isinstance(client.transport, HeadwaterTransport)
        assert client.transport.settings.spool.segment_bytes == 65_536
        client.emit(run_event())
        client.close()
        assert len(kept(folder)) == 1

    def test_it_may_be_one_of_several(self, folder: Path) -> None:
        ours = {"type": TYPE, "log": str(folder), "name": "log", "priority": 5}
        both = {"type": "composite", "transports": {"log": ours, "screen": {"type": "console"}}}
        client = OpenLineageClient(config={"transport": both})
        client.emit(run_event())
        client.close()
        assert len(kept(folder)) == 1

    def test_what_it_does_not_say_is_in_headwaters_own_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "headwater.yaml").write_text("log: there\nmode: spool+fsync\nprofile: prod\n")
        assert transport_of().settings.log == tmp_path / "there"
        chosen = transport_of(profile="regulated").settings
        assert (chosen.mode, chosen.profile, chosen.log) == ("spool+fsync", "regulated", tmp_path / "there")
        monkeypatch.setenv("HEADWATER_LOG", "elsewhere")
        assert transport_of().settings.log == tmp_path / "elsewhere"
        assert transport_of(log="here").settings.log == tmp_path / "here"

    def test_a_mode_of_the_file_that_it_cannot_keep_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "headwater.yaml").write_text("log: kafka://127.0.0.1:1/t\nmode: sync\n")
        with pytest.raises(Misconfigured, match="sync"):
            transport_of()
        assert transport_of(mode="spool").settings.mode == "spool"

    def test_what_it_says_of_the_spool_leaves_the_rest_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "headwater.yaml").write_text(
            "log: kafka://127.0.0.1:1/t\nspool: {folder: there, segment_bytes: 1 MiB}\n"
        )
        chosen = transport_of(spool={"max_bytes": "1 GiB"}).settings
        assert (chosen.spool.max_bytes, chosen.spool.segment_bytes) == (1 << 30, 1 << 20)
        assert chosen.log == tmp_path / "there" / "t"
        monkeypatch.setenv("HEADWATER_SPOOL_FOLDER", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("HEADWATER_SPOOL_MAX_BYTES", "2 GiB")
        chosen = transport_of(spool={"max_bytes": "1 GiB"}).settings
        assert (chosen.log, chosen.spool.max_bytes) == (tmp_path / "elsewhere" / "t", 1 << 30)
        assert transport_of(spool={"folder": "here"}).settings.log == tmp_path / "here" / "t"

    def test_what_it_says_of_kafka_holds_over_the_environment_and_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "headwater.yaml").write_text(
            "log: kafka://127.0.0.1:1/t\nkafka: {sasl.username: file, sasl.password: plain, linger.ms: 7}\n"
        )
        monkeypatch.setenv("HEADWATER_KAFKA_SASL_USERNAME", "environment")
        monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
        own = {"sasl.username": "own", "sasl.password": "${KAFKA_PASSWORD}"}
        found = kafka_settings.of(transport_of(kafka=own).settings)
        assert (found["sasl.username"], found["sasl.password"], found["linger.ms"]) == ("own", "hunter2", 7)
        assert found.place("sasl.username") == "the OpenLineage transport: kafka.sasl.username"
        assert (found.plain, caplog.records) == ((), [])
        found = kafka_settings.of(transport_of(kafka={"sasl.password": "as it is"}).settings)
        assert found["sasl.username"] == "environment"
        assert found.plain == ("sasl.password",)
        assert "the OpenLineage transport" in str(caplog.records[0].__dict__["place"])

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({"lgo": "x"}, "did you mean log"),
            ({"mode": "sometimes"}, "the OpenLineage transport: mode"),
            ({"spool": {"max_byte": 1}}, "spool.max_byte"),
            ({"spool": "1 GiB"}, "the OpenLineage transport: spool must be a mapping"),
            ({"mode": "sync", "log": "kafka://127.0.0.1:1/t"}, "mode `sync` waits for the broker"),
            ({"kafka": {"sasl.password": "${NOWHERE}"}}, "kafka.sasl.password: the variable NOWHERE"),
        ],
    )
    def test_what_is_wrong_is_told_at_once(self, config: dict[str, Any], said: str) -> None:
        with pytest.raises(Misconfigured, match=said):
            transport_of(**config)

    def test_without_the_client_the_command_that_mends_it_is_named(self) -> None:
        program = "import sys; sys.modules['openlineage'] = None; import headwater.emitter.openlineage"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "pip install 'headwater[openlineage]'" in done.stderr


class TestEvents:
    def test_every_kind_of_event_is_kept_as_the_client_would_send_it(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        job = JobEvent(eventTime=TIME, producer=PRODUCER, job=Job(namespace="dbt", name="model"))
        dataset = DatasetEvent(
            eventTime=TIME, producer=PRODUCER, dataset=Dataset(namespace="postgres://h:5432", name="a.b")
        )
        events: list[Any] = [run_event(), job, dataset, run_event(RunState.COMPLETE)]
        for event in events:
            transport.emit(event)
        transport.close()
        with SegmentLog(folder) as source:
            values = [record.value for record in records_of(source)]
        assert values == [Serde.to_json(event).encode() for event in events]
        for value in values:
            parse(value)

    def test_old_classes_and_plain_documents_are_taken_too(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        document = Serde.to_dict(run_event())
        transport.emit(document)
        transport.close()
        assert kept(folder) == [document]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_the_clients_former_classes_are_taken(self, transport: HeadwaterTransport, folder: Path) -> None:
        from openlineage.client import run as former

        event = former.RunEvent(
            eventType=former.RunState.START,
            eventTime=TIME,
            run=former.Run(runId=str(uuid.UUID(int=7, version=4))),
            job=former.Job(namespace="airflow", name="old"),
            producer=PRODUCER,
        )
        OpenLineageClient(transport=transport).emit(event)
        transport.close()
        assert [event["job"]["name"] for event in kept(folder)] == ["old"]

    def test_the_consumer_folds_them(
        self, transport: HeadwaterTransport, folder: Path, sqlite_url: str
    ) -> None:
        client = OpenLineageClient(transport=transport)
        for state in (RunState.START, RunState.COMPLETE):
            client.emit(run_event(state))
        client.close()
        with SegmentLog(folder) as source, open_store(sqlite_url) as store:
            done = Runner(store, source).run()
        assert (done.applied, done.quarantined) == (2, 0)

    def test_an_event_after_close_is_kept_in_a_new_segment(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        for run in (1, 2, 3):
            transport.emit(run_event(run=run))
            assert transport.close(timeout=5)
        assert len(kept(folder)) == 3
        assert len(list(folder.glob("*.seg"))) == 3

    def test_close_in_no_time_loses_nothing(self, transport: HeadwaterTransport, folder: Path) -> None:
        transport.emit(run_event())
        assert transport.close(timeout=0)
        assert len(kept(folder)) == 1

    def test_in_mode_memory_close_waits_for_the_queue(self, folder: Path) -> None:
        transport = transport_of(log=str(folder), mode="memory")
        for run in range(500):
            transport.emit(run_event(run=run))
        assert transport.close(timeout=30)
        assert len(kept(folder)) == 500


class TestFailures:
    def test_what_cannot_be_kept_is_told_once_and_does_not_reach_the_task(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        transport = transport_of(log=str(tmp_path / "file" / "log"))
        caplog.set_level(logging.ERROR)
        for _ in range(3):
            OpenLineageClient(transport=transport).emit(run_event())
        assert transport.stats.refused == 3
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["event_refused"]
        assert not transport.close()

    def test_in_the_regulated_profile_it_raises(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no folder")
        transport = transport_of(log=str(tmp_path / "file" / "log"), profile="regulated")
        with pytest.raises(Exception, match="log"):
            transport.emit(run_event())

    def test_an_event_that_is_too_large_names_its_largest_facet(self, folder: Path) -> None:
        transport = transport_of(log=str(folder), profile="regulated")
        document = Serde.to_dict(run_event())
        document["run"]["facets"] = {"spark_plan": {"plan": "x" * (9 << 20)}, "small": {"a": 1}}
        with pytest.raises(EventTooLarge, match=r"run\.spark_plan"):
            transport.emit(document)

    def test_an_object_that_is_no_event_is_refused(self, transport: HeadwaterTransport) -> None:
        transport.emit(object())
        assert transport.stats.reasons == {"NotAnAttrsClassError": 1}


class TestSecrets:
    def test_secrets_are_taken_out_and_names_are_left(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        document = Serde.to_dict(run_event())
        document["run"]["facets"] = {
            "environmentVariables": {
                "environmentVariables": [
                    {"name": "DB_PASSWORD", "value": "hunter2"},
                    {"name": "REGION", "value": "eu"},
                ]
            },
            "airflow": {"task": {"args": {"api_key": "hunter2", "retries": 3}}},
        }
        document["job"]["facets"] = {"sql": {"query": "COPY t FROM 's3://k:hunter2@bucket/x'"}}
        document["outputs"] = [
            {
                "namespace": "postgres://user:hunter2@h:5432",
                "name": "users",
                "facets": {
                    "schema": {"fields": [{"name": "password", "type": "text"}]},
                    "columnLineage": {
                        "fields": {
                            "password": {
                                "inputFields": [{"namespace": "n", "name": "t", "field": "password"}]
                            }
                        }
                    },
                },
            }
        ]
        transport.emit(document)
        transport.close()
        (event,) = kept(folder)
        assert "hunter2" not in json.dumps(event)
        variables = event["run"]["facets"]["environmentVariables"]["environmentVariables"]
        assert variables == [{"name": "DB_PASSWORD", "value": REDACTED}, {"name": "REGION", "value": "eu"}]
        assert event["run"]["facets"]["airflow"]["task"]["args"]["retries"] == 3
        facets = event["outputs"][0]["facets"]
        assert facets == document["outputs"][0]["facets"]

    def test_redaction_can_be_left_to_others(self, folder: Path) -> None:
        transport = transport_of(log=str(folder), redact=False)
        document = Serde.to_dict(run_event())
        document["run"]["facets"] = {"a": {"password": "shown"}}
        transport.emit(document)
        transport.close()
        assert kept(folder) == [document]

    def test_keys_and_patterns_of_a_project_count(self, folder: Path) -> None:
        transport = transport_of(log=str(folder), redact={"keys": ["patient"], "patterns": [r"MRN-\d+"]})
        document = Serde.to_dict(run_event())
        document["run"]["facets"] = {"a": {"patient": "Ann", "note": "see MRN-77"}}
        transport.emit(document)
        transport.close()
        assert kept(folder)[0]["run"]["facets"] == {"a": {"patient": REDACTED, "note": f"see {REDACTED}"}}

    @settings(max_examples=60)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text("ab :/", max_size=8),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abk", max_size=4), inner),
            max_leaves=20,
        )
    )
    def test_what_holds_no_secret_stays_as_it_is(self, value: Any) -> None:
        assert _Cleaner(Redactor(RedactionRules())).cleaned({"facets": value}) == {"facets": value}


class TestProcesses:
    def test_forked_tasks_write_segments_of_their_own(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        transport.emit(run_event(run=0))
        children = []
        for child in range(1, 4):
            pid = os.fork()
            if pid == 0:
                try:
                    for n in range(50):
                        transport.emit(run_event(run=child * 1_000 + n))
                finally:
                    os._exit(0 if transport.stats.accepted == 50 else 1)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
        transport.emit(run_event(run=9))
        transport.close()
        adopt(folder)
        events = kept(folder)
        assert len(events) == 152
        # Nothing is said about runs of others, however their process ended.
        assert {event["eventType"] for event in events} == {"START"}

    def test_a_fork_while_others_emit_does_not_hang(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        stop = threading.Event()

        def work(first: int) -> None:
            n = first
            while not stop.is_set():
                transport.emit(run_event(run=n))
                n += 1

        threads = [threading.Thread(target=work, args=(n * 1_000_000,)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                pid = os.fork()
                if pid == 0:
                    transport.emit(run_event(run=5))
                    os._exit(transport.stats.accepted - 1)
                assert os.waitpid(pid, 0)[1] == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        transport.close()
        assert len(kept(folder)) == transport.stats.accepted + 10

    def test_a_task_that_is_killed_loses_nothing(self, folder: Path) -> None:
        program = f"""
import os, uuid
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
client = OpenLineageClient(config={{"transport": {{"type": {TYPE!r}, "log": {str(folder)!r}}}}})
for n in range(200):
    client.emit(RunEvent(eventType=RunState.START, eventTime={TIME!r}, producer={PRODUCER!r},
        run=Run(runId=str(uuid.uuid4())), job=Job(namespace="a", name="b")))
os.kill(os.getpid(), 9)
"""
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == -9
        adopt(folder)
        assert len(kept(folder)) == 200

    def test_tasks_of_one_loop_and_threads_share_it(
        self, transport: HeadwaterTransport, folder: Path
    ) -> None:
        async def all_at_once() -> None:
            await asyncio.gather(*(asyncio.to_thread(transport.emit, run_event(run=n)) for n in range(200)))

        asyncio.run(all_at_once())
        transport.close()
        assert len({event["run"]["runId"] for event in kept(folder)}) == 200

    def test_a_process_that_ends_in_good_order_leaves_a_sealed_segment(self, folder: Path) -> None:
        program = f"""
from openlineage.client import OpenLineageClient
client = OpenLineageClient(config={{"transport": {{"type": {TYPE!r}, "log": {str(folder)!r}}}}})
client.transport.emit({Serde.to_dict(run_event())!r})
"""
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
        assert list((folder / "open").iterdir()) == []
