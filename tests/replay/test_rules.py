"""The rules of the projection by their own examples: the reference gives what they say, the product too.

Each example is applied in every order, one event to a batch. Times are minutes after ten.
"""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from headwater.consumers.store import Store
from headwater.schemas import ids
from headwater.schemas.openlineage import Rank
from tests.replay import product
from tests.replay.binding import Binding, Bound
from tests.replay.reference import reference

TEN = 1_709_287_200_000_000


def at(minute: int) -> int:
    return TEN + minute * 60_000_000


def dataset(name: str, version: str | None = None, **facets: Any) -> dict[str, Any]:
    if version is not None:
        facets["version"] = {"datasetVersion": version}
    namespace, _, plain = name.rpartition("/")
    return {"namespace": namespace or "lake", "name": plain, "facets": facets}


def event(minute: int, kind: str | None, run: str, job: str = "P", **more: Any) -> bytes:
    hour, rest = divmod(600 + minute, 60)
    document = {
        "eventTime": f"2024-03-01T{hour:02d}:{rest:02d}:00Z",
        "run": {"runId": run, "facets": more.pop("run_facets", {})},
        "job": {"namespace": "crm", "name": job, "facets": more.pop("job_facets", {})},
        **more,
    }
    return orjson.dumps(document if kind is None else {**document, "eventType": kind})


def told(store: Store, *values: bytes) -> Bound:
    """The reference's reading of `values`, once the product has agreed with it in every order."""
    expected = reference(values)
    bound = Bound(expected)
    for order in itertools.permutations(values):
        product.wipe(store)
        product.apply_all(store, [[value] for value in order])
        assert product.differences(store, expected) == []
        assert product.bindings(store) == bound.resolved
    return bound


def one(rows: Any) -> Any:
    (row,) = rows
    return row


def run_of(bound: Bound, run: str, job: str = "P") -> dict[str, Any]:
    return bound.runs[ids.run_key(run, "crm", job)]


def written_by(bound: Bound, run: str) -> list[dict[str, Any]]:
    return [o for o in bound.outputs.values() if o["run_id"] == ids.run_key(run, "crm", "P")]


def read_by(bound: Bound, run: str) -> Binding:
    """What the one input of `run` is bound to."""
    key = ids.run_key(run, "crm", "P")
    found: Binding = one(b for row, b in bound.resolved.items() if row[0] == key)
    return found


def producer(bound: Bound, run: str) -> Binding:
    return Binding(one(written_by(bound, run))["production_id"], inferred=True)


UNKNOWN = Binding(None, inferred=True)


def test_one_run_id_under_two_jobs_is_two_runs(sqlite_store: Store) -> None:
    bound = told(sqlite_store, event(0, "START", "1", "P"), event(5, "COMPLETE", "1", "Q"))
    assert (run_of(bound, "1", "P")["state"], run_of(bound, "1", "Q")["state"]) == (Rank.START, Rank.COMPLETE)


def test_a_start_that_arrives_late_does_not_reopen_a_run(sqlite_store: Store) -> None:
    run = run_of(told(sqlite_store, event(5, "COMPLETE", "1"), event(0, "START", "1")), "1")
    assert (run["state"], run["started_at"], run["ended_at"]) == (Rank.COMPLETE, at(0), at(5))


def test_what_happens_after_the_end_is_seen_and_changes_no_state(sqlite_store: Store) -> None:
    run = run_of(told(sqlite_store, event(5, "COMPLETE", "1"), event(7, "RUNNING", "1")), "1")
    assert (run["state"], run["ended_at"], run["last_at"]) == (Rank.COMPLETE, at(5), at(7))


def test_the_last_terminal_event_wins_and_at_one_time_the_worse(sqlite_store: Store) -> None:
    later = told(sqlite_store, event(5, "FAIL", "1"), event(9, "COMPLETE", "1"))
    assert run_of(later, "1")["state"] == Rank.COMPLETE
    tied = told(sqlite_store, event(5, "FAIL", "1"), event(5, "COMPLETE", "1"), event(5, "ABORT", "1"))
    assert run_of(tied, "1")["state"] == Rank.FAIL


def test_a_deleted_facet_stays_deleted_by_an_earlier_one_and_comes_back_by_a_later(
    sqlite_store: Store,
) -> None:
    def schema(minute: int, **body: Any) -> bytes:
        return event(minute, "RUNNING", "1", outputs=[dataset("x", schema=body)])

    gone = told(sqlite_store, schema(0, v=1), schema(2, _deleted=True), schema(1, v=2))
    assert one(written_by(gone, "1"))["facets"] == b""
    back = told(sqlite_store, schema(0, v=1), schema(2, _deleted=True), schema(3, v=2))
    assert len(one(written_by(back, "1"))["facets"]) == 16


