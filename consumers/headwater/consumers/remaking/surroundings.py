"""Whether this process is one in which a recorded step can be repeated: interpreter, packages, code.

Each difference is either a reason not to run the step or a caveat that is told with the result;
which of the two, the policy decides:

    strict       everything recorded must be the same: Python, platform, packages, commit, a clean tree
    compatible   the same minor version of Python, and of the packages that the step's modules
                 load the same major version (below 1.0 the same minor one); the rest is a caveat
    ignore       whatever is here

The source of the step's function must be the recorded one whatever the policy is.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headwater.emitter.code import function_code
from headwater.emitter.environment import environment

Said = dict[str, str]

POLICIES = ("strict", "compatible", "ignore")
_SEPARATORS = re.compile(r"[-_.]+")
_NUMBERS = re.compile(r"\d+")
# A form of content never changes with the version of headwater.
_OURS = "headwater"


def code_reasons(function: Callable[..., Any], recorded: Mapping[str, Any], policy: str) -> Iterator[Said]:
    """What of the code differs so that the step is not run."""
    here = function_code(function)
    name, digest = recorded["function"], recorded.get("source_digest")
    if digest is not None and here.source_digest != digest:
        yield _said(
            f"the source of {name}",
            f"it is not what ran: recorded {digest[:12]}…, here {(here.source_digest or 'unreadable')[:12]}",
            _checkout(recorded),
        )
    elif digest is None and recorded.get("git_commit") is None:
        yield _said(f"the source of {name}", "neither its digest nor its commit was recorded", "")
    elif digest is None and _commit_differs(here.git_commit, recorded):
        yield _said(f"the source of {name}", "neither its digest nor its commit fits", _checkout(recorded))
    elif policy == "strict":
        for what in code_caveats(function, recorded):
            yield _said("the code", what, _checkout(recorded))


def code_caveats(function: Callable[..., Any], recorded: Mapping[str, Any]) -> Iterator[str]:
    """What of the code differs, or cannot be known to be the same, beside the function's own source."""
    here = function_code(function)
    commit = recorded.get("git_commit")
    if commit is None:
        yield "which commit ran was not recorded: what the function calls may be other code"
    elif here.git_commit is None:
        yield f"this is no git repository: commit {commit[:12]} ran"
    elif _commit_differs(here.git_commit, recorded):
        yield f"the commit differs: {commit[:12]} ran, {here.git_commit[:12]} is checked out"
    elif here.git_dirty:
        yield "the working tree has uncommitted changes"
    if recorded.get("git_dirty"):
        yield f"the run had uncommitted changes on top of commit {(commit or '')[:12]}"


def _commit_differs(here: str | None, recorded: Mapping[str, Any]) -> bool:
    commit = recorded.get("git_commit")
    return commit is not None and here != commit


def _checkout(recorded: Mapping[str, Any]) -> str:
    commit = recorded.get("git_commit")
    return f"git checkout {commit[:12]}" if commit else "bring back the source as it was"


def environment_reasons(recorded: Mapping[str, Any] | None, policy: str) -> Iterator[Said]:
    """What of interpreter and packages differs so that the step is not run."""
    if policy == "ignore":
        return
    if recorded is None or not recorded.get("packages"):
        if policy == "strict":
            yield _said(
                "the environment", "it was not recorded", "--environment compatible runs all the same"
            )
        return
    here = environment()
    python = recorded.get("python")
    if python is not None and not _same_python(python, here.python, policy):
        yield _said("Python", f"{python} ran, this is {here.python}", f"use {python}")
    if policy == "strict" and recorded.get("platform") not in (None, here.platform):
        yield _said("the platform", f"{recorded['platform']} ran, this is {here.platform}", "run it there")
    wrong = dict(_refused_packages(recorded["packages"], policy))
    if wrong:
        told = ", ".join(f"{name} {was} ran, {now or 'none'} is here" for name, (was, now) in wrong.items())
        pins = " ".join(f"{name}=={was}" for name, (was, _) in wrong.items())
        yield _said("the packages", told, f"pip install {pins}")


def _refused_packages(
    recorded: Mapping[str, str], policy: str
) -> Iterator[tuple[str, tuple[str, str | None]]]:
    loaded = loaded_distributions()
    for name, (was, now) in package_differences(recorded).items():
        if policy == "strict" or (now is not None and name in loaded and not _compatible(was, now)):
            yield name, (was, now)


def package_differences(recorded: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """The recorded packages that are here in another version, or not at all (None)."""
    here = environment().packages
    return {
        name: (was, here.get(name))
        for name, was in sorted(recorded.items())
        if here.get(name) != was and name != _OURS
    }


def environment_caveats(recorded: Mapping[str, Any] | None) -> Iterator[str]:
    """What of the environment differs and may matter: the packages that are loaded by now."""
    if recorded is None or not recorded.get("packages"):
        yield "the packages that ran were not recorded"
        return
    loaded, here = loaded_distributions(), environment()
    if recorded.get("python") not in (None, here.python):
        yield f"{recorded['python']} ran, this is {here.python}"
    if recorded.get("platform") not in (None, here.platform):
        yield f"{recorded['platform']} ran, this is {here.platform}"
    for name, (was, now) in package_differences(recorded["packages"]).items():
        if name in loaded and now is not None:
            yield f"{name} {was} ran, {now} is here"


def loaded_distributions() -> set[str]:
    """The distributions of which a module is loaded, names normalised."""
    loaded = {name.partition(".")[0] for name in tuple(sys.modules)}
    return {
        _SEPARATORS.sub("-", distribution).lower()
        for top, distributions in _distributions_by_module().items()
        if top in loaded
        for distribution in distributions
    }


@functools.cache
def _distributions_by_module() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def _same_python(was: str, now: str, policy: str) -> bool:
    return was == now if policy == "strict" else was.rpartition(".")[0] == now.rpartition(".")[0]


def _compatible(was: str, now: str) -> bool:
    old, new = _NUMBERS.findall(was)[:2], _NUMBERS.findall(now)[:2]
    return old[:1] == new[:1] if old[:1] != ["0"] else old == new


def _said(what: str, reason: str, remedy: str) -> Said:
    return {"what": what, "reason": reason, "remedy": remedy}
