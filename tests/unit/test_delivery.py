"""Whom a drain serves, and what it does with files that it cannot read (on librdkafka's mock cluster)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.emitter.claims import claim
from headwater.emitter.delivery import BATCH_RECORDS, OTHERS_SHARE, WINDOW_RECORDS, Drain
from headwater.emitter.drained import opened
from headwater.emitter.draining import drain, left_in, send_parked
from headwater.emitter.emitter import Emitter, from_settings
from headwater.emitter.parking import by_itself, park, parked
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.emitter.topic_writer import Failure, Told, TopicWriter
from headwater.schemas.errors import Corrupt, Misconfigured, Retryable
from headwater.schemas.segment import list_segments
from tests.support.mock_kafka import MockCluster
from tests.support.spool import created, run_named
from tests.support.topics import assert_in_order, eventually, ids_in, settings_for, values_of

TOO_LARGE = 10
ROOT = Path(__file__).parents[2]
MANY = WINDOW_RECORDS + 1_000


def plain(folder: Path, events: int, name: str = "old", *, segment_bytes: int = 64 << 20) -> Emitter:
    """An emitter of a machine without Kafka's client, which has emitted so much and goes on living."""
    emitter = from_settings(
        Settings(log=folder, adopt=False, spool=SpoolLimits(segment_bytes=segment_bytes, max_bytes=0))
    )
    for number in range(events):
        emitter.emit(created(run_named(name, number % 9), number))
    return emitter


def left_unsealed(folder: Path, aside: Path, events: int = 30, name: str = "dead") -> Path:
    """A segment of an emitter that died in the middle of it."""
    emitter = plain(aside / name, events, name)
    (segment,) = list_segments(aside / name)
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / segment.name
    shutil.copy(segment, left)
    emitter.close()
    return left


def damage(segment: Path, at: int | None = None) -> bytes:
    """Flip a byte, in the middle unless told; what was there before."""
    good = segment.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2 if at is None else at] ^= 0xFF
    segment.write_bytes(bad)
    return good


def turned(delivering: Drain, until: Callable[[], bool]) -> None:
    def holds() -> bool:
        delivering.turn(0.05)
        return until()

    eventually(holds, "the drain gets so far", 20.0)


def in_topic(cluster: MockCluster) -> set[str]:
    return ids_in(values_of(cluster.bootstrap, "t", 3))


