"""From the spool to a topic, against brokers that answer as they are told (librdkafka's mock cluster)."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.emitter.claims import claim
from headwater.emitter.draining import drain, left_in, send_parked
from headwater.emitter.emitter import MAX_EVENT_BYTES, Emitter, EventTooLarge, Unconfirmed, from_settings
from headwater.emitter.parking import parked
from headwater.emitter.settings import Settings
from headwater.schemas.errors import Misconfigured, Retryable
from headwater.schemas.segment import list_segments
from tests.support.mock_kafka import INIT_PRODUCER_ID, MockCluster
from tests.support.spool import completed, created, run_named, started
from tests.support.topics import (
    assert_chains_whole,
    assert_in_order,
    eventually,
    id_of,
    ids_in,
    records_of,
    settings_for,
    values_of,
)

# Answers as Kafka numbers them.
NOT_LEADER, TIMED_OUT, TOO_LARGE, NOT_ENOUGH_REPLICAS = 6, 7, 10, 19
TOPIC_FORBIDDEN, OUT_OF_ORDER, INVALID_RECORD, LINE_CUT = 29, 45, 87, -195
ROOT = Path(__file__).parents[2]
TRAIN = run_named("train")


def filled(emitter: Emitter, events: int, *, runs: int = 7, size: int = 0) -> list[str]:
    """Emit so many events of several runs; their ids."""
    found = []
    for number in range(events):
        receipt = emitter.emit(created(run_named("run", number % runs), number, filler="x" * size))
        assert receipt is not None
        found.append(receipt.event_id)
    return found


def left_behind(cluster: MockCluster, folder: Path, events: int) -> tuple[Settings, str, list[str]]:
    """A spool that was not delivered since the cluster went down; whose it is, and what is in it."""
    settings = settings_for(cluster.url("t"), folder, drain_on_exit_s=0)
    cluster.set_down()
    emitter = from_settings(settings)
    emitted = filled(emitter, events)
    emitter.close()
    return settings, emitter.emitter_id, emitted


def topic_of(cluster: MockCluster, partitions: int = 3) -> list[list[bytes]]:
    return values_of(cluster.bootstrap, "t", partitions)


class TestDelivery:
    def test_everything_that_was_emitted_is_in_the_topic_in_order_and_leaves_the_spool(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, segment_bytes=100_000))
        emitted = filled(emitter, 2_000)
        emitter.close()
        parts = topic_of(cluster)
        values = [value for part in parts for value in part]
        assert set(emitted) <= ids_in(parts)
        assert len(values) == len(set(values))
        assert_in_order(parts)
        assert_chains_whole(values)
        assert list_segments(tmp_path / "t") == []
        assert left_in(tmp_path / "t") == 0

    def test_a_record_has_the_key_and_headers_of_the_event_and_the_time_at_which_it_was_kept(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path))
        before = time.time_ns() // 1_000_000
        emitter.emit(created(TRAIN))
        emitter.close()
        ((value, key, headers, stamp), _) = [
            one for part in records_of(cluster.bootstrap, "t", 3) for one in part
        ]
        assert orjson.loads(value)["run"]["runId"] == TRAIN.id
        assert key == b"run:tests/train"
        assert headers == {"headwater-kind": b"AssetCreated", "headwater-asset-type": b"Artifact"}
        assert before <= stamp <= time.time_ns() // 1_000_000

    def test_an_event_of_eight_mebibytes_arrives_and_a_larger_one_is_refused_by_name(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, profile="regulated"))
        large = emitter.emit(created(TRAIN, 1, filler="x" * (MAX_EVENT_BYTES - 10_000)))
        assert large is not None
        with pytest.raises(EventTooLarge, match=r"8[\d]{6} bytes, the limit is 8388608.*headwater_asset"):
            emitter.emit(created(TRAIN, 2, filler="x" * MAX_EVENT_BYTES))
        emitter.close()
        assert large.event_id in ids_in(topic_of(cluster))

    def test_a_full_line_holds_the_spool_back_and_loses_nothing(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        cluster.set_delay(20)
        settings = settings_for(
            cluster.url("t"), tmp_path, queue_buffering_max_messages=50, batch_num_messages=10
        )
        emitter = from_settings(settings)
        emitted = filled(emitter, 400)
        emitter.close()
        assert set(emitted) <= ids_in(topic_of(cluster))

    def test_what_fails_and_may_be_mended_is_sent_again_without_a_word(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.answer([NOT_LEADER, TIMED_OUT, LINE_CUT, NOT_ENOUGH_REPLICAS, 0, NOT_LEADER, LINE_CUT])
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, batch_num_messages=100))
        emitted = filled(emitter, 1_500)
        emitter.close()
        parts = topic_of(cluster)
        assert set(emitted) <= ids_in(parts)
        assert_in_order(parts)
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
        assert "producer_renewed" not in caplog.text  # the client mended each of them by itself

    @pytest.mark.parametrize("answer", [OUT_OF_ORDER], ids=["sequence out of order"])
    def test_a_producer_at_its_end_is_replaced_and_goes_on_from_what_was_acknowledged(
        self, cluster: MockCluster, tmp_path: Path, answer: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, batch_num_messages=100))
        emitted = filled(emitter, 300)
        cluster.answer([0, 0, answer, 0, answer])
        emitted += filled(emitter, 1_000)
        emitter.close()
        parts = topic_of(cluster)
        assert set(emitted) <= ids_in(parts)
        assert_in_order(parts)
        # The cause is named, and not what befell the records behind it.
        (renewed,) = {line for line in caplog.messages if "producer_renewed" in line}
        assert "out of order sequence number" in renewed


class TestOutage:
    def test_a_broker_that_is_away_is_waited_for_with_one_line_before_and_one_after(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.set_down()
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path))
        emitted = filled(emitter, 500)
        eventually(lambda: "delivery_waits" in caplog.text, "the outage is told")
        emitted += filled(emitter, 500)
        cluster.set_up()
        eventually(lambda: "delivery_resumed" in caplog.text, "its end is told")
        emitter.close()
        assert set(emitted) <= ids_in(topic_of(cluster))
        told = [record.getMessage().partition(":")[0] for record in caplog.records]
        assert told == ["delivery_waits", "delivery_resumed"]

    def test_closing_is_bounded_and_says_what_is_left_for_the_next_one(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.set_down()
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, drain_on_exit_s=0.2))
        emitted = filled(emitter, 30)
        emitter.close()
        # Each of 7 runs is closed by an event of its own.
        assert "events_left_in_spool: 37 in" in caplog.text
        assert left_in(tmp_path / "t") == 37
        cluster.set_up()
        following = from_settings(settings_for(cluster.url("t"), tmp_path))
        filled(following, 1)
        eventually(lambda: set(emitted) <= ids_in(topic_of(cluster)), "another process delivers it")
        following.close()

    def test_without_kafkas_client_events_stay_and_the_extra_is_named(self, tmp_path: Path) -> None:
        program = f"""
