"""Questions over 1.3 million versions and five million edges: as of a time, impact, difference, search.

Every figure is the whole answer of the Python API, named and ready to be shown, but for `walk`, which
is the walk of that answer alone, as in `lineage`. Beside it stands what people write by hand on the same
database: a recursive statement over a table of ready edges (nothing to bind, no names, no bounds), and for
the search the pattern match over names and facets that a server without an index for it runs. Nothing is
known to answer a difference of two cones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import isolated, stores
from bench.rows import Figure, percentile
from bench.scale import Scale

DEPTH = 10
#: On PostgreSQL; SQLite may take three times as long.
BUDGET_MS = {"lineage-asof": 20.0, "lineage-impact": 200.0, "lineage-diff": 300.0, "search": 50.0}
SHARE = {"postgresql": 1, "sqlite": 3}
BARE = "bare recursive SQL over ready edges"
SCAN = "LIKE over names and facets"
SEARCHES = (
    ("name", "table 11 57"),
    ("parameters", "depth=7 table=5"),
    ("metric", "auc>0.9995"),
    ("code", "make_table_42"),
)

Told = dict[str, Any]


def figures(scale: Scale) -> Iterator[Figure]:
    for kind in ("sqlite", "postgresql"):
        with stores.graph(kind, scale.versions, scale.deep) as url:
            told = isolated.call(
                "bench.questions:measuring",
                url=url,
                versions=scale.versions,
                questions=max(3, scale.walks // 4),
            )
            where = "SQLite" if kind == "sqlite" else stores.settings_of(url)
        for name, answer in told["answers"].items():
            yield _figure(kind, name, answer, f"{told['shape']}; {where}")


def _figure(kind: str, name: str, answer: Told, where: str) -> Figure:
    question = name.partition(":")[0]
    peer = answer.get("peer")
    bare = f"; {BARE}: {percentile(answer['bare'], 0.5):,.1f} ms" if "bare" in answer and not peer else ""
    return Figure(
        name=name.replace(":", f":{kind}:", 1),
        unit="ms",
        values=[percentile(run, 0.5) for run in answer["ms"]],
        budget=BUDGET_MS[question] * SHARE[kind],
        peer=peer,
        peer_values=[percentile(answer["bare"], 0.5)] if peer else (),
        fixture=f"{answer['what']}; {answer['size']:,.0f} {answer['of']} (median); warm; {where}",
        note=f"p95 {percentile([percentile(run, 0.95) for run in answer['ms']], 0.5):.1f} ms; "
        f"met for the first time {percentile(answer['first'], 0.5):.1f} ms{bare}",
    )


# -- in a process of their own ------------------------------------------------------------


def measuring(url: str, versions: int, questions: int) -> Told:
    """Every question to the store at `url`, in ms."""
    from headwater.consumers.store import connect

    store = connect(url)
    ask = _Questions(store, versions, questions)
    answers = {
        f"lineage-asof:depth-{DEPTH}:up:walk": ask.walk_as_of(),
        f"lineage-asof:depth-{DEPTH}:up:answer": ask.as_of(),
        "lineage-impact:codes": ask.impact(),
        "lineage-diff:versions": ask.diff(),
        **{f"search:{name}": ask.search(query) for name, query in SEARCHES},
    }
    shape = ask.shape()
    store.close()
    return {"answers": answers, "shape": shape}


class _Questions:
    """Asks one store, and the statement beside it; how long each answer takes, in ms."""

    def __init__(self, store: Any, versions: int, count: int) -> None:
        from bench import fixtures
        from headwater.consumers.asking import Lineage

        self._store = store
        self._lineage = Lineage(store)
        self._wide = fixtures.Wide(versions=versions)
        self._count = count

    def shape(self) -> str:
        versions, inputs = (
            self._scalar("SELECT count(*) FROM run_output"),
            self._scalar("SELECT count(*) FROM run_input"),
        )
        return f"{versions:,} productions and {inputs:,} inputs in the store"

    def as_of(self) -> Told:
        """The latest version as of a time, ten steps up: the name is resolved as of then as well."""
        from datetime import UTC, datetime

        moments = [self._published(id) + 1_000 for id in self._wide.top(self._count)]
        names = [self._name(id) for id in self._wide.top(self._count)]

        def ask(at: int) -> int:
            moment = datetime.fromtimestamp(moments[at] / 1e6, UTC)
            return len(self._lineage.upstream(names[at], depth=DEPTH, as_of=moment).nodes)

        starts = self._wide.top(self._count)
        bare = [self._ms(lambda id: self._bare(id, "target", "source", DEPTH), id)[0] for id in starts]
        return self._asked(ask, "8 inputs a step, asked by name as of a time past", "nodes") | {
            "bare": bare,
            "peer": BARE,
        }

    def walk_as_of(self) -> Told:
        """The same walks as `as_of`, of ids alone."""
        from headwater.consumers import walk

        starts = self._wide.top(self._count)
        moments = [self._published(id) + 1_000 for id in starts]

        def ask(at: int) -> int:
            with self._store.connecting() as connection, connection.begin():
                begun = walk.productions(connection, [starts[at]], moments[at])
                return len(walk.upstream(connection, begun, depth=DEPTH, as_of=moments[at]).nodes)

        bare = [self._ms(lambda id: self._bare(id, "target", "source", DEPTH), id)[0] for id in starts]
        return self._asked(ask, "8 inputs a step, as of a time past", "nodes") | {"bare": bare, "peer": BARE}

    def impact(self) -> Told:
        from headwater.consumers.naming import id_text

        starts = self._wide.codes(self._count)

        def ask(at: int) -> int:
            found = self._lineage.impact(id_text(starts[at]))
            return sum(asset.productions for asset in found.assets)

        bare = [self._ms(lambda id: self._bare(id, "source", "target", None), id)[0] for id in starts]
        return self._asked(
            ask, "a table of codes that steps of 11 layers read for nine days", "productions"
        ) | {
            "bare": bare,
            "peer": BARE,
        }

    def diff(self) -> Told:
        from headwater.consumers.naming import id_text

        pairs = list(zip(self._wide.top(self._count, back=1), self._wide.top(self._count), strict=True))

        def ask(at: int) -> int:
            before, after = pairs[at]
            found = self._lineage.diff(id_text(before), id_text(after))
            return (found.before.assets + found.after.assets) // 2

        return self._asked(ask, "two versions a day apart, everything upstream made anew", "assets a side")

    def search(self, query: str) -> Told:
        def ask(_: int) -> int:
            return len(self._lineage.search(query).results)

        word = query.rpartition(":")[2].split()[-1].partition("=")[0].partition(">")[0]
        bare = [self._ms(self._scan, word)[0] for _ in range(3)]
        return self._asked(ask, f"`{query}`", "found") | {"bare": bare, "peer": SCAN}

    def _asked(self, ask: Callable[[int], int], what: str, of: str) -> Told:
        """All questions once unseen, then three times over."""
        first = [self._ms(ask, at) for at in range(self._count)]
        runs = [[self._ms(ask, at)[0] for at in range(self._count)] for _ in range(3)]
        size = percentile([size for _, size in first], 0.5)
        return {"first": [ms for ms, _ in first], "ms": runs, "size": size, "what": what, "of": of}

    @staticmethod
    def _ms(ask: Callable[[Any], int], about: Any) -> tuple[float, int]:
        began = time.perf_counter()
        size = ask(about)
        return (time.perf_counter() - began) * 1e3, size

    # -- beside ---------------------------------------------------------------------------

    def _bare(self, start: bytes, at: str, to: str, depth: int | None) -> int:
        """The walk over `bench_edge`, which no store of ours has."""
        postgres = self._store.dialect == "postgresql"
        mark = "CAST(%s AS uuid)" if postgres else "?"
        bound, carried = ("", "") if depth is None else (f"WHERE t.depth < {depth}", ", t.depth + 1")
        columns, first = ("id", "") if depth is None else ("id, depth", ", 0")
        text = f"""WITH RECURSIVE t({columns}) AS (SELECT {mark}{first}
            UNION SELECT e.{to}{carried} FROM t JOIN bench_edge e ON e.{at} = t.id {bound})
            SELECT id FROM t"""
        with self._store.connecting() as connection:
            driver = connection.connection.driver_connection
            return len(driver.execute(text, (start.hex() if postgres else start,)).fetchall())

    def _scan(self, word: str) -> int:
        like, body = ("ILIKE", "body::text") if self._store.dialect == "postgresql" else ("LIKE", "body")
        text = f"""SELECT name FROM dataset WHERE name {like} '%{word}%'
            UNION ALL SELECT name FROM job WHERE name {like} '%{word}%'
            UNION ALL SELECT name FROM facet WHERE {body} {like} '%{word}%'"""
        with self._store.connecting() as connection:
            cursor = connection.connection.driver_connection.cursor()
            return len(cursor.execute(text).fetchall())

    def _scalar(self, text: str) -> int:
        with self._store.connecting() as connection:
            return int(connection.exec_driver_sql(text).scalar_one())

    def _published(self, production: bytes) -> int:
        from sqlalchemy import select

        from headwater.consumers.tables import run_output

        query = select(run_output.c.published_at).where(run_output.c.production_id == production)
        with self._store.connecting() as connection:
            return int(connection.execute(query).scalar_one())

    def _name(self, production: bytes) -> str:
        from sqlalchemy import select

        from headwater.consumers.tables import dataset, run_output

        query = (
            select(dataset.c.namespace, dataset.c.name)
            .join(run_output, run_output.c.dataset_id == dataset.c.dataset_id)
            .where(run_output.c.production_id == production)
        )
        with self._store.connecting() as connection:
            return "/".join(connection.execute(query).one())
