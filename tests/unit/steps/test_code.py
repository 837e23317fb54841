"""Code identity from real repositories, in new processes, since git is asked once in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from headwater.emitter.code import GIT_DEADLINE_S, function_code

PROGRAM = """
import dataclasses, json, sys
sys.path.insert(0, {folder!r})
import module
from headwater.emitter.code import function_code, program_code
print(json.dumps([dataclasses.asdict(function_code(module.train)), dataclasses.asdict(program_code())]))
"""
MODULE = "def train(depth):\n    return depth\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "steps").mkdir(parents=True)
    (root / "steps" / "module.py").write_text(MODULE)
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "first"],
        ["remote", "add", "origin", "https://token:secret@example.com/team/repo.git"],
    ):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def test_a_clean_checkout_is_known_by_commit_branch_remote_and_path(repository: Path) -> None:
    code = _identity(repository / "steps")
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    assert code["git_commit"] == head.stdout.strip()
    assert (code["git_branch"], code["git_dirty"]) == ("main", False)
    assert code["repository_url"] == "https://example.com/team/repo.git"
    assert (code["path"], code["line"], code["function"]) == ("steps/module.py", 1, "module:train")


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(repository: Path) -> None:
    (repository / "untracked.txt").write_text("x")
    assert _identity(repository / "steps")["git_dirty"] is False
    (repository / "steps" / "module.py").write_text(MODULE + "# changed\n")
    assert _identity(repository / "steps")["git_dirty"] is True


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    subprocess.run(["git", "-C", str(repository), "checkout", "-q", "--detach"], check=True)
    code = _identity(repository / "steps")
    assert code["git_branch"] is None
    assert code["git_commit"] is not None


def test_a_repository_without_a_commit_and_a_folder_without_a_repository_are_no_problem(
    tmp_path: Path,
) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    assert _identity(tmp_path)["git_commit"] is None
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert _identity(tmp_path)["git_commit"] is None


def test_without_a_repository_the_environment_may_state_the_commit(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    stated = {"HEADWATER_GIT_COMMIT": "4f1c9ab", "HEADWATER_GIT_URL": "https://t@example.com/r.git"}
    code = _identity(tmp_path, **stated)
    assert (code["git_commit"], code["repository_url"]) == ("4f1c9ab", "https://example.com/r.git")


def test_without_git_only_its_part_is_unknown(repository: Path) -> None:
    code = _identity(repository / "steps", PATH="/nonexistent")
    assert code["git_commit"] is None
    assert code["source_digest"] is not None


def test_a_git_that_hangs_is_left_alone_after_the_deadline(repository: Path, tmp_path: Path) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    before = time.monotonic()
    code = _identity(repository / "steps", PATH=f"{slow.parent}:{os.environ['PATH']}")
    assert time.monotonic() - before < 3 * GIT_DEADLINE_S + 10
    assert code["git_commit"] is None


def test_git_is_asked_once_a_process(repository: Path, tmp_path: Path) -> None:
    counted = tmp_path / "bin" / "git"
    counted.parent.mkdir()
    counted.write_text(
        f'#!/bin/sh\necho call >> {tmp_path}/calls\nexec /usr/bin/env -u PATH /usr/bin/git "$@"\n'
    )
    counted.chmod(0o755)
    _identity(repository / "steps", PATH=f"{counted.parent}:{os.environ['PATH']}")
    assert (tmp_path / "calls").read_text().count("call") == 2


def test_the_digest_follows_the_source_and_nothing_else() -> None:
    def first() -> int:
        return 1

    def second() -> int:
        return 2

    assert function_code(first).source_digest == function_code(first).source_digest
    assert function_code(first).source_digest != function_code(second).source_digest


def test_a_function_without_a_source_is_still_named() -> None:
    scope: dict[str, Any] = {"__name__": "typed"}
    exec("def f(): return 1", scope)
    code = function_code(scope["f"])
    assert (code.function, code.source_digest) == ("typed:f", None)
    assert function_code(len).function == "builtins:len"


def _identity(folder: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(folder=str(folder))],
        env={**os.environ, **environment},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found
