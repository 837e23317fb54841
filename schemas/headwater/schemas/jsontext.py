"""JSON as it really arrives, read exactly, and JSON that every store can hold.

`read` accepts what RFC 8259 allows and what the reference client writes besides (NaN,
Infinity), loses no digit and no code unit, and refuses the rest with the byte at fault.
`canonical` and `spelled` write. What the values mean is not decided here.

The fast path is orjson alone. Only text that it refuses, or whose numbers it would
round, is rewritten with placeholders, given to orjson again, and restored: so both
paths have one grammar and one limit of depth, and neither recurses in Python.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from headwater.schemas.text import storable

DEPTH_LIMIT = 1024
DEFECTS_KEPT = 100

_BOM = b"\xef\xbb\xbf"
_BACKSLASH, _E2 = 0x5C, 0xE2
_LEAST_INT, _GREATEST_INT = -(2**63), 2**64 - 1
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_NINETEEN_DIGITS = b"0" * 19
_LONG_INTEGER = re.compile(rb"(?:^|[:,\[\s])(-?[0-9]{19,})(?=[,\]}\s]|\Z)")
# The closing quote is optional: an unclosed string is one match, not a new start at each of its quotes.
_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
    r"|NaN|-?Infinity"
    r"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?",
    re.DOTALL,
)
# A pair of surrogates, or a lone one, or any other escape.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u([dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\.",
    re.DOTALL,
)
_KEY_ENDS = re.compile(r"[ \t\r\n]*:")
_NAMED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Number(str):
    """A JSON number that neither a 64-bit integer nor a finite double holds, as its literal.

    It is text to Python; whoever wants texts only asks `type(x) is str`.
    """

    __slots__ = ()


class NotJson(ValueError):
    """Bytes that are no JSON: `position` is the byte at fault, `found` what stands there."""

    def __init__(self, *, position: int, found: str, rule: str) -> None:
        super().__init__(f"byte {position}: {rule}")
        self.position = position
        self.found = found
        self.rule = rule


class Blemish(NamedTuple):
    """Something that JSON does not allow and that was read all the same."""

    path: str
    value: str
    rule: str


class Reading(NamedTuple):
    """A JSON text as a value. `plain`: orjson writes it canonically without help."""

    value: Any
    plain: bool
    blemishes: tuple[Blemish, ...] = ()


def read(raw: bytes) -> Reading:
    """`raw` as a value: a repeated key holds its last value, wide numbers are `Number`.

    Raises `NotJson`.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _read_with_placeholders(raw)
    if _NINETEEN_DIGITS in raw.translate(_DIGITS_AS_ZEROS) and _has_wide_integer(raw):
        return _read_with_placeholders(raw)
    return Reading(value, not _may_be_unstorable(raw))


def _has_wide_integer(raw: bytes) -> bool:
    """Whether an integer stands in `raw` that orjson would make a float; ids of 19 digits are common."""
    return any(
        len(digits) > 20 or not _LEAST_INT <= int(digits) <= _GREATEST_INT
        for digits in _LONG_INTEGER.findall(raw)
    )


def canonical(value: Any, *, plain: bool = False) -> bytes:
    """`value` as JSON with sorted keys that every store can hold; equal values, equal bytes.

    NaN and the infinities become the strings "NaN", "Infinity", "-Infinity"; a `Number` its
    literal; texts and keys go through `text.storable`. `plain` promises that none occurs.
    """
    if plain:
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # nested deeper than orjson writes
            return _written(value, _storable_text, sort=True)
    return _written(value, _storable_text, sort=True)


def spelled(value: Any) -> bytes:
    """`value` as JSON when orjson alone would refuse it or lose something of it.

    Integers of any width keep their digits, lone surrogates are spelled `\\udXXX` as the
    reference client does, NaN and the infinities become strings. Raises TypeError for
    what is no JSON value.
    """
    return _written(value, _any_text, sort=False)


def exact_int(number: Number) -> int:
    """The integer that `number` spells; ValueError when it spells none."""
    if set(number) & set(".eE"):
        raise ValueError(f"{number[:40]} is no integer")
    from decimal import Decimal  # 5 ms for what hardly ever occurs

    return int(Decimal(number))  # int() itself refuses more than 4,300 digits


