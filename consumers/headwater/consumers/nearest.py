"""The names that are nearest to one that nothing has.

Candidates come from indexes alone, in a number of probes that does not depend on how many names
there are: the neighbours of the text among the names in order; for each of its words the same
word, every word one edit away, and its neighbours in order; names with those words, and the
text with its words put right. Then edit distance decides. A name that differs in several words,
or by two edits before its third letter, may be missed; nothing far away is ever offered.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    column,
    exists,
    func,
    literal,
    select,
    values,
)

from headwater.consumers import tables
from headwater.consumers.tables import indexed, word
from headwater.consumers.terms import Kind, folded, words
from headwater.schemas.errors import shown
from headwater.schemas.text import original, storable

_NEIGHBOURS = 12
_OF_A_WORD = 20
_WORDS = 4
_READINGS = 3
LONGEST_EDITED = 24
_COMPARED = 120
_FARTHEST = 8
_ALPHABET = string.ascii_lowercase + string.digits
_TABLES = {Kind.NAME: tables.dataset, Kind.JOB: tables.job}


def nearest_names(
    connection: Connection, text: str, *, kind: Kind = Kind.NAME, limit: int = 3
) -> tuple[str, ...]:
    """Up to `limit` names of assets (or jobs) near `text`, the nearest first."""
    wanted = folded(text)[:_COMPARED]
    if not wanted:
        return ()
    candidates = dict.fromkeys(_candidates(connection, text, kind))
    scored = []
    for namespace, name in candidates:
        told = f"{namespace}/{name}" if "/" in text and "/" not in name else name
        score = min(_score(wanted, folded(part)[:_COMPARED]) for part in _parts(told, kind))
        if score <= _allowed(wanted):
            scored.append((score, len(told), told))
    return tuple(dict.fromkeys(told for _, _, told in sorted(scored)))[:limit]


def nearest_of(text: str, names: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Up to `limit` of `names`, a few that are at hand, near `text`; the nearest first."""
    wanted = folded(text)[:_COMPARED]
    if not wanted:
        return ()
    scored = [(_score(wanted, folded(name)[:_COMPARED]), len(name), name) for name in dict.fromkeys(names)]
    return tuple(name for score, _, name in sorted(scored) if score <= _allowed(wanted))[:limit]


def offered(text: str, names: Sequence[str], what: str, most: int = 12) -> str:
    """Names at hand as the remedy of an error: those near `text` as a question, else what there are.

    "" when there are none.
    """
    if near := nearest_of(text, names):
        return did_you_mean(near)
    more = f", … ({len(names):,} in all)" if len(names) > most else ""
    return f"{what}: {', '.join(names[:most])}{more}" if names else ""


def near_words(connection: Connection, told: str, kinds: Iterable[Kind]) -> tuple[str, ...]:
    """Words of what is said of things (a tag, a type, an owner, …) that are near `told`."""
    near: dict[str, int] = {}
    for kind in sorted(kinds):
        for one in words(told)[:1]:
            near |= {found: distance(one, found, _FARTHEST) for found in _readings(connection, one, kind)}
    return tuple(sorted(near, key=lambda one: (near[one], one)))[:_READINGS]


def _parts(name: str, kind: Kind) -> tuple[str, ...]:
    """What a person may have meant: a step is called `pipeline.step`, and its own name is enough."""
    return (name, name.rpartition(".")[2]) if kind is Kind.JOB else (name,)


