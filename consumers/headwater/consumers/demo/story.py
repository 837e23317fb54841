"""The demo, told: every command that it shows is run as shown, in a process of its own.

The pipeline's processes use headwater's public interface and nothing else; consuming, asking
and verifying are the commands that anyone types. Any part that fails ends the demo and is
named. Nothing outside of the demo's folder is written.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from headwater.consumers.demo.folder import DemoFolder, prepared
from headwater.schemas.errors import Misconfigured, Rejected

if TYPE_CHECKING:
    from headwater.consumers.demo.trials import Findings

DEFAULT_FOLDER = Path(".headwater-demo")
FIRST_DEPTH, SECOND_DEPTH = 6, 2

_NEEDED = ("pandas", "sklearn")
_PIPELINE = "headwater.consumers.demo.pipeline"


def tell(folder: Path = DEFAULT_FOLDER, *, console: Console | None = None) -> DemoFolder:
    """Run the demo in `folder`, telling it to `console` (default: standard output); where its files are.

    Raises `Misconfigured` when pandas or scikit-learn is missing or the folder is something
    else, and `Rejected` naming the part that failed.
    """
    require(_NEEDED)
    ready = prepared(folder)
    Story(ready, console or Console(highlight=False)).tell()
    return ready


def require(modules: Collection[str]) -> None:
    """Raise `Misconfigured` unless all of these can be imported."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"the demo needs pandas and scikit-learn, and {' and '.join(missing)} cannot be imported",
            remedy="pip install 'headwater[demo]'",
        )


