"""Saying something about assets: tag, describe, own, alias, recall."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli.output import json_option, print_json, print_lines
from headwater.consumers.cli.places import resolve, settings_of, with_places

if TYPE_CHECKING:
    from headwater.consumers.drawing import Line
    from headwater.consumers.governing import Curation, Recorded


def _says(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every one of these commands has."""
    actor = click.option(
        "--actor", metavar="NAME", help="Who says it (default: $HEADWATER_ACTOR, else the login)."
    )
    return actor(json_option(with_places(click.pass_context(command))))


@click.command()
@click.argument("name")
@click.argument("tags", nargs=-1, metavar="KEY=VALUE…")
@click.option("--remove", multiple=True, metavar="KEY", help="Take this tag away; may be repeated.")
@_says
def tag(ctx: click.Context, name: str, tags: tuple[str, ...], remove: tuple[str, ...], **places: Any) -> None:
    """Set tags of an asset, or of one version of it.

    NAME as in `headwater lineage`: `churn-model` is about the whole asset, `churn-model@9f2c` about
    that version. A tag that is set again has the new value.

    \b
    headwater tag customers pii=yes retention=2y
    headwater tag churn-model@9f2c stage=candidate --remove draft
    """
    wanted: dict[str, str | None] = dict(_pair(text) for text in tags)
    if both := wanted.keys() & set(remove):
        raise click.UsageError(f"{', '.join(sorted(both))}: to be set and removed")
    wanted |= dict.fromkeys(remove)
    if not wanted:
        raise click.UsageError("nothing to set or to remove: give KEY=VALUE or --remove KEY")
    _said(ctx, places, lambda curation: curation.tag(name, wanted))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{text!r} is no KEY=VALUE")
    return key, value


@click.command()
@click.argument("name")
@click.argument("text")
@_says
def describe(ctx: click.Context, name: str, text: str, **places: Any) -> None:
    """Say in words what an asset is.

    It replaces what was said before; "" takes it back.

    \b
    headwater describe customers "One row per customer, as of midnight."
    """
    _said(ctx, places, lambda curation: curation.describe(name, text))


@click.command()
@click.argument("name")
@click.argument("owners", nargs=-1, required=True, metavar="OWNER…")
@click.option("--type", "type_", metavar="TYPE", help="In which role: MAINTAINER, STEWARD, …")
@_says
def own(ctx: click.Context, name: str, owners: tuple[str, ...], type_: str | None, **places: Any) -> None:
    """Say who answers for an asset.

    These and nobody who was named before. OpenLineage recommends names like team:crm, user:ada.

    \b
    headwater own customers team:crm user:ada --type MAINTAINER
    """
    _said(ctx, places, lambda curation: curation.own(name, owners, type_))


@click.command()
@click.argument("name")
@click.argument("alias_", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="Take the alias away.")
@_says
def alias(ctx: click.Context, name: str, alias_: str, remove: bool, **places: Any) -> None:
    """Let ALIAS point at a version, away from where it pointed.

    Then `churn-model@production` names that version in every question.

    \b
    headwater alias churn-model@9f2c production
    headwater alias churn-model production --remove
    """
    _said(ctx, places, lambda curation: curation.alias(name, alias_, remove=remove))


def _given(ctx: click.Context, param: click.Parameter, text: str) -> str:
    if not text.strip():
        raise click.BadParameter("it is empty: say why in a few words", ctx, param)
    return text


@click.command()
@click.argument("name")
@click.option(
    "--reason", required=True, metavar="TEXT", callback=_given, help="Why; for those who come later."
)
@click.option("--lift", is_flag=True, help="Take the recall back.")
@click.option("--all-versions", is_flag=True, help="The whole asset, whatever was and will be written.")
@_says
def recall(ctx: click.Context, name: str, reason: str, lift: bool, all_versions: bool, **places: Any) -> None:
    """Say that a version must not be relied on.

    From then on every answer that meets the version, or anything made from it, says so;
    `headwater impact --recalled` lists what still depends on it. Nothing is deleted.

    \b
    headwater recall customers@9f2c --reason "wrong units"
    headwater recall customers@9f2c --lift --reason "units were right after all"
    """
    _said(
        ctx,
        places,
        lambda curation: curation.recall(name, reason, lift=lift, all_versions=all_versions),
    )


# -- saying it --------------------------------------------------------------------------


def _said(ctx: click.Context, places: dict[str, Any], say: Callable[[Curation], Recorded]) -> None:
    from headwater.consumers.governing import Curation

    as_json, actor, config = places.pop("as_json"), places.pop("actor"), places["config"]
    found = resolve(ctx, **places)
    curation = Curation(found.store, found.log, actor=actor or login(), settings=settings_of(ctx, config))
    recorded = say(curation)
    if as_json:
        print_json(recorded)
    else:
        print_lines(_told(recorded))


def login() -> str:
    """Who is at the keyboard, as far as the system says."""
    from getpass import getuser

    from headwater.schemas.errors import Misconfigured

    if named := os.environ.get("HEADWATER_ACTOR"):
        return named
    try:
        return getuser()
    except (OSError, KeyError) as cause:
        raise Misconfigured(
            "the system does not say who you are", remedy="use --actor or set HEADWATER_ACTOR"
        ) from cause


def _told(recorded: Recorded) -> Iterator[Line]:
    from headwater.consumers.drawing import printable, short_run, short_version

    version = f"@{short_version(recorded.version)}" if recorded.version else ""
    if recorded.run_id and not recorded.version:
        version = f"@{short_run(recorded.run_id)}… (what this run wrote)"
    words, style = _words(recorded)
    yield [
        (printable(f"{recorded.namespace}/{recorded.name}"), "bold"),
        (printable(version), "yellow"),
        ("  ", ""),
        (printable(words), style),
        (f"  by {printable(recorded.actor)}", "dim"),
    ]
    for note in recorded.notes:
        yield [(f"  {printable(note)}", "yellow")]
    if not recorded.in_store:
        yield [("recorded; `headwater consume` brings it into the store", "yellow")]


def _words(recorded: Recorded) -> tuple[str, str]:
    said = recorded.values
    if recorded.kind == "tag":
        tags = (f"-{key}" if value is None else f"{key}={value}" for key, value in said["tags"].items())
        return f"tagged {' '.join(tags)}", ""
    if recorded.kind == "description":
        return (f"described: {said['description']}" if said["description"] else "not described any more"), ""
    if recorded.kind == "ownership":
        owners = (
            owner["name"] + (f" ({owner['role']})" if owner["role"] else "") for owner in said["owners"]
        )
        return f"owned by {', '.join(owners)}", ""
    if recorded.kind == "alias":
        return (f"is not {said['alias']} any more" if said["removed"] else f"is {said['alias']}"), "green"
    if said["lifted"]:
        return f"recalled no longer: {said['reason']}", "green"
    whole = "" if recorded.version or recorded.run_id else "every version "
    return f"{whole}recalled: {said['reason']}", "bold red"
