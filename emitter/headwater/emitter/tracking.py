"""Which assets this process knows by their objects, so that passing one on is enough.

An object that can be weakly referenced is recognised by identity: an entry counts only
while its reference still leads to the very object, so a reused `id()` never does. What
cannot be (a dict, a list) is recognised by its content and by being the very object; a copy
of it only within its pipeline. A path is recognised by its file or folder. Entries of
the first kind vanish with their object; the others are bounded, and hold no value of more than
`SMALL_NODES` nodes. Safe to use from several threads and after a fork.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from headwater.schemas import events
from headwater.schemas.events import AssetRef

Verification: TypeAlias = Literal["off", "sampled", "full"]

MAX_VALUES = 4_096
MAX_NAMES = 16_384
# Objects of equal content that are told apart.
MAX_EQUAL = 4
# A value up to this size may equal another by coincidence, and is held so that its id is not reused.
SMALL_NODES = 256
SMALL_TEXT = 4_096
# A folder of more files is not recognised.
MAX_FILES = 100_000

_ValueKey: TypeAlias = tuple[str, str, int, str]
_Signature: TypeAlias = tuple[int, int, int] | bytes


@dataclass(slots=True)
class Known:
    """What is known of one object: the version it was last recorded as."""

    ref: AssetRef
    record: events.Asset
    fingerprint: tuple[Verification, str] | None = None


class _Value(NamedTuple):
    """A dict or list by its id, held where it is small, and what is known of it."""

    id: int
    held: object
    known: Known


class _Watch:
    """A weak reference to an object and what is known of it, filed under `key`."""

    __slots__ = ("key", "known", "ref")

    def __init__(self, obj: object, forget: Callable[[int, weakref.ref[object]], None], known: Known) -> None:
        self.key = key = id(obj)
        self.known = known
        self.ref: weakref.ref[object] = weakref.ref(obj, lambda gone: forget(key, gone))


class Tracker:
    """The objects of one process. Steps share one, `tracker`; tests may have their own."""

    def __init__(self) -> None:
        self._objects: dict[int, _Watch] = {}
        self._values: OrderedDict[_ValueKey, tuple[_Value, ...]] = OrderedDict()
        self._shapes: dict[tuple[str, str, int], int] = {}
        self._files: OrderedDict[str, tuple[_Signature, Known]] = OrderedDict()
        self._latest: OrderedDict[tuple[str, str], str] = OrderedDict()
        self.verifying = threading.RLock()
        os.register_at_fork(after_in_child=self._after_fork)

    def remember(self, obj: object, known: Known) -> bool:
        """Files `obj`; False when it cannot be weakly referenced."""
        try:
            watch = _Watch(obj, self._forget, known)
        except TypeError:
            return False
        self._objects[watch.key] = watch
        return True

    def recall(self, obj: object) -> Known | None:
        """What is known of this very object."""
        watch = self._objects.get(id(obj))
        return watch.known if watch is not None and watch.ref() is obj else None

    def remember_value(
        self, scope: str, value: dict[str, object] | list[object], known: Known, version: str | None = None
    ) -> None:
        """Files a value that cannot be weakly referenced under its content, within the run tree `scope`.

        `version` is that content's digest where the caller has it already.
        """
        key = _value_key(scope, value, version)
        if key is None:
            return
        if key not in self._values:
            self._shapes[key[:3]] = self._shapes.get(key[:3], 0) + 1
        filed = _Value(id(value), value if _is_small(value) else None, known)
        others = [other for other in self._values.pop(key, ()) if other.id != filed.id]
        self._values[key] = (*others[1 - MAX_EQUAL :], filed)
        while len(self._values) > MAX_VALUES:
            oldest, _ = self._values.popitem(last=False)
            if self._shapes.get(oldest[:3], 0) > 1:
                self._shapes[oldest[:3]] -= 1
            else:
                self._shapes.pop(oldest[:3], None)

    def recall_value(self, scope: str, value: dict[str, object] | list[object]) -> Known | None:
        """What is known of this object, or of its content, in the run tree `scope`; "" stands for no tree.

        In a tree an equal object counts as the one that was filed. Where several runs wrote
        that content it is not said by which, and nothing is known where the names differ, too.
        Digests only where a shape fits.
        """
        if not self._shapes.get((scope, type(value).__name__, len(value))):
            return None
        key = _value_key(scope, value)
        filed = () if key is None else self._values.get(key, ())
        same = [one.known for one in filed if one.id == id(value) and (one.held is None or one.held is value)]
        return same[0] if same else _agreed(filed) if scope else None

    def remember_file(self, path: os.PathLike[str], known: Known) -> None:
        """Files a path under the file's place, size and modification time."""
        signature = _signature(path)
        if signature is None:
            return
        self._files[os.path.abspath(os.fsdecode(path))] = (signature, known)
        while len(self._files) > MAX_VALUES:
            self._files.popitem(last=False)

    def recall_file(self, path: os.PathLike[str]) -> Known | None:
        """What is known of the file at `path`, unless it was written since."""
        signature, known = self._files.get(os.path.abspath(os.fsdecode(path)), (None, None))
        return known if signature is not None and signature == _signature(path) else None

    def supersede(self, namespace: str, name: str, version: str) -> str | None:
        """Notes the newest version of a name; returns the one before it when the content is another."""
        key = (namespace, name)
        before = self._latest.pop(key, None)
        self._latest[key] = version
        while len(self._latest) > MAX_NAMES:
            self._latest.popitem(last=False)
        return before if before != version else None

    def __len__(self) -> int:
        return len(self._objects)

    def _forget(self, key: int, gone: weakref.ref[object]) -> None:
        # The id may already belong to a new object with an entry of its own.
        watch = self._objects.get(key)
        if watch is not None and watch.ref is gone:
            del self._objects[key]

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it; that thread is not here.
        self.verifying = threading.RLock()