class Story:
    """One telling, in `folder`; `python` and `program` are how its commands are typed."""

    def __init__(
        self, folder: DemoFolder, console: Console, *, python: str | None = None, program: str | None = None
    ) -> None:
        self.folder = folder
        self.console = console
        self.python = python or _spelled(Path(sys.executable))
        self.program = program or _spelled(Path(sys.executable).with_name("headwater"))

    def tell(self) -> None:
        """All of it; raises `Rejected` naming the part that failed."""
        begun = time.monotonic()
        self.console.print(
            "[bold]headwater demo[/]  442 real patients, two models, two runs, and questions\n"
        )
        between = self._run_twice()
        self._consume()
        found = self._compare()
        self._ask(found)
        self._verify()
        self._ask_more(found, between)
        self._end(found.best, time.monotonic() - begun)

    # -- the parts ----------------------------------------------------------------------

    def _run_twice(self) -> str:
        """Both runs; returns a time between them."""
        from headwater.consumers.demo.patients import deliver

        name = self.folder.data.name
        wrong = deliver(self.folder.data, corrected=False)
        self._say(
            f"A clinic delivers {name}. In {wrong} rows the decimal point of the body mass index has "
            "slipped, and nobody knows. A pipeline of eight steps cleans the data and trains two models."
        )
        self._pipeline("the first run", FIRST_DEPTH)
        between = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        deliver(self.folder.data, corrected=True)
        self._say(
            f"The clinic delivers a corrected {name}, over the old one, and somebody tries shallower trees. "
            "The same pipeline, in another process:"
        )
        self._pipeline("the second run", SECOND_DEPTH)
        return between

    def _pipeline(self, part: str, depth: int) -> None:
        command = [self.python, "-m", _PIPELINE, str(self.folder.data), "--depth", str(depth)]
        self._run(part, [*command, "--page", str(self.folder.page)], HEADWATER_CONFIG=str(self.folder.config))

    def _consume(self) -> None:
        self._say("Both wrote events into a log: files, no server. A consumer makes a lineage store of them.")
        self._ask_for("the consumer", "consume")

    def _compare(self) -> Findings:
        from headwater.consumers.demo import trials

        self._say("What differs between the two runs, and why? The causes come first.")
        self._ask_for("the comparison", "diff", trials.PIPELINE)
        found = trials.findings(self.folder.store)
        self.console.print(f"The best model is [bold]{found.best}[/], of the {found.which} run.\n")
        return found

    def _ask(self, found: Findings) -> None:
        self._say("Where does it come from?")
        self._ask_for("the ancestry", "lineage", found.best, "--up")
        if found.unchanged:
            self._say(
                "There `clean` had nothing to remove, so what it read and wrote is one content: one version."
            )
        name = self.folder.data.name
        self._say(f"The first {name} is gone from the disk. What did its wrong rows reach?")
        self._ask_for("the reach", "lineage", found.wrong, "--down")

    def _verify(self) -> None:
        self._say("Is the store what the log says? Everything is replayed into another one and compared.")
        self._ask_for("verify", "verify")

    def _ask_more(self, found: Findings, between: str) -> None:
        self._say("Three more questions. Is anything that the wrong rows reached still in use?")
        self._ask_for("the impact", "impact", found.wrong)
        self._say("What was the model when only the first run had been?")
        name = found.best.partition("@")[0]
        self._ask_for("the past", "lineage", name, "--depth", "1", "--as-of", between)
        self._say("Which results were better than 0.45?")
        self._ask_for("the search", "search", "r2>0.45")

    def _end(self, best: str, seconds: float) -> None:
        self.console.print(f"That took {seconds:.0f} s. Everything is in {self.folder.path}. Try next:")
        for purpose, command in self.suggestions(best):
            self.console.print(Text(f"\n{purpose}", style="italic"))
            self._print_command(shlex.join(command))

    def suggestions(self, best: str) -> list[tuple[str, list[str]]]:
        """Commands that work when pasted where the demo was started, in any order, each with its purpose."""
        return [
            ("everything known about the better model", self._asked("show", best)),
            (
                "a diagram of the report's history, for a document",
                self._asked("lineage", "report", "--format", "mermaid"),
            ),
            ("the whole store again, from the log", self._asked("replay", "--into", self.folder.rebuilt)),
        ]

    # -- telling and running ------------------------------------------------------------

    def _say(self, paragraph: str) -> None:
        self.console.print(Text(paragraph, style="italic"))

    def _ask_for(self, part: str, *arguments: str) -> None:
        self._run(part, self._asked(*arguments))

    def _print_command(self, command: str) -> None:
        self.console.print(Text.assemble(("$ ", "bold cyan"), (command, "bold")), soft_wrap=True)

    def _asked(self, *arguments: str) -> list[str]:
        return [self.program, *arguments, "--config", str(self.folder.config)]

    def _run(self, part: str, command: list[str], **variables: str) -> None:
        """Show a command and run it as shown; raises `Rejected` naming `part` when it fails."""
        shown = " ".join(
            [*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), shlex.join(command)]
        )
        self._print_command(shown)
        self.console.file.flush()
        try:
            done = self._finished(command, {**_environment(), **variables})
        except OSError as cause:
            raise Rejected(f"the demo failed at {part}: {cause}") from cause
        if done != 0:
            raise Rejected(f"the demo failed at {part}: the command above ended with exit code {done}")
        self.console.print()

    def _finished(self, command: list[str], environment: Mapping[str, str]) -> int:
        """Run to the end; headwater has a terminal to itself, other output is passed on line by line."""
        own_terminal = self.console.is_terminal and self.console.file is sys.stdout
        if command[0] == self.program and own_terminal:
            return subprocess.run(command, env=environment, check=False).returncode
        with (
            self.console.status("working …"),
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            for line in process.stdout or ():
                self.console.print(Text(line.rstrip("\n")), soft_wrap=True)
            return process.wait()


def _environment() -> dict[str, str]:
    """This process's environment without what would send the demo's events elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADWATER_", "OPENLINEAGE_"))
    }
    return kept


def _spelled(program: Path) -> str:
    """How `program` is typed in the working folder: its name when the path leads to it, else where it is."""
    found = shutil.which(program.name)
    if (
        found is not None
        and Path(found).resolve() == program.resolve()
        and Path(found).parent == program.parent
    ):
        return program.name
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)
