"""On PostgreSQL, what grows with every event is in pieces: keys hold, and every time has its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, select, text

from headwater.consumers import migrations, tables
from headwater.consumers.digest import digest
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.store import Store, connect, open_store
from headwater.consumers.writers import Row, writer_for
from headwater.schemas.errors import Misconfigured
from tests.replay import product
from tests.support import schema
from tests.support.logs import chain, run_event

PARTITIONED = ("event", "metric_point")
ABSURD = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z")


def metrics(run: int, points: int) -> bytes:
    """A run's event with metric points."""
    document = orjson.loads(run_event(run, "RUNNING"))
    listed = [
        {"key": "loss", "step": step, "time": 1_772_359_200_000_000 + step, "value": 1 / (step + 1)}
        for step in range(points)
    ]
    document["run"]["facets"] = {"headwater_metricPoints": {"points": listed}}
    return orjson.dumps(document)


VALUES = [
    *(run_event(number, at=at) for number, at in enumerate(ABSURD, start=1_000)),
    *chain(60),
    *(metrics(run, 5) for run in range(60, 100)),
]


def migrated(store: Store, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with store.writing() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, revision)


@pytest.fixture
def old(store_url: str) -> Iterator[Store]:
    """A store of revision 0003 with rows."""
    with connect(store_url) as store:
        migrated(store, "0003")
        product.apply_all(store, [VALUES[:50], VALUES[50:]])
        yield store


def pieces(connection: Connection, table: str) -> dict[str, int]:
    """How many rows each piece holds."""
    found = connection.execute(text(f"SELECT tableoid::regclass::text, count(*) FROM {table} GROUP BY 1"))
    return dict(tuple(row) for row in found)


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_a_store_that_was_whole_says_the_same_in_pieces(old: Store, tmp_path: Path) -> None:
    before = digest(old)
    assert before.tables["event"].rows == len(VALUES)
    assert before.tables["metric_point"].rows == 200
    assert migrations.upgrade(old) == ("0003", migrations.HEAD)
    assert digest(old) == before
    with open_store(f"sqlite:///{tmp_path}/other.db") as other:
        product.apply_all(other, [VALUES[::-1]])
        assert digest(other) == before
    with old.connecting() as connection:
        assert schema.differences(connection) == []
    product.apply_all(old, [VALUES[:70], [run_event(5_000)]])
    assert digest(old).tables["event"].rows == len(VALUES) + 1, "copies are found in their pieces"


