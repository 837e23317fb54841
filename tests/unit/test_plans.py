"""The shape of the walks' SQL is part of the design: through indexes, row by row, on a store of some size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import fields

import pytest
from sqlalchemy import Connection, create_engine

from bench import fixtures
from headwater.consumers import candidates, sieve, tables, walk, writers
from headwater.consumers.statement_texts import FOREVER, TEXTS, TEXTS_NOW, Texts
from headwater.consumers.statements import STATEMENT_TIMEOUT_S, Rows, Statements
from headwater.consumers.store import open_store
from headwater.consumers.terms import Owner
from headwater.consumers.writers import writer_for
from tests.support.stores import empty_url

SHAPE = fixtures.Layered(layers=4, width=30, versions=20)
NAMES = [field.name for field in fields(Texts)]
#: What a statement may go through whole: the ids that it was given, and what it made of them.
OURS = {"e", "i", "w", "x", "t", "a", "up", "(subquery-1)", "(subquery-2)", "(subquery-3)", "CONSTANT"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """7,200 productions and 16,200 inputs, analysed."""
    url = empty_url(request, tmp_path_factory)
    fixtures.fill(url, SHAPE.sheets())
    engine = create_engine(url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def plan(connection: Connection, texts: dict[str, Texts], name: str) -> list[str]:
    """The plan's lines, as the statement runs inside a walk."""
    return explained(connection, name, getattr(texts[connection.dialect.name], name).format(bound=100))


def explained(connection: Connection, name: str, text: str) -> list[str]:
    ids = SHAPE.top("late", 20)
    Statements(connection).begin()
    driver = connection.connection.driver_connection
    assert driver is not None
    if connection.dialect.name == "sqlite":
        rows = driver.execute(
            f"EXPLAIN QUERY PLAN {text}", {"ids": b"".join(ids), "each": "[0]", "as_of": FOREVER}
        ).fetchall()
        return [row[3] for row in rows]
    array = "{" + ",".join(id.hex() for id in ids) + "}"
    spelled = text.replace("%(ids)s", "$1").replace("%(as_of)s", "$2")
    driver.execute(f"PREPARE {name} (text, text) AS {spelled}")
    rows = driver.execute(f"EXPLAIN EXECUTE {name} ('{array}', '{FOREVER}')").fetchall()
    driver.execute(f"DEALLOCATE {name}")
    return [row[0] for row in rows]


@pytest.mark.parametrize("texts", [TEXTS, TEXTS_NOW], ids=["as-of", "now"])
@pytest.mark.parametrize("name", NAMES)
def test_a_statement_of_the_walk_reads_tables_through_indexes_alone(
    connection: Connection, name: str, texts: dict[str, Texts]
) -> None:
    check(connection, plan(connection, texts, name))


SIEVED = {
    "groups": sieve._GROUPS,
    "of_jobs": sieve._OF_JOBS,
    "runs": sieve._RUNS,
    "outputs": sieve._OUTPUTS,
    "owners": candidates._OWNERS[Owner.RUN],
}


@pytest.mark.parametrize("name", SIEVED)
def test_what_a_search_holds_candidates_against_is_read_through_indexes_alone(
    connection: Connection, name: str
) -> None:
    check(connection, explained(connection, name, SIEVED[name][connection.dialect.name]))


def check(connection: Connection, lines: list[str]) -> None:
    if connection.dialect.name == "sqlite":
        scans = [m[1] for line in lines if (m := re.match(r"SCAN (\S+)", line.strip()))]
        assert set(scans) <= OURS, "\n".join(lines)
        # To build either, SQLite reads a table whole.
        assert not [line for line in lines if "AUTOMATIC" in line or "BLOOM" in line], "\n".join(lines)
    else:
        assert not [line for line in lines if "Seq Scan" in line], "\n".join(lines)
        assert not [line for line in lines if "Hash Join" in line or "Merge Join" in line or "hashed" in line]


@pytest.mark.parametrize("binding", fixtures.BINDINGS)
def test_a_walk_asks_a_statement_or_two_a_round_however_many_nodes(
    connection: Connection, binding: fixtures.Binding
) -> None:
    asked = []

    class Counting(Statements):
        def _rows(self, text: str, ids: Collection[bytes]) -> Rows:
            if ids:
                asked.append(text)
            return super()._rows(text, ids)

    start = walk.productions(connection, SHAPE.top(binding, 1))
    found = walk._Up(Counting(connection), walk.Walk("up"), 10_000).run(start, None)
    assert len(found.nodes) > 25
    assert len(asked) <= 2 * (SHAPE.layers + 1)


@pytest.mark.parametrize("connection", ["postgresql"], indirect=True)
def test_a_walk_on_a_server_ends_at_a_deadline(connection: Connection) -> None:
    connection.rollback()
    walk.upstream(connection, walk.productions(connection, SHAPE.top("named", 1)))
    (timeout,) = connection.exec_driver_sql("SHOW statement_timeout").one()
    assert timeout == f"{STATEMENT_TIMEOUT_S // 60}min"
    connection.rollback()
    (timeout,) = connection.exec_driver_sql("SHOW statement_timeout").one()
    assert timeout == "0"