import sys
sys.modules["confluent_kafka"] = None
from pathlib import Path
from typing import Any
from headwater.emitter.emitter import from_settings
from tests.support.spool import *
from tests.support.topics import settings_for
emitter = from_settings(settings_for("kafka://127.0.0.1:9/t", Path({str(tmp_path)!r})))
assert emitter.emit(created(run_named("a"))) is not None
emitter.close()
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "pip install 'headwater[kafka]'" in done.stderr
        assert "events_left_in_spool: 2 in" in done.stderr
        assert left_in(tmp_path / "t") == 2


class TestRefusal:
    @pytest.mark.parametrize(
        ("answer", "segment_bytes"), [(TOO_LARGE, 64 << 20), (INVALID_RECORD, 64 << 20), (TOO_LARGE, 8192)]
    )
    def test_a_record_that_is_never_taken_is_kept_aside_and_its_neighbours_go_on(
        self,
        cluster: MockCluster,
        tmp_path: Path,
        answer: int,
        segment_bytes: int,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, segment_bytes=segment_bytes)
        emitter = from_settings(settings)
        filled(emitter, 1)
        emitter.close()
        emitter = from_settings(settings)
        # Refused with its neighbours, then by itself.
        cluster.answer([answer, answer])
        emitted = filled(emitter, 20, runs=1)
        eventually(lambda: bool(parked(tmp_path / "t")), "one is kept aside")
        emitter.close()
        (aside,) = parked(tmp_path / "t")
        parts = topic_of(cluster)
        assert set(emitted) - ids_in(parts) == {id_of(aside.value)}
        assert_in_order(parts)
        assert "kafka://" in aside.reason
        assert "event_kept_aside" in caplog.text
        assert send_parked(settings).delivered == 1
        assert set(emitted) <= ids_in(topic_of(cluster))
        assert parked(tmp_path / "t") == []

    def test_what_follows_a_refused_record_waits_for_it_also_in_later_segments(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(
            cluster.url("t"), tmp_path, segment_bytes=8192, batch_num_messages=3, max_in_flight=1
        )
        plain = from_settings(replace(settings, topic=None))
        emitted = filled(plain, 40, runs=1)
        plain.close()
        assert len(list_segments(settings.log)) > 3
        # The first request is taken; how many requests are out when the second is refused is not ours to say.
        cluster.answer([0, *[TOO_LARGE] * 6])
        done = drain(settings)
        assert done.left == 0
        assert done.aside >= 1
        parts = topic_of(cluster)
        assert set(emitted) <= ids_in(parts) | {id_of(one.value) for one in parked(settings.log)}
        assert_in_order(parts)

    def test_a_record_that_the_client_refuses_is_kept_aside_at_once(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, message_max_bytes=5_000))
        small = emitter.emit(created(TRAIN, 1))
        large = emitter.emit(created(TRAIN, 2, filler="x" * 6_000))
        emitter.close()
        (aside,) = parked(tmp_path / "t")
        assert small is not None
        assert large is not None
        assert id_of(aside.value) == large.event_id
        assert small.event_id in ids_in(topic_of(cluster))

    def test_where_no_record_is_taken_delivery_halts_says_what_to_do_and_goes_on_once_it_may(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path)
        cluster.answer([TOPIC_FORBIDDEN] * 40)
        emitter = from_settings(settings)
        emitted = filled(emitter, 100)
        eventually(lambda: "delivery_halted" in caplog.text, "the halt is told")
        assert "give this user the right to WRITE" in caplog.text
        assert parked(tmp_path / "t") == []
        cluster.forget_answers()
        eventually(lambda: "delivery_resumed" in caplog.text, "it goes on")
        emitter.close()
        assert set(emitted) <= ids_in(topic_of(cluster))
        assert caplog.text.count("delivery_halted") == 1

    @pytest.mark.parametrize(
        ("setting", "value"),
        [("acks", "1"), ("enable_idempotence", False), ("partitioner", "random"), ("message_timeout_ms", 5)],
    )
    def test_a_setting_that_would_break_the_promise_is_refused_by_its_name(
        self, tmp_path: Path, setting: str, value: Any
    ) -> None:
        with pytest.raises(Misconfigured, match=setting.replace("_", ".")):
            drain(settings_for("kafka://127.0.0.1:9/t", tmp_path, **{setting: value}))

    def test_a_setting_that_does_not_exist_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match=r"no\.such"):
            drain(settings_for("kafka://127.0.0.1:9/t", tmp_path, no_such=1))

    def test_several_topics_are_refused_before_anything_is_emitted(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match="several topics"):
            from_settings(settings_for("kafka://127.0.0.1:9/t,u", tmp_path))


