"""Where a run happens: interpreter, platform and installed distributions, read once per process.

Names and versions come from the names of the `*.dist-info` folders on `sys.path`: no
metadata file is opened, which keeps this at a few milliseconds with hundreds of
packages. What lies in a zip file or is no distribution is not seen.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable

from headwater.schemas.events import Environment, Json

_SEPARATORS = re.compile(r"[-_.]+")
_METADATA_FOLDER = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-.*)?\.(?:dist-info|egg-info)\Z")


@functools.cache
def environment() -> Environment:
    """This process's environment; equal environments on two machines have equal digests."""
    from headwater.schemas.canonical import json_version

    python = f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}"
    packages = installed(sys.path)
    content: dict[str, Json] = {"python": python, "platform": _platform(), "packages": dict(packages)}
    return Environment(digest=json_version(content), python=python, platform=_platform(), packages=packages)


_told_by: set[str] = set()


def untold(emitter_id: str) -> bool:
    """Whether this emitter has yet to tell its whole environment; asking counts as telling.

    One event of each process carries the packages, every other one the digest.
    """
    if emitter_id in _told_by:
        return False
    _told_by.add(emitter_id)
    return True


def installed(folders: Iterable[str]) -> dict[str, str]:
    """Distribution names (normalised by PEP 503) and versions; the first folder wins, as in an import."""
    found: dict[str, str] = {}
    for folder in folders:
        for entry in _entries(folder or os.curdir):
            if match := _METADATA_FOLDER.match(entry):
                found.setdefault(_SEPARATORS.sub("-", match["name"]).lower(), match["version"])
    return dict(sorted(found.items()))


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # sys.path may name zip files and folders that do not exist
        return []


@functools.cache
def _platform() -> str:
    """System, machine and C library: what decides which wheels fit. The kernel's release is left out."""
    import platform

    library = "".join(platform.libc_ver())
    return "-".join(part for part in (platform.system(), platform.machine(), library) if part)
