"""Runs one document's blocks from top to bottom, as its reader would; a program of its own.

Reads a list of blocks from standard input as JSON, and prints one result for each as JSON.
Python blocks share one namespace; one with a title is saved under it instead of being run.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

DEADLINE_S = 120


def run_python(block: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Run one block in `names`; its output, or the traceback."""
    if block["title"]:
        Path(block["title"]).write_text(block["text"], encoding="utf-8")
        return {"ok": True, "printed": ""}
    file = f"<{block['place']}>"
    # As doctest does, so that a step's source can be read.
    linecache.cache[file] = (len(block["text"]), None, block["text"].splitlines(keepends=True), file)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(block["text"], file, "exec"), names)
    except BaseException:  # noqa: BLE001 - whatever a block raises is the result
        return {"ok": False, "printed": printed.getvalue() + traceback.format_exc()}
    return {"ok": True, "printed": printed.getvalue()}


def run_command(command: str) -> dict[str, Any]:
    """Run one command line; what it printed, and whether it ended well."""
    done = subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE_S,
        check=False,
    )
    return {"ok": done.returncode == 0, "printed": done.stdout.decode("utf-8", "replace")}


def main() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    answer = sys.stdout
    results = [
        run_command(block["text"]) if block["language"] == "console" else run_python(block, names)
        for block in json.load(sys.stdin)
    ]
    json.dump(results, answer)


if __name__ == "__main__":
    main()
