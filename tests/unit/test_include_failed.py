"""What failed runs may have written: nobody inherits it, unless a question asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine

from headwater.consumers import Lineage, drawing, tables
from headwater.consumers.answers import Graph as Answer
from headwater.consumers.store import Store
from tests.support.graphs import Graph

FAIL, ABORT, COMPLETE = 5, 4, 3


@pytest.fixture
def lineage(store_url: str) -> Iterator[Lineage]:
    """`table` written at 10; a rewriting failed at 20 and one was aborted at 40; a report read it at 30."""
    graph = Graph()
    graph.output(graph.run("good"), "table", at=10)
    for name, state, ended_at in (("failed", FAIL, 20), ("aborted", ABORT, 40)):
        run = graph.run(name, job=name, at=15, state=state, ended_at=ended_at)
        graph.input(run, "raw", at=15)
        graph.output(run, "table", at=None)
    report = graph.run("report", job="report", at=30, ended_at=31, state=COMPLETE)
    graph.input(report, "table", at=30)
    graph.output(report, "summary", "s1", at=31)
    engine = create_engine(store_url)
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        graph.insert(connection)
    yield Lineage(Store(engine))
    engine.dispose()


def sources(answer: Answer) -> list[tuple[str | None, bool, str | None]]:
    """(step, possible, note) of what `summary` was made from."""
    found = []
    for edge in answer.edges:
        if answer.node(edge.target).name == "summary":
            node = answer.node(edge.source)
            found.append((node.run.external_id if node.run else None, edge.possible, node.note))
    return sorted(found, key=repr)


def test_a_failed_run_is_a_possible_source_only_when_it_is_asked_for(lineage: Lineage) -> None:
    assert sources(lineage.upstream("summary")) == [("good", False, None)]
    assert sources(lineage.upstream("summary", include_failed=True)) == [
        ("failed", True, "possibly written"),
        ("good", False, None),
    ]


def test_what_a_failed_run_read_is_part_of_what_may_have_gone_into_it(lineage: Lineage) -> None:
    names = {node.name for node in lineage.upstream("summary", include_failed=True).nodes}
    assert names == {"summary", "table", "raw"}


def test_a_walk_down_from_what_was_possibly_written_finds_who_may_have_read_it(lineage: Lineage) -> None:
    down = lineage.downstream("raw", include_failed=True)
    assert "summary" in {node.name for node in down.nodes}
    assert [edge.possible for edge in down.edges] == [False, False, True]
    assert "summary" not in {node.name for node in lineage.downstream("raw").nodes}


def test_a_drawing_says_what_is_only_possible(lineage: Lineage) -> None:
    answer = lineage.upstream("summary", include_failed=True)
    tree = ["".join(text for text, _ in line) for line in drawing.tree(answer)]
    (possibly,) = [line for line in tree if "possibly written" in line]
    assert "table" in possibly
    assert '|"report, possibly"|' in drawing.mermaid(answer)
    assert "style=dotted" in drawing.dot(answer)
    assert drawing.notes(answer)[-1] == ("1 of them lead from what a failed run may or may not have written")