def _signature(path: os.PathLike[str]) -> _Signature | None:
    try:
        found = os.stat(path)
        return _folder(path) if stat.S_ISDIR(found.st_mode) else _stamp(found)
    except OSError:
        return None


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _folder(path: os.PathLike[str]) -> bytes | None:
    """A folder by all files below it: overwriting one in place leaves the folder's own times as they were."""
    digest, files = hashlib.sha256(), 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        files += len(names)
        if files > MAX_FILES:
            return None
        for name in sorted(names):
            place = os.path.join(folder, name)
            digest.update(f"{place!r} {_stamp(os.stat(place))}\n".encode())
    return digest.digest()


def _agreed(filed: tuple[_Value, ...]) -> Known | None:
    """What holds of all of `filed`: their production only if there is one."""
    if not filed:
        return None
    known = filed[-1].known
    if all(one.known.ref == known.ref for one in filed):
        return known
    if (
        len({(ref.namespace, ref.name, ref.version, ref.type) for ref in (one.known.ref for one in filed)})
        > 1
    ):
        return None
    return Known(replace(known.ref, production=None), known.record, known.fingerprint)


def _is_small(value: object) -> bool:
    waiting, nodes, text = [value], 0, 0
    while waiting:
        found = waiting.pop()
        nodes += 1
        if isinstance(found, (str, bytes)):
            text += len(found)
        elif isinstance(found, (dict, list, tuple)):
            if len(found) > SMALL_NODES:
                return False
            waiting.extend(found)
            waiting.extend(found.values() if isinstance(found, dict) else ())
        elif found is not None and not isinstance(found, (int, float)):
            return False
        if nodes + len(waiting) > SMALL_NODES or text > SMALL_TEXT:
            return False
    return True


def _value_key(
    scope: str, value: dict[str, object] | list[object], version: str | None = None
) -> _ValueKey | None:
    from headwater.schemas.canonical import Uncanonical, json_version

    try:
        return (scope, type(value).__name__, len(value), version or json_version(value))
    except (Uncanonical, RecursionError):
        return None


tracker = Tracker()
