"""The command tree. What a command does is in the module that it comes from."""

from __future__ import annotations

import importlib
from typing import Any

import click

from headwater.consumers.version import code_version

# Name → where it is; in the order in which the help lists them. A module is imported when its
# command is asked for, so that help and completion stay quick.
COMMANDS = {
    "lineage": "headwater.consumers.cli.ask:lineage",
    "show": "headwater.consumers.cli.ask:show",
    "runs": "headwater.consumers.cli.ask:runs",
    "assets": "headwater.consumers.cli.ask:assets",
    "search": "headwater.consumers.cli.find:search",
    "metrics": "headwater.consumers.cli.find:metrics",
    "diff": "headwater.consumers.cli.compare:diff",
    "impact": "headwater.consumers.cli.affect:impact",
    "recipe": "headwater.consumers.cli.remake:recipe",
    "reproduce": "headwater.consumers.cli.remake:reproduce",
    "drift": "headwater.consumers.cli.remake:drift",
    "tag": "headwater.consumers.cli.govern:tag",
    "describe": "headwater.consumers.cli.govern:describe",
    "own": "headwater.consumers.cli.govern:own",
    "alias": "headwater.consumers.cli.govern:alias",
    "recall": "headwater.consumers.cli.govern:recall",
    "export": "headwater.consumers.cli.export:export",
    "consume": "headwater.consumers.cli.fold:consume",
    "replay": "headwater.consumers.cli.fold:replay",
    "verify": "headwater.consumers.cli.fold:verify",
    "gaps": "headwater.consumers.cli.lacks:gaps",
    "emitters": "headwater.consumers.cli.senders:emitters",
    "quarantine": "headwater.consumers.cli.parked:quarantine",
    "drain": "headwater.consumers.cli.drain:drain",
    "store": "headwater.consumers.cli.upkeep:store",
    "log": "headwater.consumers.cli.upkeep:log",
    "doctor": "headwater.consumers.cli.doctor:doctor",
    "topics": "headwater.consumers.cli.topics:topics",
    "demo": "headwater.consumers.cli.story:demo",
    "completion": "headwater.consumers.cli.completion:completion",
}

_GROUPS = (
    ("Ask", ("lineage", "show", "runs", "assets", "search", "metrics", "diff", "impact", "export")),
    ("Make it again", ("recipe", "reproduce", "drift")),
    ("Govern", ("tag", "describe", "own", "alias", "recall")),
    (
        "Keep the store",
        ("consume", "replay", "verify", "gaps", "emitters", "quarantine", "drain", "store", "log"),
    ),
    ("Operate", ("doctor", "topics")),
    ("Begin", ("demo", "completion")),
)

_HELP = """What made this model, from what, with which code?

\b
Begin here:
  headwater demo                        a pipeline, run twice, and questions about it
  headwater consume                     read the log into the lineage store
  headwater lineage churn-model         what it was made of
  headwater lineage customers --down    what it went into
  headwater show churn-model            everything known about it
  headwater diff churn-model            why its last two versions differ
  headwater verify                      is the store what the log says?

The log and the store are those of the nearest headwater.yaml, of $HEADWATER_LOG and
$HEADWATER_STORE, or .headwater in this folder; --log and --store name others.
Every answer is also JSON with --json."""


class Unread(Exception):
    """Nobody reads our output any more. click would end with 1; it is no failure."""


class _Commands(click.Group):
    """Subcommands imported when they are used, listed by what they are for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as gone:
            raise Unread from gone

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _GROUPS:
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, command.get_short_help_str(66)) for name, command in commands if command]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(
    cls=_Commands,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(code_version(), prog_name="headwater", message="%(prog)s %(version)s")
@click.option("--store", metavar="URL", help="The lineage store: sqlite:///path or postgresql://…")
@click.option("--log", metavar="PATH", help="The log: a folder of segments.")
@click.option("--config", metavar="FILE", help="A headwater.yaml other than the nearest.")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.pass_context
def app(ctx: click.Context, store: str | None, log: str | None, config: str | None, debug: bool) -> None:
    from headwater.consumers.cli.places import Given

    ctx.obj = Given(store=store, log=log, config=config)
