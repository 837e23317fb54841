"""Forks and exits: every process has its own emitter and segment, and what it emitted stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.emitter.adoption import adopt
from headwater.schemas.segment import check, list_segments, read_seal
from tests.support.forking import CHILD, EVENTS, PARENT
from tests.support.spool import Link, assert_unbroken, log_of, read_all, types_of

ROOT = Path(__file__).parents[2]


def run(scenario: str, log: Path) -> int:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-m",
            "tests.support.forking",
            scenario,
            str(log),
        ],
        cwd=ROOT,
        timeout=90,
        capture_output=True,
    )
    return done.returncode


def chains_of(log: Path, run_id: str) -> list[list[Link]]:
    """The chains with events of a run."""
    chains = log_of(log).values()
    return [links for links in chains if any(link.document["run"]["runId"] == run_id for link in links)]


def assert_one_emitter_to_a_segment(log: Path) -> None:
    for path in list_segments(log):
        assert check(path).digest_holds in (None, True)
        assert read_all(path)
    for links in log_of(log).values():
        assert_unbroken(links)


@pytest.mark.parametrize("scenario", ["os_fork", "mp_fork", "mp_fork_inherited", "mp_forkserver", "mp_spawn"])
def test_a_child_that_ends_well_is_an_emitter_of_its_own_and_closes(tmp_path: Path, scenario: str) -> None:
    assert run(scenario, tmp_path) == 0
    (parent,) = chains_of(tmp_path, PARENT.id)
    (child,) = chains_of(tmp_path, CHILD.id)
    assert types_of(parent) == ["START", "COMPLETE", "OTHER"]
    assert types_of(child) == ["RUNNING"] * EVENTS + ["OTHER"]
    assert parent[-1].final
    assert child[-1].final
    assert len(list_segments(tmp_path)) == 2
    assert all(read_seal(path) for path in list_segments(tmp_path))
    assert_one_emitter_to_a_segment(tmp_path)


def test_a_child_that_leaves_through_os_exit_loses_nothing_and_is_adopted(tmp_path: Path) -> None:
    assert run("os_fork_and_exit_hard", tmp_path) == 0
    (child,) = chains_of(tmp_path, CHILD.id)
    assert types_of(child) == ["START"] + ["RUNNING"] * EVENTS
    (adopted,) = adopt(tmp_path)
    assert adopted.aborted == (CHILD.id,)
    (parent,) = chains_of(tmp_path, PARENT.id)
    assert types_of(parent) == ["START", "COMPLETE", "OTHER"]
    assert_one_emitter_to_a_segment(tmp_path)


def test_terminated_workers_lose_nothing_and_their_parents_run_is_not_aborted(tmp_path: Path) -> None:
    assert run("terminated_workers", tmp_path) == 0
    workers = chains_of(tmp_path, CHILD.id)
    assert [types_of(links) for links in workers] == [["RUNNING"] * EVENTS] * 4
    assert [adopted.aborted for adopted in adopt(tmp_path)] == [()] * 4
    assert all(read_seal(path) for path in list_segments(tmp_path))
    assert_one_emitter_to_a_segment(tmp_path)


def test_a_fork_while_other_threads_emit_neither_hangs_nor_breaks_a_chain(tmp_path: Path) -> None:
    assert run("fork_while_threads_emit", tmp_path) == 0
    assert len(chains_of(tmp_path, CHILD.id)) == 20
    assert_one_emitter_to_a_segment(tmp_path)


def test_a_living_child_does_not_keep_its_dead_parents_segment_from_adoption(tmp_path: Path) -> None:
    read, write = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forking", "child_outlives_parent", str(tmp_path)],
        cwd=ROOT,
        stdin=read,
    )
    os.close(read)
    try:
        assert parent.wait(timeout=60) < 0
        # The child is alive: it waits for the other end of its standard input.
        assert [adopted.aborted for adopted in adopt(tmp_path)] == [(PARENT.id,)]
    finally:
        os.close(write)


@pytest.mark.parametrize(("scenario", "code"), [("sys_exit", 0), ("exception", 1)])
def test_a_process_that_ends_in_good_order_closes_its_emitter(
    tmp_path: Path, scenario: str, code: int
) -> None:
    assert run(scenario, tmp_path) == code
    (links,) = log_of(tmp_path).values()
    assert types_of(links) == ["START", "OTHER"]
    assert links[-1].final
    assert adopt(tmp_path) == []


@pytest.mark.parametrize("scenario", ["sigterm", "os_exit"])
def test_a_process_that_ends_without_a_word_is_adopted(tmp_path: Path, scenario: str) -> None:
    run(scenario, tmp_path)
    assert [types_of(links) for links in log_of(tmp_path).values()] == [["START"]]
    assert [adopted.aborted for adopted in adopt(tmp_path)] == [(PARENT.id,)]


def test_an_event_emitted_while_the_interpreter_exits_is_kept(tmp_path: Path) -> None:
    assert run("emits_at_exit", tmp_path) == 0
    types = sorted(kind for links in log_of(tmp_path).values() for kind in types_of(links))
    assert types == ["COMPLETE", "OTHER", "START"]
