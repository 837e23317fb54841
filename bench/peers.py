"""The peers that are no dependencies of ours: flowyml and Data.Rentgen, each in its own environment.

They are installed from their pins into bench/.cache on first use, and only ever run as a
process that prints JSON (bench/peer_*.py), in a folder that is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.isolated import CACHE, ROOT, Failed, run

_HERE = ROOT / "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One peer: what it is called, what it runs on, and where its pins and its program are."""

    title: str
    name: str
    pins: Path
    program: Path
    python: str

    def call(self, what: str, /, **arguments: Any) -> Any:
        """The result of `what` in the peer's program."""
        with tempfile.TemporaryDirectory(prefix="hw-peer-") as folder:
            command = [str(self.interpreter()), str(self.program), what, json.dumps(arguments)]
            return run(command, Path(folder), HOME=folder, NO_COLOR="1")

    def interpreter(self) -> Path:
        """The Python of its environment, which is made when it is missing or pinned anew."""
        home = CACHE / self.name
        python, marker = home / "bin" / "python", home / "installed"
        pins = hashlib.sha256(self.pins.read_bytes()).hexdigest()
        if marker.exists() and marker.read_text() == pins:
            return python
        uv = Path(sys.executable).parent / "uv"
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"  installing {self.title} into bench/.cache …", flush=True)
        try:
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", self.python, home], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "-r", self.pins], check=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise Failed(f"{self.title} cannot be installed: {problem}") from problem
        # The first import writes byte code, which is none of what is measured.
        subprocess.run([python, "-m", "compileall", "-q", home / "lib"], check=False, capture_output=True)
        marker.write_text(pins)
        return python


def _python_312() -> str:
    """A Python 3.12 or newer: this one, pyenv's, or what uv finds or fetches."""
    if sys.version_info >= (3, 12):
        return sys.executable
    known = sorted(Path.home().glob(".pyenv/versions/3.12*/bin/python"))
    return str(known[-1]) if known else "3.12"


FLOWYML = Peer(
    title="flowyml 2.2.1",
    name="flowyml",
    pins=_HERE / "peers.txt",
    program=_HERE / "peer_flowyml.py",
    python=sys.executable,
)
RENTGEN = Peer(
    title="Data.Rentgen 0.7.2",
    name="rentgen",
    pins=_HERE / "peers-rentgen.txt",
    program=_HERE / "peer_rentgen.py",
    python=_python_312(),
)
