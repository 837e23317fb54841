"""What Data.Rentgen's consumer does with a batch; prints one line of JSON.

Run by the interpreter of its own environment. Its own classes parse, extract and save, in
batches as large as ours; events come from a file of lines (`load`), or from a topic, by the client
that it reads Kafka with (`consume`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

BATCH = 2_000


def prepare(url: str) -> None:
    """Its schema and the partitions of the years that the events fall in."""
    import data_rentgen.db.migrations as migrations  # type: ignore[import-not-found]
    from alembic import command
    from alembic.config import Config

    folder = Path(str(migrations.__file__)).parent
    config = Config(str(folder / "alembic.ini"))
    config.set_main_option("script_location", str(folder))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")
    asyncio.run(_partition(url))


async def _partition(url: str) -> None:
    from data_rentgen.db.scripts.create_partitions import Granularity, create_partition  # type: ignore[import-not-found]
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        for year in (2025, 2026):
            begin, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)
            await create_partition(begin.date(), end.date(), Granularity.YEAR, session)
        await session.commit()
    await engine.dispose()


async def _load(url: str, batches: AsyncIterator[list[bytes]]) -> float:
    """Events a second, without the first batch where there are more."""
    from data_rentgen.consumer.extractors import BatchExtractor  # type: ignore[import-not-found]
    from data_rentgen.consumer.saver import DatabaseSaver  # type: ignore[import-not-found]
    from data_rentgen.consumer.subscribers import OpenLineageRunEventAdapter  # type: ignore[import-not-found]
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(url)
    began, behind, whole = time.perf_counter(), 0, 0
    async for values in batches:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            extractor = BatchExtractor()
            for value in values:
                extractor.add_events([OpenLineageRunEventAdapter.validate_json(value)])
            await DatabaseSaver(session, logging.getLogger("peer")).save(extractor.result)
        if not whole and len(values) == BATCH:  # it made the rows of jobs and datasets, one transaction each
            began = time.perf_counter()
        else:
            behind += len(values)
        whole += len(values)
    taken = time.perf_counter() - began
    await engine.dispose()
    return behind / taken


async def _of_file(path: str) -> AsyncIterator[list[bytes]]:
    values = Path(path).read_bytes().splitlines()
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]


async def _of_topic(bootstrap: str, topic: str, events: int) -> AsyncIterator[list[bytes]]:
    """The first `events` of the topic, as many at once as there are, up to a batch."""
    from aiokafka import AIOKafkaConsumer  # type: ignore[import-not-found]

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id="peer", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        waiting: list[bytes] = []
        while events > 0:
            found = await consumer.getmany(timeout_ms=500, max_records=BATCH)
            waiting += [record.value for records in found.values() for record in records]
            while len(waiting) >= min(BATCH, events) > 0:
                batch, waiting = waiting[: min(BATCH, events)], waiting[min(BATCH, events) :]
                events -= len(batch)
                yield batch
    finally:
        await consumer.stop()


def main() -> None:
    answer = os.dup(1)
    os.dup2(2, 1)
    arguments: dict[str, Any] = json.loads(sys.argv[2])
    url = arguments["url"].replace("postgresql+psycopg", "postgresql+asyncpg")
    prepare(url)
    if sys.argv[1] == "consume":
        batches = _of_topic(arguments["bootstrap"], arguments["topic"], arguments["events"])
    else:
        batches = _of_file(arguments["events"])
    rate = asyncio.run(_load(url, batches))
    os.write(answer, f"{json.dumps({'rate': rate})}\n".encode())


if __name__ == "__main__":
    main()