def test_a_snapshot_ends_what_it_does_not_list(sqlite_store: Store) -> None:
    mode = {"jobType": {"emissionPattern": {"eventContentMode": "COMPLETE_SNAPSHOT"}}}
    bound = told(
        sqlite_store,
        event(0, "RUNNING", "1", inputs=[dataset("a")], job_facets=mode),
        event(5, "RUNNING", "1", inputs=[dataset("b")], job_facets=mode),
    )
    live = {i["dataset_id"]: i["live"] for i in bound.inputs}
    assert live == {ids.dataset_id("lake", "a"): False, ids.dataset_id("lake", "b"): True}


def test_the_version_on_an_output_of_start_is_not_written_by_the_run(sqlite_store: Store) -> None:
    bound = told(sqlite_store, event(0, "START", "1", outputs=[dataset("x", "6")]))
    assert not one(written_by(bound, "1"))["versioned"]


def test_a_named_version_absorbs_the_unnamed_one(sqlite_store: Store) -> None:
    bound = told(
        sqlite_store,
        event(0, "START", "1", outputs=[dataset("x")]),
        event(5, "COMPLETE", "1", outputs=[dataset("x", "7")]),
    )
    assert one(written_by(bound, "1"))["version_id"] == ids.version_id(ids.dataset_id("lake", "x"), "7")


def test_an_unversioned_output_is_published_when_its_run_ends_well(sqlite_store: Store) -> None:
    start = event(0, "START", "1", outputs=[dataset("x")])
    for end, published in ((None, at(0)), ("COMPLETE", at(5)), ("FAIL", None), ("ABORT", None)):
        ends = [event(5, end, "1")] if end else []
        assert one(written_by(told(sqlite_store, start, *ends), "1"))["published_at"] == published


def test_a_named_version_is_published_even_if_its_run_fails(sqlite_store: Store) -> None:
    bound = told(sqlite_store, event(1, "RUNNING", "1", outputs=[dataset("x", "7")]), event(5, "FAIL", "1"))
    assert one(written_by(bound, "1"))["published_at"] == at(1)


def test_an_unnamed_input_is_what_was_current_when_it_was_first_read(sqlite_store: Store) -> None:
    read = event(0, "START", "R", inputs=[dataset("x")])
    first = event(-10, "COMPLETE", "W1", outputs=[dataset("x")])
    second = event(-5, "COMPLETE", "W2", outputs=[dataset("x")])
    third = event(1, "COMPLETE", "W3", outputs=[dataset("x")])
    assert read_by(told(sqlite_store, read), "R") == UNKNOWN
    bound = told(sqlite_store, read, first)
    assert read_by(bound, "R") == producer(bound, "W1")
    bound = told(sqlite_store, read, first, second, third)
    assert read_by(bound, "R") == producer(bound, "W2")


def test_the_same_content_written_again_is_current_again(sqlite_store: Store) -> None:
    writes = [
        event(minute, "RUNNING", f"W{minute}", outputs=[dataset("x", version)])
        for minute, version in ((0, "1"), (1, "2"), (2, "1"))
    ]
    bound = told(sqlite_store, *writes, event(3, "START", "R", inputs=[dataset("x")]))
    assert read_by(bound, "R") == producer(bound, "W2")


def test_a_run_that_changes_a_dataset_in_place_read_the_version_before(sqlite_store: Store) -> None:
    bound = told(
        sqlite_store,
        event(0, "COMPLETE", "W", outputs=[dataset("x")]),
        event(1, "START", "R", inputs=[dataset("x")], outputs=[dataset("x")]),
        event(2, "COMPLETE", "R", inputs=[dataset("x")], outputs=[dataset("x")]),
    )
    assert read_by(bound, "R") == producer(bound, "W")


def test_two_names_of_one_dataset_meet_whenever_the_link_arrives(sqlite_store: Store) -> None:
    write = event(0, "COMPLETE", "W", outputs=[dataset("hive/t")])
    read = event(1, "START", "R", inputs=[dataset("s3/t")])
    same = {"identifiers": [{"namespace": "s3", "name": "t", "type": "TABLE"}]}
    link = event(9, "COMPLETE", "L", outputs=[dataset("hive/t", symlinks=same)])
    assert read_by(told(sqlite_store, write, read), "R") == UNKNOWN
    bound = told(sqlite_store, write, read, link)
    assert read_by(bound, "R") == producer(bound, "W")


