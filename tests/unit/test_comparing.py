"""What `diff` answers, on both databases: causes, their ways, and what cannot be known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from headwater.consumers.answers import Unknown
from headwater.consumers.asking import Lineage
from headwater.consumers.changes import comparison
from headwater.consumers.differences import Cause, Difference
from headwater.consumers.naming import id_text
from headwater.consumers.store import open_store
from headwater.schemas.errors import Rejected
from tests.support.graphs import Graph

SECOND = 1_000_000
Facets = Mapping[str, Mapping[str, Any]]


def started(**parameters: str) -> Facets:
    listed = [{"key": key, "value": value} for key, value in parameters.items()]
    return {"executionParameters": {"parameters": listed}}


def code(function: str = "m:f", source: str = "aa", commit: str | None = None, **more: Any) -> Facets:
    body = {"function": function, "sourceDigest": source, **more}
    return {"headwater_code": body if commit is None else {**body, "gitCommit": commit}}


class Story:
    """Runs of small steps, one after the other; each reads what is named and writes one asset."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.clock = 0
        self.last: dict[str, tuple[bytes, str | None]] = {}

    def run(
        self,
        job: str,
        output: str,
        version: str | None,
        *reads: str,
        facets: Facets | None = None,
        told: Facets | None = None,
        **values: Any,
    ) -> bytes:
        """One step; returns the production."""
        self.clock += 10 * SECOND
        name = f"{job}-{self.clock}"
        run = self.graph.run(name, job=job, at=self.clock, facets=facets, **values)
        for read in reads:
            production, content = self.last.get(read, (None, None))
            if production is None:
                self.graph.input(run, read, "v0", at=self.clock)
            else:
                self.graph.input(run, read, content, production=production, at=self.clock)
        made = self.graph.output(run, output, version, at=self.clock + SECOND, facets=told)
        self.last[output] = (made, version)
        return made

    def ask(self, url: str, *names: str, **options: Any) -> Difference:
        with open_store(url, create=True) as store:
            with store.writing() as connection:
                self.graph.insert(connection)
            return Lineage(store).diff(*names, **options)


def said(found: Difference) -> list[tuple[str, str, Any, Any]]:
    return [(cause.kind, cause.name, cause.before, cause.after) for cause in found.causes]


def only(found: Difference) -> Cause:
    (cause,) = found.causes
    return cause


def test_a_changed_parameter_is_the_one_cause_and_what_came_of_it_is_folded(store_url: str) -> None:
    story = Story()
    for depth, suffix in (("6", "a"), ("2", "b")):
        story.run("load", "raw", "same")
        story.run("train", "model", f"m-{suffix}", "raw", facets=started(depth=depth, seed="7"))
        story.run("report", "page", f"p-{suffix}", "model")
    found = story.ask(store_url, "page")
    assert said(found) == [("parameter", "depth", 6, 2)]
    assert (only(found).path, only(found).reaches) == (("model", "page"), True)
    assert [(asset.name, asset.role) for asset in found.assets] == [
        ("model", "consequence"),
        ("page", "consequence"),
    ]
    assert (found.equal, found.unknown, found.differs, found.truncated) == (1, 0, True, None)


def test_a_source_of_other_content_is_the_cause(store_url: str) -> None:
    story = Story()
    for suffix in "ab":
        story.run("load", "raw", f"r-{suffix}")
        story.run("load", "rates", "same")
        story.run("train", "model", f"m-{suffix}", "raw", "rates")
    cause = only(story.ask(store_url, "model"))
    assert (cause.kind, cause.name, cause.before, cause.after) == ("source", "raw", "r-a", "r-b")
    assert cause.path == ("raw", "model")


def test_what_no_known_run_wrote_is_a_source_too(store_url: str) -> None:
    story = Story()
    for version in ("v1", "v2"):
        story.clock += 10 * SECOND
        run = story.graph.run(f"train-{version}", job="train", at=story.clock)
        story.graph.input(run, "raw", version, at=story.clock)
        story.graph.output(run, "model", f"m-{version}", at=story.clock + 1)
    cause = only(story.ask(store_url, "model"))
    assert (cause.kind, cause.before, cause.after, cause.steps) == ("source", "v1", "v2", ())


