"""The statements of the walks, run.

They run on the driver beneath SQLAlchemy: ids go in and out as raw bytes, and a statement has one
text for any number of ids and any time (prepared once; see `headwater.consumers.statement_texts`).
Nothing here decides what a walk means; see `headwater.consumers.walk`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Connection

from headwater.consumers.statement_texts import FOREVER, TEXTS, TEXTS_NOW
from headwater.schemas.errors import Misconfigured

Rows: TypeAlias = list[tuple[Any, ...]]

#: A walk that takes longer than this on a server is given up, not waited for.
STATEMENT_TIMEOUT_S = 60

# The shape of the walks is theirs to decide: always through the indexes, row by row. A planner
# that prefers to hash three million rows for a frontier of five hundred costs seconds.
_POSTGRES_BEGIN = f"""SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('max_parallel_workers_per_gather', '0', true),
  set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('statement_timeout', '{STATEMENT_TIMEOUT_S * 1000}', true)"""


# What stands for the production of an input when the log has not shown it.
_NOTHING = (None,) * 9


class Statements:
    """The statements on one connection. `begin` pins the plans until its transaction ends.

    `as_of` (µs since 1970 UTC, inclusive): only what was read and published by then is told.
    `include_failed`: an input that names the dataset alone is told with what failed runs may have
    written too.
    """

    def __init__(
        self, connection: Connection, as_of: int | None = None, include_failed: bool = False
    ) -> None:
        dialect = connection.dialect.name
        if dialect not in TEXTS:
            raise Misconfigured(f"no lineage queries for {dialect}", remedy="use sqlite or postgresql")
        self._texts = (TEXTS_NOW if as_of is None else TEXTS)[dialect]
        self._as_of = FOREVER if as_of is None else as_of
        self._include_failed = include_failed
        self._postgres = dialect == "postgresql"
        #: Datasets: whether something read them without a version, or may have under another name.
        self._read_by_name: dict[bytes, bool] = {}
        #: Productions that inputs named, once fetched: most are read by several runs.
        self._produced: dict[bytes | None, tuple[Any, ...]] = {}
        # Held so that the driver's connection is not returned to the pool under us.
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection

    def begin(self) -> None:
        if self._postgres:
            self._driver.execute(_POSTGRES_BEGIN)

    def productions(self, ids: Collection[bytes]) -> Rows:
        return self._rows(self._texts.productions, ids)

    def outputs(self, runs: Collection[bytes]) -> Rows:
        """(run, then one of its productions or nothing) of `runs`, without jobs' own statements."""
        return self._rows(self._texts.outputs, runs)

    def inputs(self, runs: Collection[bytes]) -> Rows:
        """The inputs of `runs`, each with what it is bound to."""
        rows = self._rows(self._texts.inputs, runs)
        produced = self._produced
        unseen = {row[3] for row in rows if row[3] not in produced}
        produced.update(dict.fromkeys(unseen, _NOTHING))
        unseen.discard(None)
        produced.update((row[0], row) for row in self.productions(unseen))
        named = [row + produced[row[3]] for row in rows if row[3] is not None]
        unnamed = {row[0] for row in rows if row[3] is None}
        return named + self._with_others(self._rows(self._texts.bound_inputs, unnamed))

    def inputs_ahead(self, ids: Collection[bytes], bound: int) -> Rows:
        """The inputs of every run that a walk up from `ids` meets, of `bound` nodes at most."""
        return self._with_others(self._rows(self._texts.inputs_ahead.format(bound=int(bound)), ids))

    def productions_ahead(self, ids: Collection[bytes], bound: int) -> set[bytes]:
        """Productions that a walk down from `ids` is likely to meet, `ids` included; about `bound`."""
        found = set(ids)
        for text in (self._texts.named_ahead, self._texts.late_ahead):
            found.update(row[0] for row in self._rows(text.format(bound=int(bound)), ids))
        return found

    def _with_others(self, rows: Rows) -> Rows:
        """`rows`, whose last column is `last_at`, and what else their inputs are bound to.

        That is what streaming runs read later on, and what failed runs may have written.
        """
        streaming = {row[0] for row in rows if row[-1] is not None}
        others = self._rows(self._texts.later_inputs, streaming)
        if self._include_failed:
            by_time = {row[0] for row in rows if row[2] is None}
            others += self._rows(self._texts.possible_inputs, by_time)
        return rows + others

    def readers(self, productions: Collection[tuple[Any, ...]]) -> Rows:
        """The inputs bound to `productions` (rows as of `productions`), each with the one it is bound to."""
        ids = [row[0] for row in productions]
        found = self._rows(self._texts.named_readers, ids)
        found += self._rows(self._texts.readers, self._read_unnamed(productions))
        return found + self._rows(self._texts.possible_readers, ids) if self._include_failed else found

    def _read_unnamed(self, productions: Collection[tuple[Any, ...]]) -> list[bytes]:
        """Ids of those that may have been read by their dataset's name alone, or by their version."""
        named = self._read_by_name
        unseen = {row[2] for row in productions if row[2] not in named}
        named.update(dict.fromkeys(unseen, False))
        named.update((row[0], True) for row in self._rows(self._texts.read_by_name, unseen))
        versions = {row[3] for row in productions if row[4] and not named[row[2]]}
        versioned = {row[0] for row in self._rows(self._texts.read_by_version, versions)}
        return [row[0] for row in productions if named[row[2]] or row[3] in versioned]

    def origin_readers(self, datasets: Collection[bytes]) -> Rows:
        """The inputs of `datasets` that are bound to nothing, each with its dataset."""
        return self._rows(self._texts.origin_readers, datasets)

    def ambiguous(self, runs: Collection[bytes]) -> Rows:
        """(run, dataset) of each input of `runs` whose binding may as well be another one."""
        return self._rows(self._texts.ambiguous, runs)

    def names(self, datasets: Collection[bytes]) -> Rows:
        return self._rows(self._texts.names, datasets)

    def versions(self, versions: Collection[bytes]) -> Rows:
        return self._rows(self._texts.versions, versions)

    def runs(self, runs: Collection[bytes]) -> Rows:
        return self._rows(self._texts.runs, runs)

    def states_then(self, runs: Collection[bytes]) -> Rows:
        """(run, last event, furthest state not terminal, last terminal state, its time), by then.

        The last four as their events say; None where there were none.
        """
        return self._rows(self._texts.states_then, runs)

    def output_facets(self, productions: Collection[bytes]) -> Rows:
        return self._rows(self._texts.output_facets, productions)

    def facets(self, facets: Collection[bytes], names: Collection[str] | None = None) -> Rows:
        """(facet id, name, body as JSON text) of each; of those alone that are called one of `names`."""
        if names is None:
            return self._rows(self._texts.facets, facets)
        listed = ", ".join(f"'{name}'" for name in sorted(names))
        return self._rows(f"{self._texts.facets} AND f.name IN ({listed})", facets)

    def column_edges(self, facets: Collection[bytes]) -> Rows:
        return self._rows(self._texts.column_edges, facets)

    def run_edges(self, runs: Collection[bytes]) -> Rows:
        return self._rows(self._texts.run_edges, runs)

    def columns(self, facets: Collection[bytes]) -> Rows:
        """(facet, target, its field, source, its field, kind) of every column that the facets speak of."""
        return self._rows(self._texts.columns, facets)

    def run_lineage(self, runs: Collection[bytes]) -> Rows:
        """(run, lineage facet) of what the runs still say of columns."""
        return self._rows(self._texts.run_lineage, runs)

    def ask(self, texts: Mapping[str, str], ids: Collection[bytes]) -> Rows:
        """The rows of a statement that is not one of a walk's; `texts` are by database, see `spelled`."""
        return self._rows(texts[self._connection.dialect.name], ids)

    def _rows(self, text: str, ids: Collection[bytes]) -> Rows:
        if not ids:
            return []
        if self._postgres:
            cursor = self._driver.cursor(binary=True)
            listed = "{" + ",".join(id.hex() for id in ids) + "}"
            cursor.execute(text, {"ids": listed, "as_of": str(self._as_of)}, prepare=True)
            rows: Rows = cursor.fetchall()
            return rows
        told = {"ids": b"".join(ids), "each": f"[0{',0' * (len(ids) - 1)}]", "as_of": self._as_of}
        rows = self._driver.execute(text, told).fetchall()
        return rows