def test_what_was_dropped_is_bound_to_nothing_until_it_is_written_again(sqlite_store: Store) -> None:
    drop = event(
        1, "COMPLETE", "D", outputs=[dataset("x", lifecycleStateChange={"lifecycleStateChange": "DROP"})]
    )
    read = event(2, "START", "R", inputs=[dataset("x")])
    write = event(0, "COMPLETE", "W", outputs=[dataset("x")])
    bound = told(sqlite_store, write, drop, read)
    assert read_by(bound, "R") == Binding(None, inferred=True, dropped=True)
    again = event(2, "COMPLETE", "W2", outputs=[dataset("x")])
    bound = told(sqlite_store, write, drop, again, read)
    assert read_by(bound, "R") == producer(bound, "W2")


def test_a_rename_reads_the_old_name_and_drops_it(sqlite_store: Store) -> None:
    change = {"lifecycleStateChange": "RENAME", "previousIdentifier": {"namespace": "lake", "name": "old"}}
    bound = told(
        sqlite_store,
        event(0, "COMPLETE", "W", outputs=[dataset("old")]),
        event(1, "COMPLETE", "R", outputs=[dataset("new", lifecycleStateChange=change)]),
        event(2, "START", "Z", inputs=[dataset("old")]),
    )
    assert read_by(bound, "R") == producer(bound, "W")
    assert read_by(bound, "Z") == Binding(None, inferred=True, dropped=True)


def test_stated_lineage_replaces_what_would_be_guessed_in_any_order(sqlite_store: Store) -> None:
    def entry(target: str, source: str) -> dict[str, Any]:
        names = ({"namespace": "lake", "name": name, "type": "DATASET"} for name in (target, source))
        return {**next(names), "inputs": [next(names)]}

    facets = {"lineage": {"entries": [entry("c", "a"), entry("d", "b")]}}
    bound = told(
        sqlite_store,
        event(0, "COMPLETE", "A", outputs=[dataset("a")]),
        event(0, "COMPLETE", "B", outputs=[dataset("b")]),
        event(
            1,
            "START",
            "1",
            inputs=[dataset("a"), dataset("b")],
            outputs=[dataset("c"), dataset("d"), dataset("e")],
        ),
        event(2, "COMPLETE", "1", job_facets=facets),
    )
    made_of = {o["dataset_id"]: bound.parents(o["production_id"]) for o in written_by(bound, "1")}
    a, b = (one(written_by(bound, run))["production_id"] for run in "AB")
    assert made_of == {
        ids.dataset_id("lake", "c"): {a},
        ids.dataset_id("lake", "d"): {b},
        ids.dataset_id("lake", "e"): set(),
    }


def test_a_child_finds_a_parent_that_arrives_later(sqlite_store: Store) -> None:
    facet = {"parent": {"run": {"runId": "1"}, "job": {"namespace": "crm", "name": "Q"}}}
    bound = told(sqlite_store, event(1, "START", "1", run_facets=facet), event(0, "START", "1", "Q"))
    assert run_of(bound, "1")["parent_run_id"] == run_of(bound, "1", "Q")["run_id"]


def test_depth_is_the_shortest_way_and_a_cycle_ends(sqlite_store: Store) -> None:
    """a → b → c, and a → c: c is one step from a. b is written again from c, later: no way back in time."""
    values = [
        event(0, "COMPLETE", "A", outputs=[dataset("a")]),
        event(1, "COMPLETE", "B", inputs=[dataset("a")], outputs=[dataset("b")]),
        event(2, "COMPLETE", "C", inputs=[dataset("a"), dataset("b")], outputs=[dataset("c")]),
        event(3, "COMPLETE", "D", inputs=[dataset("c")], outputs=[dataset("b")]),
    ]
    bound = told(sqlite_store, *values)
    a, b, c, d = (one(written_by(bound, run))["production_id"] for run in "ABCD")
    assert bound.downstream(a) == {a: 0, b: 1, c: 1, d: 2}
    assert bound.upstream(d) == {d: 0, c: 1, a: 2, b: 2}
    for start in (a, b, c, d):
        assert product.walked(sqlite_store, start, "up") == bound.upstream(start)
        assert product.walked(sqlite_store, start, "down") == bound.downstream(start)
