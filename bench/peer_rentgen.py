"""What Data.Rentgen's consumer does with a batch, without its broker; prints one line of JSON.

Run by the interpreter of its own environment. Its own classes parse, extract and save, in
batches as large as ours; what it takes from Kafka comes from a file of lines here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
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


async def _load(url: str, values: list[bytes]) -> float:
    """Events a second, without the first batch where there are more."""
    from data_rentgen.consumer.extractors import BatchExtractor  # type: ignore[import-not-found]
    from data_rentgen.consumer.saver import DatabaseSaver  # type: ignore[import-not-found]
    from data_rentgen.consumer.subscribers import OpenLineageRunEventAdapter  # type: ignore[import-not-found]
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(url)
    began = time.perf_counter()
    for start in range(0, len(values), BATCH):
        if start == BATCH:  # the first batch made the rows of jobs and datasets, one transaction each
            began = time.perf_counter()
        async with AsyncSession(engine, expire_on_commit=False) as session:
            extractor = BatchExtractor()
            for value in values[start : start + BATCH]:
                extractor.add_events([OpenLineageRunEventAdapter.validate_json(value)])
            await DatabaseSaver(session, logging.getLogger("peer")).save(extractor.result)
    taken = time.perf_counter() - began
    await engine.dispose()
    return (len(values) - BATCH if len(values) > BATCH else len(values)) / taken


def main() -> None:
    answer = os.dup(1)
    os.dup2(2, 1)
    arguments: dict[str, Any] = json.loads(sys.argv[2])
    values = Path(arguments["events"]).read_bytes().splitlines()
    url = arguments["url"].replace("postgresql+psycopg", "postgresql+asyncpg")
    prepare(url)
    rate = asyncio.run(_load(url, values))
    os.write(answer, f"{json.dumps({'events': len(values), 'rate': rate})}\n".encode())


if __name__ == "__main__":
    main()
