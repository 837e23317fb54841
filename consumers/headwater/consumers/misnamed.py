"""What to say of a name that nothing has: what is near it, and since when something has it.

Asked only when a question has failed, so that it may take some tens of probes; none of them
depends on how much there is. Names of assets and jobs are the business of
`headwater.consumers.nearest`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from headwater.consumers.nearest import did_you_mean, nearest_of
from headwater.consumers.tables import (
    dataset,
    event,
    governance,
    indexed,
    job,
    run,
    run_input,
    run_mention,
    run_output,
    version,
)
from headwater.consumers.times import moment
from headwater.schemas.text import original, storable

_LATEST = 200
_BESIDE = 12
_PROBES = 400
_HEX = "0123456789abcdef"


def told(time: int) -> str:
    """A time as --as-of takes it, to the microsecond: asked as of it, the thing is there."""
    return moment(time).isoformat().replace("+00:00", "Z")


# -- versions, aliases and runs of an asset ------------------------------------------------


def near_versions(connection: Connection, name: str, datasets: Sequence[bytes], chosen: str) -> str:
    """`name@VERSION` for the versions, aliases and runs that are nearest to `chosen`, as a question.

    Of an asset's versions the latest and those next to `chosen` in order are looked at.
    """
    aliases = list(_aliases(connection, datasets))
    texts = list(dict.fromkeys([*aliases, *_versions(connection, datasets, chosen)]))
    tail = chosen.rpartition(":")[2]
    begins = {_beginning(text, tail): text for text in reversed(texts)}
    begun = [text for text in aliases if text.startswith(chosen)]
    whole = dict.fromkeys([*begun, *(begins[one] for one in nearest_of(tail, begins))])
    runs = _near_ids(connection, chosen, run.c.run_id, _wrote(datasets)) if not whole else []
    return did_you_mean([f"{name}@{text}" for text in [*whole, *map(_text_of, runs)]][:3])


def _text_of(id: bytes) -> str:
    text = id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _wrote(datasets: Sequence[bytes]) -> ColumnElement[bool]:
    return run.c.run_id.in_(select(run_output.c.run_id).where(run_output.c.dataset_id.in_(datasets)))


def _beginning(text: str, chosen: str) -> str:
    """`text`, or as much of a digest as was given of one."""
    form, _, digest = text.rpartition(":")
    return digest[: len(chosen)] if form else text


def _versions(connection: Connection, datasets: Sequence[bytes], chosen: str) -> Iterator[str]:
    of_asset = version.c.dataset_id.in_(datasets)
    start, wanted = indexed(version.c.version), storable(chosen)[:200]
    beside = select(version.c.version).where(of_asset).limit(_BESIDE)
    for query in (
        select(version.c.version)
        .join(run_output, run_output.c.version_id == version.c.version_id)
        .where(run_output.c.dataset_id.in_(datasets), run_output.c.published_at.is_not(None))
        .order_by(run_output.c.published_at.desc())
        .limit(_LATEST),
        beside.where(start >= wanted).order_by(start),
        beside.where(start < wanted).order_by(start.desc()),
    ):
        yield from map(original, connection.scalars(query))


def _aliases(connection: Connection, datasets: Sequence[bytes]) -> Iterator[str]:
    query = select(governance.c.key).where(
        governance.c.dataset_id.in_(datasets), governance.c.kind == "alias"
    )
    yield from map(original, connection.scalars(query.distinct().limit(_LATEST)))


# -- ids ----------------------------------------------------------------------------------


def near_runs(connection: Connection, digits: str) -> str:
    """The runs and productions whose ids begin nearly so, and what they are, as a question."""
    runs = _near_ids(connection, digits, run.c.run_id, run.c.kind == 0)
    productions = _near_ids(connection, digits, run_output.c.production_id)
    return did_you_mean_ids(
        [*described_runs(connection, runs), *described_productions(connection, productions)]
    )


def did_you_mean_ids(described: Sequence[str]) -> str:
    return f"did you mean {' or '.join(described[:3])}?" if described else ""


def _near_ids(connection: Connection, text: str, column: Any, *also: ColumnElement[bool]) -> list[bytes]:
    """The ids that begin as `text` does but for one digit, or for two neighbours."""
    digits = text.replace("-", "").lower()
    if not 6 <= len(digits) <= 32 or any(digit not in _HEX for digit in digits):
        return []
    starts = [one for one in dict.fromkeys(_mistyped(digits)) if len(one) >= 6][:_PROBES]
    bounds = [(bytes.fromhex(one.ljust(32, "0")), bytes.fromhex(one.ljust(32, "f"))) for one in starts]
    found = select(column).where(or_(*(column.between(*each) for each in bounds)), *also)
    return list(connection.scalars(found.order_by(column.desc()).limit(3)))


def _mistyped(digits: str) -> Iterator[str]:
    """What may have been meant: the last digits first, which are the ones that tell ids apart."""
    for at in reversed(range(len(digits))):
        before, digit, after = digits[:at], digits[at], digits[at + 1 :]
        yield from (before + other + after for other in _HEX if other != digit)
        if after:
            yield before + after[0] + digit + after[1:]
        yield before + after


def described_runs(connection: Connection, runs: Collection[bytes]) -> list[str]:
    """Each run with its job and the time at which it began, in the order of `runs`."""
    rows = connection.execute(
        select(run.c.run_id, run.c.first_at, job.c.namespace, job.c.name)
        .outerjoin(job, job.c.job_id == run.c.job_id)
        .where(run.c.run_id.in_(runs))
    )
    said = {
        row.run_id: f"a run of {_name(row) if row.name is not None else 'no job'}, {told(row.first_at)}"
        for row in rows
    }
    return [f"{_text_of(id)} ({said[id]})" for id in runs if id in said]


def described_productions(connection: Connection, productions: Collection[bytes]) -> list[str]:
    """Each production with its asset and the time at which it was published."""
    rows = connection.execute(
        select(run_output.c.production_id, run_output.c.published_at, dataset.c.namespace, dataset.c.name)
        .join(dataset, dataset.c.dataset_id == run_output.c.dataset_id)
        .where(run_output.c.production_id.in_(productions))
    )
    said = {
        row.production_id: f"of {_name(row)}, "
        + ("never published" if row.published_at is None else told(row.published_at))
        for row in rows
    }
    return [f"{_text_of(id)} (a production {said[id]})" for id in productions if id in said]


def _name(row: Any) -> str:
    return f"{original(row.namespace)}/{original(row.name)}"


# -- since when ---------------------------------------------------------------------------


def first_heard(connection: Connection, datasets: Sequence[bytes]) -> int | None:
    """When the asset was first written or read, by the events' own times."""
    named = select(version.c.version_id).where(version.c.dataset_id.in_(datasets))
    of_asset = run_output.c.dataset_id.in_(datasets)
    ended = func.coalesce(run.c.ended_at, run.c.last_at)
    times = [
        select(func.min(run_output.c.published_at)).where(of_asset),
        select(func.min(ended))
        .join(run_output, run_output.c.run_id == run.c.run_id)
        .where(of_asset, run_output.c.published_at.is_(None)),
        select(func.min(run_input.c.first_at)).where(
            run_input.c.dataset_id.in_(datasets), run_input.c.version_id.is_(None)
        ),
        select(func.min(run_input.c.first_at)).where(run_input.c.version_id.in_(named)),
    ]
    known = [time for query in times if (time := connection.scalar(query)) is not None]
    return min(known, default=None)


def appended_after(
    connection: Connection, until: int, datasets: Sequence[bytes], run_id: bytes | None = None
) -> int | None:
    """When the first event after `until` was appended that may tell of the asset, or of the run."""
    runs: set[bytes] = {run_id} if run_id is not None else set()
    if run_id is None:
        named = select(version.c.version_id).where(version.c.dataset_id.in_(datasets))
        for query in (
            select(run_output.c.run_id).where(run_output.c.dataset_id.in_(datasets)),
            select(run_input.c.run_id).where(
                run_input.c.dataset_id.in_(datasets), run_input.c.version_id.is_(None)
            ),
            select(run_input.c.run_id).where(run_input.c.version_id.in_(named)),
            select(run_mention.c.run_id).where(run_mention.c.dataset_id.in_(datasets)),
        ):
            runs |= set(connection.scalars(query.limit(_LATEST)))
    query_of = select(func.min(event.c.appended_at)).where(event.c.run_id.in_(runs))
    found: int | None = connection.scalar(query_of.where(event.c.appended_at > until))
    return found
