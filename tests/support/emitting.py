"""A process that emits until it is killed.

    python -m tests.support.emitting LOG ACCEPTED SEED MODE SEGMENT_BYTES [SPOOL [PAUSE]]

LOG may be a topic, and SPOOL then the folder of its spool; after each 50 events it rests PAUSE seconds.
The id of each accepted event is appended to the file ACCEPTED after `emit` returned. Runs begin and end
as it goes, so that a kill finds some open.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from headwater.emitter.emitter import from_settings
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.schemas.events import Event, Run
from tests.support.spool import completed, created, run_named, started

ID_BYTES = 65


def main(
    log: str, accepted: str, seed: str, mode: str, segment_bytes: str, spool: str = "", pause: str = "0"
) -> None:
    limits = SpoolLimits(segment_bytes=int(segment_bytes), max_bytes=0)
    settings = Settings(mode=mode, spool=limits, spool_folder=Path(spool)).with_log(log)
    emitter = from_settings(settings)
    book = os.open(accepted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    choice = random.Random(seed)
    number = 0
    runs: list[Run] = []
    while True:
        receipt = emitter.emit(_next(choice, runs, number, seed))
        if receipt is not None:
            os.write(book, f"{receipt.event_id}\n".encode())
        number += 1
        if number % 50 == 0:
            time.sleep(float(pause))


def _next(choice: random.Random, runs: list[Run], number: int, seed: str) -> Event:
    if not runs or choice.random() < 0.02:
        runs.append(run_named(f"killed-{seed}", number))
        return started(runs[-1])
    if len(runs) > 1 and choice.random() < 0.02:
        return completed(runs.pop(choice.randrange(len(runs))))
    filler = "x" * choice.randrange(3000)
    return created(choice.choice(runs), number, filler=filler)


if __name__ == "__main__":
    main(*sys.argv[1:])
