"""Only what is sealed, delivered in full and needed by no adopter is ever removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.emitter.acks import acknowledge, acknowledged
from headwater.emitter.emitter import Emitter
from headwater.emitter.pruning import prune
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.emitter.spool import Spool
from headwater.schemas.errors import Misconfigured
from headwater.schemas.segment import list_segments, read_seal
from tests.support.spool import completed, created, run_named, started

TRAIN = run_named("train")


@pytest.fixture
def emitter(tmp_path: Path) -> Emitter:
    limits = SpoolLimits(segment_bytes=8192, max_bytes=0)
    return Emitter(Settings(), lambda e: Spool(tmp_path, emitter_id=e, limits=limits))


def seals(directory: Path) -> dict[Path, int]:
    found = {path: read_seal(path) for path in list_segments(directory)}
    return {path: seal.frames for path, seal in found.items() if seal}


def test_without_an_acknowledgement_nothing_goes(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(started(TRAIN))
    emitter.close()
    assert prune(tmp_path) == []
    assert len(list_segments(tmp_path)) == 1


def test_a_segment_goes_once_every_frame_of_it_is_acknowledged(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(started(TRAIN))
    emitter.close()
    ((path, frames),) = seals(tmp_path).items()
    acknowledge(path, frames - 1)
    assert prune(tmp_path) == []
    acknowledge(path, frames)
    assert acknowledged(path) == frames
    assert prune(tmp_path) == [path]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["open"]


def test_an_unsealed_segment_stays_whatever_is_acknowledged(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(started(TRAIN))
    (path,) = list_segments(tmp_path)
    acknowledge(path, 1000)
    assert prune(tmp_path) == []
    emitter.close()


def test_what_a_later_adopter_must_read_stays_until_that_run_has_ended(
    emitter: Emitter, tmp_path: Path
) -> None:
    other = run_named("other")
    emitter.emit(started(TRAIN))
    for number in range(20):
        emitter.emit(created(other, number, filler="x" * 2000))
    emitter._sink.flush()  # type: ignore[union-attr]
    sealed = seals(tmp_path)
    assert len(sealed) > 3
    for path, frames in sealed.items():
        acknowledge(path, frames)
    first = list_segments(tmp_path)[0]
    assert prune(tmp_path) == [path for path in sealed if path != first]
    emitter.emit(completed(TRAIN))
    assert prune(tmp_path) == [first]
    emitter.close()


def test_an_acknowledgement_that_is_no_number_is_refused(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(started(TRAIN))
    emitter.close()
    list_segments(tmp_path)[0].with_suffix(".ack").write_text("many")
    with pytest.raises(Misconfigured, match="many"):
        prune(tmp_path)