class TestOrder:
    def test_a_segment_made_while_the_folder_is_read_does_not_let_a_later_one_pass(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        """A reading of a folder may hold what was made last, and not what was made before it."""
        settings = settings_for(cluster.url("t"), tmp_path)
        emitter = plain(settings.log, 0, segment_bytes=10_000)
        delivering = Drain(settings.log, lambda: opened(settings), own=emitter.emitter_id, listed=once_torn())
        run = run_named("one")
        for number in range(60):
            assert emitter.emit(created(run, number, filler="x" * 500)) is not None
            if not number % 5:
                delivering.turn(0)
        emitter.close()
        turned(delivering, lambda: delivering.own_delivered)
        delivering.close()
        parts = values_of(cluster.bootstrap, "t", 3)
        assert sum(map(len, parts)) > 60
        assert_in_order(parts)


def once_torn() -> Callable[[Path], list[Path]]:
    """Reads a folder; what is new beside something newer is left out the first time."""
    known: set[Path] = set()

    def listed(folder: Path) -> list[Path]:
        paths = list_segments(folder)
        left_out = {path for path in paths[:-1] if path not in known}
        known.update(paths)
        return [path for path in paths if path not in left_out]

    return listed


class TestOwnFirst:
    def test_what_others_left_takes_a_share_of_the_line_and_our_own_goes_on_at_once(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        plain(settings.log, MANY).close()
        own = plain(settings.log, 1, "own")
        cluster.set_down()
        delivering = Drain(settings.log, lambda: opened(settings), own=own.emitter_id)
        for _ in range(5):
            delivering.turn(0)
        assert 1 < delivering.outstanding <= WINDOW_RECORDS // OTHERS_SHARE + 1
        own.emit(created(run_named("own"), 2))
        delivering.turn(0)
        cluster.set_up()
        segment = list_segments(settings.log)[-1].stem
        turned(delivering, lambda: delivering.delivered_of(segment) == 2)
        assert delivering.delivered < MANY
        delivering.close()
        own.close()

    def test_a_process_that_ends_waits_for_its_own_events_alone(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, batch_num_messages=100, max_in_flight=1)
        plain(settings.log, MANY).close()
        cluster.set_delay(100)
        emitter = from_settings(settings)
        receipt = emitter.emit(created(run_named("own")))
        assert receipt is not None
        emitter.close()
        left = left_in(settings.log)
        cluster.set_delay(0)
        assert receipt.event_id in in_topic(cluster)
        assert left > 0

    def test_without_own_events_everybody_gets_a_batch_in_turn(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        plain(settings.log, 3_000).close()
        small = plain(settings.log, 0, "small")
        receipt = small.emit(created(run_named("small")))
        assert receipt is not None
        sent: list[bytes] = []

        class Watched(TopicWriter):
            def send(self, value: bytes, append_time: int, told: Told) -> Failure | None:
                sent.append(value)
                return super().send(value, append_time, told)

        cluster.set_down()
        assert settings.topic is not None
        topic = settings.topic
        delivering = Drain(settings.log, lambda: Watched(topic, {}))
        turned(delivering, lambda: len(sent) > 3_000)
        assert receipt.event_id in ids_in([sent[: 2 * BATCH_RECORDS]])
        delivering.close()
        small.close()

    def test_a_refused_batch_of_one_emitter_finds_silence_while_another_goes_on(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        busy = plain(settings.log, 1, "busy")
        delivering = Drain(settings.log, lambda: opened(settings))
        turned(delivering, lambda: delivering.delivered == 1)
        cluster.set_delay(50)
        cluster.answer([TOO_LARGE])
        refused = left_unsealed(settings.log, tmp_path, 1, "refused")
        delivering.look()
        delivering.turn(0)
        assert delivering.outstanding == 1

        def beside() -> bool:
            busy.emit(created(run_named("busy")))
            return refused.with_suffix(".ack").exists()

        turned(delivering, beside)
        delivering.close()
        busy.close()


class TestDamage:
    def test_an_unsealed_segment_that_is_damaged_in_the_middle_is_told_though_nothing_else_is_left(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        damage(left_unsealed(settings.log, tmp_path))
        done = drain(settings, patience_s=1.0)
        assert 0 < done.delivered < 30
        assert isinstance(done.problem, Corrupt)

    def test_a_segment_whose_header_is_damaged_ends_the_command_with_5(
        self, cluster: MockCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from headwater.consumers import cli

        (tmp_path / "headwater.yaml").write_text(f"log: {cluster.url('t')}\n")
        segment = left_unsealed(tmp_path / ".headwater/spool/t", tmp_path)
        damage(segment, 20)
        code = cli.main(["drain", "--config", str(tmp_path / "headwater.yaml"), "--timeout", "1"])
        said = capsys.readouterr()
        assert code == cli.UNACCEPTABLE == 5
        assert segment.name in said.err
        assert "nothing to deliver" not in said.out

    def test_an_ack_that_is_no_number_is_told_and_what_it_is_about_counts_as_left(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        left_unsealed(settings.log, tmp_path).with_suffix(".ack").write_text("x\n")
        done = drain(settings, patience_s=0.5)
        assert (done.delivered, done.left) == (0, 30)
        assert isinstance(done.problem, Misconfigured)
        assert "is no number of frames" in str(done.problem)

    def test_an_ack_that_is_no_number_keeps_nobody_elses_events_back(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        left_unsealed(settings.log, tmp_path).with_suffix(".ack").write_text("x\n")
        other = left_unsealed(settings.log, tmp_path, name="other")
        emitter = from_settings(settings)
        receipt = emitter.emit(created(run_named("own")))
        assert receipt is not None
        eventually(lambda: receipt.event_id in in_topic(cluster), "our own event is delivered", 20.0)
        eventually(lambda: not other.exists() or other.with_suffix(".ack").exists(), "and the others'", 20.0)
        emitter.close()
        assert left_in(settings.log) == 30
        assert caplog.text.count("segment_damaged") == 1
        assert "drain_failed" not in caplog.text

    @pytest.mark.parametrize("how", ["mended", "moved away"])
    def test_once_a_damaged_file_is_mended_or_moved_away_the_same_drain_goes_on(
        self, cluster: MockCluster, tmp_path: Path, how: str
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        plain(settings.log, 30, segment_bytes=8192).close()
        first = list_segments(settings.log)[0]
        good = damage(first)
        delivering = Drain(settings.log, lambda: opened(settings))
        turned(delivering, lambda: bool(delivering.damaged))
        turned(delivering, lambda: not delivering.outstanding)
        assert left_in(settings.log) > 0
        if how == "mended":
            first.write_bytes(good)
        else:
            first.rename(tmp_path / "moved")
        turned(delivering, lambda: left_in(settings.log) == 0)
        assert delivering.damaged == []
        delivering.close()

    def test_one_ack_that_cannot_be_written_keeps_no_other_from_being_written(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        first, second = (left_unsealed(settings.log, tmp_path, name=name) for name in ("a", "b"))
        first.with_suffix(".ack.new").mkdir()
        delivering = Drain(settings.log, lambda: opened(settings))
        turned(delivering, lambda: delivering.delivered == 60)
        delivering.turn(0)
        assert second.with_suffix(".ack").read_text() == "30\n"
        assert "ack_not_written" in caplog.text
        delivering.close()


class TestCounts:
    def test_a_segment_that_is_deleted_and_restored_while_records_are_out_is_not_counted_twice(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        segment = left_unsealed(settings.log, tmp_path)
        cluster.set_down()
        delivering = Drain(settings.log, lambda: opened(settings))
        turned(delivering, lambda: delivering.outstanding == 30)
        kept = segment.read_bytes()
        segment.unlink()
        turned(delivering, lambda: delivering.outstanding == 0)
        segment.write_bytes(kept)
        cluster.set_up()
        turned(delivering, lambda: left_in(settings.log) == 0)
        assert delivering.outstanding == 0
        delivering.close()

    def test_a_producer_that_cannot_be_made_while_a_record_goes_alone_ends_nothing(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        left_unsealed(settings.log, tmp_path, 1)
        made = 0

        def open_writer() -> TopicWriter:
            nonlocal made
            made += 1
            if made == 2:
                raise Misconfigured("kafka: the certificate is being replaced")
            return opened(settings)

        delivering = Drain(settings.log, open_writer)
        cluster.answer([TOO_LARGE])
        turned(delivering, lambda: left_in(settings.log) == 0)
        assert made == 3
        delivering.close()

    def test_a_queue_smaller_than_a_record_halts_and_names_the_setting(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, queue_buffering_max_kbytes=1)
        emitter = plain(settings.log, 0)
        emitter.emit(created(run_named("large"), filler="x" * 3_000))
        emitter.close()
        done = drain(settings, patience_s=5.0)
        assert isinstance(done.problem, Misconfigured)
        assert "queue.buffering.max.kbytes" in str(done.problem)


class TestClaims:
    def test_a_living_emitters_segments_are_its_own_from_the_first_event_on(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        # Kafka's client takes its time to be imported, so the thread that delivers cannot claim anything yet.
        program = f"""
import sys, threading
from pathlib import Path
go = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "confluent_kafka":
            go.wait()
sys.meta_path.insert(0, Slow())
from headwater.emitter.claims import claim
from headwater.emitter.emitter import from_settings
from tests.support.spool import created, run_named
from tests.support.topics import settings_for
settings = settings_for({cluster.url("t")!r}, Path({str(tmp_path)!r}))
emitter = from_settings(settings)
emitter.emit(created(run_named("own")))
assert claim(settings.log, emitter.emitter_id) is None, "somebody else could take it"
go.set()
emitter.close()
assert claim(settings.log, emitter.emitter_id) is not None, "it is not given back"
"""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert left_in(tmp_path / "t") == 0

    def test_without_kafkas_client_the_claim_is_given_back_while_the_emitter_lives(
        self, tmp_path: Path
    ) -> None:
        program = f"""
import sys
sys.modules["confluent_kafka"] = None
from pathlib import Path
from headwater.emitter.claims import claim
from headwater.emitter.emitter import from_settings
from tests.support.spool import created, run_named
from tests.support.topics import assert_in_order, eventually, settings_for
settings = settings_for("kafka://127.0.0.1:9/t", Path({str(tmp_path)!r}))
emitter = from_settings(settings)
emitter.emit(created(run_named("own")))
eventually(lambda: claim(settings.log, emitter.emitter_id) is not None, "others may deliver", 20)
emitter.close()
"""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def test_claims_are_given_back_after_the_producer_has_ended(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        emitter = plain(settings.log, 10)
        others: list[object] = []

        class Watched(TopicWriter):
            def close(self) -> None:
                others.append(claim(settings.log, emitter.emitter_id))
                super().close()

        cluster.set_down()
        assert settings.topic is not None
        topic = settings.topic
        delivering = Drain(settings.log, lambda: Watched(topic, {}))
        turned(delivering, lambda: delivering.outstanding == 10)
        delivering.close()
        assert others == [None]
        assert claim(settings.log, emitter.emitter_id) is not None
        emitter.close()


class TestParked:
    def kept_aside(self, settings: Settings, offset: int) -> Path:
        return park(
            settings.log,
            segment_id="a",
            offset=offset,
            value=b'{"n": %d}' % offset,
            append_time=1_790_000_000_000_000,
            reason="too large",
            now=lambda: 1,
        )

    def test_an_account_that_cannot_be_read_is_named_and_keeps_nothing_else_back(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        broken = self.kept_aside(settings, 1).with_suffix(".reason")
        self.kept_aside(settings, 2)
        broken.write_text("")
        for done in (drain(settings), send_parked(settings)):
            assert isinstance(done.problem, Misconfigured)
            assert str(broken) in str(done.problem)
        assert (done.delivered, done.aside) == (1, 1)
        broken.write_text('{"reason": "", "append_time": 1790000000000000, "parked_at": 1}')
        assert send_parked(settings).delivered == 1
        assert parked(settings.log) == []

    def test_two_do_not_send_the_same_events(self, cluster: MockCluster, tmp_path: Path) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        self.kept_aside(settings, 1)
        with by_itself(settings.log) as alone:
            assert alone
            done = send_parked(settings)
        assert (done.delivered, done.aside) == (0, 1)
        assert isinstance(done.problem, Retryable)
        assert send_parked(settings).delivered == 1

    def test_the_first_signal_ends_it_though_the_brokers_do_not_answer(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        (tmp_path / "headwater.yaml").write_text(f"log: {cluster.url('t')}\n")
        self.kept_aside(settings_for(cluster.url("t"), tmp_path / ".headwater/spool"), 1)
        cluster.set_down()
        # The signal comes once the first record is on its way: its handler stands by then.
        program = """
import os, signal, sys
from headwater.consumers import cli
from headwater.emitter.topic_writer import TopicWriter
send = TopicWriter.send
def sent(*given):
    os.kill(os.getpid(), signal.SIGTERM)
    return send(*given)
TopicWriter.send = sent
sys.exit(cli.main(["drain", "--parked", "--timeout", "3600"]))
"""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1, done.stderr
        assert "1 events are kept aside" in done.stdout

    def test_follow_and_parked_together_are_refused(self, tmp_path: Path) -> None:
        from headwater.consumers import cli

        assert cli.main(["drain", "--follow", "--parked", "--log", "kafka://127.0.0.1:9/t"]) == cli.USAGE
