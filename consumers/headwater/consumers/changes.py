"""What differs between the facets of two runs, or of two versions of an asset.

Pure functions of facets, which are read defensively: any producer may have written anything into
them. Whether a change is a cause is the business of `headwater.consumers.causes`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from headwater.consumers.details import Facets, location, mapping, schema_fields, statistics, text_of
from headwater.consumers.differences import Change, Commits, EnvironmentChange, MetricChange, State
from headwater.consumers.measures import number
from headwater.schemas.parameters import parameter_value

#: The facets of runs and jobs that are compared.
OF_RUNS = frozenset(
    {
        "executionParameters",
        "headwater_code",
        "sourceCodeLocation",
        "sourceCode",
        "sql",
        "headwater_environment",
        "processing_engine",
    }
)
#: The facets of assets that are compared.
OF_ASSETS = frozenset(
    {
        "schema",
        "dataQualityMetrics",
        "headwater_columns",
        "outputStatistics",
        "headwater_metrics",
        "headwater_asset",
        "headwater_model",
        "dataSource",
    }
)

_REPOSITORY = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]+@)?([^/:]+)(?::\d+)?/|(?:[^/@:]+@)?([^/:@]+):(?!//))(.+?)(?:\.git)?/?\Z"
)
# By the name of the host: how a page is called that compares two commits.
_COMPARE = (
    (re.compile(r"(?:\A|\.)github\."), "https://{host}/{path}/compare/{a}...{b}"),
    (re.compile(r"(?:\A|\.)gitlab\."), "https://{host}/{path}/-/compare/{a}...{b}"),
    (re.compile(r"\Abitbucket\.org\Z"), "https://{host}/{path}/branches/compare/{b}%0D{a}"),
    (
        re.compile(r"\Acodeberg\.org\Z|(?:\A|\.)(?:gitea|forgejo)\."),
        "https://{host}/{path}/compare/{a}...{b}",
    ),
)
_COMMIT = re.compile(r"[0-9A-Za-z._-]+\Z")


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """The entries that differ; a key that has None is there."""
    for name in (*before, *(name for name in after if name not in before)):
        if name not in after:
            yield _change(name, "removed", before[name], None)
        elif name not in before:
            yield _change(name, "added", None, after[name])
        elif not _same(before[name], after[name]):
            yield _change(name, "changed", before[name], after[name])


def _change(name: str, state: State, before: Any, after: Any) -> Change:
    return Change(name=str(name), state=state, before=before, after=after)


def _same(one: Any, other: Any) -> bool:
    """Equal and of one type, as JSON sees it: `1` is not `true`, NaN is NaN."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other) or (one != one and other != other)


# -- runs -------------------------------------------------------------------------------


def parameters(facets: Facets) -> dict[str, Any]:
    """What a run was called with."""
    listed = mapping(facets, "executionParameters").get("parameters")
    found = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            value = entry.get("value")
            found[entry["key"]] = parameter_value(value) if isinstance(value, str) else value
    return found


def code(before: Facets, after: Facets) -> tuple[Change, ...]:
    """What differs in the step itself, of what both sides told."""
    return tuple(one for one in changed(_code(before), _code(after)) if one.state == "changed")


