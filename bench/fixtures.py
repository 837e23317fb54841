"""Lineage stores for the benchmarks: stated shapes, the same rows on every database.

`Layered` is the store of the lineage budget. It is three systems of equal size that differ in
how an input names what it read, because that decides what a walk costs:

    named       the production itself, as headwater's own events do
    versioned   a content version; which production of it, is bound in the query
    late        the dataset alone, as most foreign events do; bound in the query

Each system has `layers` layers of `width` datasets with `versions` versions each; every version
is one run's output, and that run read three datasets of the layer below in their current version.
A walk of depth 10 from the top meets some 600 productions. `Chain` and `Ladder` are the narrow,
deep shapes: each step reads the one before, or the two before.

`Wide` is a fourth system beside the three, for the questions that read what is said and not only what
leads where: eight inputs a step, and facets as native events have them (parameters, code, schema,
column metrics, metrics). Two steps of every later layer read a table of codes that is made anew every
few days, so that one version of it reaches some ten thousand productions. With it the store has 1.3
million versions and 5.2 million edges.

Rows are a function of the shape (no clock, no randomness beyond the seed).
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal, TypeAlias

from sqlalchemy import Engine, Table, create_engine, text

from headwater.consumers import tables, terms
from headwater.consumers.store import open_store
from headwater.consumers.terms import Kind, Owner
from headwater.schemas import ids
from headwater.schemas.openlineage import canonical_json

Binding: TypeAlias = Literal["named", "versioned", "late"]
BINDINGS: tuple[Binding, ...] = ("named", "versioned", "late")

START = 1_767_225_600_000_000  # 2026-01-01
MINUTE = 60_000_000
DAY = 1_440 * MINUTE
INPUTS_PER_STEP = 3
CHUNK = 20_000

Rows: TypeAlias = dict[Table, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One production of a fixture."""

    run_id: bytes
    dataset_id: bytes
    version_id: bytes
    production_id: bytes
    at: int


