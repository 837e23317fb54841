"""The demo's own folder: made once, emptied of the demo's own files, and of nothing else.

A folder counts as the demo's only when it holds the marker that the demo puts there. A
folder that exists, holds something and has no marker is refused and left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.schemas.errors import Misconfigured
from headwater.schemas.segment import SUFFIX

MARKER = ".made-by-headwater-demo"
_NOTE = "This folder belongs to `headwater demo`, which replaces its own files in it each time it runs.\n"
_SETTINGS = "project: clinic\nlog: log\nstore: sqlite:///lineage.db\n"
_STORES = ("lineage.db", "rebuilt.db")
_STORE_PARTS = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where the demo's files are."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "patients.csv"

    @property
    def page(self) -> Path:
        return self.path / "report.md"

    @property
    def config(self) -> Path:
        """The settings of the demo's own, so that no other file's apply."""
        return self.path / "headwater.yaml"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def store(self) -> str:
        """The store's URL, as short as the folder's path was given."""
        return f"sqlite:///{self.path / 'lineage.db'}"

    @property
    def rebuilt(self) -> str:
        """The URL of a store that a person may rebuild from the log."""
        return f"sqlite:///{self.path / 'rebuilt.db'}"


def prepared(path: Path) -> DemoFolder:
    """The demo's folder at `path`, without what an earlier demo left there.

    Raises `Misconfigured` when `path` is something else than the demo's folder.
    """
    marker = path / MARKER
    try:
        if not marker.is_file():
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise Misconfigured(
                    f"{path} exists and is not the demo's folder", remedy="name another one with --dir"
                )
            path.mkdir(parents=True, exist_ok=True)
            marker.write_text(_NOTE, encoding="utf-8")
        folder = DemoFolder(path)
        _forget(folder)
        folder.config.write_text(_SETTINGS, encoding="utf-8")
    except OSError as cause:
        raise Misconfigured(
            f"the demo cannot write to {path}: {cause.strerror}", remedy="name another folder with --dir"
        ) from cause
    return folder


def _forget(folder: DemoFolder) -> None:
    files = [folder.data, folder.page]
    files += [folder.path / f"{store}{part}" for store in _STORES for part in _STORE_PARTS]
    files += list(folder.log.glob(f"*{SUFFIX}")) + list((folder.log / "open").glob("*"))
    for file in files:
        file.unlink(missing_ok=True)
