"""A drawn lineage is complete, stable, and fits where it is drawn."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from headwater.consumers import drawing
from headwater.consumers.answers import Direction, Edge, Graph, Job, Node, Run

TIME = datetime(2026, 11, 23, 9, 14, 2, tzinfo=UTC)


def run_of(step: str, *, state: str = "COMPLETE", parent: bool = True) -> Run:
    return Run(
        id=f"{step:0>8}-0000-7000-8000-000000000000",
        external_id=None,
        job=Job(namespace="crm", name=f"churn.{step}" if parent else step),
        state=state,
        started_at=TIME,
        ended_at=TIME + timedelta(seconds=1.24),
        first_at=TIME,
        last_at=TIME,
        streaming=False,
        parent_run_id=None,
        parent_job=Job(namespace="crm", name="churn") if parent else None,
        root_run_id=None,
    )


def node(name: str, depth: int = 0, *, run: Run | None = None, more: bool = False) -> Node:
    return Node(
        id=name,
        kind="production" if run else "origin",
        namespace="crm",
        name=name,
        version="bytes1:" + "ab" * 32 if run else None,
        type="Dataset",
        summary=(),
        location=None,
        published_at=TIME,
        lifecycle=None,
        recalled=False,
        depth=depth,
        more=more,
        run=run,
        note=None if run else "origin unknown",
    )


def graph(edges: list[tuple[str, str]], root: str, direction: Direction = "up") -> Graph:
    """A graph whose every node was written by a step of its own; edges are (source, target)."""
    names = dict.fromkeys([root, *(name for edge in edges for name in edge)])
    return Graph(
        direction=direction,
        roots=(root,),
        depth=None,
        limit=100,
        truncated=None,
        nodes=tuple(node(name, run=run_of(f"make-{name}")) for name in names),
        edges=tuple(Edge(source=s, target=t, inferred=False, role="listed") for s, t in edges),
    )


def text_of(lines: list[drawing.Line]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_what_is_reached_twice_is_drawn_once_and_referred_to_by_number() -> None:
    diamond = graph([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("z", "a")], "d")
    lines = text_of(drawing.tree(diamond))
    assert sum("z  bytes1" in line for line in lines) == 1
    assert [line.split("  ")[-1] for line in lines if re.search(r"\[1\]", line)] == ["[1]", "see [1]"]


def test_a_cycle_ends_where_it_closes() -> None:
    for direction in ("up", "down"):
        circle = graph([("a", "b"), ("b", "c"), ("c", "a")], "a", direction)
        lines = text_of(drawing.tree(circle))
        assert "see [1]" in lines[-1]
        assert len(lines) == 7


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_long_chain_goes_on_in_parts_that_fit(width: int) -> None:
    steps = 3000
    chain = graph([(str(n), str(n + 1)) for n in range(steps)], str(steps))
    lines = text_of(drawing.tree(chain, width))
    shown = {match[1] for line in lines if (match := re.match(r"\W*(?:\[\d+\] )?(\d+)  bytes1", line))}
    assert len(shown) == steps + 1
    indents = [len(line) - len(line.lstrip("│├└─ ")) for line in lines]
    assert max(indents) <= width - 30
    going = [match[1] for line in lines if (match := re.search(r"goes on at \[(\d+)\]", line))]
    begun = [match[1] for line in lines if (match := re.match(r"\[(\d+)\] ", line))]
    assert going == begun


def test_downstream_the_outputs_of_one_run_hang_on_one_step() -> None:
    shared = run_of("split")
    nodes = (node("in", run=run_of("load")), node("train", 1, run=shared), node("test", 1, run=shared))
    edges = tuple(Edge(source="in", target=t, inferred=False, role="listed") for t in ("train", "test"))
    down = Graph(
        direction="down", roots=("in",), depth=None, limit=9, truncated=None, nodes=nodes, edges=edges
    )
    assert text_of(drawing.tree(down)) == [
        "in  bytes1:abababab…  Dataset",
        "└─ split  crm/churn  run 000split-0000…  2026-11-23 09:14:02Z  1.2 s",
        "   ├─ train  bytes1:abababab…  Dataset",
        "   └─ test  bytes1:abababab…  Dataset",
    ]


def test_a_run_that_failed_and_a_job_without_a_parent_say_so() -> None:
    words = [text for text, _ in drawing.step_words(run_of("nightly", state="FAIL", parent=False))]
    assert words[:2] == ["nightly", "crm"]
    assert "fail" in words


def test_names_cannot_break_out_of_mermaid_or_dot() -> None:
    for name in ('a"];evil', "a\\", "a\nb", "]]></script>", "%% x", 'x" -> "y'):
        drawn = graph([(name, "b")], "b")
        mermaid = drawing.mermaid(drawn).splitlines()
        assert len(mermaid) == 4
        assert all(line.count('"') % 2 == 0 for line in mermaid)
        dot = drawing.dot(drawn).splitlines()
        assert len(dot) == 7
        assert all(len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0 for line in dot)


def test_what_is_inferred_is_drawn_otherwise_and_counted() -> None:
    drawn = Graph(
        direction="up",
        roots=("b",),
        depth=2,
        limit=9,
        truncated="depth",
        nodes=(node("b", run=run_of("make")), node("a", 1)),
        edges=(Edge(source="a", target="b", inferred=True, role="listed"),),
    )
    assert "n1 -.->" in drawing.mermaid(drawn)
    assert "style=dashed" in drawing.dot(drawn)
    assert [note.split(":")[0] for note in drawing.notes(drawn)] == [
        "cut at depth 2",
        "1 of 1 edges are inferred",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.00008, "80 µs"),
        (0.34, "340 ms"),
        (1.24, "1.2 s"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, said: str) -> None:
    assert drawing.duration(seconds) == said


def test_a_version_of_ours_is_cut_and_a_foreign_one_is_kept() -> None:
    assert drawing.short_version("table1:" + "9f" * 32) == "table1:9f9f9f9f…"
    assert drawing.short_version("2026-03-03") == "2026-03-03"
    assert drawing.short_version("v" * 80) == "v" * 23 + "…"
