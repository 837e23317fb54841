"""The shape of the walks' SQL is part of the design: through indexes, row by row, on a store of some size."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import fields

import pytest
from sqlalchemy import Connection, create_engine

from bench import fixtures
from headwater.consumers import candidates, sieve, walk
from headwater.consumers.statement_texts import FOREVER, TEXTS, TEXTS_NOW, Texts
from headwater.consumers.statements import STATEMENT_TIMEOUT_S, Rows, Statements
from headwater.consumers.terms import Owner
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
