"""What of names and facets can be searched: their words, and values that can be compared.

Pure functions of dictionary rows (a name, a facet's stored body), so the rows that they give
are as independent of order as the dictionaries are, and the same on every database: no text
search of a database's own takes part, whose parsers and locales differ. Texts count with their
first characters only (`TEXT_LIMIT`, `WORD_LIMIT`); how one searches is the business of
`headwater.consumers.searching`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import islice
from typing import Any, NamedTuple

import orjson

from headwater.consumers.facets import dicts, is_deleted, is_text
from headwater.schemas.parameters import parameter_value
from headwater.schemas.text import original

TEXT_LIMIT = 2_000
WORD_LIMIT = 64
#: Of one facet at most so many words, and so many values.
FACET_LIMIT = 1_000

_WORD = re.compile(r"[^\W_]+")


class Owner(IntEnum):
    """Whose a facet is."""

    RUN = 0
    JOB = 1
    DATASET = 2


class Kind(IntEnum):
    """What a word or a value is a part of; the numbers are stored."""

    NAME = 0
    JOB = 1
    TYPE = 2
    #: What a curator said of a dataset: a tag, an owner, a description.
    STATEMENT = 3
    TAG = 10
    OWNER = 11
    DESCRIPTION = 12
    COLUMN = 13
    PARAMETER = 14
    CODE = 15
    METRIC = 16
    COMMIT = 17
    MODEL = 18


#: The kinds whose words belong to a facet, by its id; of the others they belong to a dataset or a job.
OF_FACETS = frozenset(Kind) - {Kind.NAME, Kind.JOB, Kind.TYPE, Kind.STATEMENT}
#: Facets of which rows are kept that say whose they are, by register space and name: of runs and what
#: they wrote, of jobs, of datasets.
OWNED_BY_RUN = frozenset(
    {
        "rexecutionParameters",
        "rheadwater_code",
        "rtags",
        "jsourceCodeLocation",
        "dheadwater_model",
        "dheadwater_metrics",
    }
)
OWNED_BY_JOB = frozenset({"ownership", "documentation", "tags", "sourceCodeLocation"})
OWNED_BY_DATASET = frozenset({"schema", "ownership", "documentation", "tags"})
#: Every facet that is read here.
SEARCHED = frozenset(
    {
        *(key[1:] for key in OWNED_BY_RUN),
        *OWNED_BY_JOB,
        *OWNED_BY_DATASET,
    }
)
TYPED = {"headwater_asset": "assetType", "datasetType": "datasetType"}


class Fact(NamedTuple):
    """One searchable text; `key` names it where texts have names (a tag's, a parameter's)."""

    kind: Kind
    key: str
    text: str


class Value(NamedTuple):
    """A value that can be compared: as a number when it is one, else as text."""

    kind: Kind
    key: str
    text: str
    number: float | None


def folded(text: str) -> str:
    """`text` as it is compared: compatibility forms and cases are one."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """The words of `text`, each once: runs of letters and digits, folded, cut to `WORD_LIMIT`."""
    return list(dict.fromkeys(word[:WORD_LIMIT] for word in _WORD.findall(folded(text[:TEXT_LIMIT]))))


def body_of(text: bytes | str) -> Any:
    """A stored facet body, read; None for one that no reader here can take."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def type_of(name: str, body: Any) -> str | None:
    """The type of asset that a facet tells."""
    told = body.get(TYPED[name]) if isinstance(body, dict) and not is_deleted(body) else None
    return told if is_text(told) and told else None


def facts(name: str, body: Any) -> list[Fact]:
    """The searchable texts of the facet `name`, at most `FACET_LIMIT`."""
    if not isinstance(body, dict) or name not in _FACTS:
        return []
    return [
        Fact(fact.kind, original(fact.key), original(fact.text))
        for fact in islice(_FACTS[name](body), FACET_LIMIT)
    ]


def values(name: str, body: Any) -> list[Value]:
    """The comparable values of the facet `name`, at most `FACET_LIMIT`."""
    if not isinstance(body, dict) or name not in _VALUES:
        return []
    return [
        Value(value.kind, original(value.key), original(value.text)[:TEXT_LIMIT], value.number)
        for value in islice(_VALUES[name](body), FACET_LIMIT)
    ]


def facet_words(name: str, body: Any) -> set[tuple[str, Kind]]:
    """Every (word, kind) of the facet `name`, at most `FACET_LIMIT`."""
    found: dict[tuple[str, Kind], None] = {}
    for fact in facts(name, body):
        for word in (*words(fact.text), *(words(fact.key) if fact.kind is Kind.TAG else ())):
            found[word, fact.kind] = None
            if len(found) == FACET_LIMIT:
                return set(found)
    return set(found)


def name_words(namespace: str, name: str) -> list[str]:
    """The words of a name and of its namespace."""
    return list(dict.fromkeys((*words(name), *words(namespace))))


def statement_words(kind: str, key: str, value: str | None) -> list[str]:
    """The words of what a curator said; none of what is no text about the asset."""
    if kind not in ("tag", "description", "ownership"):
        return []
    return list(dict.fromkeys(word for text in statement_texts(kind, key, value) for word in words(text)))


