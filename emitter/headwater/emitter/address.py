"""How one process names a run to another: `{namespace}/{name}/{run id}`, as one line of text.

The three parts are percent-encoded, so a name may hold any character. `HEADWATER_PARENT`
carries the run below which a process works, `HEADWATER_ROOT` the run at the top.
Where neither is set, OpenLineage's own `OPENLINEAGE_PARENT_ID` and
`OPENLINEAGE_ROOT_PARENT_ID` are read, so a task started by a scheduler that sets them
joins that scheduler's run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote
from uuid import UUID

from headwater.schemas.errors import Misconfigured, shown
from headwater.schemas.events import AssetRef, Job, Run
from headwater.schemas.ids import is_uuid

PARENT = "HEADWATER_PARENT"
ROOT = "HEADWATER_ROOT"
_OPENLINEAGE = {PARENT: "OPENLINEAGE_PARENT_ID", ROOT: "OPENLINEAGE_ROOT_PARENT_ID"}
_ASSET_SCHEME = "headwater:"


class Ambient(NamedTuple):
    """The run that the environment puts this process under, and the top of its tree."""

    parent: Run
    root: Run


def written(run: Run) -> str:
    """`run` as text that `read` turns back into it."""
    return "/".join(quote(part, safe=":") for part in (run.job.namespace, run.job.name, run.id))


def read(text: str, *, source: str = "the address of a run") -> Run:
    """The run that `text` names; raises `Misconfigured` when it names none."""
    namespace, slash, rest = text.strip().partition("/")
    name, _, run_id = rest.rpartition("/")
    if not slash or not namespace or not name or not is_uuid(run_id):
        raise Misconfigured(
            f"{source} is {shown(text)}",
            remedy="write {namespace}/{name}/{run id} with a UUID as run id, each part percent-encoded",
        )
    return Run(id=run_id.lower(), job=Job(namespace=unquote(namespace), name=unquote(name)))


def environ(parent: Run, root: Run) -> dict[str, str]:
    """The variables that put another process below `parent`."""
    return {PARENT: written(parent), ROOT: written(root)}


def ambient(variables: Mapping[str, str] = os.environ) -> Ambient | None:
    """What the environment says; raises `Misconfigured` when it says something unreadable."""
    parent = _variable(variables, PARENT)
    if parent is None:
        return None
    return Ambient(parent, _variable(variables, ROOT) or parent)


def run_id_of(project: str, pipeline: str, text: str) -> str:
    """The run id that `text`, the id an orchestrator gave, stands for.

    A UUID stands for itself. Any other text (`scheduled__2026-11-23T00:00`) becomes a UUIDv8
    computed from project, pipeline and text, so every task of that run arrives at the same id.
    """
    if is_uuid(text):
        return text.lower()
    digest = hashlib.sha256("\0".join(("run", project, pipeline, text)).encode("utf-8", "surrogatepass"))
    bits = int.from_bytes(digest.digest()[:16], "big")
    bits = bits & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62
    return str(UUID(int=bits))


def asset_written(ref: AssetRef) -> str:
    """`ref` as text for another process: `headwater:{namespace}/{name}@{version}?{type}#{run id}`."""
    text = f"{_ASSET_SCHEME}{quote(ref.namespace, safe='')}/{quote(ref.name, safe='')}"
    for mark, part in (("@", ref.version), ("?", ref.type), ("#", ref.production)):
        text += f"{mark}{quote(part, safe=':')}" if part else ""
    return text


def is_asset_address(text: str) -> bool:
    """Whether `text` was made by `asset_written`."""
    return text.startswith(_ASSET_SCHEME) and "/" in text


def asset_read(text: str) -> AssetRef:
    """The asset that `text` (from `asset_written`) names."""
    rest, _, production = text.removeprefix(_ASSET_SCHEME).partition("#")
    rest, _, kind = rest.partition("?")
    rest, _, version = rest.partition("@")
    namespace, slash, name = rest.partition("/")
    if not is_asset_address(text) or not namespace or not slash or not name:
        raise Misconfigured(
            f"the address of an asset is {shown(text)}", remedy="pass on `asset.address` as it is"
        )
    return AssetRef(
        namespace=unquote(namespace),
        name=unquote(name),
        version=unquote(version) or None,
        type=unquote(kind) or None,
        production=unquote(production) or None,
    )


def _variable(variables: Mapping[str, str], name: str) -> Run | None:
    if text := variables.get(name):
        return read(text, source=name)
    foreign = _OPENLINEAGE[name]
    if text := variables.get(foreign):
        return _foreign(text, foreign)
    return None


def _foreign(text: str, source: str) -> Run:
    """OpenLineage encodes nothing, so the namespace may hold slashes: the last two parts are name and id."""
    parts = text.strip().rsplit("/", 2)
    if len(parts) != 3 or not all(parts) or not is_uuid(parts[2]):
        raise Misconfigured(
            f"{source} is {shown(text)}", remedy="write {namespace}/{name}/{run id}, or unset it"
        )
    return Run(id=parts[2].lower(), job=Job(namespace=parts[0], name=parts[1]))
