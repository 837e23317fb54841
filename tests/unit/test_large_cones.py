"""A cone of ten thousand nodes on the command line: whole, or cut, with the way to have all."""

from __future__ import annotations

import json
from pathlib import Path

import networkx
import pytest

from headwater.consumers.cli import main
from headwater.consumers.store import open_store
from tests.support.graphs import Graph

NODES = 10_000


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One asset that 9,999 runs read, each of which wrote another."""
    url = f"sqlite:///{tmp_path_factory.mktemp('large') / 'lineage.db'}"
    graph = Graph()
    source = graph.output(graph.run("load", at=0), "source", "v", at=0)
    for number in range(NODES - 1):
        run = graph.run(f"r{number}", job="derive", at=number + 1)
        graph.input(run, "source", "v", at=number + 1, production=source)
        graph.output(run, f"derived {number:05d}", "v", at=number + 1)
    with open_store(url, create=True) as store, store.writing() as connection:
        graph.insert(connection)
    return ["--store", url]


def test_a_large_cone_is_whole(places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*places, "lineage", "source", "--down", "--json"]) == 0
    graph = json.loads(capsys.readouterr().out)["down"]
    assert (len(graph["nodes"]), len(graph["edges"]), graph["truncated"]) == (NODES, NODES - 1, None)
    out = tmp_path / "cone.graphml"
    assert main([*places, "export", "source", "--down", "--format", "graphml", "--output", str(out)]) == 0
    assert capsys.readouterr().err == ""
    assert networkx.read_graphml(out).number_of_nodes() == NODES
    assert main([*places, "impact", "source", "--json"]) == 0
    impact = json.loads(capsys.readouterr().out)
    assert (impact["productions"], len(impact["assets"]), impact["truncated"]) == (
        NODES - 1,
        NODES - 1,
        False,
    )


def test_a_cone_that_is_cut_says_at_what_and_how_to_have_all(
    places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*places, "lineage", "source", "--down", "--limit", "1000"]) == 0
    assert "cut at 1,000 nodes: there are more (--limit)" in capsys.readouterr().out
    assert main([*places, "lineage", "source", "--down", "--limit", "1000", "--json"]) == 0
    graph = json.loads(capsys.readouterr().out)["down"]
    assert (len(graph["nodes"]), graph["truncated"], graph["limit"]) == (1_000, "limit", 1_000)
    assert main([*places, "export", "source", "--down", "--limit", "1000", "--json"]) == 0
    assert "cut at limit: the lineage goes on (--limit)" in capsys.readouterr().err
    assert main([*places, "impact", "source"]) == 0
    told = capsys.readouterr().out
    assert "9,999 productions of 9,999 assets made from it" in told
    assert "and 9,799 more (--json has all)" in told
    assert main([*places, "impact", "source", "--limit", "1000"]) == 0
    assert "cut at 1,000: there is more (--limit)" in capsys.readouterr().out


def test_the_text_of_a_large_cone_names_every_node_or_says_how_many_it_does_not(
    places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*places, "lineage", "source", "--down"]) == 0
    told = capsys.readouterr().out
    named = sum("derived " in line for line in told.splitlines())
    assert named == NODES - 1 or f"{NODES - 1 - named:,} more" in told
