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
process emits by itself, its own come first, and a share of the line that no one else's fill.

Not its business: whose segments are there and to be delivered here (`headwater.emitter.streams`), what is
said of an outage (`headwater.emitter.outage`), adopting what dead processes left open, and when to stop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from headwater.emitter.acks import acknowledge
from headwater.emitter.claims import Claim
from headwater.emitter.outage import Outage
from headwater.emitter.outgoing import Batch, Outgoing, Stream
from headwater.emitter.parking import park
from headwater.emitter.pruning import prune
from headwater.emitter.streams import Streams
from headwater.emitter.topic_writer import Failure, Means, TopicWriter
from headwater.emitter.writer import now_us
from headwater.schemas.errors import Corrupt, HeadwaterError, Misconfigured, Retryable
from headwater.schemas.segment import Frame, list_segments

log = logging.getLogger("headwater.emitter")

WINDOW_RECORDS = 20_000
WINDOW_BYTES = 32 << 20
# The part of it that others' events may take where a process delivers its own.
OTHERS_SHARE = 10
BATCH_RECORDS = 500
BATCH_BYTES = 1 << 20
# So often the thread lets go of the interpreter: a step that emits meanwhile must not wait for a batch.
RECORDS_A_BREATH = 8
WRITE_S = 0.2
PRUNE_S = 1.0


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
        self._open_writer = open_writer
        self._clock = monotonic
        self._writer: TopicWriter | None = None
        self._outage = Outage(directory, monotonic)
        self._streams = Streams(
            directory,
            own=own,
            claimed=claimed,
            others=others,
            listed=listed,
            say_once=self._outage.say_once,
        )
        # Whoever delivered before may have been killed before it removed anything.
        self._to_prune = True
        # Values of which one was refused, who waits for silence to send one, and the one out by itself.
        self._suspects: set[int] = set()
        self._silence_for: Stream | None = None
        self._alone: tuple[Outgoing, Frame] | None = None
        self._written = self._pruned = -1e9

    # -- what others ask -----------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """How many records were sent and not answered."""
        return self._streams.outstanding

    @property
    def halted(self) -> HeadwaterError | None:
        """Why nothing can be delivered until a person has changed something."""
        return self._outage.halted

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
        return self._streams.setbacks.errors

    @property
    def owns(self) -> bool:
        """Whether we, and nobody else, deliver our own segments."""
        return self._streams.mine is not None

    @property
    def own_delivered(self) -> bool:
        """Whether nothing of our own is left that could be delivered without a person."""
        return self._streams.are_own_delivered(self._clock())

    def leave_others(self) -> None:
        """Send nothing more for others: this process is about to end."""
        self._streams.others = False

    def delivered_of(self, segment_id: str) -> int:
        """How many frames of one of our own segments are safe elsewhere."""
        return self._streams.delivered_of(segment_id)

    def look(self) -> None:
        """Look at the folder now, also for what others left."""
        self._streams.look_anew(self._clock())

    # -- one turn ------------------------------------------------------------------------

    def turn(self, wait_s: float) -> bool:
        """Do what can be done now, and wait so long at most for answers; whether anything moved."""
        now = self._clock()
        self._streams.look(now)
        moved = False
        if self._outage.lets_send(now):
            moved = self._send(now)
        before = self.delivered
        self._hear(0 if moved else wait_s)
        if self._writer is not None and self._writer.failure is not None:
            self._recover(self._writer.hear_out() or self._writer.failure)
        progress = self.delivered > before
        self._watch(self._clock(), progress=progress)
        self._write_down(now)
        self._prune(now)
        return moved or progress

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
            self._streams.give_back()

    # -- sending -------------------------------------------------------------------------

    def _send(self, now: float) -> bool:
        if self._alone is not None and not self.outstanding:
            self._alone = None  # it did not leave: no producer, or no room to keep it aside
        moved = False
        serving = self._in_turn()
        while serving:
            serving = [stream for stream in serving if self._serve(stream)]
            moved = moved or bool(serving)
            if not self._outage.lets_send(now) or (
                self._writer is not None and self._writer.failure is not None
            ):
                break
        if not moved:
            self._streams.look_soon(now)
        return moved

    def _in_turn(self) -> list[Stream]:
        """Whom to send for, and in which order."""
        if self._silence_for is not None:
            if self.outstanding:
                return []
            first, self._silence_for = self._silence_for.emitter_id, None
        else:
            first = self._streams.own or ""
        own = self._streams.own
        mine = own is not None and not self._streams.others
        found = [one for one in self._streams if not mine or one.emitter_id == own]
        return sorted(found, key=lambda one: one.emitter_id != first)

    def _serve(self, stream: Stream) -> bool:
        """Send one batch of a stream; whether there was one."""
        if stream.emitter_id in self._streams.setbacks or (
            self._silence_for is not None and self.outstanding
        ):
            return False
        try:
            return self._send_of(stream)
        except Corrupt as damage:
            self._streams.setbacks.add(stream.emitter_id, Path(damage.place), damage)
        except (HeadwaterError, OSError) as error:
            self._outage.halt(error)
        return False

    def _room_for(self, stream: Stream) -> int:
        """How many more records of a stream may be on their way."""
        records, size, line, own = WINDOW_RECORDS, WINDOW_BYTES, list(self._streams), self._streams.own
        if own is not None and stream.emitter_id != own:
            records, size = records // OTHERS_SHARE, size // OTHERS_SHARE
            line = [one for one in line if one.emitter_id != own]
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
            self._outage.waits_from_now()
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
            self._outage.halt(_too_small_for(frames[0]))
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
            self._outage.halt(error)
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
        for segment in self._streams.segments:
            if segment.batches:
                self.delivered += segment.settle()
        if self._alone is not None and not self.outstanding:
            self._suspects.discard(hash(self._alone[1].value))
            self._alone = None

    def _recover(self, failure: Failure) -> None:
        """The producer has stopped: another one goes on from what was acknowledged."""
        self._settle()
        alone, self._alone = self._alone, None
        for segment in self._streams.segments:
            if segment.batches:
                segment.rewind()
        if self._writer is not None:
            self._suspects |= self._writer.suspects
            self._writer.close()
            self._writer = None
        if failure.means is Means.HALT:
            self._outage.halt(failure.error)
        elif failure.means is Means.PARK and alone is not None:
            segment, frame = alone
            if self._keep_aside(segment, frame, failure):
                self._suspects.discard(hash(frame.value))
                segment.skip(frame)
        elif failure.means is Means.RENEW or not self._suspects:
            self._outage.say_once(f"producer_renewed: {failure.error}")
            self._outage.pause()

    def _watch(self, now: float, *, progress: bool) -> None:
        """Tell of an outage when it begins and when it ends."""
        if progress:
            self._outage.progressed(now)
            if self._writer is not None:
                self._writer.reached()
        elif self._writer is not None and self.outstanding:
            self._outage.watch(now, self._writer, self.outstanding)

    # -- writing down --------------------------------------------------------------------

    def _write_down(self, now: float | None) -> None:
        if now is not None and self.outstanding and now - self._written < WRITE_S:
            return
        for segment in self._streams.segments:
            if segment.delivered != segment.written:
                self._acknowledged(segment)
        if self._streams.finish():
            self._to_prune = True
        if now is not None:
            self._written = now

    def _acknowledged(self, segment: Outgoing) -> None:
        """Write `.ack`; a disk that is full keeps us from it, and loses nothing."""
        try:
            acknowledge(segment.path, segment.delivered)
        except OSError as error:
            self._outage.say_once(f"ack_not_written: {segment.path}: {error.strerror}")
            return
        segment.written = segment.delivered

    def _prune(self, now: float | None) -> None:
        closing = now is None and self._streams.is_any_delivered()
        if not closing and (not self._to_prune or (now is not None and now - self._pruned < PRUNE_S)):
            return
        self._to_prune = False
        if now is not None:
            self._pruned = now
        try:
            pruned = prune(self.directory, delivered=self._streams.done)
        except (HeadwaterError, OSError) as error:
            self._outage.say_once(f"segments_not_removed: {error}")
            return
        for path in pruned:
            self._streams.removed(path)


def _too_small_for(frame: Frame) -> Misconfigured:
    return Misconfigured(
        f"kafka: a record of {len(frame.value):,} bytes has no room in the client's queue, which is empty",
        remedy="raise queue.buffering.max.kbytes under `kafka:` in headwater.yaml",
    )
