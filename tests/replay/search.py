"""What can be searched, read for the reference fold: words and values of names, facets and statements."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent, canonical_json
from headwater.schemas.parameters import parameter_value
from headwater.schemas.text import original, storable
from tests.replay import reading
from tests.replay.facts import governance
from tests.replay.rows import Tables

# The numbers that the store keeps.
NAME, JOB, TYPE, STATEMENT = 0, 1, 2, 3
TAG, OWNER, DESCRIPTION, COLUMN, PARAMETER, CODE, METRIC, COMMIT, MODEL = 10, 11, 12, 13, 14, 15, 16, 17, 18
OF_RUN, OF_JOB, OF_DATASET = 0, 1, 2

_IN_RUNS = ("executionParameters", "headwater_code", "tags")
_IN_JOBS = ("ownership", "documentation", "tags", "sourceCodeLocation")
_IN_DATASETS = ("schema", "ownership", "documentation", "tags")
_IN_LISTINGS = ("headwater_model", "headwater_metrics")
READ = frozenset((*_IN_RUNS, *_IN_JOBS, *_IN_DATASETS, *_IN_LISTINGS))

Said: TypeAlias = tuple[int, str, str]


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, folded, the first 64 characters of each."""
    folded = unicodedata.normalize("NFKC", text[:2000]).casefold()
    groups = itertools.groupby(folded, key=str.isalnum)
    return list(dict.fromkeys("".join(run)[:64] for is_word, run in groups if is_word))


def write_search(found: Tables, events: Iterable[OpenLineageEvent]) -> None:
    """The rows of `facet_owner`, `facet_value` and `word`."""
    for event in events:
        for facet, kind, owner in _owners(event):
            found.add("facet_owner", facet_id=facet, kind=kind, owner_id=owner)
        for dataset, text in _types(event):
            _write_words(found, words_of(text), TYPE, dataset)
        for fact in governance(event):
            for text in _stated(fact["kind"], fact["key"], fact["value"]):
                _write_words(found, words_of(text), STATEMENT, fact["dataset_id"])
    for table, kind in (("dataset", NAME), ("job", JOB)):
        for row in found.named(table):
            for part in (row["namespace"], row["name"]):
                _write_words(found, words_of(original(part)), kind, row[f"{table}_id"])
    for row in found.named("facet"):
        if row["name"] in READ:
            _write_body(found, row["facet_id"], row["name"], body_of(row["body"]))


def _write_words(found: Tables, words: Iterable[str], kind: int, subject: bytes) -> None:
    for word in words:
        found.add("word", word=word, kind=kind, subject_id=subject)


def _write_body(found: Tables, facet: bytes, name: str, body: Any) -> None:
    for kind, key, text in texts_of(name, body)[:1000]:
        _write_words(found, words_of(original(text)), kind, facet)
        if kind == TAG:
            _write_words(found, words_of(original(key)), kind, facet)
    for kind, key, text, number in values_of(name, body)[:1000]:
        key, text = original(key), original(text)[:2000]
        spelled = (repr(kind), repr(key), repr(text), repr(number))
        found.add(
            "facet_value",
            facet_id=facet,
            value_id=ids.hash128("value", *spelled),
            kind=kind,
            key=storable(key),
            text=storable(text),
            number=number,
        )


def body_of(text: str) -> Any:
    """A stored body; None for one with a number beyond any double."""

    def finite(literal: str) -> float:
        number = float(literal)
        if number - number != 0:
            raise ValueError(literal)
        return number

    def integer(literal: str) -> int | float:
        return int(literal) if -(2**63) <= int(literal) < 2**64 else finite(literal)

    try:
        return json.loads(text, parse_float=finite, parse_int=integer)
    except (ValueError, RecursionError):
        return None


def _owners(event: OpenLineageEvent) -> Iterator[tuple[bytes, int, bytes]]:
    run = reading.run_of(event)
    jobs, runs = reading.job_facets(event), reading.run_facets(event)
    yield from ((facet, OF_RUN, run) for facet in _bodies(runs, _IN_RUNS))
    yield from ((facet, OF_RUN, run) for facet in _bodies(jobs, ("sourceCodeLocation",)))
    if event.kind is not Kind.DATASET:
        job = ids.job_id(event.document["job"]["namespace"], event.document["job"]["name"])
        yield from ((facet, OF_JOB, job) for facet in _bodies(jobs, _IN_JOBS))
    for listing in reading.listings(event):
        yield from ((facet, OF_RUN, run) for facet in _bodies(listing.facets, _IN_LISTINGS))
        objects = {name: body for name, body in listing.facets.items() if isinstance(body, dict)}
        yield from ((facet, OF_DATASET, listing.dataset) for facet in _bodies(objects, _IN_DATASETS))


