"""What a person types to find something, read into conditions.

    churn                   a word, or the beginning of one, anywhere: names, tags, owners,
                            descriptions, columns, texts of parameters, code, types; also the
                            whole name of a parameter or of a metric
    column:email            a whole word of a column's name; email* for the beginning of one
    auc>0.9  depth=8        a metric or a parameter compared (= < > <= >=), a tag by =
    parameter:depth>6       only a parameter; metric:auc, only that there is such a metric
    description:"two words" quotes keep words together in one term

Terms are ANDed. Everything typed stays a value: no database's query language is spoken here.
Case and width of letters make no difference, except in the names of parameters and metrics.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater.consumers.nearest import did_you_mean, nearest_of
from headwater.consumers.terms import WORD_LIMIT, Kind, words
from headwater.schemas.errors import Rejected, shown

MOST_TERMS = 16
_MOST_WORDS = 16

#: What may stand before a colon, and what it looks at.
FIELDS: dict[str, frozenset[Kind]] = {
    "name": frozenset({Kind.NAME, Kind.JOB}),
    "asset": frozenset({Kind.NAME}),
    "job": frozenset({Kind.JOB}),
    "type": frozenset({Kind.TYPE}),
    "tag": frozenset({Kind.TAG}),
    "owner": frozenset({Kind.OWNER}),
    "description": frozenset({Kind.DESCRIPTION}),
    "column": frozenset({Kind.COLUMN}),
    "parameter": frozenset({Kind.PARAMETER}),
    "metric": frozenset({Kind.METRIC}),
    "code": frozenset({Kind.CODE, Kind.COMMIT}),
    "model": frozenset({Kind.MODEL}),
}
_ALSO = {"param": "parameter", "params": "parameter", "metrics": "metric", "commit": "code", "tags": "tag"}
_COMPARED = frozenset({Kind.PARAMETER, Kind.METRIC, Kind.TAG})
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_TERM = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_FIELD = re.compile(r"([A-Za-z]+):(.*)\Z", re.DOTALL)
_COMPARISON = re.compile(r"([^<>=]+?)\s*(<=|>=|=|<|>)\s*([^<>=].*|)\Z", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-fA-F]{4,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Every one of `words` occurs in texts of `kinds`, whole unless `is_prefix`.

    `named`: or there is a parameter or a metric of that whole name. `commit`: or a commit begins so.
    """

    term: str
    text: str
    kinds: frozenset[Kind]
    words: tuple[str, ...]
    is_prefix: bool
    named: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A value of `kinds` called `key` is there, and compares so; without a sign it need only be there."""

    term: str
    kinds: frozenset[Kind]
    key: str
    sign: str | None
    text: str
    number: float | None


Condition = Words | Comparison


def conditions(query: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions of a query; raises `Rejected` for one that asks nothing, or for what is no number."""
    terms = [term for part in query for term in _TERM.findall(part)]
    if len(terms) > MOST_TERMS:
        raise Rejected(f"a search has at most {MOST_TERMS} terms, not {len(terms)}")
    found = tuple(_condition(term) for term in terms)
    if not found:
        raise Rejected(
            "nothing to search for", remedy="give a word, or a term such as column:email or auc>0.9"
        )
    return found


def _condition(term: str) -> Condition:
    text = term.replace('"', "")
    kinds: frozenset[Kind] | None = None
    value = text
    field = _FIELD.match(text)
    if field is not None:
        name = field[1].lower()
        kinds = FIELDS.get(_ALSO.get(name, name))
        value = text if kinds is None else field[2].strip()
        # A quoted term is text, and so is the beginning of a URL.
        if kinds is None and '"' not in term and not field[2].startswith("//"):
            raise Rejected(
                f"{shown(term)}: there is no field {shown(name)}",
                remedy=f"{_fields(name)}; or put it in quotes to look for the text",
            )
    compared = _COMPARISON.match(value)
    if compared is not None and (kinds is None or kinds & _COMPARED):
        return _comparison(text, kinds or _COMPARED, *compared.groups())
    if compared is None and '"' not in term and any(sign in value for sign in "<>"):
        raise Rejected(f"{shown(term)} is no comparison", remedy="write auc>0.9 or depth<=8")
    if kinds == frozenset({Kind.METRIC}):
        return Comparison(term=text, kinds=kinds, key=value, sign=None, text="", number=None)
    return _words(text, kinds, value)


def _fields(name: str) -> str:
    near = did_you_mean(nearest_of(name, (*FIELDS, *_ALSO))).removesuffix("?")
    return f"{near}? There are {', '.join(FIELDS)}" if near else ", ".join(FIELDS)


def _comparison(term: str, kinds: frozenset[Kind], key: str, sign: str, text: str) -> Comparison:
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is not None and number != number:
        number = None
    if number is None and sign != "=":
        raise Rejected(f"{shown(term)}: after {sign} comes a number, not {shown(text)}")
    allowed = kinds if sign == "=" else kinds - {Kind.TAG}
    return Comparison(term=term, kinds=allowed, key=key, sign=sign, text=text, number=number)


def _words(term: str, kinds: frozenset[Kind] | None, value: str) -> Words:
    is_free = kinds is None
    found = words(value)[:_MOST_WORDS]
    commit = value.lower() if _COMMIT.match(value) and (is_free or Kind.COMMIT in (kinds or ())) else None
    if not found:
        raise Rejected(f"{shown(term)} has no letter or digit to search for")
    by_name = is_free or kinds == frozenset({Kind.PARAMETER})
    return Words(
        term=term,
        text=value,
        kinds=frozenset(Kind) if kinds is None else kinds,
        words=tuple(word[:WORD_LIMIT] for word in found),
        is_prefix=is_free or value.endswith("*"),
        named=value if by_name else None,
        commit=commit,
    )
