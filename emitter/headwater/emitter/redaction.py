"""Secrets leave an event before it exists, because an immutable log cannot forget.

A value is a secret by its key (`password`, `db.apiKey`) or by its own look (a JWT, the
userinfo of a URL). It becomes "[redacted]"; no hash and no length of it is kept. Keys
are compared word by word: `max_tokens` and `token_pattern` are parameters of models, `token`
and `hf_token` are not. Below a secret key every text goes; a number goes only where the whole
key is the secret's name (`password: 1234`).

Ids, versions, times and the names of jobs are never touched: they tie events together.
A secret that neither its key nor its look gives away is not found; the configuration's `redact`
adds keys and patterns.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import orjson

from headwater.emitter.places import NO_ADDRESS, NO_PORT
from headwater.emitter.settings import RedactionRules
from headwater.schemas.events import (
    AssetConsumed,
    AssetCreated,
    Event,
    MetricsLogged,
    RunClosed,
)

REDACTED = "[redacted]"

E = TypeVar("E", bound=Event)
Words = tuple[str, ...]

_KEYS: tuple[Words, ...] = (
    ("password",),
    ("passwords",),
    ("passwd",),
    ("passphrase",),
    ("pwd",),
    ("secret",),
    ("secrets",),
    ("token",),
    ("apikey",),
    ("api", "key"),
    ("api", "keys"),
    ("access", "key"),
    ("private", "key"),
    ("credential",),
    ("credentials",),
    ("authorization",),
    ("auth",),
    ("cookie",),
    ("cookies",),
    ("account", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("connection", "string"),
)
# A word that ends so is that word: PGPASSWORD, dbpassword, clientsecret.
_ENDINGS = ("password", "passwd", "passphrase", "secret", "apikey")
# Tokens of language models, which are no secrets: pad_token, token_pattern, …
_BEFORE_TOKEN = frozenset(
    {"pad", "bos", "eos", "unk", "sep", "cls", "mask", "special", "stop", "start", "end", "next", "per"}
)
_AFTER_TOKEN = frozenset(
    {"pattern", "type", "count", "counts", "limit", "length", "dim", "size", "level", "ids"}
    | {"classification", "embedding", "embeddings"}
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")

_NAMES = (
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|authorization|"
    r"(?:api|access|account|secret|private|signing|encryption)[_-]?key)"
)
# Where such a name begins: at a word, after `_`, at a capital, or glued to what is before it.
_BEGINS = r"(?:\b|_|(?-i:(?<=[a-z0-9])(?=[A-Z]))|(?<=[A-Za-z])(?=passw|secret|accountkey))"
# Quotes, and the backslashes before them where JSON stands in JSON.
_QUOTES = r"[\\\"']{0,4}+"
_IS = rf"{_QUOTES}\s*[=:]\s*"
_KEPT = rf"\g<1>{REDACTED}"
# Each with what replaces it. Longer and more certain ones first.
_LOOKS: tuple[tuple[str, str], ...] = (
    (r"-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|\Z)", REDACTED),
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", REDACTED),
    # The password may hold / ? # and @; it ends before what quotes the URL.
    (
        rf"(?<=://){NO_ADDRESS}[^/\s?#:@]*:{NO_PORT}[^\s@\"'<>]{{0,512}}@(?:[^/\s?#@\"'<>]*@)*",
        f"{REDACTED}@",
    ),
    (r"(?<=://)[^/\s?#:@]{16,}@", f"{REDACTED}@"),
    (
        r"(?i)([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|"
        r"awsaccesskeyid|googleaccessid|[a-z_]*(?:token|key|secret|password))=)[^&\s\"'#]+",
        _KEPT,
    ),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", REDACTED),
    (r"\bgh[pousr]_[A-Za-z0-9]{20,}", REDACTED),
    (r"\bgithub_pat_[A-Za-z0-9_]{20,}", REDACTED),
    (r"\bglpat-[A-Za-z0-9_-]{16,}", REDACTED),
    (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", REDACTED),
    (r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}", REDACTED),
    (r"\bsk-[A-Za-z0-9_-]{16,}", REDACTED),
    (r"\bAIza[A-Za-z0-9_-]{35}", REDACTED),
    (r"\bhf_[A-Za-z0-9]{30,}", REDACTED),
    (r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{8,}=*", REDACTED),
    # A scheme with several parameters has them to the end of the line, another one has one.
    (rf"(?i)((?:\b|_)authorization{_IS}{_QUOTES})(?:digest|oauth|hawk|aws4-[a-z0-9-]+)\s[^\r\n}}]+", _KEPT),
    (rf"(?i)((?:\b|_)authorization{_IS}{_QUOTES})(?:basic|negotiate|token|apikey)\s+[^\s\\\"',;]+", _KEPT),
    (rf"(?i)(\bcookie{_IS}{_QUOTES})(?!\[redacted\])[^\s;\"'}}]+(?:;\s*[^\s;\"'}}]+)*", _KEPT),
    (rf"(?i)((?:\b|_)auth{_IS})\([^()\n]{{1,512}}\)", _KEPT),
    (rf"(?i)({_BEGINS}{_NAMES}{_IS}([\"']))(?:(?!\2)[^\n\\]|\\.){{1,512}}(?=\2)", _KEPT),
    # `password=hunter2` in a message or a connection string; a bare number is a parameter.
    (
        rf"(?i)({_BEGINS}{_NAMES}{_IS}{_QUOTES})"
        r"(?![\d.]+(?:[\s\"',;&)\]}]|\Z))(?:[^\s\"',;&)\]}\[\\]|\\(?![\"']))+",
        _KEPT,
    ),
)
# For the search, o, r, s and u become p, so that one trigger stands for several (gh[oprsu]_);
# triggers are folded the same way, so this can only find too much.
_FOLDED = bytes.maketrans(bytes(range(65, 91)) + b"orsu", bytes(range(97, 123)) + b"pppp").translate(
    bytes.maketrans(b"orsu", b"pppp")
)
# Every key and look above holds one of these, in lower case; a look with `=` holds that.
_TRIGGERS: tuple[str, ...] = (
    *("pass", "pwd", "secret", "token", "key", "credential", "auth", "bearer", "cookie", "connection"),
    *("akia", "asia", "eyj", "-----b", "ghp_", "thub_pat", "glpat-", "xox", "k_live_", "k_test_", "sk-"),
    *("aiza", "hf_", "@", "="),
)
# One character is found ten times as fast as a word: without it these words need no search.
_GATES = {"xox": "-", "bearer": "b", "connection": "c", "credential": "c", "cookie": "k", "eyj": "j"}
_GATES |= {"aiza": "z", "akia": "k", "key": "k", "pwd": "w", "token": "k"}


_REMEMBERED_BYTES = 1024
_REMEMBERED_TEXTS = 1024


def _folded(text: bytes) -> str:
    # As text, since `in` costs a third of what it costs on bytes.
    return text.translate(_FOLDED).decode("latin-1")


def _gated(triggers: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The triggers, folded, by a character without which none of them can occur."""
    groups: dict[str, list[str]] = {}
    for trigger in triggers:
        gate = next((gate for gate in ("-", "_") if gate in trigger), _GATES.get(trigger, ""))
        groups.setdefault(gate, []).append(_folded(trigger.encode()))
    return tuple((gate, tuple(group)) for gate, group in groups.items())


