"""What a person decided about this project: headwater.yaml, overruled by the environment.

    project: crm
    log: ${HEADWATER_LOG:-.headwater/log}      # a folder on a local file system, or kafka://host:9092/topic
    store: sqlite:///.headwater/lineage.db     # the consumers' business, kept as it is
    mode: spool                                # memory | spool | spool+fsync | sync
    profile: default                           # prod, regulated: see docs/reference/configuration.md
    adopt: true                                # close what dead processes left open
    verify_inputs: off                         # sampled | full: find inputs changed in place
    raw_values: [country]                      # columns whose values may appear in metadata
    spool:  {max_bytes: 10 GiB, segment_bytes: 64 MiB, folder: .headwater/spool}
    drain_on_exit_s: 5                         # how long a process that ends waits for Kafka
    sync_timeout_s: 10                         # how long mode `sync` waits for it
    redact: {keys: [patient_id], patterns: ['\\bMRN-\\d{8}\\b']}

The file is $HEADWATER_CONFIG, else the nearest headwater.yaml upward of the working
folder, else there is none. A relative `log` is relative to its file. Values may hold
`${VAR}` and `${VAR:-default}` (`$$` is a dollar). Everything that is not listed above
(stacks, kafka, …) is kept in `document`. A variable that is not set is an error only where the
emitter needs it; any other text stays as it was written, and `require` names the variable to whoever
needs that text. Nothing here is created or opened for writing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from headwater.emitter.topic import SCHEME, Topic, is_topic, topic_of
from headwater.schemas.errors import Misconfigured, shown

FILE_NAME = "headwater.yaml"
MODES = ("memory", "spool", "spool+fsync", "sync")
PROFILES = ("default", "prod", "regulated")
DRAIN_ON_EXIT_S = 5.0
SYNC_TIMEOUT_S = 10.0
VERIFY_INPUTS = ("off", "sampled", "full")

_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)?\Z")
_UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_LEAST_SEGMENT_BYTES = 4096
# What the emitter itself needs; `store` and all else is for others, who may not run here.
_OWN = frozenset(
    {
        *("project", "log", "mode", "profile", "adopt", "verify_inputs", "raw_values", "spool", "redact"),
        *("drain_on_exit_s", "sync_timeout_s"),
    }
)
# Below these, what others decide over the file counts key by key.
_SECTIONS = frozenset({"spool", "redact", "kafka"})
# Of a file that is no YAML, this line still says what was meant.
_REGULATED_LINE = re.compile(rb"(?m)^profile[ \t]*:[ \t]*[\"']?regulated\b")
_ENVIRONMENT = {
    "HEADWATER_PROJECT": ("project",),
    "HEADWATER_LOG": ("log",),
    "HEADWATER_STORE": ("store",),
    "HEADWATER_MODE": ("mode",),
    "HEADWATER_PROFILE": ("profile",),
    "HEADWATER_ADOPT": ("adopt",),
    "HEADWATER_VERIFY_INPUTS": ("verify_inputs",),
    "HEADWATER_SPOOL_MAX_BYTES": ("spool", "max_bytes"),
    "HEADWATER_SPOOL_SEGMENT_BYTES": ("spool", "segment_bytes"),
    "HEADWATER_SPOOL_FOLDER": ("spool", "folder"),
    "HEADWATER_DRAIN_ON_EXIT_S": ("drain_on_exit_s",),
    "HEADWATER_SYNC_TIMEOUT_S": ("sync_timeout_s",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """Sizes in bytes: of the whole folder of segments (0: no limit), and of one before the next begins."""

    max_bytes: int = 10 << 30
    segment_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionRules:
    """What to redact beyond what is always redacted: keys, as words, and regular expressions."""

    keys: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything decided, checked; `document` is the whole file, `source` where it was found.

    `log` is the folder that events are put into; where there is a `topic`, they go on from there.
    `unset` says which variable each text lacks that stayed as it was written, by its key.
    """

    project: str = "default"
    log: Path = Path(".headwater/log")
    topic: Topic | None = None
    store: str = field(default="sqlite:///.headwater/lineage.db", repr=False)  # it may hold a password
    mode: str = "spool"
    profile: str = "default"
    adopt: bool = True
    verify_inputs: str = "off"
    raw_values: tuple[str, ...] = ()
    spool: SpoolLimits = SpoolLimits()
    spool_folder: Path = Path(".headwater/spool")
    drain_on_exit_s: float = DRAIN_ON_EXIT_S
    sync_timeout_s: float = SYNC_TIMEOUT_S
    redact: RedactionRules = RedactionRules()
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold secrets
    source: Path | None = None
    unset: Mapping[str, str] = field(default_factory=dict)
    #: What was decided over the file and the environment, as it is written, and where it stands.
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    own_place: str = ""

    @property
    def log_url(self) -> str:
        """The log as its readers name it: the topic's URL, or the folder."""
        return str(self.log) if self.topic is None else self.topic.url

    def with_log(self, log: str | Path) -> Settings:
        """These settings for another log: a folder, or a topic's URL."""
        text = str(log)
        if not is_topic(text):
            _require_folder(text.removeprefix("file://"), "log")
            return replace(
                self, log=Path(text.removeprefix("file://")), topic=None, mode=_without_broker(self.mode)
            )
        topic = topic_of(text)
        return replace(self, log=_spool_of(self.spool_folder, topic), topic=topic)

    def require(self, key: str) -> None:
        """Raises `Misconfigured` when a text at `key` (`stacks.prod`) or below it lacks a variable."""
        for place, name in self.unset.items():
            if place == key or place.startswith((f"{key}.", f"{key}[")):
                raise _is_not_set(f"{self.source}: {place}", name)