def _code(facets: Facets) -> dict[str, str]:
    """What a step itself is: its function and that function's source, or its query."""
    body, source = mapping(facets, "headwater_code"), mapping(facets, "sourceCode")
    told = {
        "function": text_of(body, "function"),
        "source": text_of(body, "sourceDigest") or _digest(text_of(source, "sourceCode")),
        "query": text_of(mapping(facets, "sql"), "query"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _digest(source: str | None) -> str | None:
    if source is None:
        return None
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def commits(before: Facets, after: Facets) -> Commits | None:
    """The commits, when both sides told theirs and differ in them or in whether the tree was clean."""
    (url_a, a, dirty_a), (url_b, b, dirty_b) = _checkout(before), _checkout(after)
    if a is None or b is None or (a == b and (dirty_a == dirty_b or None in (dirty_a, dirty_b))):
        return None
    same_place = url_a == url_b and a != b
    return Commits(
        repository_url=url_b or url_a,
        before=a,
        after=b,
        before_dirty=dirty_a,
        after_dirty=dirty_b,
        range=f"{a}..{b}" if same_place else None,
        url=comparison(url_b, a, b) if same_place and url_b else None,
    )


def _checkout(facets: Facets) -> tuple[str | None, str | None, bool | None]:
    body, place = mapping(facets, "headwater_code"), mapping(facets, "sourceCodeLocation")
    dirty = body.get("gitDirty")
    return (
        text_of(body, "repositoryUrl") or text_of(place, "repoUrl"),
        text_of(body, "gitCommit") or text_of(place, "version"),
        dirty if isinstance(dirty, bool) else None,
    )


def is_dirty(facets: Facets) -> bool:
    """Whether the tree had changes that no commit holds."""
    return _checkout(facets)[2] is True


def comparison(repository_url: str, a: str, b: str) -> str | None:
    """The page on which the repository's host shows what lies between two commits; None for unknown hosts."""
    match = _REPOSITORY.match(repository_url)
    if match is None or not (_COMMIT.match(a) and _COMMIT.match(b)):
        return None
    host = (match[1] or match[2]).lower()
    form = next((form for known, form in _COMPARE if known.search(host)), None)
    return None if form is None else form.format(host=host, path=match[3].strip("/"), a=a, b=b)


def content_differs(before: Facets, after: Facets) -> bool:
    """Whether what was measured of two contents differs; only what both sides told is compared."""
    measured = [_measured(facets) for facets in (before, after)]
    return any(measured[0][name] != measured[1][name] for name in measured[0].keys() & measured[1].keys())


def _measured(facets: Facets) -> dict[str, Any]:
    told: dict[str, Any] = {
        "columns": [(field["name"], field.get("type")) for field in schema_fields(facets)],
        "numbers": mapping(facets, "dataQualityMetrics", "columnMetrics"),
        "more numbers": mapping(facets, "headwater_columns", "columns"),
        "metrics": mapping(facets, "headwater_metrics", "values"),
        **statistics(facets),
    }
    return {name: found for name, found in told.items() if found or found == 0}


def environment_digest(facets: Facets) -> str | None:
    """Under what name the whole environment was told once in its process."""
    return text_of(mapping(facets, "headwater_environment"), "digest")


def tells_environment(facets: Facets) -> bool:
    """Whether this run's facet is the one that holds the packages."""
    return isinstance(mapping(facets, "headwater_environment").get("packages"), dict)


def environment(before: Facets, after: Facets, told: Mapping[str, Facets]) -> EnvironmentChange | None:
    """What differs in the environments, of what both sides told; `told` are the whole ones by digest."""
    digests = environment_digest(before), environment_digest(after)
    engines = tuple(one for one in changed(_engine(before), _engine(after)) if one.state == "changed")
    if digests[0] == digests[1] or None in digests:
        return (
            None
            if not engines
            else EnvironmentChange(
                before=digests[0], after=digests[1], told=True, interpreter=engines, packages=()
            )
        )
    whole = [mapping(told.get(digest or "", {}), "headwater_environment") for digest in digests]
    packages = [mapping(body, "packages") for body in whole]
    is_told = all(packages)
    return EnvironmentChange(
        before=digests[0],
        after=digests[1],
        told=is_told,
        interpreter=(*changed(*map(_interpreter, whole)), *engines) if is_told else engines,
        packages=tuple(sorted(changed(*packages), key=lambda one: one.name)) if is_told else (),
    )


def _interpreter(body: Facets) -> dict[str, str]:
    return {name: text for name in ("python", "platform") if (text := text_of(body, name))}


def _engine(facets: Facets) -> dict[str, str]:
    """What ran it: headwater itself, or another producer's engine."""
    body = mapping(facets, "processing_engine")
    told = " ".join(part for part in (text_of(body, "name"), text_of(body, "version")) if part)
    return {"engine": told} if told else {}


# -- assets -----------------------------------------------------------------------------


def columns(before: Facets, after: Facets) -> tuple[tuple[Change, ...], bool]:
    """Columns added, removed and of another type; and whether those of both stand in another order."""
    old, new = ({str(f["name"]): f.get("type") for f in schema_fields(facets)} for facets in (before, after))
    if not old or not new:  # one side told no schema: nothing to compare with
        return (), False
    common = [name for name in old if name in new]
    return tuple(changed(old, new)), common != [name for name in new if name in old]


def sizes(before: Facets, after: Facets) -> tuple[Change, ...]:
    """Rows, bytes and files, as far as both sides told them."""
    old, new = statistics(before), statistics(after)
    return tuple(change for change in changed(old, new) if change.state == "changed")


def properties(before: Facets, after: Facets) -> tuple[Change, ...]:
    """What else was told of an asset: the model's class and parameters, where it is, what its author said."""
    return tuple(changed(_properties(before), _properties(after)))


def _properties(facets: Facets) -> dict[str, Any]:
    model = mapping(facets, "headwater_model")
    told = {
        "type": text_of(mapping(facets, "headwater_asset"), "assetType"),
        "location": location(facets),
        "format": text_of(mapping(facets, "headwater_asset"), "format"),
        "class": text_of(model, "class"),
    }
    found: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    found.update((f"model.{key}", value) for key, value in mapping(model, "parameters").items())
    found.update(mapping(facets, "headwater_asset", "properties"))
    return found


def metric_values(facets: Facets) -> dict[str, float]:
    """What a Metrics asset holds."""
    values = mapping(facets, "headwater_metrics", "values")
    return {str(key): value for key, found in values.items() if (value := number(found)) is not None}


def metrics(
    of: str, before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> Iterator[MetricChange]:
    """The values that differ, with how far apart they are."""
    for change in changed(before, after):
        old, new = change.before, change.after
        apart = None if old is None or new is None else number(new - old)
        yield MetricChange(
            name=change.name,
            of=of,
            state=change.state,
            before=old,
            after=new,
            absolute=apart,
            relative=number(apart / abs(old)) if apart is not None and old else None,
        )
