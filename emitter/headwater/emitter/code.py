"""Which code runs: the function, its source, and the commit it was checked out at.

git is asked once per process and repository, for at most `GIT_DEADLINE_S`, without
locks, prompts or a shell; when it does not answer, its part stays unknown and the step
goes on. What a function calls is not followed: the commit, and whether the tree was
clean, stand for that. In an image without a repository the variables of `_STATED` say
what git cannot.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwater.emitter.places import without_credentials
from headwater.schemas.events import Code

GIT_DEADLINE_S = 2.0

_STATED = {
    "git_commit": "HEADWATER_GIT_COMMIT",
    "git_branch": "HEADWATER_GIT_BRANCH",
    "repository_url": "HEADWATER_GIT_URL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A repository as it stood when this process first asked."""

    root: Path | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    url: str | None = None


def function_code(function: Callable[..., Any]) -> Code:
    """The identity of `function`; never raises for a function whose source cannot be read."""
    target = inspect.unwrap(function)
    module = getattr(target, "__module__", None) or "?"
    name = f"{module}:{getattr(target, '__qualname__', None) or type(target).__name__}"
    file = _file_of(target)
    lines, first = _source_of(target)
    code = _at(file.parent if file else _here(), file)
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest() if lines else None
    return replace(code, function=name, source_digest=digest, line=first if lines else None)


def program_code() -> Code:
    """The identity of the running program, for a pipeline: its main file and that file's checkout."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    file = Path(main).resolve() if main else None
    return _at(file.parent if file else _here(), file)


def checkout(folder: Path) -> Checkout:
    """The repository that `folder` belongs to; unknown fields are None."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return _ask(candidate)
    return Checkout()


def _at(folder: Path, file: Path | None) -> Code:
    known = checkout(folder)
    stated = {} if known.commit else {key: os.environ.get(name) or None for key, name in _STATED.items()}
    return Code(
        git_commit=known.commit or stated.get("git_commit"),
        git_branch=known.branch or stated.get("git_branch"),
        git_dirty=known.dirty,
        repository_url=known.url or _clean(stated.get("repository_url")),
        path=_path_within(known.root, file),
    )


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:  # the working folder was deleted
        return Path(os.sep)


def _path_within(root: Path | None, file: Path | None) -> str | None:
    if file is None:
        return None
    return file.relative_to(root).as_posix() if root and file.is_relative_to(root) else str(file)


def _file_of(target: object) -> Path | None:
    name = getattr(getattr(target, "__code__", None), "co_filename", None)
    # Cells and prompts carry names such as <stdin> or a temporary file that is not there.
    return Path(name).resolve() if name and os.path.exists(name) else None


def _source_of(target: Callable[..., Any]) -> tuple[list[str], int]:
    try:
        return inspect.getsourcelines(target)
    except (OSError, TypeError, SyntaxError, IndexError):
        return [], 0


@functools.cache
def _ask(root: Path) -> Checkout:
    status = _git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    url = _clean(_git(root, "config", "--get", "remote.origin.url"))
    if status is None:
        # A huge tree may take longer than we wait for; the commit alone is cheap.
        commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
        return Checkout(root=root, commit=(commit or "").strip() or None, url=url)
    headers = dict(line[2:].split(" ", 1) for line in status.splitlines() if line.startswith("# branch."))
    commit, branch = headers.get("branch.oid"), headers.get("branch.head")
    return Checkout(
        root=root,
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        dirty=any(not line.startswith("#") for line in status.splitlines()),
        url=url,
    )


def _clean(url: str | None) -> str | None:
    return without_credentials(url.strip()) if url and url.strip() else None


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None when it fails, is absent or takes too long."""
    import subprocess

    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_DEADLINE_S,
            env={**os.environ, **quiet},
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
