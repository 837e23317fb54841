"""What the documents promise: their code runs, their links lead somewhere, and nothing public is left out."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from headwater.consumers.cli.app import app
from headwater.schemas.errors import HeadwaterError
from tests.docs import figures
from tests.docs.documents import (
    DOCUMENTS,
    ROOT,
    Block,
    anchors_of,
    blocks_of,
    links_of,
    prints,
    world_of,
)
from tests.docs.worlds import WORLDS

MACHINE = re.compile(
    r"(?<![\w.~:/-])/(?:work|root|home|tmp|Users|mnt|opt|var)/|[A-Z]:\\\\|localhost:\d|\.(?:internal|local|lan)\b"
)
REFERENCE = ROOT / "docs" / "reference"


def _name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def _steps(blocks: list[Block]) -> list[dict[str, object]]:
    """What `run_blocks.py` is to run: a console block is as many steps as it has commands."""
    return [
        {
            "language": block.language,
            "text": text,
            "title": block.title,
            "place": f"{_name(block.document)}:{block.line}",
        }
        for block in blocks
        for text in (
            [command for command, _ in block.commands()] if block.language == "console" else [block.text]
        )
    ]


def _performed(blocks: list[Block], folder: Path) -> list[dict[str, str | bool]]:
    hidden = {name for name in os.environ if name.startswith(("HEADWATER_", "OPENLINEAGE_"))}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment |= {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": ""}
    environment["XDG_CACHE_HOME"] = str(folder / ".cache")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs" / "run_blocks.py")],
        input=json.dumps(_steps(blocks)),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, str | bool]] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if any(b.executed for b in blocks_of(d))], ids=_name
)
def test_the_code_in_a_document_does_what_it_shows(document: Path, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(document) if block.executed]
    WORLDS[world_of(document)](tmp_path)
    results = iter(_performed(blocks, tmp_path))
    for block in blocks:
        shown = block.commands() if block.language == "console" else [(block.text, [])]
        for text, expected in shown:
            result = next(results)
            place = f"{_name(document)}:{block.line}: {text}"
            assert result["ok"], f"{place}\n{result['printed']}"
            if block.compared:
                assert prints(expected, str(result["printed"])), f"{place}\nprinted\n{result['printed']}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    broken = []
    for link in links_of(document):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = document if not path else (document.parent / path).resolve()
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_a_document_speaks_of_no_machine(document: Path) -> None:
    assert not MACHINE.findall(document.read_text(encoding="utf-8"))


def test_the_readme_tells_only_figures_that_were_recorded() -> None:
    # Names and not values: whoever runs `make bench` gets others, and README.md stays as it is.
    told = figures.between_marks(figures.README.read_text(encoding="utf-8")).splitlines()[2:]
    assert {line.split(" | ")[0].removeprefix("| ") for line in told} <= {
        row["name"] for row in figures.recorded()
    }


def test_figures_are_told_with_their_goal_and_the_peers() -> None:
    row = {
        "name": "emit",
        "value": 12.34,
        "unit": "µs",
        "budget": 15,
        "peer": "other 1.2",
        "peer_value": 58.0,
        "ratio": 4.7,
    }
    alone = {
        "name": "ingest",
        "value": 15600.0,
        "unit": "events/s",
        "budget": None,
        "peer": None,
        "peer_value": None,
    }
    told = figures.table([row, alone | {"ratio": None}])
    assert "| emit | 12.3 µs | 15 µs | other 1.2 | 58 µs | 4.7× |" in told
    assert "| ingest | 15,600 events/s | – | – | – | – |" in told
    assert figures.table([]) == ""


def test_every_page_is_in_the_navigation() -> None:
    pages = {d.relative_to(ROOT / "docs").as_posix() for d in DOCUMENTS if d.is_relative_to(ROOT / "docs")}
    assert set(_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])) == pages


def _pages(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict | list):
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(part)


def test_every_command_is_in_the_reference() -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    missing = [name for name in _commands(app, click.Context(app), "headwater") if not _names(text, name)]
    assert not missing


def _names(text: str, command: str) -> bool:
    return re.search(rf"\b{re.escape(command)}\b", text) is not None


def _commands(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield name
        return
    for part in command.list_commands(context):
        nested = command.get_command(context, part)
        assert nested is not None
        yield from _commands(nested, click.Context(nested, parent=context), f"{name} {part}")


def test_every_error_class_is_in_the_reference() -> None:
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    assert sorted(name for name in _errors() if f"`{name}`" not in text) == []


def _errors() -> set[str]:
    """The names of all public error classes, found by importing everything."""
    for package in ("schemas", "emitter", "consumers"):
        found = importlib.import_module(f"headwater.{package}")
        for module in pkgutil.walk_packages(found.__path__, f"{found.__name__}."):
            if ".migrations." not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting, classes = [HeadwaterError], set()
    while waiting:
        kind = waiting.pop()
        classes.add(kind)
        waiting += kind.__subclasses__()
    return {
        kind.__name__
        for kind in classes
        if kind.__module__.startswith("headwater.") and kind.__name__[0] != "_"
    }


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["one", "two"], "one\ntwo\n", True),
        (["one…", "two"], "one and a half\ntwo\n", True),
        (["one", "…", "four"], "one\ntwo\nthree\nfour\n", True),
        (["one", "…"], "one\n", True),
        (["one"], "one\ntwo\n", False),
        (["one…two"], "one\ntwo\n", False),
        (
            ["run 01a20926-66e1…  2026-11-23 16:03:48Z  302 ms"],
            "run 0badcafe-66e1…  2027-01-01 00:00:00Z  1.2 s\n",
            True,
        ),
        (["table1:6614726f…"], "table1:00000000…\n", False),
        ([], "anything", True),
    ],
)
def test_shown_output_stands_for_what_is_printed(shown: list[str], printed: str, same: bool) -> None:
    assert prints(shown, printed) is same
