"""The emitter: an unbroken chain, refusals that are counted and seen, a close that says everything."""

from __future__ import annotations

import hashlib
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import orjson
import pytest

from headwater.emitter.emitter import (
    MAX_EVENT_BYTES,
    Emitter,
    EventTooLarge,
    configure,
    current,
    from_settings,
)
from headwater.emitter.settings import RedactionRules, Settings, SpoolLimits
from headwater.emitter.sinks import MemorySink, QueueFull, QueueSink, SinkClosed, Unwritable
from headwater.emitter.spool import Spool
from headwater.schemas.events import AssetRef, AssetTagged, RunClosed
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise
from headwater.schemas.segment import check, list_segments
from tests.support.spool import (
    NO_SPACE,
    START_US,
    FailingFiles,
    assert_unbroken,
    completed,
    created,
    emission_of,
    log_of,
    run_named,
    started,
    types_of,
)

TRAIN, LOAD = run_named("train"), run_named("load")


def emitter_into(sink: MemorySink, **settings: object) -> Emitter:
    clock = itertools.count(START_US, 1_000)
    return Emitter(Settings(**settings), lambda _: sink, now=lambda: next(clock))  # type: ignore[arg-type]


def events_in(sink: MemorySink) -> list[object]:
    return [recognise(parse(value)) for value in sink.values]


def test_each_event_has_its_place_in_the_chain(tmp_path: Path) -> None:
    emitter = from_settings(Settings(log=tmp_path))
    receipts = [emitter.emit(event) for event in (started(TRAIN), created(TRAIN, 1), completed(TRAIN))]
    emitter.close()
    (links,) = log_of(tmp_path).values()
    assert_unbroken(links)
    assert [(r.event_id, r.sequence) for r in receipts if r] == [
        (link.event_id, link.sequence) for link in links[:3]
    ]
    assert [link.final for link in links] == [False, False, False, True]
    assert types_of(links) == ["START", "RUNNING", "COMPLETE", "OTHER"]


class TestClose:
    def test_every_run_is_closed_with_its_count_and_its_last_sequence(self) -> None:
        sink = MemorySink()
        emitter = emitter_into(sink)
        for event in (started(TRAIN), started(LOAD), created(TRAIN, 1), completed(LOAD)):
            emitter.emit(event)
        emitter.close()
        closed = [event for event in events_in(sink) if isinstance(event, RunClosed)]
        assert [(c.run, c.events, c.last_sequence) for c in closed] == [(TRAIN, 2, 2), (LOAD, 2, 3)]
        assert [c.emission.final for c in closed if c.emission] == [False, True]
        assert {c.emitter_id for c in closed} == {emitter.emitter_id}

    def test_a_run_closed_before_is_not_closed_again_unless_something_came_after(self) -> None:
        sink = MemorySink()
        emitter = emitter_into(sink)
        emitter.emit(started(TRAIN))
        emitter.close_run(TRAIN)
        emitter.emit(started(LOAD))
        emitter.emit(created(TRAIN, 1))
        emitter.close_run(LOAD)
        emitter.close()
        closed = [event for event in events_in(sink) if isinstance(event, RunClosed)]
        assert [(c.run, c.events, c.last_sequence) for c in closed] == [
            (TRAIN, 1, 0),
            (LOAD, 1, 2),
            (TRAIN, 2, 3),
        ]

    def test_the_last_event_is_final_also_when_all_runs_were_closed(self) -> None:
        sink = MemorySink()
        emitter = emitter_into(sink)
        emitter.emit(started(TRAIN))
        emitter.close_run(TRAIN)
        emitter.close()
        assert [emission_of(orjson.loads(value)).get("final", False) for value in sink.values] == [
            False,
            False,
            True,
        ]

    def test_an_event_outside_of_runs_can_be_the_final_one(self) -> None:
        sink = MemorySink()
        emitter = emitter_into(sink)
        tagged = AssetTagged(time=START_US, asset=AssetRef(namespace="n", name="a"), tags={"k": "v"})
        assert emitter.emit(tagged, final=True)
        emitter.close()
        assert len(sink.values) == 1
        assert emission_of(orjson.loads(sink.values[0]))["final"]

    def test_nothing_is_written_when_nothing_was_emitted(self, tmp_path: Path) -> None:
        emitter = from_settings(Settings(log=tmp_path / "log"))
        emitter.close()
        emitter.close()
        assert not (tmp_path / "log").exists()

    def test_an_event_after_it_is_refused(self, caplog: pytest.LogCaptureFixture) -> None:
        emitter = emitter_into(MemorySink())
        emitter.close()
        assert emitter.emit(started(TRAIN)) is None
        assert emitter.stats.reasons == {"SinkClosed": 1}
        assert "current()" in caplog.text