def test_the_same_step_with_other_code_is_a_cause_and_its_commit_a_suspect(store_url: str) -> None:
    story = Story()
    url = {"repositoryUrl": "git@github.com:team/churn.git", "gitDirty": False}
    for source, commit, suffix in (("aa", "c1c1c1", "a"), ("bb", "d2d2d2", "b")):
        story.run("load", "raw", "same", facets=code("m:load", "xx", commit, **url))
        story.run("train", "model", f"m-{suffix}", "raw", facets=code("m:train", source, commit, **url))
    found = story.ask(store_url, "model")
    assert [cause.kind for cause in found.causes] == ["code", "commit"]
    commits = found.causes[1].commits
    assert commits is not None
    assert (commits.range, commits.url) == (
        "c1c1c1..d2d2d2",
        "https://github.com/team/churn/compare/c1c1c1...d2d2d2",
    )
    assert {step.name for step in found.causes[1].steps} == {"load", "train"}


def test_a_commit_hides_no_content_that_differs_without_a_reason(store_url: str) -> None:
    """What a step calls may be in the commit; the file it reads may as well be another."""
    story = Story()
    for commit, suffix in (("c1", "a"), ("d2", "b")):
        story.run("load", "raw", f"r-{suffix}", facets=code(commit=commit))
        story.run("train", "model", f"m-{suffix}", "raw", facets=code(commit=commit))
    found = story.ask(store_url, "model")
    assert [(cause.kind, cause.suspects) for cause in found.causes] == [
        ("source", ("commit",)),
        ("commit", ()),
    ]


def test_a_step_that_writes_another_content_from_the_same_inputs_is_named(store_url: str) -> None:
    story = Story()
    for suffix in "ab":
        story.run("load", "raw", "same")
        story.run("train", "model", f"m-{suffix}", "raw")
    cause = only(story.ask(store_url, "model"))
    assert (cause.kind, cause.name, [step.name for step in cause.steps]) == ("content", "model", ["train"])


def test_an_input_that_was_added_brings_its_upstream_and_is_one_cause(store_url: str) -> None:
    story = Story()
    story.run("load", "raw", "same")
    story.run("train", "model", "m-a", "raw")
    story.run("load", "raw", "same")
    story.run("fetch", "weather.raw", "w1")
    story.run("tidy", "weather", "w2", "weather.raw")
    story.run("train", "model", "m-b", "raw", "weather")
    cause = only(story.ask(store_url, "model"))
    assert (cause.kind, cause.name, cause.brought) == ("inputs", "train", 2)
    assert [(change.name, change.state) for change in cause.inputs] == [("weather", "added")]


def test_an_effect_that_ended_on_the_way_is_said(store_url: str) -> None:
    story = Story()
    for suffix in "ab":
        story.run("load", "raw", f"r-{suffix}")
        story.run("clean", "rows", "same", "raw")
        story.run("train", "model", "same", "rows")
    found = story.ask(store_url, "model")
    assert (only(found).kind, only(found).reaches) == ("source", False)
    assert [(asset.name, asset.role) for asset in found.assets] == [("raw", "cause")]


def test_writing_in_place_is_matched_in_the_order_of_publication(store_url: str) -> None:
    story = Story()
    for suffix in "ab":
        story.run("load", "orders", f"loaded-{suffix}")
        story.run("dedupe", "orders", f"clean-{suffix}", "orders")
        story.run("train", "model", f"m-{suffix}", "orders")
    found = story.ask(store_url, "model")
    assert said(found) == [("source", "orders", "loaded-a", "loaded-b")]
    assert len(found.assets) == 3


def test_a_history_that_went_on_differs_in_what_was_added_to_it(store_url: str) -> None:
    story = Story()
    story.run("append", "orders", "o1")
    story.run("append", "orders", "o2", "orders")
    story.run("train", "model", "m-a", "orders")
    story.run("append", "orders", "o3", "orders")
    story.run("train", "model", "m-b", "orders")
    found = story.ask(store_url, "model")
    cause = only(found)
    assert (cause.kind, [(c.name, c.state) for c in cause.inputs]) == ("inputs", [("orders", "changed")])
    assert found.equal == 2