def _allowed(text: str) -> int:
    return min(_FARTHEST, max(1, len(text) // 3))


def _score(wanted: str, name: str) -> int:
    allowed = _allowed(wanted)
    found = distance(wanted, name, allowed)
    # Half a name is near it, however long the other half is.
    return min(found, allowed) if len(wanted) > 3 and wanted in name else found


# -- candidates, through indexes ---------------------------------------------------------


def _candidates(connection: Connection, text: str, kind: Kind) -> Iterator[tuple[str, str]]:
    table = _TABLES[kind]
    own = text.rpartition("/")[2]
    for spelled in dict.fromkeys((text, own)):
        yield from _beside(connection, table, spelled, _NEIGHBOURS)
    read = {told: _readings(connection, told, kind) for told in words(text)[:_WORDS]}
    for corrected in _corrected(folded(own), read):
        yield from _beside(connection, table, corrected, 2)
    for told in dict.fromkeys(one for found in read.values() for one in found):
        of_word = select(word.c.subject_id).where(word.c.word == told, word.c.kind == int(kind))
        query = select(table.c.namespace, table.c.name).where(
            _id(table).in_(of_word.order_by(word.c.subject_id).limit(_OF_A_WORD))
        )
        yield from ((original(namespace), original(name)) for namespace, name in connection.execute(query))


def _id(table: Table) -> Column[bytes]:
    (key,) = table.primary_key
    return key


def did_you_mean(names: Sequence[str]) -> str:
    """Names as a question, for the remedy of an error; "" when there is none."""
    return f"did you mean {' or '.join(shown(name) for name in names)}?" if names else ""


def _beside(connection: Connection, table: Table, text: str, count: int) -> Iterator[tuple[str, str]]:
    """The names before and after `text` in order, and it itself."""
    start = indexed(table.c.name)
    wanted = storable(text)[:200]
    query = select(table.c.namespace, table.c.name).limit(count)
    for found in (
        query.where(start >= wanted).order_by(start),
        query.where(start < wanted).order_by(start.desc()),
    ):
        yield from ((original(namespace), original(name)) for namespace, name in connection.execute(found))


def _readings(connection: Connection, told: str, kind: Kind) -> list[str]:
    """Words of names that `told` may have been meant to be: itself, or the nearest few."""
    if _known(connection, [told], kind):
        return [told]
    near = _known(connection, sorted(set(edits(told))), kind) if len(told) <= LONGEST_EDITED else []
    allowed = _allowed(told)
    beside = texts_around(connection, told, word.c.word)
    around = [one for one in beside if distance(told, one, allowed) <= allowed]
    near += _known(connection, around, kind) if around else []
    return sorted(dict.fromkeys(near), key=lambda one: (distance(told, one, _FARTHEST), one))[:_READINGS]


def _known(connection: Connection, wanted: Sequence[str], kind: Kind) -> list[str]:
    """Which of `wanted` are words of names; one probe each, however many names have the word."""
    rows = values(column("w", Text), name="v").data([(one,) for one in wanted]).cte("asked")
    there = exists().where(word.c.word == rows.c.w, word.c.kind == int(kind))
    return list(connection.scalars(select(rows.c.w).where(there)))


def texts_around(
    connection: Connection,
    told: str,
    column: ColumnElement[str],
    *where: ColumnElement[bool],
    count: int = _NEIGHBOURS,
) -> list[str]:
    """The distinct texts next to `told` in order; each is one probe, so repeated texts cost nothing."""
    found: list[str] = []
    for is_after in (True, False):
        at = bindparam("told", told, type_=column.type)
        edge = func.min(column) if is_after else func.max(column)
        next_to = select(edge).where(column > at if is_after else column < at, *where)
        start = select(next_to.scalar_subquery().label("w"), literal(1).label("n"))
        first = start.cte("steps", recursive=True)
        beyond = column > first.c.w if is_after else column < first.c.w
        step = select(select(edge).where(beyond, *where).scalar_subquery(), first.c.n + 1).where(
            first.c.n < count, first.c.w.is_not(None)
        )
        steps = first.union_all(step)
        found += [one for one in connection.scalars(select(steps.c.w)) if one is not None]
    return found


def _corrected(text: str, read: dict[str, list[str]]) -> Iterator[str]:
    """`text` with its words replaced by what they may have been meant to be."""
    told = [one for one in read if one in text and read[one]]
    for chosen in islice(product(*(read[one] for one in told)), 8):
        corrected = text
        for one, other in zip(told, chosen, strict=True):
            corrected = corrected.replace(one, other, 1)
        if corrected != text:
            yield corrected


def edits(told: str) -> Iterable[str]:
    """Every text that is one deletion, transposition, replacement or insertion away."""
    for at in range(len(told) + 1):
        before, after = told[:at], told[at:]
        if after:
            yield before + after[1:]
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
        for letter in _ALPHABET:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]


# -- edit distance -----------------------------------------------------------------------


def distance(one: str, other: str, most: int) -> int:
    """Edits (insertion, deletion, replacement, transposition of neighbours) between two texts.

    `most` + 1 stands for anything beyond `most`, so that only a band of the matrix is computed.
    """
    beyond = most + 1
    if abs(len(one) - len(other)) > most:
        return beyond
    before_last: list[int] = []
    last = [min(at, beyond) for at in range(len(other) + 1)]
    for i, a in enumerate(one, 1):
        row = [min(i, beyond)] + [beyond] * len(other)
        for j in range(max(1, i - most), min(len(other), i + most) + 1):
            b = other[j - 1]
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b), beyond)
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[j] = min(row[j], before_last[j - 2] + 1)
        before_last, last = last, row
    return last[-1]
