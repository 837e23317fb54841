"""Calls a function in a fresh process, so that no measurement inherits what another left behind.

    isolated.call("bench.emit:spool", emits=20_000)

The function's arguments and result are JSON. What it prints goes to standard error; the process
runs in the repository's root, without the HEADWATER_* settings of the caller.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "bench" / ".cache"
LONGEST_S = 1_800.0


class Failed(Exception):
    """A measuring process ended with an error; the message has the end of what it said."""


def call(target: str, /, **arguments: Any) -> Any:
    """The result of `module:function` called with `arguments` in a process of its own."""
    return run([sys.executable, "-m", "bench.isolated", target, json.dumps(arguments)], ROOT)


def run(command: list[str], folder: Path, **environment: str) -> Any:
    """The JSON in the last line that `command` prints; raises `Failed`."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise Failed(f"{command[-2]}: not ready after {LONGEST_S:.0f} s") from cause
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise Failed(f"{' '.join(command[-2:])}: {done.stderr[-2000:] or 'printed nothing'}")
    return json.loads(lines[-1])


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the product."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    answer = os.dup(1)
    os.dup2(2, 1)
    result = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    os.write(answer, f"{json.dumps(result)}\n".encode())


if __name__ == "__main__":
    main()
