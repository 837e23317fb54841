"""Segments on their way out: what of them was sent, and how far everything was acknowledged.

Frames leave in batches, in order. A batch is done when every record of it was acknowledged; records
of different partitions are acknowledged in any order, so what counts is the unbroken run of done
batches from the start: `Outgoing.delivered`. Nothing here sends, waits or writes.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headwater.emitter.acks import acknowledged
from headwater.emitter.claims import Claim
from headwater.schemas.errors import Corrupt, HeadwaterError, Retryable
from headwater.schemas.segment import FRAME_HEADER_BYTES, Frame, SegmentReader, read_seal

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from headwater.emitter.topic_writer import TopicWriter


class Tally:
    """How many records were sent and not answered for, and their bytes."""

    __slots__ = ("records", "size")

    def __init__(self) -> None:
        self.records = self.size = 0


class Batch:
    """Records that were sent together, and how many of them the broker has not answered for."""

    __slots__ = ("_writer", "byte", "count", "end", "left", "size")

    def __init__(self, writer: TopicWriter) -> None:
        self.count = self.left = self.size = self.end = self.byte = 0
        self._writer = writer

    def sent(self, frame: Frame) -> None:
        """One more record is on its way."""
        self.left += 1
        self.handled(frame)

    def handled(self, frame: Frame) -> None:
        """One more frame belongs to it."""
        self.count += 1
        self.size += len(frame.value)
        self.end, self.byte = frame.offset + 1, frame.end

    def told(self, error: KafkaError | None, message: Message) -> None:
        """What became of one record."""
        if error is None:
            self.left -= 1
        elif self._writer.failure is None or not error.name().startswith("_PURGE"):
            # What is given up because of another record's failure says nothing about the cause.
            self._writer.failed(error, message)


class Outgoing:
    """One segment being delivered.

    `delivered` frames from the first are safe elsewhere, `written` of them according to the
    file beside the segment. `out` tells what is on its way, here and in the emitter's other segments.
    """

    def __init__(self, path: Path, out: Tally) -> None:
        self.path = path
        self.out = out
        self.segment_id = path.stem
        self.delivered = self.written = acknowledged(path)
        self.batches: deque[Batch] = deque()
        self._byte = 0
        self._reader: SegmentReader | None = None

    @property
    def complete(self) -> bool:
        """Whether all that will ever be in it was delivered."""
        reader = self._reader
        return reader is not None and reader.sealed and self.delivered >= reader.offset

    @property
    def in_sight(self) -> bool:
        """Whether what was read last is the file of that name, so that its end is its end."""
        return self._reader is not None

    def read(self, frames: int, size: int) -> list[Frame]:
        """The next frames to send; [] when there are none now. Raises what `SegmentReader` does."""
        reader = self._reader or self._opened()
        try:
            found = reader.read(max_frames=frames, max_bytes=size)
        except Corrupt as damage:
            # A writer that could not flush took back its last frame, which had left already.
            if damage.found.startswith("were read"):
                return []
            raise
        if not found and not reader.sealed and reader.deleted:
            self.rewind()
        return found

    def unread(self, frame: Frame) -> None:
        """Read on from this frame, which was read and not sent."""
        if self._reader is not None:
            self._reader.offset = frame.offset
            self._reader.byte = frame.end - len(frame.value) - FRAME_HEADER_BYTES

    def _opened(self) -> SegmentReader:
        if self._byte:
            reader = SegmentReader(self.path, offset=self.delivered, byte=self._byte)
        else:
            reader = SegmentReader(self.path)
            while reader.offset < self.delivered and reader.read(
                max_frames=min(2_000, self.delivered - reader.offset)
            ):
                continue
            # Power loss may take frames that had been delivered; others will stand at their numbers.
            self.delivered = min(self.delivered, reader.offset)
        self._reader = reader
        return reader

    def sent(self, batch: Batch) -> None:
        """The next frames are on their way."""
        self.batches.append(batch)
        self.out.records += batch.count
        self.out.size += batch.size

    def settle(self) -> int:
        """Take what is done off the line; how many records that were."""
        records = 0
        while self.batches and not self.batches[0].left:
            batch = self._taken_off()
            self.delivered, self._byte = batch.end, batch.byte
            records += batch.count
        return records

    def _taken_off(self) -> Batch:
        batch = self.batches.popleft()
        self.out.records -= batch.count
        self.out.size -= batch.size
        return batch

    def rewind(self) -> None:
        """Forget what was sent and not acknowledged: it is sent again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        while self.batches:
            self._taken_off()

    def skip(self, frame: Frame) -> None:
        """Count a frame as handled that was not sent; only for the first that is not delivered."""
        self.delivered, self._byte = frame.offset + 1, frame.end
        self.rewind()


class Stream:
    """One emitter's segments, in order, while this process has the right to deliver them."""

    def __init__(self, emitter_id: str, claim: Claim) -> None:
        self.emitter_id = emitter_id
        self.claim = claim
        self.segments: list[Outgoing] = []
        self.out = Tally()
        self._known: set[Path] = set()

    def add(self, path: Path) -> None:
        """A segment of this emitter that is not known yet; ids ascend, so it is mostly the last."""
        if path in self._known:
            return
        self.segments.append(Outgoing(path, self.out))
        self._known.add(path)
        self.segments.sort(key=lambda one: one.segment_id)

    def lost(self, segment: Outgoing) -> None:
        """The file is gone; under the same name it would be looked at anew."""
        segment.rewind()
        self.segments.remove(segment)
        self._known.discard(segment.path)

    def finished(self) -> list[Outgoing]:
        """Take the segments off that are delivered in full."""
        done = [segment for segment in self.segments if segment.complete]
        if done:
            self.segments = [segment for segment in self.segments if not segment.complete]
            for segment in done:
                segment.rewind()
        return done


def is_delivered(path: Path) -> bool:
    """Whether nothing of the segment is left to deliver, or it is gone; raises what `acknowledged` does."""
    try:
        seal = read_seal(path)
        return seal is not None and acknowledged(path) >= seal.frames
    except FileNotFoundError:
        return True


class Waiting(NamedTuple):
    """How many events of a segment are not known to be delivered, as far as it can be read.

    With a `problem` there may be more, and a person has to see to it.
    """

    events: int
    problem: HeadwaterError | None = None


def waiting(path: Path) -> Waiting:
    """What of a segment is left to deliver; nothing when it is gone. Raises `OSError`."""
    problem: HeadwaterError | None = None
    acked = 0
    try:
        acked = acknowledged(path)
    except HeadwaterError as unreadable:
        problem = unreadable
    try:
        seal = read_seal(path)
        if seal is not None:
            return Waiting(max(0, seal.frames - acked), problem)
        with SegmentReader(path) as reader:
            try:
                while reader.read():
                    continue
            except Corrupt as damage:
                problem = problem or damage
            return Waiting(max(0, reader.offset - acked), problem)
    except FileNotFoundError:
        return Waiting(0)
    except Retryable:
        return Waiting(0)  # begun, and without a header yet
    except HeadwaterError as unreadable:
        return Waiting(0, unreadable)
