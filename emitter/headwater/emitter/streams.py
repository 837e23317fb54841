"""Whose segments a drain delivers: those of its own process, and what nobody else delivers.

Each emitter's segments are a `Stream`, in their order, for as long as this process holds the claim on
them; those of others are given back when nothing of them is left. An emitter with a file that cannot be
read waits until that file is another one. What is sent of a stream, and when, is not decided here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from headwater.emitter.claims import Claim, claim
from headwater.emitter.outgoing import Outgoing, Stream, is_delivered, waiting
from headwater.emitter.setbacks import Setbacks
from headwater.schemas.errors import HeadwaterError
from headwater.schemas.segment import SegmentReader

LOOK_S = 0.25
EAGER_LOOK_S = 0.02
OTHERS_LOOK_S = 1.0


class Streams:
    """The streams of `directory` that are delivered here; `own` is the emitter of this process.

    `claimed` is the right to deliver its own where the caller has that already. With `others` whatever
    else nobody delivers is taken up, too.
    """

    def __init__(
        self,
        directory: Path,
        *,
        own: str | None,
        claimed: Claim | None,
        others: bool,
        listed: Callable[[Path], list[Path]],
        say_once: Callable[[str], None],
    ) -> None:
        self.own = own
        self.others = others
        #: Whose events wait for a person.
        self.setbacks = Setbacks()
        #: How many frames the segments had that were delivered in full here.
        self.done: dict[Path, int] = {}
        self._directory = directory
        self._list = listed
        self._say_once = say_once
        self._emitters: dict[Path, str] = {}
        self._streams: dict[str, Stream] = {}
        if own is not None and claimed is not None:
            self._streams[own] = Stream(own, claimed)
        self._looked = self._looked_at_others = -1e9

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams.values())

    @property
    def mine(self) -> Stream | None:
        """That of this process, once we, and nobody else, deliver it."""
        return self._streams.get(self.own or "")

    @property
    def segments(self) -> Iterator[Outgoing]:
        for stream in self:
            yield from stream.segments

    @property
    def outstanding(self) -> int:
        """How many records were sent and not answered."""
        return sum(stream.out.records for stream in self)

    def are_own_delivered(self, now: float) -> bool:
        """Whether nothing of our own is left that could be delivered without a person."""
        if self.mine is not None and self.mine.out.records:
            return False
        self._looked = -1e9
        self.look(now)
        if self.own in self.setbacks:
            return True
        own = [path for path, emitter in self._emitters.items() if emitter == self.own]
        return all(path in self.done or not waiting(path).events for path in own)

    def delivered_of(self, segment_id: str) -> int:
        """How many frames of one of our own segments are safe elsewhere."""
        for segment in self.mine.segments if self.mine else ():
            if segment.segment_id == segment_id:
                return segment.delivered
        return self.done.get(self._directory / f"{segment_id}.seg", 0)

    def is_any_delivered(self) -> bool:
        """Whether a segment that is there need not be any more, as far as they can be read."""
        return any(_is_known_delivered(path) for path in self._emitters)

    # -- what is there -------------------------------------------------------------------

    def look_anew(self, now: float) -> None:
        """Look at the folder now, also for what others left."""
        self._looked = self._looked_at_others = -1e9
        self.look(now)

    def look_soon(self, now: float) -> None:
        """Nothing was sent: our emitter may have begun its next segment."""
        if now - self._looked > EAGER_LOOK_S:
            self._looked = -1e9

    def look(self, now: float) -> None:
        """Look at the folder, now and then: take up what is to be delivered here, let go what was."""
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        others = self.others and now - self._looked_at_others >= OTHERS_LOOK_S
        if others:
            self._looked_at_others = now
        self._emitters = self._listed()
        self._try_again()
        for path, emitter in sorted(self._emitters.items(), key=lambda one: one[1] != self.own):
            if path in self.done or emitter in self.setbacks:
                continue
            try:
                self._take_up(path, emitter, others=others)
            except (HeadwaterError, OSError) as error:
                self.setbacks.add(emitter, path, error)
        self._let_go()

    def _listed(self) -> dict[Path, str]:
        """The segments that are there, with their emitters; of each emitter without a gap between two.

        What is made while a folder is read may be left out, and what is made after that be in: a later
        segment would be sent before an earlier one. All that is older than it is in a second reading.
        """
        known = self._emitters
        seen = self._list(self._directory)
        paths = seen if all(path in known for path in seen) else self._list(self._directory)
        found = {path: known.get(path) or _emitter_of(path) for path in {*paths, *seen}}
        newest = {emitter: path for path in sorted(seen) if (emitter := found[path]) is not None}
        return {
            path: emitter
            for path, emitter in sorted(found.items())
            if emitter is not None and emitter in newest and path <= newest[emitter]
        }

    def _take_up(self, path: Path, emitter: str, *, others: bool) -> None:
        stream = self._streams.get(emitter)
        if stream is None and (emitter == self.own or (others and not is_delivered(path))):
            stream = self._claimed(emitter)
        if stream is not None:
            stream.add(path)

    def _try_again(self) -> None:
        """Go on with emitters of which a damaged file was mended, or moved away."""
        for emitter, path, same in self.setbacks.take_changed():
            stream = self._streams.get(emitter)
            if stream is None or same:
                continue  # the same file is read on from where it stands
            for segment in [one for one in stream.segments if one.path == path]:
                stream.lost(segment)

    def _claimed(self, emitter: str) -> Stream | None:
        try:
            taken = claim(self._directory, emitter)
        except OSError as error:
            self._say_once(f"segments_not_claimed: {error}")
            return None
        if taken is None:
            return None
        stream = self._streams[emitter] = Stream(emitter, taken)
        for path, other in self._emitters.items():
            if other == emitter and path not in self.done and not is_delivered(path):
                stream.add(path)
        return stream

    def _let_go(self) -> None:
        """Give back the claims on others' segments of which nothing is left."""
        left = set(self._emitters.values())
        for emitter, stream in list(self._streams.items()):
            if emitter != self.own and not stream.segments:
                stream.claim.release(done=emitter not in left)
                del self._streams[emitter]

    # -- what is gone --------------------------------------------------------------------

    def finish(self) -> bool:
        """Take the segments off that are delivered in full; whether there were any."""
        finished = [segment for stream in self for segment in stream.finished()]
        self.done.update((segment.path, segment.delivered) for segment in finished)
        return bool(finished)

    def removed(self, path: Path) -> None:
        """A segment is there no longer."""
        self._emitters.pop(path, None)

    def give_back(self) -> None:
        """Give back all claims; what was sent and not answered is sent again by whoever goes on."""
        left = set(self._emitters.values())
        for stream in self:
            for segment in stream.segments:
                segment.rewind()
            stream.claim.release(done=stream.emitter_id not in left)
        self._streams.clear()


def _emitter_of(path: Path) -> str | None:
    """Who wrote a segment; None while its header cannot be read."""
    with contextlib.suppress(HeadwaterError, OSError), SegmentReader(path) as reader:
        return reader.header.emitter_id
    return None


def _is_known_delivered(path: Path) -> bool:
    with contextlib.suppress(HeadwaterError, OSError):
        return is_delivered(path)
    return False
