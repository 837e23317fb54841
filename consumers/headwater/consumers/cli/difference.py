"""A comparison for a person: what was asked, the causes, and what came of them.

Added is green, removed red, changed yellow; in a pipe the signs `+`, `-` and `~` say the same.
What is the consequence of something else is only counted, unless everything is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from headwater.consumers.cli.output import table
from headwater.consumers.differences import (
    Asked,
    AssetChange,
    Cause,
    Change,
    Copy,
    Difference,
    Drift,
    EnvironmentChange,
    MetricChange,
    Step,
)
from headwater.consumers.drawing import (
    Line,
    printable,
    recall_notes,
    recall_words,
    short_run,
    short_time,
    short_version,
)

_SIGNS = {
    "added": ("+", "green"),
    "removed": ("-", "red"),
    "changed": ("~", "yellow"),
    "unknown": ("?", "dim"),
}
_FEW = 8
_LONG = 40
_ERROR = 120
_STEPS_NAMED = 4
_PATH_NAMED = 7


def page(found: Difference, *, everything: bool = False) -> list[Line]:
    """All of it as lines."""
    lines = list(_title(found))
    if not found.differs:
        lines += [[("", "")], [("no difference", "bold green"), (_same(found), "dim")]]
    else:
        for part in (_causes, _came_of_it, _columns, _drift, _properties, _metrics):
            told = list(part(found, everything))
            if told:
                lines += [[("", "")], *told]
    lines += [[(note, "dim")] for note in _notes(found)]
    return lines + recall_notes((*found.before.recalls, *found.after.recalls))


def _title(found: Difference) -> Iterator[Line]:
    for sign, style, asked in (("-", "red", found.before), ("+", "green", found.after)):
        yield [(f"{sign} ", style), (printable(asked.name), "bold"), *_ended(asked, found), *_identity(asked)]


def _ended(asked: Asked, found: Difference) -> Iterator[tuple[str, str]]:
    """What became of the run, unless all is well on both sides."""
    if {found.before.state, found.after.state} - {"COMPLETE", None} and asked.state is not None:
        yield f"  {asked.state}", "bold red" if asked.state in ("FAIL", "ABORT") else "bold"


def _identity(asked: Asked) -> Iterator[tuple[str, str]]:
    if asked.version is not None:
        yield f"  {printable(short_version(asked.version))}", "yellow"
    if asked.run_id is not None:
        yield f"  run {asked.run_id if asked.version is None else short_run(asked.run_id) + '…'}", "dim"
    if asked.at is not None:
        yield f"  {short_time(asked.at)}", "dim"
    yield f"  made of {_count(asked.assets, 'asset')} in {_count(asked.steps, 'step')}", "dim"
    for text, style in recall_words(asked, of_run=asked.production_id is None and asked.run_id is not None):
        yield f"  {text}", style


def _same(found: Difference) -> str:
    return f"  {_count(found.equal, 'asset')} the same" if found.equal else ""


def _count(number: int, what: str) -> str:
    several = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else several}"


def _few(lines: Sequence[Line], everything: bool, what: str) -> Iterator[Line]:
    """All lines, or the first few and how many more there are."""
    shown = lines if everything else lines[:_FEW]
    yield from shown
    if len(shown) < len(lines):
        yield [(f"  and {_count(len(lines) - len(shown), what)} more (--all)", "dim")]


# -- causes -----------------------------------------------------------------------------


def _causes(found: Difference, everything: bool) -> Iterator[Line]:
    if not found.causes:
        yield [("no cause found", "bold")]
        return
    yield [(_count(len(found.causes), "cause"), "bold")]
    for cause in found.causes:
        yield [("  ", ""), (f"{cause.kind:<12}", "cyan"), *_what(cause, everything)]
        way = _way(cause, found.after.name, everything)
        if way:
            yield [(" " * 14, ""), (printable(way), "dim")]


def _what(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    sign, style = _SIGNS[cause.state]
    if cause.state != "changed":
        yield f"{sign} ", style
    for text, text_style in _TOLD[cause.kind](cause, everything):
        yield printable(text), text_style
    if cause.brought:
        yield f"  (with {_count(cause.brought, 'asset')} that only this side has)", "dim"


def _valued(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    yield cause.name, "bold"
    yield f"  {values(cause.before, cause.after, cause.state)}", _SIGNS[cause.state][1]
    yield _in(cause.steps, everything), ""


def _state(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    yield f"{cause.before} → {cause.after}", "bold red" if cause.after in ("FAIL", "ABORT") else "yellow"
    yield _in(cause.steps, everything), ""
    if cause.error is not None:
        yield f": {cause.error if everything else _first_line(cause.error)}", "red"


def _first_line(message: str) -> str:
    line = next(iter(message.strip().splitlines()), "")
    return line if len(line) <= _ERROR else f"{line[: _ERROR - 1]}…"


def _code(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    if cause.name == "source":
        yield "the function's source is another", "bold"
        yield f"  {str(cause.before or 'none')[:8]} → {str(cause.after or 'none')[:8]}", "yellow"
    else:
        yield cause.name, "bold"
        yield f"  {values(cause.before, cause.after, cause.state)}", _SIGNS[cause.state][1]
    yield _in(cause.steps, everything), ""


def _inputs(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    yield cause.name or "a step", "bold"
    yield " reads ", ""
    shown = cause.inputs if everything else cause.inputs[:_FEW]
    for place, change in enumerate(shown):
        sign, style = _SIGNS[change.state]
        yield f"{', ' if place else ''}{sign}{change.name}", style
        yield f" {_copies(change.before, change.after)}", "dim"
    if len(shown) < len(cause.inputs):
        yield f" and {len(cause.inputs) - len(shown)} more (--all)", "dim"


def _step(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    yield cause.name, "bold"
    yield f"  ran only in the {'second' if cause.state == 'added' else 'first'}", ""


def _asset(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    yield cause.name, "bold"
    if cause.asset is not None:
        yield f"  {_versions(cause.asset)}", _SIGNS[cause.asset.state][1]
    told = {"source": "from outside, read by", "content": "from the same inputs, written by"}
    yield _in(cause.steps, everything, told.get(cause.kind, "written by")) or "  nobody known wrote it", ""
    if cause.suspects:
        yield f"  (maybe: {', '.join(cause.suspects)})", "dim"


def _commit(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    commits = cause.commits
    if commits is None:
        return
    ends = [
        (commit[:10] if commit else "no commit") + (" (dirty)" if dirty else "")
        for commit, dirty in ((commits.before, commits.before_dirty), (commits.after, commits.after_dirty))
    ]
    yield " .. ".join(ends), "yellow"
    yield _in(cause.steps, everything), ""
    if commits.url or commits.repository_url:
        yield f"  {commits.url or commits.repository_url}", "dim"


def _environment(cause: Cause, everything: bool) -> Iterator[tuple[str, str]]:
    if cause.environment is not None:
        yield from _packages(cause.environment, everything)
    yield _in(cause.steps, everything), ""


def _packages(environment: EnvironmentChange, everything: bool) -> Iterator[tuple[str, str]]:
    if not environment.told:
        yield "another one; its packages were never told", "yellow"
        return
    listed = [*environment.interpreter, *environment.packages]
    shown = listed if everything else listed[:_FEW]
    for place, change in enumerate(shown):
        sign, style = _SIGNS[change.state]
        told = values(change.before, change.after, change.state)
        yield f"{', ' if place else ''}{'' if sign == '~' else sign}{change.name} {told}", style
    if len(shown) < len(listed):
        yield f" and {len(listed) - len(shown)} more (--all)", "dim"


_TOLD: dict[str, Callable[[Cause, bool], Iterator[tuple[str, str]]]] = {
    "state": _state,
    "parameter": _valued,
    "code": _code,
    "inputs": _inputs,
    "step": _step,
    "asset": _asset,
    "source": _asset,
    "content": _asset,
    "commit": _commit,
    "environment": _environment,
}


def _in(steps: Sequence[Step], everything: bool, word: str = "in") -> str:
    names = list(dict.fromkeys(step.name for step in steps if step.name))
    if not names:
        return ""
    shown = names if everything else names[:_STEPS_NAMED]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"  {word} {', '.join(shown)}{more}"


def _way(cause: Cause, asked: str, everything: bool) -> str:
    """The path, or that there is none on which everything differs."""
    if cause.reaches is False:
        return f"its effect ended before {asked}" if cause.path[:1] != (asked,) else f"{asked} is the same"
    names = cause.path
    if len(names) < 2:
        return ""
    if not everything and len(names) > _PATH_NAMED:
        names = (*names[: _PATH_NAMED - 2], f"… {len(names) - _PATH_NAMED + 1} more …", names[-1])
    return " → ".join(names)


# -- what came of them ------------------------------------------------------------------


def _came_of_it(found: Difference, everything: bool) -> Iterator[Line]:
    folded = [asset for asset in found.assets if asset.role == "consequence"]
    if everything and found.assets:
        yield [("Assets that differ", "bold")]
        lines = table(
            (" ", "ASSET", "VERSIONS", "IS A", ""),
            [
                (
                    _SIGNS[asset.state],
                    (asset.name, "bold"),
                    (_versions(asset), "yellow"),
                    {"unknown": "content that nobody told"}.get(asset.role, asset.role),
                    ", ".join(_sizes(asset)),
                )
                for asset in found.assets
            ],
        )
        yield from ([("  ", ""), *line] for line in lines)
    elif folded:
        verb = "differs as a consequence" if len(folded) == 1 else "differ as a consequence"
        yield [(f"{_count(len(folded), 'asset')} {verb}", "bold"), ("  (--all lists them)", "dim")]


def _sizes(asset: AssetChange) -> Iterator[str]:
    names = {"row_count": "rows", "size": "bytes", "file_count": "files"}
    for change in asset.statistics:
        told = values(change.before, change.after, change.state)
        yield f"{names.get(change.name, change.name)} {told}"


def _columns(found: Difference, everything: bool) -> Iterator[Line]:
    rows = [
        _row(asset.name, change, lambda value: "(no type)" if value is None else str(value))
        for asset in found.assets
        for change in asset.columns
    ]
    reordered = [asset.name for asset in found.assets if asset.reordered]
    if rows:
        lines = table(("ASSET", " ", "COLUMN", "BEFORE", "AFTER"), rows)
        yield [("Columns", "bold")]
        yield [("  ", ""), *lines[0]]
        yield from _few([[("  ", ""), *line] for line in lines[1:]], everything, "column")
    for name in reordered:
        yield [(f"  {printable(name)}: its columns stand in another order", "")]


def _row(asset: str, change: Change, told: Callable[[Any], str]) -> tuple[str | tuple[str, str], ...]:
    sign, style = _SIGNS[change.state]
    before = _ABSENT if change.state == "added" else told(change.before)
    after = _ABSENT if change.state == "removed" else told(change.after)
    return (asset, (sign, style), (change.name, "bold"), before, after)


def _drift(found: Difference, everything: bool) -> Iterator[Line]:
    """By default for each column the measure that is farthest beyond its threshold; else all of them."""
    listed = [
        (asset.name, one)
        for asset in found.assets
        for one in (asset.drift if everything else _farthest(asset.drift))
    ]
    if not listed:
        return
    rows = [
        (
            name,
            (one.column, "bold"),
            _ABSENT if one.before is None else number(one.before),
            _ABSENT if one.after is None else number(one.after),
            one.note or one.measure,
            (_signed(one.value), "yellow" if one.flagged else ""),
            "" if one.threshold is None else f"{one.threshold:g}",
        )
        for name, one in listed
    ]
    yield [("Drift", "bold")]
    lines = table(("ASSET", "COLUMN", "BEFORE", "AFTER", "MEASURE", "VALUE", "BEYOND"), rows)
    yield [("  ", ""), *lines[0]]
    yield from _few([[("  ", ""), *line] for line in lines[1:]], everything, "column")


def _farthest(drift: Sequence[Drift]) -> Iterator[Drift]:
    best: dict[str, Drift] = {}
    for one in drift:
        if one.flagged and (one.column not in best or _excess(one) > _excess(best[one.column])):
            best[one.column] = one
    return iter(best.values())


def _excess(one: Drift) -> float:
    return float("inf") if one.value is None or not one.threshold else abs(one.value) / one.threshold


def _properties(found: Difference, everything: bool) -> Iterator[Line]:
    """Of what was asked for; of every asset when everything is."""
    rows = [
        _row(asset.name, change, text)
        for asset in found.assets
        if everything or asset.name == found.after.name
        for change in asset.properties
    ]
    if rows:
        lines = table(("ASSET", " ", "PROPERTY", "BEFORE", "AFTER"), rows)
        yield [("Properties", "bold")]
        yield [("  ", ""), *lines[0]]
        yield from _few([[("  ", ""), *line] for line in lines[1:]], everything, "property")


def _metrics(found: Difference, everything: bool) -> Iterator[Line]:
    if not found.metrics:
        return
    rows = [
        (
            metric.of,
            (metric.name, "bold"),
            _ABSENT if metric.state == "added" else number(metric.before),
            _ABSENT if metric.state == "removed" else number(metric.after),
            (_signed(metric.absolute), _SIGNS[metric.state][1]),
            _percent(metric),
        )
        for metric in found.metrics
    ]
    lines = table(("OF", "METRIC", "BEFORE", "AFTER", "CHANGE", ""), rows)
    yield [("Metrics", "bold")]
    yield [("  ", ""), *lines[0]]
    yield from _few([[("  ", ""), *line] for line in lines[1:]], everything, "metric")


def _notes(found: Difference) -> Iterator[str]:
    if found.differs and found.equal:
        yield f"{_count(found.equal, 'asset')} the same on both sides"
    if found.unknown:
        yield (
            f"{_count(found.unknown, 'asset')} of unknown content: nobody told a version, "
            "or anything else that differs"
        )
    if found.truncated == "limit":
        yield f"cut at {found.limit:,} assets on a side: what is beyond was not compared (--limit)"


# -- values -----------------------------------------------------------------------------


#: On the side that does not have it: nothing that a value can look like.
_ABSENT = "–"
#: Texts that would look like another value.
_OTHERWISE_READ = ("", "null", "true", "false", _ABSENT)


def values(before: Any, after: Any, state: str) -> str:
    """`1 → 2`, or the one value that there is."""
    if state == "added":
        return text(after)
    if state == "removed":
        return text(before)
    return f"{text(before)} → {text(after)}"


def text(value: Any) -> str:
    """A JSON value in few characters; a text that reads as another value is quoted."""
    if isinstance(value, float):
        return f"{value:.6g}"
    told = (
        value
        if isinstance(value, str) and value not in _OTHERWISE_READ
        else orjson.dumps(value, default=str).decode()
    )
    return told if len(told) <= _LONG else f"{told[: _LONG - 1]}…"


def number(value: float | None) -> str:
    """A number with as many digits as tell something; NaN is None."""
    if value is None:
        return "NaN"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:,.4g}"


def _signed(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:+,.3g}"


def _percent(metric: MetricChange) -> str:
    return "" if metric.relative is None else f"{metric.relative:+.1%}"


def _versions(asset: AssetChange) -> str:
    return _copies(
        () if asset.before is None else (asset.before,), () if asset.after is None else (asset.after,)
    )


def _copies(before: Sequence[Copy], after: Sequence[Copy]) -> str:
    told = [", ".join(short_version(copy.version) for copy in copies) for copies in (before, after)]
    return " → ".join(side for side in told if side)