class TestSync:
    def test_emit_returns_when_the_broker_has_the_event(self, cluster: MockCluster, tmp_path: Path) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, mode="sync", profile="regulated"))
        for number in range(5):
            receipt = emitter.emit(created(TRAIN, number))
            assert receipt is not None
            assert receipt.event_id in ids_in(topic_of(cluster))
        emitter.close()

    def test_threads_wait_for_their_own_events_side_by_side(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path, mode="sync", profile="regulated"))
        emitted: list[str] = []
        threads = [threading.Thread(target=lambda: emitted.extend(filled(emitter, 10))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(emitted)) == 40
        assert set(emitted) <= ids_in(topic_of(cluster))
        emitter.close()

    def test_an_event_that_is_not_acknowledged_in_time_is_told_kept_and_sent_later(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(
            cluster.url("t"), tmp_path, mode="sync", profile="regulated", sync_timeout_s=3.0
        )
        emitter = from_settings(settings)
        cluster.set_down()
        with pytest.raises(Unconfirmed, match="is in the spool and will be sent") as late:
            emitter.emit(created(TRAIN))
        cluster.set_up()
        # The chain goes on from it: it was accepted.
        eventually(lambda: late.value.receipt.event_id in ids_in(topic_of(cluster)), "it is sent later")
        emitter.emit(completed(TRAIN))
        emitter.close()
        assert emitter.stats.unconfirmed == 1
        assert_chains_whole(value for part in topic_of(cluster) for value in part)

    def test_in_the_default_profile_nobody_waits_a_second_time_while_the_broker_is_away(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.set_down()
        emitter = from_settings(
            settings_for(cluster.url("t"), tmp_path, mode="sync", sync_timeout_s=0.2, drain_on_exit_s=0.1)
        )
        filled(emitter, 100)
        emitter.close()
        assert caplog.text.count("event_unconfirmed") == 1
        assert emitter.stats.accepted == 107
        assert emitter.stats.unconfirmed == 107


class TestCommand:
    def test_what_a_process_left_is_delivered_from_outside(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings, _, emitted = left_behind(cluster, tmp_path, 50)
        cluster.set_up()
        done = drain(settings)
        assert (done.left, done.aside, done.problem) == (0, 0, None)
        assert done.delivered >= 50
        assert set(emitted) <= ids_in(topic_of(cluster))
        assert drain(settings).delivered == 0

    def test_a_broker_that_stays_away_is_told_with_what_is_left(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings, _, _ = left_behind(cluster, tmp_path, 5)
        done = drain(settings, patience_s=1.0)
        assert (done.delivered, done.left) == (0, 10)
        assert isinstance(done.problem, Retryable)

    def test_only_one_delivers_an_emitters_events_and_the_other_takes_over(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings, emitter_id, emitted = left_behind(cluster, tmp_path, 200)
        cluster.set_up()
        other = claim(settings.log, emitter_id)
        assert other is not None
        assert claim(settings.log, emitter_id) is None
        kept = drain(settings, patience_s=0.5)
        assert (kept.delivered, kept.left) == (0, 207)
        other.release()
        assert drain(settings).left == 0
        assert set(emitted) <= ids_in(topic_of(cluster))

    def test_two_drains_of_one_spool_send_nothing_twice(self, cluster: MockCluster, tmp_path: Path) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, drain_on_exit_s=0)
        cluster.set_down()
        emitted = []
        for _ in range(5):
            emitter = from_settings(settings)
            emitted += filled(emitter, 100)
            emitter.close()
        cluster.set_up()
        drains = [threading.Thread(target=drain, args=(settings,)) for _ in range(2)]
        for thread in drains:
            thread.start()
        for thread in drains:
            thread.join()
        values = [value for part in topic_of(cluster) for value in part]
        assert {id_of(value) for value in values} >= set(emitted)
        assert len(values) == len(set(values))

    def test_as_a_companion_it_delivers_for_the_living_and_the_dead_until_it_is_told_to_stop(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        settings = settings_for(cluster.url("t"), tmp_path, drain_on_exit_s=5)
        # An emitter of a machine without Kafka's client: a plain spool.
        plain = from_settings(Settings(log=settings.log))
        emitted = filled(plain, 10)
        stop = threading.Event()
        companion = threading.Thread(
            target=drain, args=(settings,), kwargs={"follow": True, "stopping": stop.is_set}
        )
        companion.start()
        eventually(lambda: set(emitted) <= ids_in(topic_of(cluster)), "what stood there is delivered")
        emitted += filled(plain, 10)
        eventually(lambda: set(emitted) <= ids_in(topic_of(cluster)), "and what comes")
        plain.close()
        eventually(lambda: list_segments(settings.log) == [], "what is delivered is removed")
        stop.set()
        companion.join()

    def test_the_command_says_what_is_left_by_its_exit_code(
        self, cluster: MockCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from headwater.consumers import cli

        config = tmp_path / "headwater.yaml"
        config.write_text(f"log: {cluster.url('t')}\ndrain_on_exit_s: 0\n")
        settings = settings_for(cluster.url("t"), tmp_path / ".headwater/spool", drain_on_exit_s=0)
        cluster.set_down()
        emitter = from_settings(settings)
        filled(emitter, 5, runs=1)
        emitter.close()
        arguments = ["drain", "--config", str(config), "--timeout", "1"]
        assert cli.main(arguments) == cli.RETRY
        assert "6 left in the spool" in capsys.readouterr().out
        cluster.set_up()
        assert cli.main([*arguments, "--json"]) == 0
        said = orjson.loads(capsys.readouterr().out)
        assert (said["delivered"], said["left"], said["parked"], said["problem"]) == (6, 0, 0, None)
        assert cli.main(["drain", "--log", str(tmp_path / "log")]) == cli.MISCONFIGURED
        assert "is the folder" in capsys.readouterr().err

    def test_sigterm_ends_a_companion_in_good_order(self, cluster: MockCluster, tmp_path: Path) -> None:
        (tmp_path / "headwater.yaml").write_text(f"log: {cluster.url('t')}\n")
        companion = subprocess.Popen(
            [str(Path(sys.executable).parent / "headwater"), "drain", "--follow"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        plain = from_settings(Settings(log=tmp_path / ".headwater/spool/t"))
        emitted = filled(plain, 10)
        eventually(lambda: set(emitted) <= ids_in(topic_of(cluster)), "it delivers")
        companion.send_signal(signal.SIGTERM)
        said, _ = companion.communicate(timeout=30)
        assert companion.returncode == 0
        assert "10 events delivered" in said
        plain.close()


class TestForks:
    def test_a_child_may_drop_an_inherited_producer_and_does_not_destroy_it(
        self, cluster: MockCluster
    ) -> None:
        program = f"""
import gc, os, signal
from headwater.emitter.topic import topic_of
from headwater.emitter.topic_writer import TopicWriter
writer = TopicWriter(topic_of({cluster.url("t")!r}), {{}})
answers = []
def send():
    writer.send(b"[]", 1_790_000_000_000_000, lambda error, message: answers.append(error))
    while not answers:
        writer.poll(0.1)
send()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    writer.close()
    del writer
    gc.collect()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0, "the child hung"
answers.clear()
send()
assert answers == [None]
writer.close()
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
            cwd=ROOT,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def test_a_forked_child_delivers_its_own_and_leaves_its_parents_producer_alone(
        self, cluster: MockCluster, tmp_path: Path
    ) -> None:
        program = f"""
import gc, os, sys
from pathlib import Path
from typing import Any
from headwater.emitter.emitter import configure, current
from tests.support.spool import *
from tests.support.topics import settings_for
configure(settings_for({cluster.url("t")!r}, Path({str(tmp_path)!r})))
for number in range(300):
    current().emit(created(run_named("parent"), number))
children = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        for number in range(50):
            current().emit(created(run_named("child"), number))
        gc.collect()
        sys.exit(0)  # everything that a process does at its end
    children.append(pid)
    for number in range(100):
        current().emit(created(run_named("parent"), number))
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
            cwd=ROOT,
            timeout=120,
            capture_output=True,
            text=True,
            env={**os.environ},
        )
        assert done.returncode == 0, done.stderr
        parts = topic_of(cluster)
        values = [value for part in parts for value in part]
        # The parent's events, the children's, and a last one of each emitter's runs.
        assert len(set(values)) == 300 + 5 * 100 + 5 * 50 + 6
        assert_in_order(parts)
        assert_chains_whole(values)
        assert left_in(tmp_path / "t") == 0

    def test_a_producer_id_that_takes_long_holds_nobody_up(
        self, cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.answer([TIMED_OUT] * 2, INIT_PRODUCER_ID)
        emitter = from_settings(settings_for(cluster.url("t"), tmp_path))
        emitted = filled(emitter, 10)
        emitter.emit(started(TRAIN))
        emitter.close()
        assert set(emitted) <= ids_in(topic_of(cluster))
        assert "producer_renewed" not in caplog.text