def test_linked_names_are_one_asset(store_url: str) -> None:
    story = Story()
    story.graph.alias("raw", "s3-raw")
    story.run("load", "raw", "same")
    story.run("train", "model", "m", "raw")
    story.run("load", "s3-raw", "same")
    story.run("train", "model", "m", "s3-raw")
    found = story.ask(store_url, "model")
    assert (found.differs, found.equal) == (False, 2)


def test_pipelines_are_compared_with_all_their_steps(store_url: str) -> None:
    story = Story()
    runs = []
    for number, depth in (("1", "6"), ("2", "2")):
        parent = story.graph.run(f"daily-{number}", job="daily", at=story.clock, facets=started(depth=depth))
        runs.append(id_text(parent))
        under: dict[str, Any] = {"parent_run_id": parent, "parent_job_id": story.graph.job("daily")}
        story.run("daily.load", "raw", "same", **under)
        story.run("daily.train", "model", f"m-{depth}", "raw", facets=started(depth=depth), **under)
    story.run("daily.report", "page", "p", "model", **under)
    found = story.ask(store_url, *runs)
    assert [(c.kind, c.name, c.state) for c in found.causes] == [
        ("parameter", "depth", "changed"),
        ("step", "report", "added"),
    ]
    assert [step.name for step in found.causes[0].steps] == ["daily", "train"]
    assert (found.before.name, found.before.assets, found.after.steps) == ("daily", 2, 4)
    with Lineage(store_url) as lineage:
        assert lineage.diff("daily").causes == found.causes


def test_unversioned_outputs_differ_only_by_what_was_measured(store_url: str) -> None:
    story = Story()
    for rows in (10, 20):
        story.run("load", "raw", None, told={"outputStatistics": {"rowCount": rows}})
        story.run("train", "model", None, "raw")
    found = story.ask(store_url, "model")
    assert [(asset.name, asset.state) for asset in found.assets] == [("raw", "changed"), ("model", "unknown")]
    assert found.unknown == 1
    assert only(found).name == "raw"


def test_what_cannot_be_identified_is_no_evidence(store_url: str) -> None:
    story = Story()
    for suffix in "ab":
        story.run("train", "model", f"opaque1:{suffix * 64}")
    found = story.ask(store_url, "model")
    assert (found.differs, found.unknown, found.causes) == (False, 1, ())


def test_schemas_sizes_properties_and_metrics_are_told(store_url: str) -> None:
    story = Story()
    for depth, columns in ((6, ("a:int", "b:int", "c:int")), (2, ("c:int", "b:float", "d:int"))):
        fields = [dict(zip(("name", "type"), column.split(":"), strict=True)) for column in columns]
        told: Facets = {
            "schema": {"fields": fields},
            "outputStatistics": {"rowCount": 10 * depth},
            "headwater_metrics": {"values": {"auc": 1 / depth}},
            "headwater_model": {"parameters": {"max_depth": depth}},
        }
        made = story.run("train", "model", f"m-{depth}", told=told)
        run = story.graph.rows["run_output"][made]["run_id"]
        story.graph.point(run, "loss", 0.9, step=1)
        story.graph.point(run, "loss", depth / 10, step=2)
    found = story.ask(store_url, "model")
    (asset,) = found.assets
    assert [(c.name, c.state) for c in asset.columns] == [("a", "removed"), ("b", "changed"), ("d", "added")]
    assert asset.reordered
    assert [(c.name, c.before, c.after) for c in asset.statistics] == [("row_count", 60, 20)]
    assert [(c.name, c.before, c.after) for c in asset.properties] == [("model.max_depth", 6, 2)]
    metrics = {(one.of, one.name): one for one in found.metrics}
    assert metrics["model", "auc"].relative == pytest.approx(2.0)
    assert metrics["train", "loss"].absolute == pytest.approx(-0.4)


