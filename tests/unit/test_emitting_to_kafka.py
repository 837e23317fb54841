"""What an emitter promises of a log on Kafka, where the broker, the clock or a process is at fault.

Against librdkafka's mock cluster.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from headwater.emitter.acks import acknowledge, acknowledged
from headwater.emitter.adoption import _Locks, adopt
from headwater.emitter.draining import left_in
from headwater.emitter.emitter import Emitter, KeptAside, Unconfirmed, from_settings
from headwater.emitter.files import LocalFiles
from headwater.emitter.governing import state
from headwater.emitter.kafka_settings import producer_settings
from headwater.emitter.parking import parked
from headwater.emitter.pruning import prune
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.emitter.sinks import SinkClosed
from headwater.emitter.spool import Spool
from headwater.emitter.topic import topic_of
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import AssetDescribed, AssetRef
from headwater.schemas.segment import SEAL_BYTES, list_segments, read_seal
from tests.support.mock_kafka import MockCluster, mock_cluster
from tests.support.spool import START_US, FailingFiles, created, log_of, run_named, started
from tests.support.topics import eventually, ids_in, settings_for, values_of

TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD = 10, 32, 87
TRAIN = run_named("train")


def sent_to(cluster: MockCluster) -> set[str]:
    return ids_in(values_of(cluster.bootstrap, "t", 3))


class TestSync:
    def test_an_event_that_the_broker_refuses_is_not_confirmed_and_the_reason_is_told(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, mode="sync", profile="regulated")
        emitter = from_settings(settings)
        emitter.emit(created(TRAIN, 0))
        cluster.answer([TOO_LARGE, TOO_LARGE])
        with pytest.raises(KeptAside, match=r"refused event .*kept aside") as refused:
            emitter.emit(created(TRAIN, 1))
        assert "max.message.bytes" in refused.value.message
        assert len(parked(settings.log)) == 1
        assert refused.value.receipt.event_id not in sent_to(cluster)
        following = emitter.emit(created(TRAIN, 2))
        assert following is not None
        assert following.event_id in sent_to(cluster)
        emitter.close()
        assert emitter.stats.unconfirmed == 1

    def test_in_the_default_profile_a_refused_event_is_counted_and_told(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, mode="sync"))
        emitter.emit(created(TRAIN, 0))
        cluster.answer([TOO_LARGE, TOO_LARGE])
        assert emitter.emit(created(TRAIN, 1)) is not None
        assert emitter.stats.unconfirmed == 1
        assert "event_unconfirmed" in caplog.text
        assert "max.message.bytes" in caplog.text
        emitter.close()

    def test_of_several_statements_the_refused_one_is_told_and_the_others_are_sent(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        cluster.answer([0, TOO_LARGE, TOO_LARGE])
        with pytest.raises(KeptAside):
            state([_told(number) for number in range(3)], settings_for(cluster.url("t"), tmp_path))
        assert len(sent_to(cluster)) == 2

    def test_closing_writes_every_runs_end_though_the_broker_is_away_and_waits_once(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(
            cluster.url("t"),
            tmp_path,
            mode="sync",
            profile="regulated",
            sync_timeout_s=0.5,
            drain_on_exit_s=0.1,
        )
        emitter = from_settings(settings)
        cluster.set_down()
        for number in range(3):
            with pytest.raises(Unconfirmed):
                emitter.emit(created(run_named("run", number), number))
        with pytest.raises(Unconfirmed):
            emitter.close()
        (links,) = log_of(settings.log).values()
        assert len(links) == 6
        assert [link.final for link in links] == [False] * 5 + [True]
        assert emitter.stats.unconfirmed == 6

    @pytest.mark.parametrize("mode", ["sync", "spool"])
    def test_nobody_waits_for_the_emitter_while_it_waits_for_a_broker(
        self, cluster: MockCluster, tmp_path: Path, mode: str
    ) -> None:
        cluster.set_down()
        settings = settings_for(
            cluster.url("t"),
            tmp_path,
            mode=mode,
            profile="regulated",
            sync_timeout_s=5.0,
            drain_on_exit_s=5.0,
        )
        emitter = from_settings(settings)
        closing = threading.Thread(target=_closed, args=(emitter,))
        emitting = threading.Thread(target=_emitted, args=(emitter,))
        emitting.start()
        eventually(lambda: emitter.stats.accepted == 1, "it is kept")
        closing.start()
        eventually(lambda: emitter.closed, "it is being closed")
        assert emitter.stats.accepted == 2
        with pytest.raises(SinkClosed):
            emitter.emit(created(TRAIN, 1))
        assert closing.is_alive()
        cluster.set_up()
        emitting.join()
        closing.join()

    def test_what_keeps_delivery_from_going_on_is_said_by_the_unconfirmed(self, tmp_path: Path) -> None:
        with mock_cluster() as cluster:
            settings = settings_for(
                cluster.url("typo"),
                tmp_path,
                mode="sync",
                profile="regulated",
                sync_timeout_s=5.0,
                drain_on_exit_s=0.1,
                topic_metadata_propagation_max_ms=500,
            )
            emitter = from_settings(settings)
            with pytest.raises(Unconfirmed, match="Unknown topic") as late:
                emitter.emit(created(TRAIN))
            assert "headwater topics create" in str(late.value.remedy)
            with pytest.raises(Unconfirmed):
                emitter.close()


def _told(number: int) -> AssetDescribed:
    asset = AssetRef(namespace="tests", name=f"asset-{number}")
    return AssetDescribed(time=START_US, asset=asset, description="churn")


def _closed(emitter: Emitter) -> None:
    with contextlib.suppress(Unconfirmed):
        emitter.close()


def _emitted(emitter: Emitter) -> None:
    with contextlib.suppress(Unconfirmed):
        emitter.emit(created(TRAIN))


class TestForks:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_worker_of_a_parent_that_emits_nothing_delivers_what_a_killed_one_left(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, drain_on_exit_s=5.0)
        # The parent of a prefork server.
        emitter = from_settings(settings)
        cluster.set_down()
        killed = os.fork()
        if killed == 0:
            for number in range(5):
                emitter.emit(created(TRAIN, number))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(killed, 0)
        assert left_in(settings.log) == 5
        cluster.set_up()
        worker = os.fork()
        if worker == 0:
            signal.alarm(60)
            emitter.emit(created(run_named("other")))
            eventually(lambda: left_in(settings.log) == 0, "all is delivered", 30.0)
            emitter.close()
            os._exit(0)
        assert os.waitpid(worker, 0)[1] == 0
        # The run's RunClosed of the second one, too.
        assert len(sent_to(cluster)) == 7


class TestRefusal:
    def test_a_topic_that_is_not_there_is_not_made_and_delivery_halts(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        from confluent_kafka.admin import AdminClient

        with mock_cluster() as cluster:
            settings = settings_for(
                cluster.url("typo"), tmp_path, drain_on_exit_s=0.1, topic_metadata_propagation_max_ms=500
            )
            emitter = from_settings(settings)
            emitter.emit(created(TRAIN))
            eventually(lambda: "delivery_halted" in caplog.text, "it halts")
            emitter.close()
            assert "headwater topics create" in caplog.text
            assert left_in(settings.log) == 2
            known = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=10.0)
            assert list(known.topics) == []

    def test_a_clock_that_the_topic_does_not_believe_halts_and_parks_nothing(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        emitter = from_settings(settings)
        cluster.answer([INVALID_TIMESTAMP])
        receipt = emitter.emit(created(TRAIN))
        assert receipt is not None
        eventually(lambda: "delivery_halted" in caplog.text, "it halts")
        assert "this machine's clock" in caplog.text
        emitter.close()
        assert parked(settings.log) == []
        assert receipt.event_id in sent_to(cluster)

    def test_a_record_that_the_broker_finds_invalid_is_told_with_what_to_see_to(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        emitter = from_settings(settings)
        cluster.answer([INVALID_RECORD, INVALID_RECORD])
        emitter.emit(created(TRAIN))
        eventually(lambda: bool(parked(settings.log)), "it is kept aside")
        emitter.close()
        assert "cleanup.policy" in parked(settings.log)[0].reason

    @pytest.mark.parametrize("name", ["delivery.report.only.error", "allow.auto.create.topics"])
    def test_a_setting_without_which_deliveries_are_not_known_is_refused(self, name: str) -> None:
        with pytest.raises(Misconfigured, match=name) as refused:
            producer_settings({name: True}, "127.0.0.1:9")
        assert refused.value.remedy == "leave it out"

    @pytest.mark.parametrize(
        "url", ["kafka://user:pa/ss@host:9092/t", "kafka://user:p@host:9092/t", "kafka://h/t,u:ss@x"]
    )
    def test_no_part_of_a_password_in_a_url_is_printed(self, url: str) -> None:
        with pytest.raises(Misconfigured, match="a user or a password") as refused:
            topic_of(url)
        assert "ss" not in str(refused.value).replace("password", "")


class TestPruning:
    """What was delivered goes, but what an adopter must read stays."""

    def test_the_start_of_an_open_run_stays_while_its_emitter_is_between_two_segments(
        self, tmp_path: Path
    ) -> None:
        emitter = _emitter(tmp_path, segment_bytes=4096, max_bytes=12_000)
        emitter.emit(started(TRAIN))
        number = 0
        while emitter.emit(created(TRAIN, number)) is not None:
            number += 1
        sealed = _all_sealed_and_acknowledged(tmp_path, emitter)
        assert prune(tmp_path) == sealed[1:]
        # It goes on, and is killed.
        eventually(lambda: emitter.emit(created(TRAIN, number)) is not None, "there is room again", 10.0)
        emitter._sink.close()  # type: ignore[union-attr]
        path = list_segments(tmp_path)[-1]
        path.write_bytes(path.read_bytes()[:-SEAL_BYTES])
        assert [adopted.aborted for adopted in adopt(tmp_path)] == [(TRAIN.id,)]
        # An adopted emitter has no run open any more.
        _acknowledge_all(tmp_path)
        assert len(prune(tmp_path)) == 2
        assert list_segments(tmp_path) == []

    def test_everything_of_an_emitter_that_said_its_last_word_goes(self, tmp_path: Path) -> None:
        emitter = _emitter(tmp_path)
        emitter.emit(started(TRAIN))
        for number in range(20):
            emitter.emit(created(TRAIN, number))
        emitter.close()
        _acknowledge_all(tmp_path)
        assert len(prune(tmp_path)) > 3
        assert list_segments(tmp_path) == []

    def test_a_sealed_segment_is_read_once_however_often_is_pruned(self, tmp_path: Path) -> None:
        emitter = _emitter(tmp_path)
        emitter.emit(started(TRAIN))
        for number in range(60):
            emitter.emit(created(TRAIN, number))
        first, *others = _all_sealed_and_acknowledged(tmp_path, emitter, but=1)
        assert prune(tmp_path) == others
        damaged = bytearray(first.read_bytes())
        damaged[len(damaged) // 2] ^= 0xFF
        first.write_bytes(damaged)
        # Read again, it would be found damaged.
        assert prune(tmp_path) == []
        assert first.exists()

    def test_one_file_that_cannot_be_read_hinders_no_other(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            emitter = _emitter(tmp_path)
            emitter.emit(started(run_named(name)))
            emitter.close()
        _acknowledge_all(tmp_path)
        first, second, third = list_segments(tmp_path)
        first.with_suffix(".ack").write_text("many")
        second.with_suffix(".ack").unlink()
        second.with_suffix(".ack").mkdir()
        with pytest.raises(Misconfigured, match="many"):
            prune(tmp_path)
        assert list_segments(tmp_path) == [first, second]
        assert not third.exists()


class TestAdoption:
    def test_the_number_of_acknowledged_frames_is_cut_back_on_the_disk_before_anything_is_appended(
        self, tmp_path: Path
    ) -> None:
        emitter = _emitter(tmp_path)
        emitter.emit(started(TRAIN))
        emitter._sink.close()  # type: ignore[union-attr]
        (path,) = list_segments(tmp_path)
        path.write_bytes(path.read_bytes()[:-SEAL_BYTES])
        (tmp_path / "open" / path.stem).touch()
        acknowledge(path, 100)
        files = FailingFiles()
        assert [adopted.frames for adopted in adopt(tmp_path, files=files)] == [2]
        assert acknowledged(path) == 1
        before = files.calls[: files.calls.index("write")]
        assert before[-2:] == ["sync", "sync_folder"]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_child_forked_while_a_segment_is_adopted_keeps_no_lock(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.touch()
        (ready, ready_end), (looked, looked_end) = os.pipe(), os.pipe()
        with _Locks(LocalFiles()) as locks:
            assert locks.take(path)
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                os.write(ready_end, b"!")
                os.read(looked, 1)
                os._exit(0)
            os.read(ready, 1)
        with _Locks(LocalFiles()) as again:
            taken = again.take(path)
        os.write(looked_end, b"!")
        for end in (ready, ready_end, looked, looked_end):
            os.close(end)
        os.waitpid(child, 0)
        assert taken


def _emitter(directory: Path, *, segment_bytes: int = 4096, max_bytes: int = 0) -> Emitter:
    limits = SpoolLimits(segment_bytes=segment_bytes, max_bytes=max_bytes)
    return Emitter(Settings(), lambda emitter: Spool(directory, emitter_id=emitter, limits=limits))


def _acknowledge_all(directory: Path) -> list[Path]:
    """What is sealed, acknowledged in full."""
    seals = {path: read_seal(path) for path in list_segments(directory)}
    for path, seal in seals.items():
        if seal is not None:
            acknowledge(path, seal.frames)
    return [path for path, seal in seals.items() if seal is not None]


def _all_sealed_and_acknowledged(directory: Path, emitter: Emitter, *, but: int = 0) -> list[Path]:
    emitter._sink.flush()  # type: ignore[union-attr]
    sealed = _acknowledge_all(directory)
    assert len(sealed) == len(list_segments(directory)) - but
    assert len(sealed) > 1
    return sealed
