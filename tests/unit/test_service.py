"""A service says how it is, tells what the list of metrics holds, and ends when it is told to."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest
from sqlalchemy import text

from headwater.consumers.health import Health
from headwater.consumers.instruments import INSTRUMENTS, Meter, document
from headwater.consumers.log import Cursor, Partition, Record
from headwater.consumers.positions import Tally, claim, stored
from headwater.consumers.service import _answering, parsed_listen
from headwater.consumers.store import open_store
from headwater.schemas.errors import Misconfigured, Retryable
from headwater.schemas.segment import encode_frame
from tests.replay.product import MemoryLog
from tests.support import needed
from tests.support.logs import run_event, write_segment
from tests.support.serving import asked, consumed, serving, until

ROOT = Path(__file__).parents[2]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestHealth:
    def test_it_is_ready_from_the_first_step_on_and_not_while_something_is_away(self) -> None:
        health = Health()
        assert not health.ready().ok
        health.stepped({}, MemoryLog())
        assert health.ready().ok
        health.waiting(Retryable("the store does not answer"))
        assert health.ready().why == "the store does not answer"
        assert health.alive().ok
        health.stepped({}, MemoryLog())
        assert health.ready().ok

    def test_it_lives_as_long_as_the_loop_goes_round_whatever_is_away(self) -> None:
        clock = Clock()
        health = Health(stuck_s=60, now=clock)
        for _ in range(100):
            clock.now += 59
            health.waiting(Retryable("away"))
            assert health.alive().ok
        clock.now += 61
        assert not health.alive().ok
        assert not health.ready().ok


class TestMetrics:
    def test_the_document_is_the_list(self) -> None:
        page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
        assert page == document(), "write it anew: python -m headwater.consumers.instruments"

    def test_what_is_told_is_what_the_list_holds(self) -> None:
        page = filled(Meter()).exposed().decode()
        told = set(re.findall(r"^# TYPE (\S+)", page, re.M))
        told = {name for name in told if not name.endswith("_created")}
        assert told == {each.name for each in INSTRUMENTS}
        for each in INSTRUMENTS:
            for labels in re.findall(rf"^{each.name}(?:_bucket|_sum|_count)?{{(.*?)}} ", page, re.M):
                names = tuple(re.findall(r'(\w+)="', labels))
                assert set(names) - {"le"} == set(each.labels), each.name

    def test_the_lag_of_a_partition_that_went_away_is_told_no_more(self) -> None:
        clock = Clock()
        meter = Meter(now=clock)
        source = MemoryLog([b"1", b"2", b"3"], [b"4"])
        first, second = source.partitions()
        meter.stepped({first: Cursor(1), second: Cursor(1)}, source)
        assert 'headwater_consumer_lag_records{partition="0",topic="memory"} 2.0' in meter.exposed().decode()
        clock.now += 5
        meter.stepped({second: Cursor(1)}, source)
        assert 'lag_records{partition="0"' not in meter.exposed().decode()

    def test_a_halted_topic_is_told_until_it_goes_on(self) -> None:
        meter = Meter()
        meter.halted({}, [Partition("t@1", "0")], ["gone"])
        page = meter.exposed().decode()
        assert 'halted{reason="lost",topic="t"} 1.0' in page
        assert 'halted{reason="topic",topic="gone"} 1.0' in page
        meter.halted({}, [], [])
        assert "halted{" not in meter.exposed().decode()


def filled(meter: Meter) -> Meter:
    record = Record("t@1", "0", 0, 1_000_000, b"x", 0)
    tally = Tally(0, Cursor(4), applied=1, duplicate=1, quarantined=1, gaps=1)
    meter.committed([record], {record.place: tally}, 0.1)
    meter.stepped({Partition("memory", "0"): Cursor(0)}, MemoryLog([b"1"]))
    meter.halted({}, [Partition("t@1", "0")], [])
    meter.emitters([])
    return meter


class TestListening:
    @pytest.mark.parametrize(
        ("listen", "place"),
        [("127.0.0.1:9095", ("127.0.0.1", 9095)), (":0", ("", 0)), ("[::1]:9095", ("::1", 9095))],
    )
    def test_an_address_is_read(self, listen: str, place: tuple[str, int]) -> None:
        assert parsed_listen(listen) == place

    @pytest.mark.parametrize("listen", ["9095", "host", "host:http", "host:70000"])
    def test_what_is_none_is_refused(self, listen: str) -> None:
        with pytest.raises(Misconfigured, match="HOST:PORT"):
            parsed_listen(listen)


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.bind((host.strip("[]"), 0))
            return int(one.getsockname()[1])
    except OSError:
        pytest.skip(f"this machine has no {host}")


class TestServing:
    def test_it_answers_probes_and_metrics_and_ends_with_zero(self, tmp_path: Path, sqlite_url: str) -> None:
        write_segment(tmp_path / "log", [*(run_event(run) for run in range(20)), b"garbage"])
        open_store(sqlite_url).close()
        listen = ("--listen", "127.0.0.1:0")
        with serving(sqlite_url, str(tmp_path / "log"), tmp_path, *listen, settings="") as (one,):
            port = one.wait_for("listening")["port"]
            until(lambda: consumed(sqlite_url) == 21)
            url = f"http://127.0.0.1:{port}"
            until(lambda: asked(f"{url}/readyz")[0] == 200)
            assert asked(f"{url}/livez")[0] == 200
            assert asked(f"{url}/elsewhere")[0] == 404
            status, told = asked(f"{url}/metrics")
            assert status == 200
            assert 'records_total{outcome="applied",topic="segments"} 20.0' in told
            assert 'records_total{outcome="quarantined",topic="segments"} 1.0' in told
            assert one.wait_for("batch_applied")["applied"] == 20
            assert one.stop() == 0
            assert one.wait_for("service_stopped")["seen"] == 21

    def test_a_consumer_beside_it_on_a_folder_does_not_end_it(self, tmp_path: Path, sqlite_url: str) -> None:
        folder = tmp_path / "log"
        path = write_segment(folder, [run_event(1)])
        open_store(sqlite_url).close()
        with serving(sqlite_url, str(folder), tmp_path, settings="") as (one,):
            until(lambda: consumed(sqlite_url) == 1)
            with open_store(sqlite_url) as store, store.writing() as tx:
                partition = next(iter(stored(tx, "lineage")))
                claim(tx, "lineage", partition, "another")
            with path.open("ab") as segment:
                segment.write(encode_frame(run_event(2), 1_700_000_000_000_001))
            one.wait_for("partition_fenced")
            assert one.stop() == 0

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
    def test_readiness_is_told_as_it_is_when_asked(self, host: str) -> None:
        health = Health()
        place = f"{host}:{free_port(host)}"
        with _answering(place, health, Meter()):
            assert "headwater_consumer_ready 0.0" in asked(f"http://{place}/metrics")[1]
            health.not_ready("")
            assert "headwater_consumer_ready 1.0" in asked(f"http://{place}/metrics")[1]

    def test_it_waits_for_a_database_unready_and_alive_and_stops_while_it_waits(self, tmp_path: Path) -> None:
        cluster = needed.cluster()
        try:
            url = cluster.create()
            open_store(url, create=True).close()
            write_segment(tmp_path / "log", [run_event(1)])
            listen = ("--listen", "127.0.0.1:0")
            with serving(url, str(tmp_path / "log"), tmp_path, *listen, settings="") as (one,):
                probes = f"http://127.0.0.1:{one.wait_for('listening')['port']}"
                until(lambda: asked(f"{probes}/readyz")[0] == 200)
                cluster.kill()
                until(lambda: asked(f"{probes}/readyz")[0] == 503)
                assert asked(f"{probes}/livez")[0] == 200
                assert one.stop() == 0
            with serving(url, str(tmp_path / "log"), tmp_path, *listen, settings="") as (late,):
                probes = f"http://127.0.0.1:{late.wait_for('listening')['port']}"
                late.wait_for("store_unavailable")
                assert asked(f"{probes}/readyz")[0] == 503
                cluster.revive()
                until(lambda: asked(f"{probes}/readyz")[0] == 200)
                assert late.stop() == 0
        finally:
            cluster.stop()

    def test_what_does_not_end_in_time_is_dropped(self, tmp_path: Path, postgres_url: str) -> None:
        with open_store(postgres_url, create=True) as store:
            write_segment(tmp_path / "log", [run_event(1)])
            with store.writing() as blocking:
                blocking.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
                bound = ("--stop-within", "1")
                with serving(postgres_url, str(tmp_path / "log"), tmp_path, *bound, settings="") as (one,):
                    one.wait_for("service_started")
                    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                    until(lambda: bool(blocking.execute(waiting).scalar_one()))
                    assert one.stop() == 0
                    assert one.count("batch_dropped") == 1
        assert consumed(postgres_url) == 0

    def test_a_port_that_is_taken_is_told(self, tmp_path: Path, sqlite_url: str) -> None:
        write_segment(tmp_path / "log", [run_event(1)])
        listen = ("--listen", "127.0.0.1:0")
        with serving(sqlite_url, str(tmp_path / "log"), tmp_path, *listen, settings="") as (one,):
            taken = ("--listen", f"127.0.0.1:{one.wait_for('listening')['port']}")
            with serving(sqlite_url, str(tmp_path / "log"), tmp_path, *taken, settings="") as (two,):
                assert two.end() == 3
                assert "cannot listen" in two.text
            one.signal(signal.SIGINT)
            assert one.end() == 0
