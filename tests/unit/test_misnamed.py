"""A wrong name is answered with the nearest right ones; one that came later, with when it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from headwater.consumers import Lineage, tables
from headwater.consumers.answers import Ambiguous, Unknown
from headwater.consumers.knowing import KnownLineage
from headwater.consumers.log import SegmentLog
from headwater.consumers.replaying import replay
from headwater.consumers.store import Store, open_store
from headwater.schemas.errors import Rejected
from headwater.schemas.openlineage import parse_time
from tests.support.graphs import Graph
from tests.support.logs import run_event, write_segment

MINUTE = 60_000_000
DIGESTS = ("table1:" + "9f2c" + "0" * 60, "table1:" + "ab12" + "0" * 60)
RUN = "01890000-0000-7000-8000-0000000000a1"
OTHER = "01890000-0000-7000-8000-0000000000a2"


def at(minute: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.fixture
def lineage(store_url: str) -> Iterator[Lineage]:
    """Two tables of digests, one of numbers; a run with curves, of the job `churn.train`."""
    engine = create_engine(store_url)
    tables.metadata.create_all(engine)
    graph = Graph()
    train = graph.run(RUN, job="churn.train", at=5 * MINUTE)
    graph.output(train, "table", DIGESTS[0], at=6 * MINUTE)
    for place, key in enumerate(("auc", "loss")):
        graph.point(train, key, 0.5, step=place, at=5 * MINUTE)
    later = graph.run(OTHER, job="churn.train", at=7 * MINUTE)
    graph.output(later, "table", DIGESTS[1], at=8 * MINUTE)
    for number in (9, 10, 11, 12):
        run = graph.run(f"counted {number}", at=number * MINUTE)
        graph.output(run, "counted", f"v{number}", at=number * MINUTE)
    graph.governance("alias", "production", "table", DIGESTS[0], at=9 * MINUTE)
    with engine.begin() as connection:
        graph.insert(connection)
    with Lineage(Store(engine)) as opened:
        yield opened
    engine.dispose()


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("counted@vv12", "did you mean 'counted@v12'?"),
        ("counted@v12x", "did you mean 'counted@v12'?"),
        ("table@9f2d", f"did you mean 'table@{DIGESTS[0]}'?"),
        ("table@table1:ab21", f"did you mean 'table@{DIGESTS[1]}'?"),
        ("table@prod", "did you mean 'table@production'?"),
        ("table@producton", "did you mean 'table@production'?"),
        ("table@01890000-0000-7000-8000-0000000000b2", f"did you mean 'table@{OTHER}'?"),
        ("table@zzzzzzzz", "`headwater show table` lists its versions"),
        ("tabel", "did you mean 'table'?"),
    ],
)
def test_a_version_that_is_none_gets_the_nearest(lineage: Lineage, asked: str, remedy: str) -> None:
    with pytest.raises(Unknown) as refused:
        lineage.show(asked)
    assert refused.value.remedy == remedy


def test_an_id_with_a_wrong_digit_gets_the_run_that_was_meant(lineage: Lineage) -> None:
    with pytest.raises(Unknown) as refused:
        lineage.show(f"{RUN[:-2]}b1")
    assert refused.value.remedy == f"did you mean {RUN} (a run of ns/churn.train, 1970-01-01T00:05:00Z)?"


def test_of_several_runs_that_begin_so_the_job_and_the_time_are_told(lineage: Lineage) -> None:
    with pytest.raises(Ambiguous) as refused:
        lineage.show("0189000000007000")
    assert refused.value.candidates == (RUN, OTHER)
    assert refused.value.remedy == (
        f"say which: {RUN} (a run of ns/churn.train, 1970-01-01T00:05:00Z), "
        f"{OTHER} (a run of ns/churn.train, 1970-01-01T00:07:00Z)"
    )


@pytest.mark.parametrize(
    ("ask", "remedy"),
    [
        (lambda lineage: lineage.metrics(RUN, key="acu"), "did you mean 'auc'?"),
        (lambda lineage: lineage.metrics(RUN, key="f1"), "its metrics: auc, loss"),
        (lambda lineage: lineage.metrics("churn.trian"), "did you mean 'churn.train'?"),
        (lambda lineage: lineage.diff("churn.trian"), "did you mean 'churn.train'?"),
        (lambda lineage: lineage.runs(job="churn.trian"), "did you mean 'churn.train'?"),
        (lambda lineage: lineage.gaps(project="nss"), "did you mean 'ns'?"),
        (lambda lineage: lineage.drift("tabel"), "did you mean 'table'?"),
        (lambda lineage: lineage.recipe("tabel"), "did you mean 'table'?"),
    ],
)
def test_every_question_says_what_may_have_been_meant(
    lineage: Lineage, ask: Callable[[Lineage], object], remedy: str
) -> None:
    with pytest.raises(Unknown) as refused:
        ask(lineage)
    assert refused.value.remedy == remedy


@pytest.mark.parametrize(
    ("name", "minute", "said"),
    [
        ("table", 5.5, "first written or read at 1970-01-01T00:06:00Z"),
        (RUN, 4.5, "its first event is of 1970-01-01T00:05:00Z"),
        ("counted@v12", 11.5, "it was published at 1970-01-01T00:12:00Z"),
        ("table@production", 8.5, "production points at one now; `headwater show table` tells since when"),
    ],
)
def test_as_of_a_time_before_it_came_it_is_said_when_it_did(
    lineage: Lineage, name: str, minute: float, said: str
) -> None:
    with pytest.raises(Unknown) as refused:
        lineage.show(name, as_of=at(minute))
    assert refused.value.remedy == said
    named = datetime.fromisoformat(said.rpartition(" ")[2]) if said.endswith("Z") else at(9)
    lineage.show(name, as_of=named)


def told_late(folder: Path, store_url: str, *, read: Sequence[str] = ()) -> None:
    """Two runs of February; of the second one, and what it `read`, the log is told on the 6th of March."""
    first = run_event(1, at="2026-02-01T10:00:00Z", inputs=[])
    second = run_event(2, at="2026-02-02T10:00:00Z", inputs=read)
    for event, time in ((first, "2026-03-01T10:00:00Z"), (second, "2026-03-06T08:00:00Z")):
        write_segment(folder, [event], appended_at=parse_time(time), sealed=True)
    with SegmentLog(folder) as log:
        replay(log, store_url)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["replayed", "gathered"])
def test_what_was_not_known_yet_is_not_said_to_be_nothing(
    tmp_path: Path, store_url: str, share: float
) -> None:
    told_late(tmp_path / "log", store_url)
    until = parse_time("2026-03-04T00:00:00Z")
    with open_store(store_url) as live, SegmentLog(tmp_path / "log") as log:
        with KnownLineage(live, log, until, share=share) as then, pytest.raises(Unknown) as refused:
            then.show("out-2")
        assert str(refused.value) == (
            "'out-2' was not known yet (the log was told of it at 2026-03-06T08:00:00Z or later)"
        )
        with KnownLineage(live, log, until, share=share) as then, pytest.raises(Unknown, match="is called"):
            then.show("nothing")


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["replayed", "gathered"])
def test_what_was_known_and_had_not_happened_yet_is_said_to_be_so(
    tmp_path: Path, sqlite_url: str, share: float
) -> None:
    told_late(tmp_path / "log", sqlite_url, read=["out-1"])
    until = parse_time("2026-03-04T00:00:00Z")
    with open_store(sqlite_url) as live, SegmentLog(tmp_path / "log") as log:
        with KnownLineage(live, log, until, share=share) as then, pytest.raises(Unknown) as refused:
            then.show("out-1", as_of=datetime(2026, 1, 15, tzinfo=UTC))
        assert "'out-1' was not there yet" in str(refused.value)
        assert "2026-02-01T10:00:00Z" in str(refused.value)
        with (
            KnownLineage(live, log, until, share=share) as then,
            pytest.raises(Unknown, match="not known yet"),
        ):
            then.show("out-2", as_of=datetime(2026, 1, 15, tzinfo=UTC))


def test_a_text_for_a_time_and_a_depth_below_nothing_are_refused(lineage: Lineage) -> None:
    with pytest.raises(Rejected, match=r"'2026-01-01' is no datetime .*datetime\.UTC"):
        lineage.upstream("model", as_of="2026-01-01")  # type: ignore[arg-type]
    with pytest.raises(Rejected, match="-1 is no number of steps"):
        lineage.upstream("model", depth=-1)
    with pytest.raises(Rejected, match="-1 is no number of steps"):
        lineage.columns("model", depth=-1)


def test_a_field_that_is_none_gets_the_nearest(lineage: Lineage) -> None:
    with pytest.raises(Rejected, match="did you mean 'column'"):
        lineage.search("colum:bmi")