_UNTOUCHED = frozenset(
    {"time", "run", "parent", "root", "emission", "id", "emitter_id", "adopted_from", "type"}
    | {"version", "previous_version", "production", "digest", "source_digest", "git_commit"}
)


class Redactor:
    """Takes secrets out of events; safe to call from several threads."""

    def __init__(self, rules: RedactionRules | None = None) -> None:
        rules = rules or RedactionRules()
        own_keys = tuple(words for key in rules.keys if (words := _words(key)))
        self._keys = _KEYS + own_keys
        self._rules = rules
        self._compiled: list[tuple[re.Pattern[str], str]] = []
        self._triggers = _gated((*_TRIGGERS, *(max(words, key=len) for words in own_keys)))
        # What an own pattern needs to find is not known, and a trigger is folded in ASCII alone;
        # every event is looked through then.
        self._always = bool(rules.patterns) or not all(word.isascii() for key in own_keys for word in key)
        self._verdict = lru_cache(maxsize=4096)(self._judged)
        self._harmless: set[bytes] = set()

    def redact(self, event: E) -> E:
        """`event` without its secrets; the same object when it has none that we know of."""
        if not self._always and not self._suspicious(event):
            return event
        clean: E = self._cleaned(event)
        return clean

    def text(self, text: str) -> str:
        """`text` without what looks like a secret."""
        for pattern, with_ in self._compiled or self._looks():
            text = pattern.sub(with_, text)
        return text

    def entry(self, key: str, value: Any) -> Any:
        """What stands under `key` in a document, without secrets; the same object when it has none."""
        return self._entry(key, value)

    def is_secret(self, key: object) -> bool:
        """Whether `key` names a secret."""
        return isinstance(key, str) and self._verdict(key) > 0

    def _looks(self) -> list[tuple[re.Pattern[str], str]]:
        # Compiled when first needed: most processes never meet anything suspicious.
        own = [(pattern, REDACTED) for pattern in self._rules.patterns]
        self._compiled = [(re.compile(pattern), with_) for pattern, with_ in (*_LOOKS, *own)]
        return self._compiled

    def _suspicious(self, event: Event) -> bool:
        """Whether any trigger occurs in the texts of an event that a user supplied."""
        texts = _TEXTS.get(type(event))
        try:
            supplied = orjson.dumps(event if texts is None else texts(event), option=_OPTIONS)
        except TypeError:
            # A lone surrogate, a wide integer: rare enough to be looked through.
            return True
        if texts is None:
            return self._triggered(supplied)
        # A step in a loop says the same names and properties again and again.
        if supplied in self._harmless:
            return False
        if self._triggered(supplied):
            return True
        if len(supplied) <= _REMEMBERED_BYTES:
            if len(self._harmless) >= _REMEMBERED_TEXTS:
                self._harmless.clear()
            self._harmless.add(supplied)
        return False

    def _triggered(self, supplied: bytes) -> bool:
        written = _folded(supplied)
        for gate, triggers in self._triggers:
            if gate in written:
                for trigger in triggers:  # a generator would cost as much as the search
                    if trigger in written:
                        return True
        return False

    def _cleaned(self, fact: Any) -> Any:
        """A copy of a frozen fact, field by field."""
        changed = {}
        for field in dataclasses.fields(fact):
            value = getattr(fact, field.name)
            if field.name in _UNTOUCHED or value is None:
                continue
            clean = self._value(value)
            if clean is not value:
                changed[field.name] = clean
        return dataclasses.replace(fact, **changed) if changed else fact

    def _value(self, value: Any) -> Any:
        """`value` with the secrets in it replaced; the same object when there are none."""
        if isinstance(value, str):
            clean = self.text(value)
            return value if clean == value else clean
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list | tuple):
            items = [self._value(item) for item in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return type(value)(items)
        return self._cleaned(value) if dataclasses.is_dataclass(value) else value

    def _mapping(self, value: Mapping[Any, Any]) -> Mapping[Any, Any]:
        clean = {key: self._entry(key, item) for key, item in value.items()}
        return value if all(clean[key] is item for key, item in value.items()) else clean

    def _entry(self, key: Any, value: Any) -> Any:
        verdict = self._verdict(key) if isinstance(key, str) else 0
        if verdict == 0:
            return self._value(value)
        if verdict == 2 and isinstance(value, int | float) and not isinstance(value, bool):
            return REDACTED
        return _blanked(value)

    def _judged(self, key: str) -> int:
        """0: an ordinary key; 1: a secret's; 2: a secret's, and nothing but its name."""
        words = tuple(map(_as_secret, _words(key)))
        for wanted in self._keys:
            for start in range(len(words) - len(wanted) + 1):
                if words[start : start + len(wanted)] == wanted and not _harmless(words, start):
                    return 2 if len(words) == len(wanted) else 1
        return 0


def _blanked(value: Any) -> Any:
    """Every text in `value` replaced, at any depth."""
    if isinstance(value, str):
        return REDACTED
    if isinstance(value, Mapping):
        return {key: _blanked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_blanked(item) for item in value)
    return value


def _words(key: str) -> Words:
    return tuple(word.lower() for word in _WORD.findall(key))


def _as_secret(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending):
            return ending
    return word


def _harmless(words: Words, at: int) -> bool:
    """A model's token; auth_type and auth_url, which are about the secret and not it."""
    if words[at] == "auth":
        return at + 1 < len(words)
    if words[at] != "token":
        return False
    before, after = words[at - 1 : at] if at else (), words[at + 1 : at + 2]
    return bool(_BEFORE_TOKEN.intersection(before) or _AFTER_TOKEN.intersection(after))


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_asset_texts = attrgetter(
    *("namespace", "name", "location", "tags", "properties", "owner", "description"),
    *("symlinks", "details", "extraction_error", "parents", "format"),
)


def _created_texts(event: AssetCreated) -> Iterable[Any]:
    # A dataclass costs orjson ten times a text, and a column is nearly always just its name.
    asset = event.asset
    names = [c if c.description or c.fields else c.name for c in asset.columns]
    if asset.column_metrics:
        metrics = orjson.dumps(asset.column_metrics, option=_OPTIONS)
        # Nearly always these are numbers; they take two searches then instead of one for each trigger.
        if b':"' in metrics or b'["' in metrics:
            return (*_asset_texts(asset), names, asset.column_metrics)
    return (*_asset_texts(asset), names)


# What a user can have written into the most frequent events; of all others, the whole event is searched.
_TEXTS: dict[type, Callable[[Any], Any]] = {
    AssetCreated: _created_texts,
    AssetConsumed: attrgetter("asset.namespace", "asset.name", "argument"),
    MetricsLogged: lambda event: [point.key for point in event.points],
    RunClosed: attrgetter("events"),
}