def exact(value: Any) -> Any:
    """A copy of `value` with every `Number` that spells an integer as that integer."""
    holder = [value]
    pending: list[Any] = [holder]
    while pending:
        container = pending.pop()
        for key, entry in list(container.items() if type(container) is dict else enumerate(container)):
            if type(entry) is dict or type(entry) is list:
                container[key] = entry.copy()
                pending.append(container[key])
            elif type(entry) is Number and not set(entry) & set(".eE"):
                container[key] = exact_int(entry)
    return holder[0]


def _may_be_unstorable(raw: bytes) -> bool:
    # One byte is found ten times as fast as two, and most events hold neither of these.
    if _BACKSLASH in raw and (b"\\u0000" in raw or b"\\u241" in raw):
        return True
    return _E2 in raw and b"\xe2\x90\x9b" in raw


def _read_with_placeholders(raw: bytes) -> Reading:
    bom = len(_BOM) if raw.startswith(_BOM) else 0
    try:
        text = raw[bom:].decode()
    except UnicodeDecodeError as error:
        found = raw[bom + error.start : bom + error.end].hex(" ")
        raise NotJson(position=bom + error.start, found=found, rule="UTF-8 (RFC 3629)") from error
    rewriting = _Rewriting(text, marker="\ue000" + sha256(raw).hexdigest()[:32])
    try:
        value = orjson.loads(rewriting.text)
    except orjson.JSONDecodeError as error:
        raise _refusal(text, rewriting.origin(error.pos), bom, error.msg) from error
    blemishes = [Blemish("byte 0", "ef bb bf", "JSON text begins without a byte order mark")] if bom else []
    if rewriting.count:
        value = _restored(value, rewriting.marker, blemishes)
    return Reading(value, False, tuple(blemishes))


def _refusal(text: str, at: int, bom: int, why: str) -> NotJson:
    # A lone surrogate cannot occur: `text` was decoded from UTF-8.
    position = bom + len(text[:at].encode())
    reason = why.split(": line ")[0]
    rule = f"JSON (RFC 8259), at most {DEPTH_LIMIT:,} levels deep: {reason}"
    return NotJson(position=position, found=text[at : at + 20] or "the end", rule=rule)