class Sheet:
    """Rows by table, in the order of the tables' columns."""

    _facets: ClassVar[set[bytes]] = set()

    def __init__(self) -> None:
        self.rows: Rows = {}

    def add(self, table: Table, **values: Any) -> None:
        row = tuple(values[column.name] for column in table.columns)
        self.rows.setdefault(table, []).append(row)

    def dataset(self, namespace: str, name: str) -> bytes:
        key = ids.dataset_id(namespace, name)
        self.add(tables.dataset, dataset_id=key, namespace=namespace, name=name, group_id=key)
        self._words(Kind.NAME, key, terms.name_words(namespace, name))
        return key

    def job(self, namespace: str, name: str) -> bytes:
        key = ids.job_id(namespace, name)
        self.add(tables.job, job_id=key, namespace=namespace, name=name)
        self._words(Kind.JOB, key, terms.name_words(namespace, name))
        return key

    def facet(self, name: str, body: dict[str, Any], owner: tuple[Owner, bytes] | None = None) -> bytes:
        """A facet and what can be searched of it."""
        text = canonical_json(body)
        key = ids.hash128("facet", name, text.decode())
        if owner is not None and name in terms.SEARCHED:
            self.rows.setdefault(tables.facet_owner, []).append((key, int(owner[0]), owner[1]))
        if key not in self._facets:
            self._facets.add(key)
            self.add(tables.facet, facet_id=key, name=name, body=text.decode())
            for word, kind in terms.facet_words(name, body):
                self._words(kind, key, [word])
            for value in terms.values(name, body):
                content = (int(value.kind), value.key, value.text, value.number)
                number = ids.hash128("value", *(repr(part) for part in content))
                self.rows.setdefault(tables.facet_value, []).append((key, number, *content))
        return key

    def _words(self, kind: Kind, subject: bytes, words: list[str]) -> None:
        rows = self.rows.setdefault(tables.word, [])
        rows += [(word, int(kind), subject) for word in words]

    def describe(self, made: Made, run: dict[str, Any], output: dict[str, Any], *, also: bytes) -> None:
        """Facets of the run and of the production that was made last."""
        owner = (Owner.RUN, made.run_id)
        of_run = b"".join(sorted(self.facet(name, body, owner) for name, body in run.items()))
        of_output = b"".join(
            sorted([also, *(self.facet(name, body, owner) for name, body in output.items())])
        )
        for table, facets in ((tables.run, of_run), (tables.run_output, of_output)):
            self.rows[table][-1] = (*self.rows[table][-1][:-1], facets)

    def made(self, job: bytes, dataset: bytes, at: int, *, versioned: bool) -> Made:
        """One run of `job` that wrote `dataset`, published `at`."""
        digest = ids.hash128("bench", dataset.hex(), str(at))
        run = (at // 1000).to_bytes(6, "big") + b"\x70" + digest[7:8] + b"\x80" + digest[9:]
        content = ids.unversioned_output_id(dataset, run)
        if versioned:
            name = f"bytes1:{digest.hex()}{digest.hex()}"
            content = ids.version_id(dataset, name)
            self.add(tables.version, version_id=content, dataset_id=dataset, version=name)
        production = ids.production_id(run, dataset, content)
        self.add(
            tables.run,
            run_id=run,
            kind=0,
            ext_id=None,
            job_id=job,
            state=3,
            first_at=at - MINUTE,
            started_at=at - MINUTE,
            ended_at=at,
            last_at=at,
            last_start_at=at - MINUTE,
            streaming=False,
            parent_run_id=None,
            parent_job_id=None,
            root_run_id=None,
            facets=b"",
        )
        self.add(
            tables.run_output,
            production_id=production,
            run_id=run,
            dataset_id=dataset,
            version_id=content,
            versioned=versioned,
            published_at=at,
            lifecycle=None,
            basis=0,
            edge_facet=None,
            live=True,
            facets=b"",
        )
        return Made(run_id=run, dataset_id=dataset, version_id=content, production_id=production, at=at)

    def read(self, reader: Made, source: Made, binding: Binding) -> None:
        """The run of `reader` read `source`, and said so as `binding` tells."""
        self.add(
            tables.run_input,
            run_id=reader.run_id,
            dataset_id=source.dataset_id,
            version_id=None if binding == "late" else source.version_id,
            production_id=source.production_id if binding == "named" else None,
            role=0,
            first_at=reader.at - MINUTE // 2,
            last_at=None,
            live=True,
            facets=b"",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """See the module; 3 × 12 × 100 × 278 is just over a million versions."""

    layers: int = 12
    width: int = 100
    versions: int = 278
    seed: int = 7

    def sheets(self) -> Iterator[Sheet]:
        for binding in BINDINGS:
            yield from self._system(binding)

    def top(self, binding: Binding, count: int) -> list[bytes]:
        """`count` productions of the last layer, spread over datasets and versions."""
        draw = random.Random(self.seed)
        found = []
        for _ in range(count):
            name = f"{self.layers - 1}.{draw.randrange(self.width)}"
            dataset = ids.dataset_id(binding, name)
            at = self._at(self.layers - 1, int(name.split(".")[1]), draw.randrange(1, self.versions))
            found.append(Sheet().made(b"", dataset, at, versioned=binding != "late").production_id)
        return found

    def bottom(self, binding: Binding, count: int) -> list[bytes]:
        """`count` productions of the first layer."""
        draw = random.Random(self.seed)
        found = []
        for _ in range(count):
            number = draw.randrange(self.width)
            dataset = ids.dataset_id(binding, f"0.{number}")
            at = self._at(0, number, draw.randrange(1, self.versions))
            found.append(Sheet().made(b"", dataset, at, versioned=binding != "late").production_id)
        return found

    def _at(self, layer: int, number: int, version: int) -> int:
        return START + version * DAY + layer * 100 * MINUTE + number * (MINUTE // 2)

    def _system(self, binding: Binding) -> Iterator[Sheet]:
        draw = random.Random(f"{self.seed}{binding}")
        width = range(self.width)
        names = Sheet()
        names_of = [[f"{layer}.{number}" for number in width] for layer in range(self.layers)]
        datasets = [[names.dataset(binding, name) for name in row] for row in names_of]
        jobs = [[names.job(binding, f"make {name}") for name in row] for row in names_of]
        sources = [
            [draw.sample(width, INPUTS_PER_STEP) if layer else [] for _ in width]
            for layer in range(self.layers)
        ]
        yield names
        for version in range(self.versions):
            sheet, below = Sheet(), list[Made]()
            for layer in range(self.layers):
                made = [
                    sheet.made(
                        jobs[layer][n],
                        datasets[layer][n],
                        self._at(layer, n, version),
                        versioned=binding != "late",
                    )
                    for n in width
                ]
                for n in width:
                    for source in sources[layer][n]:
                        sheet.read(made[n], below[source], binding)
                below = made
            yield sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Deep:
    """`steps` datasets in a row, each made from the `reach` before it: 1 a chain, 2 a skip ladder."""

    name: str
    steps: int = 10_000
    reach: int = 1
    binding: Binding = "named"

    def sheets(self) -> Iterator[Sheet]:
        sheet, before = Sheet(), list[Made]()
        job = sheet.job(self.name, "step")
        for step in range(self.steps):
            dataset = sheet.dataset(self.name, str(step))
            made = sheet.made(job, dataset, self._at(step), versioned=self.binding != "late")
            for source in before[-self.reach :]:
                sheet.read(made, source, self.binding)
            before.append(made)
        yield sheet

    def last(self) -> bytes:
        """The production at the end."""
        dataset = ids.dataset_id(self.name, str(self.steps - 1))
        made = Sheet().made(b"", dataset, self._at(self.steps - 1), versioned=self.binding != "late")
        return made.production_id

    def first(self) -> bytes:
        """The production at the beginning."""
        dataset = ids.dataset_id(self.name, "0")
        return Sheet().made(b"", dataset, self._at(0), versioned=self.binding != "late").production_id

    def _at(self, step: int) -> int:
        return START + step * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Wide:
    """See the module; eight inputs a step and facets."""

    layers: int = 12
    width: int = 100
    versions: int = 278
    inputs: int = 8
    seed: int = 7
    #: So many versions of everything read one version of the codes.
    days_of_codes: int = 9

    def sheets(self) -> Iterator[Sheet]:
        draw = random.Random(f"{self.seed}wide")
        names = Sheet()
        codes = names.dataset("wide", "codes")
        by = names.job("wide", "publish codes")
        layers = [_Layer.begun(names, self, layer, draw) for layer in range(self.layers)]
        yield names
        current: Made | None = None
        for version in range(self.versions):
            sheet, below = Sheet(), list[Made]()
            if version % self.days_of_codes == 0:
                current = sheet.made(by, codes, self._codes_at(version), versioned=True)
            for layer in layers:
                below = layer.day(sheet, version, below, current, draw)
            yield sheet

    def top(self, count: int, *, back: int = 0) -> list[bytes]:
        """`count` productions of the last layer, or those made `back` days before them."""
        draw = random.Random(self.seed)
        found = []
        for _ in range(count):
            number, version = draw.randrange(self.width), draw.randrange(2, self.versions)
            found.append(self._production(self.layers - 1, number, version - back))
        return found

    def codes(self, count: int) -> list[bytes]:
        """`count` versions of the codes, each read for all its days."""
        draw = random.Random(self.seed)
        whole = self.versions // self.days_of_codes
        days = [self.days_of_codes * draw.randrange(whole) for _ in range(count)]
        return [
            Sheet()
            .made(b"", ids.dataset_id("wide", "codes"), self._codes_at(day), versioned=True)
            .production_id
            for day in days
        ]

    def _codes_at(self, version: int) -> int:
        return START + version * DAY - MINUTE

    def at(self, layer: int, number: int, version: int) -> int:
        """When it was published."""
        return START + version * DAY + layer * 100 * MINUTE + number * (MINUTE // 2)

    def _production(self, layer: int, number: int, version: int) -> bytes:
        dataset = ids.dataset_id("wide", f"table_{layer}_{number}")
        return Sheet().made(b"", dataset, self.at(layer, number, version), versioned=True).production_id


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer of `Wide`: its datasets and jobs, what each step reads, and what stays the same of it."""

    shape: Wide
    number: int
    datasets: list[bytes]
    jobs: list[bytes]
    sources: list[list[int]]
    schemas: list[bytes]

    @classmethod
    def begun(cls, names: Sheet, shape: Wide, number: int, draw: random.Random) -> _Layer:
        width = range(shape.width)
        datasets = [names.dataset("wide", f"table_{number}_{n}") for n in width]
        return cls(
            shape,
            number,
            datasets,
            [names.job("wide", f"pipeline_{number}.make_table_{n}") for n in width],
            [draw.sample(width, shape.inputs) if number else [] for _ in width],
            [names.facet("schema", _schema(number, n), (Owner.DATASET, datasets[n])) for n in width],
        )

    def day(
        self, sheet: Sheet, version: int, below: list[Made], codes: Made | None, draw: random.Random
    ) -> list[Made]:
        """One version of each dataset."""
        made = []
        for n in range(self.shape.width):
            at = self.shape.at(self.number, n, version)
            one = sheet.made(self.jobs[n], self.datasets[n], at, versioned=True)
            sheet.describe(
                one,
                {
                    "executionParameters": _parameters(version, n),
                    "headwater_code": _code(self.number, n, version),
                },
                {"dataQualityMetrics": _statistics(draw), **self._metrics(draw)},
                also=self.schemas[n],
            )
            for source in self.sources[n]:
                sheet.read(one, below[source], "named")
            if self.number and n < 2 and codes is not None:
                sheet.read(one, codes, "named")
            made.append(one)
        return made

    def _metrics(self, draw: random.Random) -> dict[str, Any]:
        """The last layer measures something."""
        if self.number < self.shape.layers - 1:
            return {}
        return {
            "headwater_metrics": {"values": {"auc": round(draw.random(), 4), "loss": round(draw.random(), 4)}}
        }


def _schema(layer: int, number: int) -> dict[str, Any]:
    columns = [f"column_{layer}_{number}", "customer", "amount", "at"]
    return {"fields": [{"name": name, "type": "double"} for name in columns]}


def _parameters(version: int, number: int) -> dict[str, Any]:
    told = {"depth": 4 + version // 50, "rate": 0.1, "table": number}
    return {"parameters": [{"key": key, "value": str(value)} for key, value in told.items()]}


def _code(layer: int, number: int, version: int) -> dict[str, Any]:
    digest = ids.hash128("bench code", str(layer), str(number), str(version // 30)).hex()
    return {
        "function": f"pipelines.layer_{layer}:make_table_{number}",
        "sourceDigest": digest * 2,
        "gitCommit": digest,
    }


def _statistics(draw: random.Random) -> dict[str, Any]:
    rows = draw.randrange(90_000, 110_000)
    return {
        "rowCount": rows,
        "columnMetrics": {
            "amount": {
                "nullCount": draw.randrange(50),
                "min": 0.0,
                "max": 100 * draw.random(),
                "sum": rows * draw.random(),
            }
        },
    }


CHAIN = Deep(name="chain")
LADDER = Deep(name="ladder", reach=2)
LATE_CHAIN = Deep(name="late-chain", binding="late")
LATE_LADDER = Deep(name="late-ladder", reach=2, binding="late")


def fill(url: str, sheets: Iterable[Sheet], progress: Callable[[int], None] = lambda rows: None) -> None:
    """Make a store at `url` and load `sheets`; indexes come after, as a bulk load does it."""
    open_store(url, create=True).close()
    engine = create_engine(url)
    indexes = _without_indexes(engine)
    load = _load_postgres if engine.dialect.name == "postgresql" else _load_sqlite
    loaded = 0
    for batch in _batches(sheets):
        load(engine, batch)
        loaded += sum(map(len, batch.values()))
        progress(loaded)
    _finish(engine, indexes)
    engine.dispose()


# Indexes of no constraint; of a partitioned table its own, with which those of its pieces come and go.
_INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT relname, replace(pg_get_indexdef(c.oid), ' ON ONLY ', ' ON ') FROM pg_class c "
    "WHERE relkind IN ('i', 'I') AND NOT relispartition AND relnamespace = CAST('public' AS regnamespace) "
    "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid)",
}


def _without_indexes(engine: Engine) -> list[str]:
    """Drop them; the statements that make them again."""
    with engine.begin() as connection:
        found = connection.execute(text(_INDEXES[engine.dialect.name])).all()
        for name, _ in found:
            connection.execute(text(f'DROP INDEX "{name}"'))
    return [statement for _, statement in found]


def _batches(sheets: Iterable[Sheet]) -> Iterator[Rows]:
    """Several sheets at a time, so that a transaction is worth its while."""
    waiting = iter(sheets)
    while some := list(islice(waiting, 8)):
        together: Rows = {}
        for sheet in some:
            for table, rows in sheet.rows.items():
                together.setdefault(table, []).extend(rows)
        yield together


def _load_sqlite(engine: Engine, batch: Rows) -> None:
    with engine.connect() as connection:
        driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        driver.execute("PRAGMA synchronous=OFF")
        for table, rows in batch.items():
            marks = ",".join("?" * len(table.columns))
            driver.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows)
        driver.commit()


def _load_postgres(engine: Engine, batch: Rows) -> None:
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for table, rows in batch.items():
            is_id = [isinstance(column.type, tables.Id) for column in table.columns]
            with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(
                        [
                            v.hex() if known and v is not None else v
                            for v, known in zip(row, is_id, strict=True)
                        ]
                    )
        driver.commit()


def _finish(engine: Engine, indexes: Iterable[str]) -> None:
    for statement in indexes:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"))
