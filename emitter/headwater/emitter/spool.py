"""The spool: this process's events, in segment files, the moment they are emitted.

`append` returns when the frame is in the file of this process: a crash of the process, a
signal or a fork cannot lose it any more. In mode `spool` a daemon thread calls fdatasync at
most every 500 ms, so that power loss costs at most that; in mode `spool+fsync` every append
waits for it. With a segment's first flush its folder is flushed, too: a file without a name is
lost. Each process owns one segment at a time, locked. The next segment begins at
`segment_bytes`; the one before is sealed by the same thread, or by `close`.

| what happens | what remains | who repairs |
|---|---|---|
| a write is short or fails | the frame is cut off, or the segment takes no more | the next append |
| the folder is deleted | the segment's bytes, in our open file | the thread, every 500 ms until it can |
| the process dies | a segment without seal, perhaps a torn tail | the next process adopts it |
| the folder reaches `max_bytes` | all that was kept; new events are refused | a person, or pruning |

Sequence, redaction and what happens on refusal are the business of `headwater.emitter.emitter`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from headwater.emitter.files import FileOperations, LocalFiles
from headwater.emitter.settings import SpoolLimits
from headwater.emitter.sinks import Position, SinkClosed, SpoolFull, Unwritable
from headwater.emitter.writer import SegmentWriter, created_us, now_us
from headwater.schemas.errors import HeadwaterError
from headwater.schemas.segment import HEADER_BYTES, SEAL_BYTES, SUFFIX, encode_frame

log = logging.getLogger("headwater.emitter")

FLUSH_INTERVAL_S = 0.5
MEASURE_INTERVAL_US = 1_000_000


class Spool:
    """An `EventSink` of segment files in `directory`, for one emitter in one process.

    Safe to call from several threads; not from a forked child, which needs a spool of its own.
    `first` runs once, after the first event is kept: the place to adopt what dead
    processes left.
    """

    def __init__(
        self,
        directory: Path,
        *,
        emitter_id: str,
        limits: SpoolLimits | None = None,
        fsync: bool = False,
        files: FileOperations | None = None,
        now: Callable[[], int] = now_us,
        first: Callable[[], None] | None = None,
    ) -> None:
        self.directory = directory
        self.emitter_id = emitter_id
        self._limits = limits or SpoolLimits()
        self._fsync = fsync
        self._files = files or LocalFiles()
        self._now = now
        self._first = first
        self._lock = threading.RLock()
        # Held while a file is flushed, sealed or closed, so that no descriptor goes away under fdatasync.
        self._upkeep = threading.Lock()
        self._segment: SegmentWriter | None = None
        self._limit = 0
        self._full = False
        self._retired: list[SegmentWriter] = []
        self._broken: list[SegmentWriter] = []
        self._others = 0
        self._measured_at = -MEASURE_INTERVAL_US
        self._last_id_at = created_us(emitter_id)
        self.kept = 0
        self._dirty = False
        self._restore_failed = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def path(self) -> Path | None:
        """The segment being appended to, when there is one."""
        return self._segment.path if self._segment else None

    def append(self, value: bytes) -> Position:
        """Keep one event; when it raises `SpoolFull`, `Unwritable` or `SinkClosed`, nothing is kept."""
        with self._lock:
            now = self._now()
            frame = encode_frame(value, now)
            segment = self._segment
            if segment is None or segment.broken or segment.size + len(frame) > self._limit:
                segment = self._room_for(len(frame), now)
            # `append` raises, or is interrupted after it kept the frame; the segment's count tells.
            before = segment.frames
            try:
                offset = segment.append(frame)
                if self._fsync:
                    self._sync_or_take_back(segment, len(frame))
            finally:
                self.kept += segment.frames - before
            if not self._dirty:
                self._mark_dirty()
            if self._first is not None:
                self._run_first()
            return Position(segment.segment_id, offset, now)

    def close(self) -> None:
        """Seal what is open; may be called twice. What cannot be sealed is left to an adopter."""
        with self._lock:
            self._closed = True
            self._retire()
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10 * FLUSH_INTERVAL_S)
        with self._upkeep:
            self._seal_retired()
            for segment in self._broken:
                segment.release()

    # -- which segment -------------------------------------------------------------------

    def _room_for(self, length: int, now: int) -> SegmentWriter:
        """A segment that takes `length` bytes more."""
        if self._closed:
            raise SinkClosed(f"the spool in {self.directory} is closed")
        segment = self._segment
        if segment is not None and self._is_done(segment, length):
            self._retire()
            segment = None
        self._check_capacity(length, now, segment)
        if segment is None:
            segment = self._begin(now)
        # One event longer than a segment gets a segment of its own.
        self._limit = max(segment.size + length, self._limits.segment_bytes)
        if self._limits.max_bytes:
            self._limit = min(self._limit, self._limits.max_bytes - self._others - SEAL_BYTES)
        return segment

    def _is_done(self, segment: SegmentWriter, length: int) -> bool:
        outgrown = segment.frames > 0 and segment.size + length > self._limits.segment_bytes
        return segment.broken or outgrown

    def _begin(self, now: int) -> SegmentWriter:
        self._last_id_at += 1_000
        self._segment = SegmentWriter.begin(
            self._files,
            self.directory,
            emitter_id=self.emitter_id,
            created_at=now,
            not_before=self._last_id_at,
        )
        self._last_id_at = created_us(self._segment.segment_id)
        return self._segment

    def _retire(self) -> None:
        """Take leave of the segment in use: it waits for its seal, or stays locked as it is."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        if segment.broken:
            # Its lock is kept, or an adopter would take this process for dead.
            self._broken.append(segment)
            log.error("segment_abandoned: %s", segment.path, extra={"frames": segment.frames})
            return
        self._retired.append(segment)
        self._others += segment.size + SEAL_BYTES
        self._mark_dirty()

    def _check_capacity(self, length: int, now: int, segment: SegmentWriter | None) -> None:
        if not self._limits.max_bytes:
            return
        needed = length + SEAL_BYTES + (segment.size if segment else HEADER_BYTES)
        # Measuring lists the folder: at most once a second, however many events are refused.
        if now - self._measured_at >= MEASURE_INTERVAL_US or now < self._measured_at:
            self._others = _size_of(self.directory, without=segment.path if segment else None)
            self._measured_at = now
        if self._others + needed > self._limits.max_bytes:
            raise SpoolFull(
                f"{self.directory} holds {self._others + needed - length} bytes of {self._limits.max_bytes}",
                remedy="raise spool.max_bytes in headwater.yaml, or move sealed segments elsewhere: "
                "docs/how-to/operate.md, When the log reaches its limit",
            )

    # -- durability ----------------------------------------------------------------------

    def _sync_or_take_back(self, segment: SegmentWriter, length: int) -> None:
        try:
            segment.sync()
        except Unwritable:
            segment.withdraw(length)
            raise

    def _mark_dirty(self) -> None:
        self._dirty = True
        if self._thread is None and not self._closed:
            self._thread = self._started()
        self._wake.set()

    def _started(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._keep_up, name="headwater-spool", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is shutting down; `close` does what the thread would have done.
            return None
        return thread

    def _keep_up(self) -> None:
        """The thread: after the first change, wait half a second, then make everything durable."""
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._stop.wait(FLUSH_INTERVAL_S):
                return
            self.flush()

    def flush(self) -> None:
        """Make durable what was appended, seal what was retired, restore what was deleted."""
        with self._upkeep:
            with self._lock:
                self._dirty = False
                segment = self._segment
                if segment is not None and not segment.broken:
                    self._restore_if_deleted(segment)
            try:
                if segment is not None and not segment.broken and not self._fsync:
                    segment.sync()
            except HeadwaterError as error:
                log.error("flush_failed: %s", error, extra={"segment": segment.segment_id if segment else ""})
            self._seal_retired()

    def _restore_if_deleted(self, segment: SegmentWriter) -> None:
        if not segment.deleted():
            return
        try:
            segment.restore()
        except HeadwaterError as error:
            # Tried again in half a second, and half a second later, as long as it takes; told once.
            self._mark_dirty()
            if not self._restore_failed:
                log.error("segment_not_restored: %s", error, extra={"frames": segment.frames})
            self._restore_failed = True
            return
        self._restore_failed = False
        log.error("segment_restored: %s had been deleted", segment.path, extra={"frames": segment.frames})

    def _seal_retired(self) -> None:
        while self._retired:
            segment = self._retired[0]
            try:
                if segment.deleted():
                    segment.restore()
                segment.seal(self._now())
            except (HeadwaterError, OSError) as error:
                self._broken.append(segment)
                log.error("segment_not_sealed: %s", error, extra={"segment": segment.segment_id})
            self._retired.pop(0)

    def _run_first(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first()


def _size_of(directory: Path, *, without: Path | None) -> int:
    """The bytes of all segments in the folder but one."""
    total = 0
    try:
        entries = list(os.scandir(directory))
    except OSError:
        # Absent, or no folder that we may list: beginning a segment in it says what is wrong.
        return 0
    for entry in entries:
        if entry.name.endswith(SUFFIX) and (without is None or entry.name != without.name):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total
