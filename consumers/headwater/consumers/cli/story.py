"""The demo: headwater, told on a real pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli.output import json_option, print_json

if TYPE_CHECKING:
    from headwater.consumers.demo.folder import DemoFolder
    from headwater.consumers.demo.trials import Trial


@click.command()
@click.option(
    "--dir",
    "--folder",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps its things (default: .headwater-demo).",
)
@json_option
def demo(folder: Path | None, as_json: bool) -> None:
    """A real pipeline, run twice, and questions about it. Takes half a minute.

    Needs pandas and scikit-learn: pip install 'headwater[demo]'. With --json the story goes to
    standard error, and what it found to standard output.
    """
    from rich.console import Console

    from headwater.consumers.demo.story import DEFAULT_FOLDER, tell

    told = tell(folder or DEFAULT_FOLDER, console=Console(stderr=as_json, highlight=False))
    if as_json:
        print_json(found(told))


def found(folder: DemoFolder) -> dict[str, Any]:
    """What the demo told, asked of its store once more."""
    from headwater.consumers import open_log, open_store, verify
    from headwater.consumers.cli.fold import verification
    from headwater.consumers.demo.trials import findings, trials

    told = findings(folder.store)
    with open_store(folder.store) as store, open_log(str(folder.log)) as source:
        verified = verify(store, source)
    return {
        "folder": str(folder.path),
        "store": folder.store,
        "runs": [_run(trial) for trial in trials(folder.store)],
        "best": told.best,
        "wrong": told.wrong,
        "verification": verification(verified),
    }


def _run(trial: Trial) -> dict[str, Any]:
    return {
        "run_id": trial.run_id,
        "parameters": trial.parameters,
        "versions": trial.versions,
        "r2": {model: metrics["r2"] for model, metrics in trial.metrics.items()},
        "metrics": trial.metrics,
    }
