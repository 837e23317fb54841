"""Making a version again: recipe, reproduce, drift."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli import NO, NOT_TOLD
from headwater.consumers.cli.formats import TABLES, Form, chosen, with_form
from headwater.consumers.cli.moments import as_moment, opened_lineage, with_time
from headwater.consumers.cli.output import json_option, print_json, print_lines, say
from headwater.consumers.cli.places import Places, resolve, with_places
from headwater.consumers.cli.waiting import waiting

if TYPE_CHECKING:
    from headwater.consumers.changed_inputs import ChangedInput
    from headwater.consumers.content_differences import Difference
    from headwater.consumers.drawing import Line
    from headwater.consumers.drifting import Drift
    from headwater.consumers.recipes import Recipe, Subject
    from headwater.consumers.reproducing import Policy, Reproduction
    from headwater.consumers.reproduction_plans import Plan
    from headwater.consumers.unstable_steps import UnstableStep
    from headwater.emitter.settings import Settings

FORMATS = ("yaml", "json", "requirements", "csv", "parquet")
POLICIES = ("strict", "compatible", "ignore")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@click.command()
@click.argument("name")
@click.option("--whole", is_flag=True, help="The steps of everything that it was made of, in order.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="yaml",
    show_default=True,
    help="How to write it; requirements: only the packages, for pip.",
)
@click.option(
    "--output",
    metavar="PATH",
    default="-",
    show_default=True,
    help="The file to write; for csv and parquet the folder, a file for each table.",
)
@click.option("--table", metavar="TABLE", help="Of csv and parquet only this table, to one file.")
@json_option
@with_time
@with_places
@click.pass_context
def recipe(
    ctx: click.Context,
    name: str,
    whole: bool,
    format_: str,
    output: str,
    table: str | None,
    as_json: bool,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What it takes to make NAME again, as a file.

    Code and commit, parameters, packages, inputs with their versions and places, and the digests that
    have to come out. What nobody recorded stands under `missing`, with the reason; the recipe then
    says `complete: false`. What is recalled, or was made from what is, says so. NAME is what it is for
    `headwater lineage`.

    \b
    headwater recipe churn-model
    headwater recipe churn-model@9f2c --whole --output churn.yaml
    headwater recipe churn-model --format requirements > requirements.txt
    """
    from headwater.consumers.recipe_file import warnings, written
    from headwater.consumers.times import instant

    format_ = chosen(ctx, as_json=as_json, format_=format_)
    with opened_lineage(ctx, store, log, config, known_at) as found:
        made = found.recipe(name, whole=whole, as_of=instant(as_of))
    if format_ in TABLES:
        Form(format=format_, output=output, table=table).write(made)
    elif output == "-":
        click.echo(written(made, format_), nl=False)
    else:
        from headwater.consumers.files import write

        write(output, [written(made, format_).encode()])
    for line in warnings(made):
        say(line)
    if made.missing:
        count = len(made.missing)
        things = "one thing that it takes was" if count == 1 else f"{count} things that it takes were"
        say(f"not complete: {things} not recorded (see `missing`)")