class _Failure(NamedTuple):
    """Why this process's settings could not be loaded, and in which surroundings."""

    surroundings: object
    error: Misconfigured
    profile: str


_failure: _Failure | None = None


def load(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
    """The settings that hold in `cwd`; raises `Misconfigured` naming the key, the value and the file.

    A failure of this process's own settings is raised again without reading the file anew, until
    the file, the environment or the working folder has changed.
    """
    global _failure
    if environ is not None or cwd is not None:
        return _load(os.environ if environ is None else environ, Path.cwd() if cwd is None else cwd)
    folder = Path.cwd()
    if (known := _failure) is not None and known.surroundings == _surroundings(folder):
        raise known.error.with_traceback(None)
    try:
        return _load(os.environ, folder)
    except Misconfigured as error:
        _failure = _Failure(_surroundings(folder), error, _stated_profile(os.environ, folder))
        raise


def load_over(own: Mapping[str, Any], place: str) -> Settings:
    """The settings that hold here, with `own` before the environment and the file.

    What `own` has below `spool`, `redact` and `kafka` counts key by key. `place` is where `own` stands; its
    texts may hold variables, all of which must be set, and a relative folder in it is relative to the
    working folder.
    """
    load()  # what is wrong in the file is told by the file's name
    own = {key: value for key, value in own.items() if value is not None}
    filled = {key: _Interpolation(place, os.environ).value(value, key) for key, value in own.items()}
    variables = {
        name: text for name, text in os.environ.items() if not _states(filled, _ENVIRONMENT.get(name, ()))
    }
    folder = Path.cwd()
    found = _load(variables, folder)
    document = {**found.document, **_over(found.document, filled, place)}
    decided = _decided(_Checked(document, place, variables), folder, folder)
    spool = decided.spool_folder if _states(filled, ("spool", "folder")) else found.spool_folder
    topic = decided.topic if "log" in filled else found.topic
    log = decided.log if "log" in filled else found.log
    return replace(
        decided,
        log=log if topic is None else _spool_of(spool, topic),
        topic=topic,
        spool_folder=spool,
        document=document,
        source=found.source,
        unset={key: name for key, name in found.unset.items() if not _states(filled, key.split(".", 1))},
        own=dict(own),
        own_place=place,
    )


def _states(own: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether `own` says what holds at `path`: a key, or a section and one of its keys, with dots or not."""
    if not path or path[0] not in own:
        return False
    section = own[path[0]]
    if path[0] not in _SECTIONS or not isinstance(section, Mapping):
        return True
    return len(path) > 1 and path[1] in section


def _over(document: Mapping[str, Any], own: Mapping[str, Any], place: str) -> dict[str, Any]:
    """`own`, its sections with what the document has beside."""
    merged = dict(own)
    for name in _SECTIONS & own.keys():
        section, beside = own[name], document.get(name)
        if not isinstance(section, Mapping):
            raise Misconfigured(f"{place}: {name} must be a mapping, not {shown(section)}")
        merged[name] = {**(beside if isinstance(beside, Mapping) else {}), **section}
    return merged


def stated_profile(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """The profile that was asked for, however wrong the rest of the settings is; never raises."""
    variables = os.environ if environ is None else environ
    if stated := variables.get("HEADWATER_PROFILE"):
        return stated.strip().lower()
    try:
        folder = Path.cwd() if cwd is None else cwd
        known = _failure if environ is None and cwd is None else None
        if known is not None and known.surroundings == _surroundings(folder):
            return known.profile
        return _stated_profile(variables, folder)
    except OSError:  # a working folder that is gone: no file can state anything
        return PROFILES[0]


def _stated_profile(variables: Mapping[str, str], folder: Path) -> str:
    if stated := variables.get("HEADWATER_PROFILE"):
        return stated.strip().lower()
    try:
        source = _find(variables, folder)
        if source is None:
            return PROFILES[0]
        stated = parsed(source).get("profile", PROFILES[0])
        return str(_Interpolation(source, variables).value(stated, "profile")).strip().lower()
    except Misconfigured:
        return _profile_line(variables, folder)


def _profile_line(variables: Mapping[str, str], folder: Path) -> str:
    try:
        source = _find(variables, folder)
        found = source is not None and _REGULATED_LINE.search(source.read_bytes())
    except (Misconfigured, OSError):
        return PROFILES[0]
    return "regulated" if found else PROFILES[0]


def _surroundings(folder: Path) -> object:
    """Everything that decides whether the same settings fail in the same way; cheap beside reading them."""
    variables = dict(os.environ)
    try:
        source = _find(variables, folder)
        facts = source.stat() if source else None
    except (Misconfigured, OSError):
        source, facts = None, None
    return folder, variables, source, facts and (facts.st_mtime_ns, facts.st_size, facts.st_ino)


def _load(variables: Mapping[str, str], folder: Path) -> Settings:
    source = _find(variables, folder)
    unset: dict[str, str] = {}
    document = {} if source is None else _read(source, variables, unset)
    checked = _Checked(document, str(source) if source else "the defaults", variables)
    base = folder if source is None else source.parent
    return replace(_decided(checked, base, folder), document=document, source=source, unset=unset)


def _decided(checked: _Checked, base: Path, cwd: Path) -> Settings:
    """All keys, each told by its place where it is wrong; relative folders of the document are in `base`."""
    spool = _spool_folder(checked, base, cwd)
    log, topic = _log(checked, cwd if checked.is_overridden("log") else base, spool)
    return Settings(
        project=checked.text("project", "default"),
        log=log,
        topic=topic,
        store=checked.text("store", "sqlite:///.headwater/lineage.db"),
        mode=_mode(checked, topic),
        profile=checked.one_of("profile", PROFILES),
        adopt=checked.flag("adopt", default=True),
        verify_inputs=checked.one_of("verify_inputs", VERIFY_INPUTS),
        raw_values=checked.texts("raw_values"),
        spool=_limits(checked),
        spool_folder=spool,
        drain_on_exit_s=checked.seconds("drain_on_exit_s", DRAIN_ON_EXIT_S),
        sync_timeout_s=checked.seconds("sync_timeout_s", SYNC_TIMEOUT_S),
        redact=_rules(checked),
    )


def _find(variables: Mapping[str, str], folder: Path) -> Path | None:
    named = variables.get("HEADWATER_CONFIG")
    if named:
        path = folder / named
        if not path.is_file():
            raise Misconfigured(f"HEADWATER_CONFIG: there is no file {named}", remedy="correct or unset it")
        return path
    for above in (folder, *folder.parents):
        if (above / FILE_NAME).is_file():
            return above / FILE_NAME
    return None


def parsed(source: Path) -> dict[str, Any]:
    """The file as it is written, variables and all."""
    import yaml  # most processes have no file to read, and this import costs them 20 ms

    try:
        document = yaml.safe_load(source.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{source} is no YAML: {error}") from error
    except OSError as error:
        raise Misconfigured(f"{source} cannot be read: {error.strerror}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Misconfigured(f"{source}: the document must be a mapping, not {shown(document)}")
    return {str(key): value for key, value in document.items()}


def _read(source: Path, variables: Mapping[str, str], unset: dict[str, str]) -> dict[str, Any]:
    """The file with its variables filled in; what others' texts lack goes into `unset`."""
    own, others = _Interpolation(source, variables), _Interpolation(source, variables, unset)
    return {key: (own if key in _OWN else others).value(value, key) for key, value in parsed(source).items()}


def _is_not_set(place: str, name: str) -> Misconfigured:
    return Misconfigured(
        f"{place}: the variable {name} is not set", remedy=f"set it, or write ${{{name}:-default}}"
    )


class _Interpolation:
    """Fills variables into every text at any depth.

    A text that lacks a variable raises `Misconfigured`, or stays as it is and is noted in `unset`.
    """

    def __init__(
        self, source: Path | str, variables: Mapping[str, str], unset: dict[str, str] | None = None
    ) -> None:
        self._source = source
        self._variables = variables
        self._unset = unset

    def value(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {k: self.value(v, f"{key}.{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self.value(v, f"{key}[{i}]") for i, v in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            return _VARIABLE.sub(self._filled, value)
        except KeyError as missing:
            name = str(missing.args[0])
            if self._unset is None:
                raise _is_not_set(f"{self._source}: {key}", name) from None
            self._unset[key] = name
            return value

    def _filled(self, match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "$"
        found = self._variables.get(name)
        if not found and default is not None:
            return str(default)
        return self._variables[name]


class _Checked:
    """Reads values of the emitter's own keys, the environment first, and names the place of a wrong one."""

    def __init__(self, document: Mapping[str, Any], place: str, variables: Mapping[str, str]) -> None:
        self._document = document
        self._place = place
        self._overrides = {
            path: (name, variables[name]) for name, path in _ENVIRONMENT.items() if variables.get(name)
        }

    def value(self, *path: str) -> tuple[Any, str]:
        """The value at `path` or None, and the place to name when it is wrong."""
        if path in self._overrides:
            name, text = self._overrides[path]
            return text, f"environment variable {name}"
        found: Any = self._document
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found, f"{self._place}: {'.'.join(path)}"

    def is_overridden(self, *path: str) -> bool:
        """Whether the environment says what holds."""
        return path in self._overrides

    def section(self, name: str, allowed: tuple[str, ...]) -> None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise Misconfigured(f"{self._place}: {name} must be a mapping, not {shown(value)}")
        for key in value or ():
            if key not in allowed:
                raise Misconfigured(
                    f"{self._place}: {name}.{key} is no setting", remedy=f"known: {', '.join(allowed)}"
                )

    def text(self, key: str, default: str) -> str:
        value, place = self.value(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            _wrong(place, value, "a text that is not empty")
        return value

    def texts(self, *path: str) -> tuple[str, ...]:
        value, place = self.value(*path)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            _wrong(place, value, "a list of texts")
        return tuple(value)

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value, place = self.value(key)
        if value is None:
            return allowed[0]
        # YAML 1.1 reads a bare `off` as false.
        text = "off" if value is False else value
        if text not in allowed:
            _wrong(place, value, f"one of {', '.join(allowed)}")
        return str(text)

    def flag(self, key: str, *, default: bool) -> bool:
        value, place = self.value(key)
        if value is None:
            return default
        spelled = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
        if spelled is None:
            _wrong(place, value, "true or false")
        return spelled

    def seconds(self, key: str, default: float) -> float:
        value, place = self.value(key)
        if value is None:
            return default
        try:
            seconds = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            _wrong(place, value, "a number of seconds such as 5 or 0.5")
        return seconds

    def size(self, *path: str, default: int, least: int) -> int:
        value, place = self.value(*path)
        if value is None:
            return default
        match = None if isinstance(value, bool) else _SIZE.match(str(value).strip())
        if match is None:
            _wrong(place, value, "a number of bytes such as 1048576 or 64 MiB")
        size = int(match[1]) << _UNITS[match[2] or "B"]
        if size < least:
            _wrong(place, value, f"at least {least} bytes")
        return size


def _wrong(place: str, value: object, rule: str) -> NoReturn:
    raise Misconfigured(f"{place}: {shown(value)} is not {rule}")


def _mode(checked: _Checked, topic: Topic | None) -> str:
    value, place = checked.value("mode")
    mode = "spool" if value is None else checked.one_of("mode", MODES)
    if mode == "sync" and topic is None:
        raise Misconfigured(
            f"{place}: `sync` waits for a Kafka broker's answer, and the log is a folder",
            remedy="name a topic in `log` (kafka://host:9092/topic), or use spool+fsync",
        )
    return mode


def _without_broker(mode: str) -> str:
    """What comes nearest to a mode where there is no broker to wait for."""
    return "spool+fsync" if mode == "sync" else mode


def _log(checked: _Checked, home: Path, spool: Path) -> tuple[Path, Topic | None]:
    """The folder that events are put into, and the topic that they go on to."""
    place = checked.value("log")[1]
    text = checked.text("log", ".headwater/log")
    if is_topic(text):
        topic = topic_of(text, place)
        return _spool_of(spool, topic), topic
    path = text.removeprefix("file://")
    _require_folder(path, place)
    return home / Path(path).expanduser(), None


def _require_folder(path: str, place: str) -> None:
    if "://" in path:
        raise Misconfigured(
            f"{place}: a log at {path.partition('://')[0]}:// is not supported by this version",
            remedy=f"use a folder on a local file system, such as .headwater/log, or {SCHEME}host:9092/topic",
        )


def _spool_of(folder: Path, topic: Topic) -> Path:
    """Each topic has a folder of its own: what was meant for one must not go to another."""
    return folder / topic.names[0]


def _spool_folder(checked: _Checked, home: Path, cwd: Path) -> Path:
    value, place = checked.value("spool", "folder")
    if value is None:
        return home / ".headwater/spool"
    if not isinstance(value, str) or not value.strip() or "://" in value:
        _wrong(place, value, "a folder on a local file system")
    return (cwd if place.startswith("environment") else home) / Path(value).expanduser()


def _limits(checked: _Checked) -> SpoolLimits:
    checked.section("spool", ("max_bytes", "segment_bytes", "folder"))
    return SpoolLimits(
        max_bytes=checked.size("spool", "max_bytes", default=SpoolLimits().max_bytes, least=0),
        segment_bytes=checked.size(
            "spool", "segment_bytes", default=SpoolLimits().segment_bytes, least=_LEAST_SEGMENT_BYTES
        ),
    )


def _rules(checked: _Checked) -> RedactionRules:
    checked.section("redact", ("keys", "patterns"))
    patterns = checked.texts("redact", "patterns")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            place = checked.value("redact", "patterns")[1]
            raise Misconfigured(f"{place}: {shown(pattern)} is no regular expression: {error}") from error
    keys, place = checked.texts("redact", "keys"), checked.value("redact", "keys")[1]
    for key in keys:
        if not any(character.isalnum() for character in key):
            _wrong(place, key, "a key with a letter or a digit in it")
    return RedactionRules(keys=keys, patterns=patterns)