def statement_texts(kind: str, key: str, value: str | None) -> Iterator[str]:
    """A tag's key and value, a description, the names of owners."""
    if kind == "ownership":
        listed = body_of(value or "[]")
        for pair in listed if isinstance(listed, list) else ():
            if isinstance(pair, list) and pair and isinstance(pair[0], str):
                yield original(pair[0])
        return
    if kind == "tag":
        yield key
    yield value or ""


def number_of(value: Any) -> float | None:
    """`value` as a double, when it is a number that one can hold; also one that JSON cannot write."""
    if is_text(value) and value in ("Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    # NaN is no value to compare; adding 0.0 leaves no sign on a zero.
    return None if number != number else number + 0.0


def metric_values(body: Any) -> Iterator[tuple[str, float | None]]:
    """(name, value) of every number in a `headwater_metrics` facet, nested names with dots; None is NaN."""
    told = body.get("values") if isinstance(body, dict) else None
    stack: list[tuple[str, Any]] = list(reversed(told.items())) if isinstance(told, dict) else []
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{name}.{inner}", value[inner]) for inner in reversed(value))
        elif value == "NaN":
            yield name, None
        elif (number := number_of(value)) is not None:
            yield name, number


# -- what each facet says ----------------------------------------------------------------


def _text(value: Any) -> str:
    return value if is_text(value) else ""


def _tags(body: dict[str, Any]) -> Iterator[Fact]:
    for tag in dicts(body.get("tags")):
        if is_text(tag.get("key")):
            yield Fact(Kind.TAG, tag["key"], _text(tag.get("value")))


def _owners(body: dict[str, Any]) -> Iterator[Fact]:
    for owner in dicts(body.get("owners")):
        if is_text(owner.get("name")):
            yield Fact(Kind.OWNER, "", owner["name"])


def _description(body: dict[str, Any]) -> Iterator[Fact]:
    if is_text(body.get("description")):
        yield Fact(Kind.DESCRIPTION, "", body["description"])


def _columns(body: dict[str, Any]) -> Iterator[Fact]:
    stack = list(reversed(dicts(body.get("fields"))))
    while stack:
        field = stack.pop()
        if is_text(field.get("name")):
            yield Fact(Kind.COLUMN, "", field["name"])
        stack.extend(reversed(dicts(field.get("fields"))))


def _parameter_texts(body: dict[str, Any]) -> Iterator[Fact]:
    return (Fact(Kind.PARAMETER, key, value) for key, value, _ in _parameters(body) if isinstance(value, str))


def _parameters(body: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(name, value, the text that stands for it)."""
    for entry in dicts(body.get("parameters")):
        if is_text(entry.get("key")) and is_text(entry.get("value")):
            value = parameter_value(entry["value"])
            yield entry["key"], value, value if isinstance(value, str) else entry["value"]


def _function(body: dict[str, Any]) -> Iterator[Fact]:
    if is_text(body.get("function")):
        yield Fact(Kind.CODE, "", body["function"])


def _place(body: dict[str, Any]) -> Iterator[Fact]:
    for key in ("path", "repoUrl"):
        if is_text(body.get(key)):
            yield Fact(Kind.CODE, "", body[key])


def _model(body: dict[str, Any]) -> Iterator[Fact]:
    for key in ("class", "framework"):
        if is_text(body.get(key)):
            yield Fact(Kind.MODEL, "", body[key])
    parameters = body.get("parameters")
    for key, value in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(value, str):
            yield Fact(Kind.PARAMETER, key, value)


def _parameter_values(body: dict[str, Any]) -> Iterator[Value]:
    for key, value, text in _parameters(body):
        yield Value(Kind.PARAMETER, key, text, number_of(value))


def _model_values(body: dict[str, Any]) -> Iterator[Value]:
    parameters = body.get("parameters")
    for key, value in parameters.items() if isinstance(parameters, dict) else ():
        text = value if isinstance(value, str) else _dumped(value)
        yield Value(Kind.PARAMETER, key, text, number_of(value))


def _dumped(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, though not deeper than it reads
        return ""


def _metric_values(body: dict[str, Any]) -> Iterator[Value]:
    for key, number in metric_values(body):
        yield Value(Kind.METRIC, key, "", number)


def _commit(key: str) -> Callable[[dict[str, Any]], Iterator[Value]]:
    def read(body: dict[str, Any]) -> Iterator[Value]:
        if is_text(body.get(key)):
            yield Value(Kind.COMMIT, "", body[key].lower(), None)

    return read


_FACTS: dict[str, Callable[[dict[str, Any]], Iterator[Fact]]] = {
    "tags": _tags,
    "ownership": _owners,
    "documentation": _description,
    "schema": _columns,
    "executionParameters": _parameter_texts,
    "headwater_code": _function,
    "sourceCodeLocation": _place,
    "headwater_model": _model,
}
_VALUES: dict[str, Callable[[dict[str, Any]], Iterator[Value]]] = {
    "executionParameters": _parameter_values,
    "headwater_model": _model_values,
    "headwater_metrics": _metric_values,
    "headwater_code": _commit("gitCommit"),
    "sourceCodeLocation": _commit("version"),
}