class _Rewriting:
    """A JSON text with placeholders for what orjson refuses or rounds.

    The marker holds a digest of the text it goes into, so the text cannot hold the marker.
    """

    def __init__(self, text: str, *, marker: str) -> None:
        self.marker = marker
        self.count = 0
        self._shifts: list[tuple[int, int]] = []
        self._shift = 0
        self.text = _TOKEN.sub(self._token, text)

    def origin(self, position: int) -> int:
        """The position in the original text of `position` in the rewritten one."""
        shift = 0
        for start, following in self._shifts:
            if start >= position:
                break
            shift = following
        return max(position - shift, 0)

    def _token(self, match: re.Match[str]) -> str:
        token = match[0]
        if token[0] == '"':
            if "\\ud" not in token and "\\uD" not in token:
                return token
            replaced = _ESCAPE.sub(self._escape, token)
        elif _orjson_keeps(token) or _KEY_ENDS.match(match.string, match.end()):
            return token  # a number where a key belongs is for orjson to refuse
        else:
            replaced = f'"{self.marker}N{token}"'
            self.count += 1
        start = match.start() + self._shift
        self._shift += len(replaced) - len(token)
        self._shifts.append((start, self._shift))
        return replaced

    def _escape(self, match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        self.count += 1
        return f"{self.marker}S{match[1].lower()}"


def _orjson_keeps(token: str) -> bool:
    if token in _NAMED:
        return False
    if "." in token or "e" in token or "E" in token:
        return math.isfinite(float(token))
    if len(token) < 19:
        return True
    return len(token) <= 20 and _LEAST_INT <= int(token) <= _GREATEST_INT


class _Place(NamedTuple):
    """Where a value stands in a document: a chain, so that a path is made only when one is shown."""

    above: _Place | None
    key: str | int

    def path(self) -> str:
        steps: list[str] = []
        place: _Place | None = self
        while place is not None:
            steps.append(f"[{place.key}]" if type(place.key) is int else f".{place.key}")
            place = place.above
        path = "".join(reversed(steps)).lstrip(".") or "$"
        return path if len(path) <= 400 else f"{path[:200]}…{path[-199:]}"


def _restored(value: Any, marker: str, blemishes: list[Blemish]) -> Any:
    lone = re.compile(f"{marker}S(d[0-9a-f]{{3}})")
    holder = [value]
    pending: list[tuple[Any, _Place | None]] = [(holder, None)]
    while pending:
        container, place = pending.pop()
        if type(container) is dict:
            _restore_keys(container, marker, lone)
            entries: Any = list(container.items())
        else:
            entries = enumerate(container)
        for key, entry in entries:
            kind = type(entry)
            if kind is dict or kind is list:
                pending.append((entry, place if container is holder else _Place(place, key)))
            elif kind is str and marker in entry:
                container[key] = _restored_text(entry, marker, lone, _Place(place, key), blemishes)
    return holder[0]


def _restored_text(
    text: str, marker: str, lone: re.Pattern[str], place: _Place, blemishes: list[Blemish]
) -> str | float:
    if not text.startswith(f"{marker}N"):
        return lone.sub(lambda match: chr(int(match[1], 16)), text)
    literal = text[len(marker) + 1 :]
    if literal not in _NAMED:
        return Number(literal)
    if len(blemishes) < DEFECTS_KEPT:
        blemishes.append(Blemish(place.path(), literal, "JSON has no such number (RFC 8259, section 6)"))
    return _NAMED[literal]


def _restore_keys(container: dict[str, Any], marker: str, lone: re.Pattern[str]) -> None:
    if not any(marker in key for key in container):
        return
    entries = list(container.items())
    container.clear()
    for key, entry in entries:
        container[lone.sub(lambda match: chr(int(match[1], 16)), key)] = entry


def _storable_text(text: str) -> bytes:
    return orjson.dumps(storable(text))


def _any_text(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:  # a lone surrogate: no UTF-8, but JSON can spell it
        return json.dumps(text).encode()


def _written(value: Any, text: Callable[[str], bytes], *, sort: bool) -> bytes:
    """`value` as JSON, without recursion; the stack holds values, and bytes to be written as they are."""
    out: list[bytes] = []
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if type(item) is bytes:
            out.append(item)
        elif isinstance(item, Mapping):
            _push_object(stack, item, text, sort=sort)
        elif isinstance(item, list | tuple):
            stack.append(b"]")
            for entry in reversed(item):
                stack += (entry, b",")
            if item:
                stack.pop()
            stack.append(b"[")
        else:
            out.append(_scalar(item, text))
    return b"".join(out)


def _push_object(
    stack: list[Any], item: Mapping[str, Any], text: Callable[[str], bytes], *, sort: bool
) -> None:
    # orjson sorts by the texts, whose order their JSON does not keep (a newline begins with 5C there).
    keys = sorted(item, key=storable) if sort else item
    entries = [(text(key) + b":", item[key]) for key in keys]
    stack.append(b"}")
    for written_key, entry in reversed(entries):
        stack += (entry, written_key, b",")
    if entries:
        stack.pop()
    stack.append(b"{")


def _scalar(item: Any, text: Callable[[str], bytes]) -> bytes:
    if isinstance(item, Number):
        return item.encode()
    if isinstance(item, str):
        return text(item)
    if isinstance(item, float) and not math.isfinite(item):
        return b'"NaN"' if math.isnan(item) else b'"Infinity"' if item > 0 else b'"-Infinity"'
    if isinstance(item, int) and not isinstance(item, bool) and not _LEAST_INT <= item <= _GREATEST_INT:
        from decimal import Decimal  # 5 ms for what hardly ever occurs

        return str(Decimal(item)).encode()  # str() of an int refuses more than 4,300 digits
    try:
        return orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise TypeError(f"a {type(item).__qualname__} is no JSON value") from error


def deeper_than(value: Any, levels: int) -> bool:
    """Whether containers nest in `value` more than `levels` deep."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [entry for container in layer for entry in _entries(container)]
        if not layer:
            return False
    return True


def _entries(container: Any) -> list[Any]:
    if isinstance(container, Mapping):
        return list(container.values())
    return list(container) if isinstance(container, list | tuple) else []