def test_an_environment_told_elsewhere_in_the_process_is_found(store_url: str) -> None:
    """Only one event of a process has the packages; other runs name their digest."""
    story = Story()
    for number, numpy in enumerate(("1.26", "2.0")):
        digest = f"json1:{number}"
        whole = {
            "digest": digest,
            "python": "cpython 3.11",
            "platform": "Linux",
            "packages": {"numpy": numpy},
        }
        if number:
            whole["packages"] = {"numpy": numpy, "polars": "1.0"}
        emitter = bytes([number]) * 16
        teller = story.graph.run(f"pipeline-{number}", job="daily", facets={"headwater_environment": whole})
        made = story.run(
            "train", "model", f"m-{number}", facets={"headwater_environment": {"digest": digest}}
        )
        run = story.graph.rows["run_output"][made]["run_id"]
        for sequence, of in enumerate((teller, run)):
            story.graph.rows["event"][emitter, sequence] = _emitted(of, emitter, sequence)
    found = story.ask(store_url, "model")
    cause = next(cause for cause in found.causes if cause.kind == "environment")
    assert cause.environment is not None
    assert cause.environment.told
    assert [(c.name, c.before, c.after) for c in cause.environment.packages] == [
        ("numpy", "1.26", "2.0"),
        ("polars", None, "1.0"),
    ]
    assert found.causes[0].suspects == ("environment",)


def _emitted(run: bytes, emitter: bytes, sequence: int) -> dict[str, Any]:
    return {
        "at": sequence,
        "event_id": (emitter + bytes([sequence]) * 16),
        "run_id": run,
        "kind": 0,
        "rank": 1,
        "topic": "t",
        "partition": "0",
        "offset": sequence,
        "appended_at": 0,
        "emitter_id": emitter,
        "sequence": sequence,
        "previous": None,
        "final": False,
    }


def test_as_of_a_time_the_last_two_are_the_last_two_of_then(store_url: str) -> None:
    story = Story()
    for number in range(3):
        story.run("load", "raw", f"r{number}")
    then = datetime.fromtimestamp(25, UTC)
    found = story.ask(store_url, "raw", as_of=then)
    assert (found.before.version, found.after.version) == ("r0", "r1")


def test_a_cone_that_is_cut_says_so(store_url: str) -> None:
    story = Story()
    for suffix in "ab":
        story.run("load", "raw", f"r-{suffix}")
        story.run("train", "model", f"m-{suffix}", "raw")
    assert story.ask(store_url, "model", limit=1).truncated == "limit"


def test_a_run_and_an_asset_are_not_compared(sqlite_url: str) -> None:
    story = Story()
    made = story.run("load", "raw", "r")
    run = story.graph.rows["run_output"][made]["run_id"]
    with pytest.raises(Rejected, match="one is a run"):
        story.ask(sqlite_url, "raw", id_text(run))


def test_one_production_alone_has_nothing_to_be_compared_with(sqlite_url: str) -> None:
    story = Story()
    story.run("load", "raw", "r")
    with pytest.raises(Unknown, match="no production before"):
        story.ask(sqlite_url, "raw")
    with Lineage(sqlite_url) as lineage:
        with pytest.raises(Unknown, match="ran once"):
            lineage.diff("load")
        with pytest.raises(Unknown, match="no asset"):
            lineage.diff("nothing")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/o/r", "https://github.com/o/r/compare/a...b"),
        ("git@github.com:o/r.git", "https://github.com/o/r/compare/a...b"),
        (
            "ssh://git@gitlab.example.com:22/group/sub/r.git",
            "https://gitlab.example.com/group/sub/r/-/compare/a...b",
        ),
        ("https://bitbucket.org/o/r", "https://bitbucket.org/o/r/branches/compare/b%0Da"),
        ("https://codeberg.org/o/r/", "https://codeberg.org/o/r/compare/a...b"),
        ("https://git.example.com/o/r", None),
        ("/srv/git/r.git", None),
    ],
)
def test_a_compare_page_is_named_where_the_hosts_form_is_known(url: str, expected: str | None) -> None:
    assert comparison(url, "a", "b") == expected
