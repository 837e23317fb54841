"""From a spool to a topic: every event of a folder of segments, in each emitter's order, at least once.

`Drain.turn` does a bit of everything, in this order:

    look at the folder, claim what nobody delivers     crash here: the claim goes with the process
    send what was not sent                             records may be in the topic, and are not known to be
    hear what the broker acknowledged                  the same
    write down how far that goes (`.ack`)              crash before: what follows `.ack` is sent again
    remove segments that are sealed and delivered      crash before: the next one removes them

So a record may be in the topic twice after a kill, and readers count it once, by its event id. It is never
missing: nothing advances but on the broker's answer.

    broker away, no leader, too few replicas   waited for, for ever; one line when it begins, one when it ends
    one record can never be taken              kept aside (`headwater.emitter.parking`); its neighbours go on
    no record can be taken (rights, topic)     delivery halts, is tried again, and says what to do
    producer at its end                        another one goes on from what was acknowledged

What one emitter left cannot keep another's events back: each gets one batch in its turn, and while this
process emits by itself, its own come first, and a share of the line that no one else's fill. An emitter
with a file that cannot be read waits until that file is another one; all others go on.

Not its business: adopting what dead processes left open, and when to stop.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headwater.emitter.acks import acknowledge
from headwater.emitter.claims import Claim, claim
from headwater.emitter.outgoing import Batch, Outgoing, Stream, is_delivered, waiting
from headwater.emitter.parking import park
from headwater.emitter.pruning import prune
from headwater.emitter.setbacks import Setbacks
from headwater.emitter.topic_writer import Failure, Means, TopicWriter
from headwater.emitter.writer import now_us
from headwater.schemas.errors import Corrupt, HeadwaterError, Misconfigured, Retryable
from headwater.schemas.segment import Frame, SegmentReader, list_segments

log = logging.getLogger("headwater.emitter")

WINDOW_RECORDS = 20_000
WINDOW_BYTES = 32 << 20
# The part of it that others' events may take where a process delivers its own.
OTHERS_SHARE = 10
BATCH_RECORDS = 500
BATCH_BYTES = 1 << 20
# So often the thread lets go of the interpreter: a step that emits meanwhile must not wait for a batch.
RECORDS_A_BREATH = 8
LOOK_S = 0.25
EAGER_LOOK_S = 0.02
OTHERS_LOOK_S = 1.0
WRITE_S = 0.2
PRUNE_S = 1.0
STALLED_S = 10.0
BACKOFF_S = (0.5, 30.0)


class Drain:
    """Delivers the segments in `directory`; for one thread.

    `own` is the emitter of this process, `claimed` the right to deliver it where the caller has that already:
    its segments are claimed first and kept. With `others` whatever else nobody delivers is delivered, too.
    """

    def __init__(
        self,
        directory: Path,
        open_writer: Callable[[], TopicWriter],
        *,
        own: str | None = None,
        claimed: Claim | None = None,
        others: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        listed: Callable[[Path], list[Path]] = list_segments,
    ) -> None:
        self.directory = directory
        #: How many events were delivered, and how many kept aside.
        self.delivered = 0
        self.parked = 0
        #: Why nothing can be delivered until a person has changed something.
        self.halted: HeadwaterError | None = None
        self._open_writer = open_writer
        self._own = own
        self._others = others
        self._clock = monotonic
        self._list = listed
        self._writer: TopicWriter | None = None
        self._emitters: dict[Path, str] = {}
        self._streams: dict[str, Stream] = {}
        if own is not None and claimed is not None:
            self._streams[own] = Stream(own, claimed)
        self._setbacks = Setbacks()
        self._done: dict[Path, int] = {}
        # Whoever delivered before may have been killed before it removed anything.
        self._to_prune = True
        # Values of which one was refused, who waits for silence to send one, and the one out by itself.
        self._suspects: set[int] = set()
        self._silence_for: Stream | None = None
        self._alone: tuple[Outgoing, Frame] | None = None
        self._looked = self._looked_at_others = self._written = self._pruned = -1e9
        self._progressed = monotonic()
        self._outage: float | None = None
        self._not_before = 0.0
        self._backoff = BACKOFF_S[0]
        self._told: set[str] = set()

    # -- what others ask -----------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """How many records were sent and not answered."""
        return sum(stream.out.records for stream in self._streams.values())

    @property
    def away(self) -> HeadwaterError | None:
        """Why records wait: no answer, or `Misconfigured` where the cluster does not let us in."""
        if self._writer is None:
            return None
        if self._writer.refused is not None:
            return self._writer.refused
        if self._writer.away is not None:
            return Retryable(f"{self._writer.topic}: {self._writer.away}", remedy="it is tried again")
        return None

    @property
    def damaged(self) -> list[HeadwaterError]:
        """What keeps single emitters' events from being delivered."""
        return self._setbacks.errors

    @property
    def owns(self) -> bool:
        """Whether we, and nobody else, deliver our own segments."""
        return self._own in self._streams

    @property
    def own_delivered(self) -> bool:
        """Whether nothing of our own is left that could be delivered without a person."""
        stream = self._streams.get(self._own or "")
        if stream is not None and stream.out.records:
            return False
        self._looked = -1e9
        self._look(self._clock())
        if self._own in self._setbacks:
            return True
        own = [path for path, emitter in self._emitters.items() if emitter == self._own]
        return all(path in self._done or not waiting(path).events for path in own)

    def leave_others(self) -> None:
        """Send nothing more for others: this process is about to end."""
        self._others = False

    def delivered_of(self, segment_id: str) -> int:
        """How many frames of one of our own segments are safe elsewhere."""
        stream = self._streams.get(self._own or "")
        for segment in stream.segments if stream else ():
            if segment.segment_id == segment_id:
                return segment.delivered
        return self._done.get(self.directory / f"{segment_id}.seg", 0)

    # -- one turn ------------------------------------------------------------------------

    def turn(self, wait_s: float) -> bool:
        """Do what can be done now, and wait so long at most for answers; whether anything moved."""
        now = self._clock()
        self._look(now)
        moved = False
        if now >= self._not_before:
            moved = self._send(now)
        before = self.delivered
        self._hear(0 if moved else wait_s)
        if self._writer is not None and self._writer.failure is not None:
            self._recover(self._writer.hear_out() or self._writer.failure)
        moved = moved or self.delivered > before
        self._watch(self._clock(), progress=self.delivered > before)
        self._write_down(now)
        self._prune(now)
        return moved

    def close(self) -> None:
        """Write down how far it went, and let others go on; what was sent and not answered is sent again."""
        self._settle()
        self._write_down(None)
        self._prune(None)
        try:
            # Whoever goes on must not do so beside what is still on its way from here.
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        finally:
            for stream in self._streams.values():
                for segment in stream.segments:
                    segment.rewind()
                stream.claim.release(done=stream.emitter_id not in self._emitters.values())
            self._streams.clear()

    # -- which segments ------------------------------------------------------------------

    def look(self) -> None:
        """Look at the folder now, also for what others left."""
        self._looked = self._looked_at_others = -1e9
        self._look(self._clock())

    def _look(self, now: float) -> None:
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        others = self._others and now - self._looked_at_others >= OTHERS_LOOK_S
        if others:
            self._looked_at_others = now
        self._emitters = self._listed()
        self._try_again()
        for path, emitter in sorted(self._emitters.items(), key=lambda one: one[1] != self._own):
            if path in self._done or emitter in self._setbacks:
                continue
            try:
                self._take_up(path, emitter, others=others)
            except (HeadwaterError, OSError) as error:
                self._setbacks.add(
                    emitter, path, error if isinstance(error, HeadwaterError) else _unreadable(error)
                )
        self._let_go()

    def _listed(self) -> dict[Path, str]:
        """The segments that are there, with their emitters; of each emitter without a gap between two.

        What is made while a folder is read may be left out, and what is made after that be in: a later
        segment would be sent before an earlier one. All that is older than it is in a second reading.
        """
        known = self._emitters
        seen = self._list(self.directory)
        paths = seen if all(path in known for path in seen) else self._list(self.directory)
        found = {path: known.get(path) or _emitter_of(path) for path in {*paths, *seen}}
        newest = {emitter: path for path in sorted(seen) if (emitter := found[path]) is not None}
        return {
            path: emitter
            for path, emitter in sorted(found.items())
            if emitter is not None and emitter in newest and path <= newest[emitter]
        }

    def _take_up(self, path: Path, emitter: str, *, others: bool) -> None:
        stream = self._streams.get(emitter)
        if stream is None and (emitter == self._own or (others and not is_delivered(path))):
            stream = self._claimed(emitter)
        if stream is not None:
            stream.add(path)

    def _try_again(self) -> None:
        """Go on with emitters of which a damaged file was mended, or moved away."""
        for emitter, path, same in self._setbacks.take_changed():
            stream = self._streams.get(emitter)
            if stream is None or same:
                continue  # the same file is read on from where it stands
            for segment in [one for one in stream.segments if one.path == path]:
                stream.lost(segment)

    def _claimed(self, emitter: str) -> Stream | None:
        try:
            taken = claim(self.directory, emitter)
        except OSError as error:
            self._say_once(f"segments_not_claimed: {error}")
            return None
        if taken is None:
            return None
        stream = self._streams[emitter] = Stream(emitter, taken)
        for path, other in self._emitters.items():
            if other == emitter and path not in self._done and not is_delivered(path):
                stream.add(path)
        return stream

    def _let_go(self) -> None:
        """Give back the claims on others' segments of which nothing is left."""
        left = set(self._emitters.values())
        for emitter, stream in list(self._streams.items()):
            if emitter != self._own and not stream.segments:
                stream.claim.release(done=emitter not in left)
                del self._streams[emitter]

    # -- sending -------------------------------------------------------------------------

    def _send(self, now: float) -> bool:
        if self._alone is not None and not self.outstanding:
            self._alone = None  # it did not leave: no producer, or no room to keep it aside
        moved = False
        serving = self._in_turn()
        while serving:
            serving = [stream for stream in serving if self._serve(stream)]
            moved = moved or bool(serving)
            if self._not_before > now or (self._writer is not None and self._writer.failure is not None):
                break
        if not moved and now - self._looked > EAGER_LOOK_S:
            # An emitter may have begun its next segment.
            self._looked = -1e9
        return moved

    def _in_turn(self) -> list[Stream]:
        """Whom to send for, and in which order."""
        if self._silence_for is not None:
            if self.outstanding:
                return []
            first, self._silence_for = self._silence_for.emitter_id, None
        else:
            first = self._own or ""
        mine = self._own is not None and not self._others
        found = [one for one in self._streams.values() if not mine or one.emitter_id == self._own]
        return sorted(found, key=lambda one: one.emitter_id != first)

    def _serve(self, stream: Stream) -> bool:
        """Send one batch of a stream; whether there was one."""
        if stream.emitter_id in self._setbacks or (self._silence_for is not None and self.outstanding):
            return False
        try:
            return self._send_of(stream)
        except Corrupt as damage:
            self._setbacks.add(stream.emitter_id, Path(damage.place), damage)
        except (HeadwaterError, OSError) as error:
            self._halt(error if isinstance(error, HeadwaterError) else _unreadable(error))
        return False

    def _room_for(self, stream: Stream) -> int:
        """How many more records of a stream may be on their way."""
        records, size, line = WINDOW_RECORDS, WINDOW_BYTES, list(self._streams.values())
        if self._own is not None and stream.emitter_id != self._own:
            records, size = records // OTHERS_SHARE, size // OTHERS_SHARE
            line = [one for one in line if one.emitter_id != self._own]
        if self._alone is not None or sum(one.out.size for one in line) >= size:
            return 0
        return max(0, records - sum(one.out.records for one in line))

    def _send_of(self, stream: Stream) -> bool:
        """Send one batch of a stream, from its first segment that has frames; whether there was one."""
        # A later segment proves that an earlier one is complete, if it was known before that was read.
        for segment in list(stream.segments):
            room = self._room_for(stream)
            if not room:
                return False
            try:
                frames = segment.read(min(room, BATCH_RECORDS), BATCH_BYTES)
            except Retryable:
                return False  # begun, and without a header yet
            except FileNotFoundError:
                stream.lost(segment)
                return False
            if frames:
                together = self._set_apart(stream, segment, frames) if self._suspects else frames
                return bool(together) and self._send_frames(segment, together)
            if not segment.in_sight:
                return False
        return False

    def _set_apart(self, stream: Stream, segment: Outgoing, frames: list[Frame]) -> list[Frame]:
        """What may go together: frames under no suspicion, or one that is, when nothing else is out."""
        first = next((at for at, frame in enumerate(frames) if hash(frame.value) in self._suspects), None)
        if first is None:
            return frames
        kept = frames[:first] or ([] if self.outstanding else frames[:1])
        if not kept:
            self._silence_for = stream
        if kept and not first:
            self._alone = (segment, frames[0])
        if len(kept) < len(frames):
            segment.unread(frames[len(kept)])
        return kept

    def _send_frames(self, segment: Outgoing, frames: list[Frame]) -> bool:
        writer = self._writer
        if writer is None:
            try:
                writer = self._writer = self._open_writer()
            except HeadwaterError:
                segment.rewind()
                raise
        if not self.outstanding:
            self._progressed = self._clock()
        batch = Batch(writer)
        told, sent, send, poll = batch.told, batch.sent, writer.send, writer.poll
        failure: Failure | None = None
        for number, frame in enumerate(frames):
            failure = send(frame.value, frame.append_time, told)
            if failure is None:
                sent(frame)
            elif failure.means is Means.PARK and self._keep_aside(segment, frame, failure):
                batch.handled(frame)
            else:
                segment.unread(frame)
                break
            if number % RECORDS_A_BREATH == 0:
                poll(0)
        if batch.count:
            segment.sent(batch)
        elif failure is not None and failure.means is Means.WAIT and not self.outstanding:
            self._halt(_too_small_for(frames[0]))
        return failure is None and writer.failure is None

    def _keep_aside(self, segment: Outgoing, frame: Frame, failure: Failure) -> bool:
        """Whether the event is on the disk elsewhere, so that it may be passed over."""
        try:
            path = park(
                self.directory,
                segment_id=segment.segment_id,
                offset=frame.offset,
                value=frame.value,
                append_time=frame.append_time,
                reason=str(failure.error),
                now=now_us,
            )
        except OSError as error:
            self._halt(_unreadable(error))
            return False
        self.parked += 1
        log.error(
            "event_kept_aside: %s: %s; then `headwater drain --parked` sends it",
            path,
            failure.error,
            extra={"path": str(path)},
        )
        return True

    # -- hearing -------------------------------------------------------------------------

    def _hear(self, wait_s: float) -> None:
        if self._writer is not None:
            self._writer.poll(wait_s if self.outstanding else 0)
            self._settle()

    def _settle(self) -> None:
        if not self.outstanding:
            return
        for segment in self._segments():
            if segment.batches:
                self.delivered += segment.settle()
        if self._alone is not None and not self.outstanding:
            self._suspects.discard(hash(self._alone[1].value))
            self._alone = None

    def _recover(self, failure: Failure) -> None:
        """The producer has stopped: another one goes on from what was acknowledged."""
        self._settle()
        alone, self._alone = self._alone, None
        for segment in self._segments():
            if segment.batches:
                segment.rewind()
        if self._writer is not None:
            self._suspects |= self._writer.suspects
            self._writer.close()
            self._writer = None
        if failure.means is Means.HALT:
            self._halt(failure.error)
        elif failure.means is Means.PARK and alone is not None:
            segment, frame = alone
            if self._keep_aside(segment, frame, failure):
                self._suspects.discard(hash(frame.value))
                segment.skip(frame)
        elif failure.means is Means.RENEW or not self._suspects:
            self._say_once(f"producer_renewed: {failure.error}")
            self._hold_back()

    def _halt(self, error: HeadwaterError) -> None:
        self.halted = error
        if str(error) not in self._told:
            self._told.add(str(error))
            log.error("delivery_halted: %s; events stay in %s", error, self.directory)
        self._hold_back()

    def _hold_back(self) -> None:
        self._not_before = self._clock() + self._backoff
        self._backoff = min(2 * self._backoff, BACKOFF_S[1])

    def _watch(self, now: float, *, progress: bool) -> None:
        """Tell of an outage when it begins and when it ends."""
        writer = self._writer
        if progress:
            waited = None if self._outage is None else now - self._outage
            if waited is not None or self.halted is not None:
                log.warning("delivery_resumed: after %.0f s", waited or 0.0)
            self._progressed, self._outage, self.halted = now, None, None
            self._backoff = BACKOFF_S[0]
            self._told.clear()
            if writer is not None:
                writer.reached()
        elif self._outage is None and self.outstanding and writer is not None:
            why = writer.refused or writer.away
            if why is not None or now - self._progressed > STALLED_S:
                self._outage = self._progressed
                told = log.error if writer.refused else log.warning
                told(
                    "delivery_waits: %s; events stay in %s until it answers",
                    why or f"{writer.topic} acknowledges nothing",
                    self.directory,
                    extra={"outstanding": self.outstanding},
                )

    # -- writing down --------------------------------------------------------------------

    def _write_down(self, now: float | None) -> None:
        if now is not None and self.outstanding and now - self._written < WRITE_S:
            return
        for segment in self._segments():
            if segment.delivered != segment.written:
                self._acknowledged(segment)
        for stream in self._streams.values():
            for segment in stream.finished():
                self._done[segment.path] = segment.delivered
                self._to_prune = True
        if now is not None:
            self._written = now

    def _acknowledged(self, segment: Outgoing) -> None:
        """Write `.ack`; a disk that is full keeps us from it, and loses nothing."""
        try:
            acknowledge(segment.path, segment.delivered)
        except OSError as error:
            self._say_once(f"ack_not_written: {segment.path}: {error.strerror}")
            return
        segment.written = segment.delivered

    def _prune(self, now: float | None) -> None:
        closing = now is None and any(_is_known_delivered(path) for path in self._emitters)
        if not closing and (not self._to_prune or (now is not None and now - self._pruned < PRUNE_S)):
            return
        self._to_prune = False
        if now is not None:
            self._pruned = now
        try:
            pruned = prune(self.directory, delivered=self._done)
        except (HeadwaterError, OSError) as error:
            self._say_once(f"segments_not_removed: {error}")
            return
        for path in pruned:
            self._emitters.pop(path, None)

    def _segments(self) -> Iterator[Outgoing]:
        for stream in self._streams.values():
            yield from stream.segments

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)


def _emitter_of(path: Path) -> str | None:
    """Who wrote a segment; None while its header cannot be read."""
    with contextlib.suppress(HeadwaterError, OSError), SegmentReader(path) as reader:
        return reader.header.emitter_id
    return None


def _is_known_delivered(path: Path) -> bool:
    with contextlib.suppress(HeadwaterError, OSError):
        return is_delivered(path)
    return False


def _too_small_for(frame: Frame) -> Misconfigured:
    return Misconfigured(
        f"kafka: a record of {len(frame.value):,} bytes has no room in the client's queue, which is empty",
        remedy="raise queue.buffering.max.kbytes under `kafka:` in headwater.yaml",
    )


def _unreadable(error: OSError) -> Retryable:
    return Retryable(f"{error.filename or 'the spool'}: {error.strerror}", remedy="see to the disk")