def _pairs(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    for text in texts:
        if "=" not in text or text.startswith("="):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", ctx, param)
    return pairs


def _of_no_time(ctx: click.Context, param: click.Parameter, text: str | None) -> None:
    if text is not None:
        raise click.UsageError(
            f"reproduce runs now, and records that now: it takes no {param.opts[0]}; "
            f"write the recipe of then (headwater recipe NAME {param.opts[0]} {text} --output FILE), "
            "and reproduce that with --recipe FILE"
        )


@click.command()
@click.argument("name", required=False)
@click.option("--recipe", "file", metavar="FILE", help="A recipe in a file, instead of NAME; needs no store.")
@click.option("--from-sources", is_flag=True, help="Make its inputs by their own steps too, in memory.")
@click.option(
    "--environment",
    type=click.Choice(POLICIES),
    default="compatible",
    show_default=True,
    help="How much Python and packages have to be what was recorded.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="End the steps after so long.",
)
@click.option("--python", metavar="FILE", help="Another interpreter, with headwater installed in it.")
@click.option(
    "--path", "paths", multiple=True, metavar="FOLDER", help="Import from here too; may be repeated."
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    callback=_pairs,
    metavar="NAME=FILE",
    help="Read this input from here.",
)
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="A parameter that was redacted or shortened: JSON, or a text.",
)
@click.option("--as-of", hidden=True, expose_value=False, callback=_of_no_time)
@click.option("--known-at", hidden=True, expose_value=False, callback=_of_no_time)
@click.option("--dry-run", is_flag=True, help="Say what would be run, and run nothing.")
@click.option("--no-record", is_flag=True, help="Leave the outcome out of the log.")
@json_option
@with_places
@click.pass_context
def reproduce(
    ctx: click.Context,
    name: str | None,
    file: str | None,
    from_sources: bool,
    environment: Policy,
    timeout: float,
    python: str | None,
    paths: tuple[str, ...],
    inputs: dict[str, str],
    parameters: dict[str, str],
    dry_run: bool,
    no_record: bool,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Make NAME again, and say whether the same content comes out.

    This runs the code of the step that made it: as you, in this folder, in a process of its own. It
    checks out nothing and installs nothing; what does not fit is said, with what to do about it.
    NAME is what it is for `headwater lineage`.

    \b
    headwater reproduce features
    headwater reproduce churn-model --from-sources
    headwater reproduce --recipe churn.yaml --environment strict

    The exit code is 0 for the same content, 1 for another one, 7 when it cannot be made again here.
    """
    from headwater.consumers import reproducing
    from headwater.consumers.reproduction_plans import planned

    places = resolve(ctx, store, log, config)
    settings = None if no_record or dry_run else _recording(ctx, config, places)
    made = _recipe(places, name, file, whole=from_sources)
    plan = planned(made, from_sources=from_sources, inputs=inputs, parameters=_values(parameters))
    from headwater.consumers.recipe_file import warnings

    for line in warnings(made):
        say(line)
    if not plan.reasons or dry_run:
        for line in _announced(plan, timeout, python):
            say(line)
    if dry_run:
        return _dry(plan, as_json)
    found = reproducing.reproduce(
        plan, environment=environment, timeout_s=timeout, python=python, paths=paths
    )
    if settings is not None:
        _record(settings, places, found)
    if as_json:
        print_json(found)
    else:
        print_lines(_reproduction(found))
    return {"identical": 0, "different": NO, "cannot": NOT_TOLD}[found.outcome]


def _recipe(places: Places, name: str | None, file: str | None, *, whole: bool) -> Recipe:
    if (name is None) == (file is None):
        raise click.UsageError("give NAME, or a recipe with --recipe FILE")
    if file is not None:
        from headwater.consumers.recipe_file import read
        from headwater.schemas.errors import Misconfigured

        try:
            return _marked_now(places, read(Path(file).read_text(encoding="utf-8"), file))
        except OSError as error:
            raise Misconfigured(
                f"the recipe {file} cannot be read: {error.strerror or error}",
                remedy="headwater recipe NAME --output FILE writes one",
            ) from error
        except UnicodeDecodeError as error:
            raise Misconfigured(
                f"the recipe {file} is no text in UTF-8 (byte {error.start})",
                remedy="headwater recipe NAME --output FILE writes one",
            ) from error
    from headwater.consumers.asking import Lineage

    with Lineage(places.store) as found:
        return found.recipe(name or "", whole=whole)


def _marked_now(places: Places, recipe: Recipe) -> Recipe:
    """With the recalls of now, where there is a store that knows what the recipe makes."""
    from dataclasses import replace

    from headwater.consumers.answers import Unknown
    from headwater.consumers.asking import Lineage
    from headwater.schemas.errors import Misconfigured, Retryable

    if recipe.subject.production_id is None:
        return recipe
    try:
        with Lineage(places.store) as found:
            now = found.recipe(recipe.subject.production_id)
    except (Unknown, Misconfigured, Retryable):
        return recipe
    marks = {"recalled": now.recalled, "recalled_upstream": now.recalled_upstream, "recalls": now.recalls}
    return replace(recipe, **marks)  # type: ignore[arg-type] # each is of its field


def _values(texts: dict[str, str]) -> dict[str, Any]:
    """What is JSON as its value, everything else as the text that it is."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def _announced(plan: Plan, timeout: float, python: str | None) -> Iterator[str]:
    from headwater.consumers.drawing import printable

    with_ = f" with {python}" if python else ""
    yield printable(f"This runs code, as you, in {Path.cwd()}{with_}, for at most {timeout:g} s:")
    for one in plan.steps:
        code = one.step.code
        yield printable(f"  {one.step.label}  {code.function}  {code.path or ''}".rstrip())
    for place in plan.files:
        yield printable(f"  reads {place}")
    only_read = plan.only_read
    for place in plan.places:
        if place in only_read:
            yield printable(f"  reads {place}, which was last written before the recorded run")
        else:
            yield printable(f"  may write to {place}, where what it made lay")


def _dry(plan: Plan, as_json: bool) -> int:
    if as_json:
        steps = [{"run_id": one.step.run_id, "step": one.step.label} for one in plan.steps]
        only_read = plan.only_read
        print_json(
            {
                "subject": plan.subject,
                "steps": steps,
                "files": plan.files,
                "places": [place for place in plan.places if place not in only_read],
                "only_read": only_read,
                "reasons": plan.reasons,
                "recalled": plan.recipe.recalled,
                "recalled_upstream": plan.recipe.recalled_upstream,
                "recalls": plan.recipe.recalls,
            }
        )
    elif plan.reasons:
        print_lines([_verdict("cannot", plan.subject), *_reasons(plan.reasons)])
    return NOT_TOLD if plan.reasons else 0


def _recording(ctx: click.Context, config: str | None, places: Places) -> Settings:
    """The settings that the outcome will be recorded by. Raises, before anything runs, where it cannot be."""
    from headwater.consumers.cli.places import settings_of
    from headwater.schemas.errors import Misconfigured

    try:
        settings = settings_of(ctx, config).with_log(places.log)
    except Misconfigured as wrong:
        raise Misconfigured(
            f"the outcome could not be recorded: {wrong.message}; nothing was run",
            remedy=f"{wrong.remedy}, or --no-record" if wrong.remedy else "--no-record",
        ) from wrong
    refusal = _unwritable(settings.log)
    if refusal is not None:
        raise Misconfigured(
            f"the outcome could not be recorded in {places.log}: {refusal}; nothing was run",
            remedy="name another with --log, or --no-record",
        )
    return settings


def _unwritable(log: Path) -> str | None:
    """Why an event cannot be put into this folder (of a topic: its spool) from here; None where it can."""
    folder = log.absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        return f"{existing} is no folder"
    return None if os.access(existing, os.W_OK | os.X_OK) else f"{existing} may not be written to"


def _record(settings: Settings, places: Places, found: Reproduction) -> None:
    """Into the log, and from there into the store, where there is one."""
    from headwater.consumers.asking import opened
    from headwater.consumers.bringing_in import bring_in
    from headwater.consumers.cli.govern import login
    from headwater.consumers.reproducing import record
    from headwater.schemas.errors import HeadwaterError

    at, receipt = record(found, settings, login())
    try:
        with opened(places.store) as store:
            in_store, why = bring_in(store, settings, at, receipt)
    except HeadwaterError as problem:
        in_store, why = False, str(problem)
    if not in_store:
        say(f"recorded; `headwater consume` brings it into the store{f' ({why})' if why else ''}")


# -- what it looks like -------------------------------------------------------------------

_VERDICTS = {
    "identical": ("identical", "bold green"),
    "different": ("different content", "bold red"),
    "cannot": ("cannot be reproduced here", "bold yellow"),
}


def _verdict(outcome: str, subject: Subject) -> Line:
    from headwater.consumers.drawing import printable, short_version

    word, style = _VERDICTS[outcome]
    name = printable(f"{subject.namespace}/{subject.name}")
    return [
        (name, "bold"),
        (f"  {short_version(subject.version)}" if subject.version else "", "yellow"),
        ("  ", ""),
        (word, style),
    ]


def _reproduction(found: Reproduction) -> Iterator[Line]:
    from headwater.consumers.drawing import printable, recall_notes, recall_words

    yield [*_verdict(found.outcome, found.subject), *(("  " + t, style) for t, style in recall_words(found))]
    yield from recall_notes(found.recalls)
    yield from _reasons(found.reasons)
    if found.step is not None:
        yield [(f"  the first step whose content differs: {printable(found.step)}", "")]
    for difference in found.differences:
        yield [(f"    {printable(_difference(difference))}", "")]
    if len(found.steps) > 1:
        for step in found.steps:
            yield [(f"  {step.outcome:9}  {printable(step.step)}", "dim")]
    if found.caveats:
        yield [("  not as it was recorded, or not known to be:", "dim")]
        for caveat in found.caveats:
            yield [(f"    {printable(caveat)}", "dim")]
    for place in found.wrote:
        yield [(f"  the step wrote to {printable(place)}", "yellow")]


def _difference(found: Difference) -> str:
    from headwater.consumers.drawing import short_version

    if found.recorded is None and found.found is None:
        return f"{found.asset}: {found.what}"
    sides = [
        "nothing" if side is None else short_version(side) if found.what == "version" else str(side)
        for side in (found.recorded, found.found)
    ]
    return f"{found.asset}: {found.what}: {' → '.join(sides)}"


def _reasons(reasons: Iterable[Any]) -> Iterator[Line]:
    from headwater.consumers.drawing import printable

    step = None
    for reason in reasons:
        if reason.step is not None and reason.step != step:
            yield [(f"  {printable(reason.step)}", "")]
        step = reason.step
        yield [(f"    {printable(reason.what)}: {printable(reason.reason)}", "yellow")]
        if reason.remedy:
            yield [(f"      {printable(reason.remedy)}", "dim")]


# -- drift --------------------------------------------------------------------------------


def _since(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """As `as_moment`, but a date alone means when that day begins."""
    if text is not None and _DAY.fullmatch(text.strip()):
        try:
            before = date.fromisoformat(text.strip()) - timedelta(days=1)
        except (ValueError, OverflowError) as error:
            raise click.BadParameter(f"{text!r} is no date", ctx, param) from error
        ended = as_moment(ctx, param, before.isoformat())
        return None if ended is None else ended + 1
    return as_moment(ctx, param, text)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--since",
    metavar="TIME",
    callback=_since,
    help="Only what runs of then or later showed: 2026-03-03 (from its begin), 3d, …",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="At most this many findings of each kind.",
)
@click.option("--exit-code", is_flag=True, help="End with 1 when anything drifted; for scheduled checks.")
@with_form()
@with_time
@with_places
@click.pass_context
def drift(
    ctx: click.Context,
    name: str | None,
    since: int | None,
    limit: int,
    exit_code: bool,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Steps that gave another content from the same inputs, and inputs that changed under their name.

    In all that was recorded, or in what NAME was made of. Nothing is run.

    \b
    headwater drift
    headwater drift churn-model --since 7d --exit-code
    """
    from headwater.consumers.times import instant

    with opened_lineage(ctx, store, log, config, known_at) as lineage, waiting(known_at=known_at) as report:
        found = lineage.drift(name, since=instant(since), limit=limit, as_of=instant(as_of), report=report)
    if not form.write(found):
        print_lines(_drift(found))
    return NO if exit_code and found.found else 0


def _drift(found: Drift) -> Iterator[Line]:
    from headwater.consumers.drawing import recall_notes

    for step in found.steps:
        yield from _unstable(step)
    for changed in found.inputs:
        yield from _changed(changed)
    if not found.found:
        yield [("nothing drifted", "green"), (f" in {found.runs:,} runs", "")]
    if found.more:
        yield [("there is more (--limit)", "dim")]
    yield from recall_notes(found.recalls)
    for reason, count in found.left_out.items():
        yield [(f"{count:,} runs were not compared: they {reason}", "dim")]


def _unstable(step: UnstableStep) -> Iterator[Line]:
    from headwater.consumers.drawing import printable, recall_words, short_run, short_time

    yield [
        (printable(f"{step.namespace}/{step.name}"), "bold"),
        ("  the same step gave ", ""),
        (f"{len(step.contents)} contents", "bold red"),
    ]
    arguments = ", ".join(f"{key}={value}" for key, value in step.parameters.items())
    called = f"({arguments})" if arguments else ""
    yield [(printable(f"  {step.job.namespace}/{step.job.name}{called}"), "")]
    for read in step.inputs:
        yield [(printable(f"    read {_shortened(read)}"), "dim")]
    for content in step.contents:
        runs = f"{content.runs:,} runs" if content.runs > 1 else f"run {short_run(content.first_run_id)}…"
        yield [
            (f"  {short_time(content.first_at)}", ""),
            (f"  {printable(_versions(content.version))}", "yellow"),
            (f"  {runs}", "dim"),
            *(("  " + text, style) for text, style in recall_words(content)),
        ]
    for place in step.overwritten:
        yield [(printable(f"  one took the place of the other at {place}"), "")]
    why = ", ".join(step.suspects)
    yield [(f"  differs as well: {why}" if why else "  nothing else that was recorded differs", "dim")]


def _changed(changed: ChangedInput) -> Iterator[Line]:
    from headwater.consumers.drawing import printable, recall_words, short_run, short_time

    times = "once" if changed.count == 1 else f"{changed.count:,} times"
    how = "was overwritten" if changed.written else "was read in another version"
    yield [
        (printable(f"{changed.namespace}/{changed.name}"), "bold"),
        (f"  {how} ", ""),
        (times, "bold red"),
        (f"  {printable(changed.location)}" if changed.location else "", "dim"),
    ]
    for change in changed.changes:
        yield [
            (f"  {short_time(change.at)}", ""),
            (f"  {printable(_versions(change.before))} → {printable(_versions(change.now))}", "yellow"),
            (f"  run {short_run(change.run_id)}…", "dim"),
            ("  before: recalled" if change.before_recalled else "", "bold red"),
            *(("  " + text, style) for text, style in recall_words(change)),
        ]


def _versions(text: str) -> str:
    from headwater.consumers.drawing import short_version

    return ", ".join(short_version(version) for version in text.split(", "))


def _shortened(read: str) -> str:
    name, _, version = read.rpartition("@")
    return f"{name}@{_versions(version)}"