def test_every_event_has_a_piece_whatever_its_time(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store:
        product.apply_all(store, [VALUES])
        with store.connecting() as connection:
            for table in PARTITIONED:
                held = pieces(connection, table)
                assert set(held) <= {f"{table}_p{number:02}" for number in range(16)}
                assert len(held) > 10
            earliest, latest = connection.execute(text("SELECT min(at), max(at) FROM event")).one()
            assert (earliest, latest) == (-62135596800000000, 253402300799999999)


def test_an_event_that_is_delivered_again_is_found_and_its_earliest_place_kept(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store:
        late = [(replace(record, appended_at=9_000_000), event) for record, event in product.batch_of(VALUES)]
        projection = LineageProjection()
        for batch, repeated in ((late, 0), (product.batch_of(VALUES, "1"), len(VALUES))):
            with store.writing() as connection:
                assert len(projection.apply(connection, batch).duplicates) == repeated
            projection.committed()
        with store.connecting() as connection:
            places = connection.execute(select(tables.event.c.partition).distinct()).scalars().all()
            assert places == ["1"]


def rows_of_one_piece(connection: Connection, wanted: int) -> list[Row]:
    """Rows of `event`, of runs of their own, that belong to `event_p03`."""
    query = (
        "SELECT replace(run::text, '-', '') "
        "FROM (SELECT md5(n::text)::uuid AS run FROM generate_series(1, 1000) n) r "
        "WHERE satisfies_hash_partition('event'::regclass, 16, 3, run) LIMIT :wanted"
    )
    runs = connection.execute(text(query), {"wanted": wanted}).scalars().all()
    return [
        (number, f"{number:064x}", run, 0, 3, "lineage", "0", number, number, None, None, None, None)
        for number, run in enumerate(runs)
    ]


@contextmanager
def impatient(store: Store) -> Iterator[Connection]:
    """A transaction that gives up rather than wait for a lock."""
    with store.writing() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '1ms'"))
        yield connection


def test_two_consumers_write_to_one_piece_and_neither_waits(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store:
        with store.connecting() as connection:
            rows = rows_of_one_piece(connection, 40)
        with impatient(store) as one:
            writer = writer_for(one)
            assert writer.insert_missing(tables.event, rows[:20]) == 20
            with impatient(store) as other:
                assert writer_for(other).insert_missing(tables.event, rows[20:]) == 20
            assert writer.insert_missing(tables.event, rows[20:]) == 0
        with store.connecting() as connection:
            assert pieces(connection, "event") == {"event_p03": 40}


def test_a_piece_is_looked_after_while_consumers_write(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store, store.connecting() as connection:
        rows = rows_of_one_piece(connection, 20)
        connection.rollback()
        with impatient(store) as one:
            writer_for(one).insert_missing(tables.event, rows)
            with impatient(store) as other:
                other.execute(text("ANALYZE event_p03"))
            keeper = connection.execution_options(isolation_level="AUTOCOMMIT")
            keeper.execute(text("SET lock_timeout = '1ms'"))
            keeper.execute(text("VACUUM event_p03"))
            keeper.execute(text("REINDEX TABLE event_p04"))


def test_whoever_could_read_the_table_can_read_it_in_pieces(postgres_url: str) -> None:
    with connect(postgres_url) as store:
        migrated(store, "0003")
        with store.writing() as tx:
            names = {
                kind: f"hw_{tx.scalar(text('SELECT txid_current()'))}_{kind}" for kind in ("owner", "reader")
            }
            for name in names.values():
                tx.execute(text(f'CREATE ROLE "{name}"'))
            tx.execute(text(f'GRANT CREATE ON SCHEMA public TO "{names["owner"]}"'))
            tx.execute(text(f'ALTER TABLE event OWNER TO "{names["owner"]}"'))
            tx.execute(text(f'GRANT SELECT ON event, metric_point TO "{names["reader"]}"'))
        try:
            migrations.upgrade(store)
            with store.connecting() as connection:
                for table in (*PARTITIONED, "event_p07"):
                    owner = connection.scalar(
                        text(f"SELECT tableowner FROM pg_tables WHERE tablename = '{table}'")
                    )
                    assert (owner == names["owner"]) == table.startswith("event")
                connection.execute(text(f'SET ROLE "{names["reader"]}"'))
                assert connection.execute(text("SELECT * FROM event")).all() == []
                assert connection.execute(text("SELECT * FROM metric_point")).all() == []
        finally:
            with store.writing() as tx:
                for name in names.values():
                    tx.execute(text(f'REASSIGN OWNED BY "{name}" TO CURRENT_USER; DROP OWNED BY "{name}"'))
                    tx.execute(text(f'DROP ROLE "{name}"'))


def test_an_upgrade_that_ends_in_the_middle_leaves_the_store_as_it_was(postgres_url: str) -> None:
    with connect(postgres_url) as store:
        migrated(store, "0003")
        product.apply_all(store, [VALUES])
        before = digest(store)
        with store.writing() as tx:
            # A view of somebody's own: what it reads cannot go.
            tx.execute(text("CREATE VIEW theirs AS SELECT at FROM metric_point"))
        with pytest.raises(Misconfigured, match="theirs"):
            migrations.upgrade(store)
        assert migrations.current(store) == "0003"
        assert digest(store) == before
        with store.writing() as tx:
            tx.execute(text("DROP VIEW theirs"))
        migrations.upgrade(store)
        assert digest(store) == before
