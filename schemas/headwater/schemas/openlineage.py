"""Any OpenLineage event, read as the lineage projection needs it.

`parse` takes the bytes of one record and never re-serialises them. It accepts every
event that the specification allows, in every version from 1-0-5 to 2-0-2, and beyond
that what real producers get wrong, as long as identity and time are certain; what it
overlooked stands in `defects`. The contents of facets are not its business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import IntEnum
from hashlib import sha256
from typing import Any, NamedTuple

from headwater.schemas.errors import Unparseable, shown
from headwater.schemas.ids import is_uuid
from headwater.schemas.jsontext import NotJson, Number, canonical, read

__all__ = ["Defect", "Kind", "Number", "OpenLineageEvent", "Rank", "canonical_json", "parse", "parse_time"]


class Kind(IntEnum):
    """What an event is about: `run` present, else `job`, else `dataset` (rule R2)."""

    RUN = 0
    JOB = 1
    DATASET = 2


class Rank(IntEnum):
    """The event types in the order in which they win at equal times (projection, section 1)."""

    OTHER = 0
    START = 1
    RUNNING = 2
    COMPLETE = 3
    ABORT = 4
    FAIL = 5


@dataclass(frozen=True, slots=True)
class Defect:
    """Something in an accepted event that the specification does not allow."""

    path: str
    value: str
    rule: str


class OpenLineageEvent(NamedTuple):
    """One accepted event.

    `event_id` is the sha256 of `value` (32 bytes); `time` is eventTime in µs since 1970 UTC,
    digits below 1 µs cut; `document` is the whole event with every facet as it came.
    `plain` says that nothing in it needs `canonical_json`'s slow writer.
    """

    value: bytes
    event_id: bytes
    kind: Kind
    rank: Rank
    time: int
    document: dict[str, Any]
    defects: tuple[Defect, ...] = ()
    plain: bool = False


_RANKS = {rank.name: rank for rank in Rank}
_MICROSECONDS_A_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?", re.ASCII
)
# Characters 4, 7, 10, 13, 16 and 19: what stands between the numbers.
_SHAPES = frozenset(("--T::Z", "--T::.", "--T::+", "--T::-"))
_TIME_RULE = "a time as RFC 3339 writes it"


def parse(value: bytes) -> OpenLineageEvent:
    """The event that `value` holds.

    Raises `Unparseable`, which names the place in the document, what stands there, and the rule.
    """
    try:
        document, plain, blemishes = read(value)
    except NotJson as error:
        raise Unparseable(path=f"byte {error.position}", value=shown(error.found), rule=error.rule) from error
    if type(document) is not dict:
        raise _unparseable("$", document, "an object")
    defects = [Defect(*blemish) for blemish in blemishes]
    kind, rank = _subject(document, defects)
    stated = document.get("eventTime")
    if type(stated) is not str:
        raise _unparseable("eventTime", stated, _TIME_RULE)
    for name in ("producer", "schemaURL"):
        if type(document.get(name)) is not str:
            defects.append(Defect(name, shown(document.get(name)), "a URI"))
    return OpenLineageEvent(
        value, sha256(value).digest(), kind, rank, parse_time(stated), document, tuple(defects), plain
    )


def canonical_json(value: Any, *, plain: bool = False) -> bytes:
    """`value` as JSON that is the same for equal values and that every store can hold.

    Keys are sorted; NaN and the infinities are the strings "NaN", "Infinity", "-Infinity"; a
    `Number` is its digits; texts and keys are storable. `plain` (of the event that `value`
    comes from) promises that none of it occurs, and saves the slow writer.
    """
    return canonical(value, plain=plain)


def parse_time(text: str, path: str = "eventTime") -> int:
    """Microseconds since 1970 UTC of an RFC 3339 time; without a zone it is UTC.

    Digits below 1 µs are cut, second 60 is the first of the next minute. Raises `Unparseable`
    that names `path`.
    """
    # fromisoformat is faster than the groups of a pattern, but takes other forms too; these
    # tests leave it only those on which both agree.
    if (
        text[4:20:3] in _SHAPES
        and text[11:13] < "24"
        and (
            (text[-1] == "Z" and text[-2] != ".")
            or (text[-6] in "+-" and text[-7] != "." and text[-2:] < "60")
        )
    ):
        try:
            since = datetime.fromisoformat(text) - _EPOCH
        except (ValueError, TypeError):
            return _time_by_pattern(text, path)
        return since.days * _MICROSECONDS_A_DAY + since.seconds * 1_000_000 + since.microseconds
    return _time_by_pattern(text, path)


def _time_by_pattern(text: str, path: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise _unparseable(path, text, _TIME_RULE)
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    offset_hour, offset_minute = int(match[9] or 0), int(match[10] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_hour > 23 or offset_minute > 59:
        raise _unparseable(path, text, _TIME_RULE)
    try:
        # Year 0 is the leap year 400 years (146,097 days) before year 400; datetime begins with year 1.
        days = date(year or 400, month, day).toordinal() - _EPOCH_DAY - (0 if year else 146_097)
    except ValueError as error:
        raise _unparseable(path, text, _TIME_RULE) from error
    minutes = hour * 60 + minute + (offset_hour * 60 + offset_minute) * (1 if match[8] == "-" else -1)
    seconds = days * 86_400 + minutes * 60 + second
    return seconds * 1_000_000 + int((match[7] or "")[:6].ljust(6, "0"))


def _subject(document: dict[str, Any], defects: list[Defect]) -> tuple[Kind, Rank]:
    """The kind and rank of an event whose entities are well named (rules R2 and R6)."""
    if _present(document, "run", defects):
        run = _entity(document["run"], "run", defects)
        run_id = run.get("runId")
        if type(run_id) is not str or not run_id:
            raise _unparseable("run.runId", run_id, "a string that is not empty, by the specification a UUID")
        if not is_uuid(run_id):
            defects.append(Defect("run.runId", shown(run_id), "a UUID"))
        _job(document, defects)
        return Kind.RUN, _rank(document, defects)
    if _present(document, "job", defects):
        _job(document, defects)
        return Kind.JOB, Rank.OTHER
    if not _present(document, "dataset", defects):
        raise _unparseable("$", sorted(document)[:8], "one of run (with job), job, dataset")
    _named(document["dataset"], "dataset", defects)
    return Kind.DATASET, Rank.OTHER


def _present(document: dict[str, Any], key: str, defects: list[Defect]) -> bool:
    """Whether the event has `key`; null is the same as none, and a defect."""
    if document.get(key) is not None:
        return True
    if key in document:
        defects.append(Defect(key, "null", "absent, or a value"))
    return False


def _rank(document: dict[str, Any], defects: list[Defect]) -> Rank:
    stated = document.get("eventType")
    rank = _RANKS.get(stated) if type(stated) is str else None
    if rank is None and "eventType" in document:
        defects.append(Defect("eventType", shown(stated), f"one of {', '.join(_RANKS)}"))
        if type(stated) is str:
            rank = _RANKS.get(stated.upper())
    return Rank.OTHER if rank is None else rank


def _job(document: dict[str, Any], defects: list[Defect]) -> None:
    _named(document.get("job"), "job", defects)
    for side, own_facets in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        if not _present(document, side, defects):
            continue
        datasets = document[side]
        if type(datasets) is not list:
            raise _unparseable(side, datasets, "an array of datasets")
        for index, dataset in enumerate(datasets):
            _named(dataset, side, defects, index)
            if own_facets in dataset:
                _facets(dataset, own_facets, side, defects, index)


def _named(entity: Any, path: str, defects: list[Defect], index: int | None = None) -> None:
    """`entity` is an object with a namespace and a name, both strings."""
    found = _entity(entity, path, defects, index)
    if type(found.get("namespace")) is not str:
        raise _unparseable(f"{_at(path, index)}.namespace", found.get("namespace"), "a string")
    if type(found.get("name")) is not str:
        raise _unparseable(f"{_at(path, index)}.name", found.get("name"), "a string")


def _entity(entity: Any, path: str, defects: list[Defect], index: int | None = None) -> dict[str, Any]:
    if type(entity) is not dict:
        raise _unparseable(_at(path, index), entity, "an object")
    if "facets" in entity:
        _facets(entity, "facets", path, defects, index)
    found: dict[str, Any] = entity
    return found


def _facets(entity: dict[str, Any], key: str, path: str, defects: list[Defect], index: int | None) -> None:
    """Facets that are no objects are kept and never interpreted: each is a defect."""
    facets = entity[key]
    if type(facets) is not dict:
        defects.append(Defect(f"{_at(path, index)}.{key}", shown(facets), "an object of facets"))
        return
    for name, facet in facets.items():
        if type(facet) is not dict:
            defects.append(Defect(f"{_at(path, index)}.{key}.{name}", shown(facet), "an object"))


def _at(path: str, index: int | None) -> str:
    return path if index is None else f"{path}[{index}]"


def _unparseable(path: str, value: Any, rule: str) -> Unparseable:
    if type(value) in (dict, list):
        what = f"an {'object' if type(value) is dict else 'array'} of {len(value):,}"
    else:
        what = "nothing" if value is None else shown(value)
    return Unparseable(path=path, value=what, rule=rule)