def _bodies(facets: dict[str, Any], names: tuple[str, ...]) -> list[bytes]:
    return [
        reading.facet_id(name, facets[name])
        for name in names
        if name in facets and not reading.is_deleted(facets[name])
    ]


def _types(event: OpenLineageEvent) -> Iterator[tuple[bytes, str]]:
    for listing in reading.listings(event):
        for name, key in (("headwater_asset", "assetType"), ("datasetType", "datasetType")):
            told = reading.text_of((reading.standing(listing.facets, name) or {}).get(key))
            if told:
                yield listing.dataset, told


def _stated(kind: str, key: str, value: str | None) -> list[str]:
    if kind == "ownership":
        return [original(name) for name, _ in json.loads(original(value or "[]"))]
    if kind == "tag":
        return [key, original(value or "")]
    return [original(value or "")] if kind == "description" else []


# -- what a body says; texts as they are stored -------------------------------------------


def texts_of(name: str, body: Any) -> list[Said]:
    body = reading.object_of(body)
    if name == "tags":
        tags = [reading.object_of(tag) for tag in reading.list_of(body.get("tags"))]
        return [(TAG, t["key"], _text(t.get("value"))) for t in tags if type(t.get("key")) is str]
    if name == "ownership":
        owners = [reading.object_of(owner) for owner in reading.list_of(body.get("owners"))]
        return [(OWNER, "", o["name"]) for o in owners if type(o.get("name")) is str]
    if name == "documentation":
        return [(DESCRIPTION, "", body["description"])] if type(body.get("description")) is str else []
    if name == "schema":
        return [(COLUMN, "", column) for column in _columns(body)]
    if name == "executionParameters":
        return [(PARAMETER, key, value) for key, value, _ in _parameters(body) if type(value) is str]
    if name == "headwater_code":
        return [(CODE, "", body["function"])] if type(body.get("function")) is str else []
    if name == "sourceCodeLocation":
        return [(CODE, "", body[key]) for key in ("path", "repoUrl") if type(body.get(key)) is str]
    if name == "headwater_model":
        told = [(MODEL, "", body[key]) for key in ("class", "framework") if type(body.get(key)) is str]
        given = reading.object_of(body.get("parameters")).items()
        return [*told, *((PARAMETER, key, value) for key, value in given if type(value) is str)]
    return []


def values_of(name: str, body: Any) -> list[tuple[int, str, str, float | None]]:
    body = reading.object_of(body)
    if name == "executionParameters":
        return [(PARAMETER, key, text, number_of(value)) for key, value, text in _parameters(body)]
    if name == "headwater_model":
        given = reading.object_of(body.get("parameters")).items()
        return [(PARAMETER, key, _spelled(value), number_of(value)) for key, value in given]
    if name == "headwater_metrics":
        told = metrics_of(reading.object_of(body.get("values")))
        return [(METRIC, key, "", number) for key, number in told]
    for facet, key in (("headwater_code", "gitCommit"), ("sourceCodeLocation", "version")):
        if name == facet and type(body.get(key)) is str:
            return [(COMMIT, "", original(body[key]).lower(), None)]
    return []


def _columns(body: dict[str, Any]) -> Iterator[str]:
    for field in reading.list_of(body.get("fields")):
        if isinstance(field, dict):
            if type(field.get("name")) is str:
                yield field["name"]
            yield from _columns(field)


def _parameters(body: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for entry in map(reading.object_of, reading.list_of(body.get("parameters"))):
        if type(entry.get("key")) is str and type(entry.get("value")) is str:
            value = parameter_value(entry["value"])
            yield entry["key"], value, str(value) if isinstance(value, str) else entry["value"]


def metrics_of(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from metrics_of(value, f"{prefix}{name}.")
        elif value == "NaN":
            yield prefix + name, None
        elif number_of(value) is not None:
            yield prefix + name, number_of(value)


def number_of(value: Any) -> float | None:
    if type(value) is str and value in ("Infinity", "-Infinity"):
        return float(value)
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if number != number else 0.0 if number == 0 else number


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _spelled(value: Any) -> str:
    return value if type(value) is str else canonical_json(value, plain=True).decode()