class TestRefusals:
    def test_the_default_profile_tells_once_counts_always_and_leaves_a_gap(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = FailingFiles(fail={"write": [0, 0, NO_SPACE, NO_SPACE, 0]})
        emitter = Emitter(Settings(), lambda e: Spool(tmp_path, emitter_id=e, files=files))
        receipts = [emitter.emit(created(TRAIN, number)) for number in range(4)]
        emitter.close()
        assert [receipt is not None for receipt in receipts] == [True, False, False, True]
        assert emitter.stats[:2] == (3, 2)
        assert [r.msg for r in caplog.records if r.msg.startswith("event_refused")].count(
            "event_refused: %s"
        ) == 1
        assert "free disk space" in caplog.text
        (links,) = log_of(tmp_path).values()
        assert [link.sequence for link in links] == [0, 3, 4]
        assert links[1].previous == links[0].event_id

    def test_the_regulated_profile_raises_the_typed_error(self, tmp_path: Path) -> None:
        files = FailingFiles(fail={"write": [0, NO_SPACE, 0]})
        emitter = Emitter(Settings(profile="regulated"), lambda e: Spool(tmp_path, emitter_id=e, files=files))
        with pytest.raises(Unwritable):
            emitter.emit(started(TRAIN))
        assert emitter.emit(created(TRAIN, 1)) is not None
        emitter.close()

    @pytest.mark.parametrize("profile", ["default", "regulated"])
    def test_an_event_beyond_8_mib_is_refused_before_anything_is_written(
        self, profile: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        sink = MemorySink()
        emitter = emitter_into(sink, profile=profile)
        event = created(TRAIN, 1, filler="x" * 10_000_000)
        if profile == "regulated":
            with pytest.raises(EventTooLarge) as caught:
                emitter.emit(event)
            assert caught.value.size > 10_000_000
            assert (caught.value.limit, caught.value.facet) == (MAX_EVENT_BYTES, "headwater_asset")
            assert caught.value.facet_size > 10_000_000
        else:
            assert emitter.emit(event) is None
            assert "headwater_asset" in caplog.text
            assert str(MAX_EVENT_BYTES) in caplog.text
        assert sink.values == []
        assert emitter.emit(created(TRAIN, 2)) is not None

    def test_what_is_no_event_is_refused_like_any_other(self) -> None:
        emitter = emitter_into(MemorySink())
        assert emitter.emit("no event") is None  # type: ignore[arg-type]
        assert emitter.stats.refused == 1
        assert emitter.emit(started(TRAIN)) is not None


class TestThreads:
    def test_the_chain_is_unbroken_when_several_emit(self, tmp_path: Path) -> None:
        emitter = from_settings(Settings(log=tmp_path, spool=SpoolLimits(segment_bytes=1 << 20)))

        def work(number: int) -> None:
            for count in range(500):
                emitter.emit(created(run_named("thread", number), count))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        emitter.close()
        (links,) = log_of(tmp_path).values()
        assert_unbroken(links)
        assert len(links) == 2004
        assert all(check(path).digest_holds for path in list_segments(tmp_path))

    def test_an_event_emitted_while_emitting_follows_right_after(self) -> None:
        class Reentrant(MemorySink):
            def append(self, value: bytes):  # type: ignore[no-untyped-def]
                if not self.values:
                    emitter.emit(created(LOAD, 7))
                return super().append(value)

        sink = Reentrant()
        emitter = emitter_into(sink)
        assert emitter.emit(started(TRAIN)) is not None
        assert [emission_of(orjson.loads(value))["sequence"] for value in sink.values] == [0, 1]
        assert emitter.stats.deferred == 1

    def test_exceptions_of_signal_handlers_at_any_moment_break_no_chain(self, tmp_path: Path) -> None:
        class Signalled(BaseException):
            pass

        def handler(number: int, frame: FrameType | None) -> None:
            raise Signalled

        emitter = from_settings(Settings(log=tmp_path))
        emitter.emit(started(TRAIN))
        before = signal.signal(signal.SIGALRM, handler)
        interrupted = 0
        try:
            for number in range(400):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (number % 60 + 1))
                    for count in range(50):
                        emitter.emit(created(TRAIN, count))
                    time.sleep(0.001)
                except Signalled:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        emitter.close()
        (links,) = log_of(tmp_path).values()
        assert interrupted > 300
        # A number may be used up by an event that was interrupted before it was written.
        assert [link.previous for link in links] == [None, *(link.event_id for link in links[:-1])]
        sequences = [link.sequence for link in links]
        assert sequences == sorted(set(sequences))
        assert all(check(path).digest_holds for path in list_segments(tmp_path))


class TestThisProcess:
    @pytest.fixture(autouse=True)
    def fresh(self, tmp_path: Path) -> Iterator[None]:
        configure(Settings(log=tmp_path / "log"))
        yield
        configure(Settings(log=tmp_path / "after"))

    def test_current_is_one_emitter_until_it_is_closed(self) -> None:
        emitter = current()
        assert current() is emitter
        emitter.close()
        assert current() is not emitter
        assert current().emit(started(TRAIN)) is not None

    def test_configure_closes_the_one_before_and_uses_the_sink_given(self) -> None:
        before = current()
        before.emit(started(TRAIN))
        sink = MemorySink()
        configure(Settings(project="mine"), sink)
        assert before.closed
        assert current().settings.project == "mine"
        receipt = current().emit(started(LOAD))
        assert receipt is not None
        assert receipt.event_id == hashlib.sha256(sink.values[0]).hexdigest()

    def test_settings_come_from_the_file_nearest_to_the_working_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "headwater.yaml").write_text("project: from-file\nlog: here\n")
        monkeypatch.chdir(tmp_path)
        for name in ("HEADWATER_LOG", "HEADWATER_PROJECT", "HEADWATER_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        configure()
        current().emit(started(TRAIN))
        assert current().settings.project == "from-file"
        assert list_segments(tmp_path / "here")


class TestModes:
    def test_memory_reaches_the_log_by_the_time_it_is_closed(self, tmp_path: Path) -> None:
        emitter = from_settings(Settings(log=tmp_path, mode="memory"))
        for number in range(500):
            emitter.emit(created(TRAIN, number))
        emitter.close()
        (links,) = log_of(tmp_path).values()
        assert_unbroken(links)
        assert len(links) == 501

    def test_a_full_queue_refuses(self) -> None:
        class Stuck(MemorySink):
            go_on = threading.Event()

            def append(self, value: bytes):  # type: ignore[no-untyped-def]
                self.go_on.wait()
                return super().append(value)

        inner = Stuck()
        queue = QueueSink(inner, events=3)
        for _ in range(3):
            queue.append(b"x")
        with pytest.raises(QueueFull):
            queue.append(b"x")
        inner.go_on.set()
        queue.close()
        assert inner.values == [b"x"] * 3
        with pytest.raises(SinkClosed):
            queue.append(b"x")

    def test_an_event_that_the_sink_behind_the_queue_refuses_is_told_and_counted(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        inner = MemorySink()
        inner.close()
        queue = QueueSink(inner)
        for _ in range(3):
            queue.append(b"x")
        queue.close()
        assert queue.lost == 3
        assert [record.msg for record in caplog.records] == ["queued_event_lost: %s"]

    @pytest.mark.parametrize("mode", ["memory", "spool", "spool+fsync"])
    def test_each_mode_ends_with_the_same_log(self, tmp_path: Path, mode: str) -> None:
        emitter = from_settings(Settings(log=tmp_path, mode=mode))
        for event in (started(TRAIN), created(TRAIN, 1), completed(TRAIN)):
            assert emitter.emit(event) is not None
        emitter.close()
        (links,) = log_of(tmp_path).values()
        assert types_of(links) == ["START", "RUNNING", "COMPLETE", "OTHER"]
        assert_unbroken(links)


def test_secrets_are_gone_before_the_event_is_in_the_log() -> None:
    sink = MemorySink()
    emitter = emitter_into(sink, redact=RedactionRules(keys=("patient_id",)))
    emitter.emit(created(TRAIN, 1, filler="postgres://me:hunter2@host/db"))
    (value,) = sink.values
    assert b"hunter2" not in value
    assert b"postgres://[redacted]@host/db" in value


def test_no_import_of_the_emitter_brings_what_a_step_does_not_need() -> None:
    import subprocess
    import sys

    code = (
        "import sys, headwater.emitter.emitter;"
        "heavy = {'yaml', 'multiprocessing', 'sqlalchemy', 'pandas', 'confluent_kafka', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