# -- partitions ---------------------------------------------------------------------------

_EVENTS = """INSERT INTO event SELECT n, sha256(n::text::bytea), md5((n / 4)::text)::uuid, 0, mod(n, 4),
  'lineage', '0', n, n, md5((n / 40)::text || 'e')::uuid, mod(n, 40), NULL, false
  FROM generate_series(1, 60000) n"""
_POINTS = """INSERT INTO metric_point SELECT md5(n::text || 'p')::uuid, md5((n / 20)::text)::uuid,
  'loss-' || mod(n, 50), n, n, random() FROM generate_series(1, 60000) n"""


@pytest.fixture(scope="module")
def partitioned(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """60,000 events and metric points in pieces, each analysed by itself, as autovacuum does it."""
    url = request.getfixturevalue("postgres_server").create()
    with open_store(url, create=True) as store:
        with store.writing() as connection:
            pieces = [connection.exec_driver_sql(text) for text in (_EVENTS, _POINTS)]
            assert [one.rowcount for one in pieces] == [60_000, 60_000]
            for table in ("event", "metric_point"):
                for number in range(16):
                    connection.exec_driver_sql(f"ANALYZE {table}_p{number:02}")
            parents = "SELECT count(*) FROM pg_stats WHERE inherited"
            assert connection.exec_driver_sql(parents).scalar_one() == 0
        with store.connecting() as connection:
            yield connection


RUN = "'c4ca4238a0b923820dcc509a6f75849b'::uuid"
#: What is asked of partitioned tables, and in how many of the 16 pieces the answer is looked for.
ASKED = {
    "the events of a run": (f"SELECT max(at) FROM event WHERE run_id = {RUN} AND at <= 900", 1),
    "the runs of an emitter": (
        f"SELECT run_id FROM event WHERE emitter_id = {RUN} ORDER BY sequence LIMIT 100",
        16,
    ),
    "an event by its id": ("SELECT at FROM event WHERE at = 7 AND event_id = sha256('7')", 16),
    "the points of a run": (f"SELECT key, count(*) FROM metric_point WHERE run_id = {RUN} GROUP BY key", 1),
    "the best of a metric": (
        "SELECT run_id FROM metric_point WHERE substr(key, 1, 200) = 'loss-3' AND value > 0.9",
        16,
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_pieces_are_read_through_indexes_and_a_runs_alone_where_it_is_named(
    partitioned: Connection, asked: str
) -> None:
    query, pieces = ASKED[asked]
    lines = lines_of(partitioned, f"EXPLAIN {query}")
    check(partitioned, lines)
    found = {match for line in lines for match in re.findall(r" on ((?:event|metric_point)_p\d\d)\b", line)}
    assert len(found) == pieces, "\n".join(lines)


def test_events_of_many_runs_are_looked_for_in_one_piece_each(partitioned: Connection) -> None:
    runs = "(SELECT md5(n::text)::uuid AS run_id FROM generate_series(1, 100) n) r"
    asked = f"SELECT (SELECT max(e.at) FROM event e WHERE e.run_id = r.run_id AND e.at <= 90000) FROM {runs}"
    lines = lines_of(partitioned, f"EXPLAIN (ANALYZE, TIMING off, COSTS off) {asked}")
    check(partitioned, lines)
    assert visits(lines) <= 100, "\n".join(lines)


def test_a_batch_looks_for_each_of_its_events_in_one_piece(partitioned: Connection) -> None:
    """The statements that `writers` sends for events that were there already."""
    rows = [
        (n, hashlib.sha256(str(n).encode()).hexdigest(), hashlib.md5(str(n // 4).encode()).hexdigest())
        for n in range(58_000, 60_000)
    ]
    batch = [(*key, 0, key[0] % 4, "lineage", "1", key[0], 0, None, None, None, None) for key in rows]
    writer = writer_for(partitioned)
    assert writer.insert_missing(tables.event, batch) == 0
    assert len(writer.stored_elsewhere(batch)) == len(batch)
    for statement in (writers._STORED_ELSEWHERE, writers._KEEP_EARLIEST):
        lines = lines_of(partitioned, f"EXPLAIN (ANALYZE, TIMING off, COSTS off) {statement}")
        assert not [line for line in lines if re.search("Seq Scan on event|Merge|Hash", line)], "\n".join(
            lines
        )
        assert 0 < visits(lines) <= len(batch), "\n".join(lines)
    partitioned.rollback()


def visits(lines: list[str]) -> int:
    """How often a piece was looked into, as EXPLAIN ANALYZE counted."""
    found = [re.search(r"Index.* (?:event|metric_point)_p\d\d\b.*loops=(\d+)", line) for line in lines]
    return sum(int(match[1]) for match in found if match)


def lines_of(connection: Connection, text: str) -> list[str]:
    return [row[0] for row in connection.exec_driver_sql(text)]
