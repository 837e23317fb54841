"""The statements of the walks, as text, for each database.

They run on the driver beneath SQLAlchemy: ids go in and out as raw bytes, a statement has one
text for any number of ids (prepared once), and each table is reached through an index, whatever
the planner's statistics say. Nothing here decides what a walk means; see `headwater.consumers.walk`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection

from headwater.consumers.ancestry import ROOT
from headwater.consumers.binding import (
    AMBIGUOUS,
    BOUND,
    BOUND_BY_TIME,
    BOUND_BY_VERSION,
    DROPPED,
    FEEDS,
    LATER,
    LATER_FROM,
)
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

_PRODUCTION = (
    ("s", "production_id", True),
    ("s", "run_id", True),
    ("s", "dataset_id", True),
    ("s", "version_id", True),
    ("s", "versioned", False),
    ("s", "published_at", False),
    ("s", "lifecycle", False),
    ("s", "basis", False),
    ("s", "edge_facet", True),
)
_INPUT = (
    ("i", "run_id", True),
    ("i", "dataset_id", True),
    ("i", "version_id", True),
    ("i", "production_id", True),
    ("i", "role", False),
    ("i", "first_at", False),
)

_IDS = {
    "x": "x.production_id",
    "d": "w.id",
    "irun": "i.run_id",
    "idataset": "i.dataset_id",
    "v": "v.version_id",
    "r": "r.run_id",
    "parent": "r.parent_run_id",
    "root": ROOT,
    "o": "o.production_id",
    "f": "f.facet_id",
    "g": "g.dataset_id",
    "gv": "g.version_id",
    "facet": "e.facet_id",
    "erun": "e.run_id",
    "target": "e.target_id",
    "source": "e.source_id",
}

_PRODUCTIONS = "SELECT {s} FROM {w} CROSS JOIN run_output s WHERE s.production_id = w.id"

# A job's own statements (kind 1) are part of no walk.
_OUTPUTS = """SELECT {r}, {s} FROM {w} CROSS JOIN run r LEFT JOIN run_output s ON s.run_id = r.run_id
WHERE r.run_id = w.id AND r.kind <> 1"""

# In two statements, because what names its production (all that headwater itself emits) needs no binding.
_INPUTS = """SELECT {i}, {s}
FROM {w} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = i.production_id
WHERE i.run_id = w.id"""

_BOUND_INPUTS = f"""SELECT {{i}}, {{s}}, i.last_at
FROM {{w}} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id =
  CASE WHEN i.version_id IS NOT NULL THEN {BOUND_BY_VERSION} ELSE {BOUND_BY_TIME} END
WHERE i.run_id = w.id AND i.production_id IS NULL"""

# In a statement of its own, because few runs are streaming ones.
_LATER_INPUTS = f"SELECT {{i}}, {{s}} FROM {{w}} CROSS JOIN {LATER_FROM} WHERE i.run_id = w.id AND {LATER}"

_INPUTS_AHEAD = f"""WITH RECURSIVE t(production_id, run_id, dataset_id, basis, edge_facet) AS (
  SELECT f.production_id, f.run_id, f.dataset_id, f.basis, f.edge_facet
  FROM {{w}} CROSS JOIN run_output f WHERE f.production_id = w.id
  UNION
  SELECT s.production_id, s.run_id, s.dataset_id, s.basis, s.edge_facet
  FROM t CROSS JOIN run_input i CROSS JOIN run_output s
  WHERE i.run_id = t.run_id AND s.production_id = {BOUND} AND {FEEDS} AND NOT {DROPPED})
SELECT {{i}}, {{s}}, i.last_at
FROM (SELECT DISTINCT a.run_id FROM (SELECT run_id FROM t LIMIT {{bound}}) a) w
  CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = {BOUND}
WHERE i.run_id = w.run_id"""

# Who read a production without naming it: whoever began to read its dataset from its publication
# until the next one; the run of that next one (a run never reads what it wrote itself, so it may
# still have read ours later); and streaming runs that had begun before and read on. Each candidate
# but the last is then bound, as any input, to see.
_READERS = f"""WITH x AS MATERIALIZED (
  SELECT p.production_id, p.run_id, p.version_id, p.versioned, p.lifecycle, p.published_at, g.group_id,
    (SELECT min((SELECT n.published_at FROM run_output n
                 WHERE n.dataset_id = m.dataset_id AND n.published_at > p.published_at
                 ORDER BY n.published_at LIMIT 1))
     FROM dataset m WHERE m.group_id = g.group_id) AS until
  FROM {{w}} CROSS JOIN run_output p CROSS JOIN dataset g
  WHERE p.production_id = w.id AND g.dataset_id = p.dataset_id)
SELECT {{i}}, {{x}}
FROM x CROSS JOIN run_input i
WHERE i.production_id = x.production_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN version named CROSS JOIN dataset m CROSS JOIN version v CROSS JOIN run_input i
WHERE x.versioned AND named.version_id = x.version_id AND m.group_id = x.group_id
  AND v.dataset_id = m.dataset_id AND {{same_version}}
  AND i.version_id = v.version_id AND i.production_id IS NULL AND {BOUND_BY_VERSION} = x.production_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at >= x.published_at AND i.first_at <= COALESCE(x.until, {2**62})
  AND {BOUND_BY_TIME} = x.production_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.last_at >= x.published_at AND i.first_at < x.published_at AND i.run_id <> x.run_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.run_id = (
    SELECT n.run_id FROM dataset d CROSS JOIN run_output n
    WHERE d.group_id = x.group_id AND n.dataset_id = d.dataset_id AND n.published_at = x.until LIMIT 1)
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL AND i.first_at > x.until
  AND {BOUND_BY_TIME} = x.production_id"""

# Who read a dataset that nobody is known to have written.
_ORIGIN_READERS = f"""WITH w AS MATERIALIZED (SELECT w.id FROM {{w}})
SELECT {{i}}, {{d}}
FROM w CROSS JOIN run_input i
WHERE i.dataset_id = w.id AND i.version_id IS NULL AND {BOUND_BY_TIME} IS NULL
UNION ALL
SELECT {{i}}, {{d}}
FROM w CROSS JOIN version v CROSS JOIN run_input i
WHERE v.dataset_id = w.id AND i.version_id = v.version_id AND i.production_id IS NULL
  AND {BOUND_BY_VERSION} IS NULL"""

_AMBIGUOUS = f"""SELECT {{irun}}, {{idataset}}
FROM {{w}} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = {BOUND_BY_TIME}
WHERE i.run_id = w.id AND i.version_id IS NULL AND {AMBIGUOUS}"""

_NAMES = "SELECT {d}, d.namespace, d.name FROM {w} CROSS JOIN dataset d WHERE d.dataset_id = w.id"
_VERSIONS = "SELECT {v}, v.version FROM {w} CROSS JOIN version v WHERE v.version_id = w.id"
_RUNS = """SELECT {r}, r.ext_id, r.state, r.started_at, r.ended_at, r.first_at, r.last_at, r.streaming,
  {parent}, {root}, j.namespace, j.name, p.namespace, p.name, r.facets
FROM {w} CROSS JOIN run r
LEFT JOIN job j ON j.job_id = r.job_id
LEFT JOIN job p ON p.job_id = r.parent_job_id
WHERE r.run_id = w.id"""
_OUTPUT_FACETS = "SELECT {o}, o.facets FROM {w} CROSS JOIN run_output o WHERE o.production_id = w.id"
_FACETS = "SELECT {f}, f.name, {body} FROM {w} CROSS JOIN facet f WHERE f.facet_id = w.id"
_RECALLS = """SELECT {g}, {gv}, g.withdrawn FROM {w} CROSS JOIN governance g
WHERE g.dataset_id = w.id AND g.kind = 'recall' ORDER BY g.at, g.event_id"""

_COLUMN_EDGES = "SELECT {facet}, {target}, {source} FROM {w} CROSS JOIN edge_map e WHERE e.facet_id = w.id"
_RUN_EDGES = "SELECT {erun}, {target}, {source} FROM {w} CROSS JOIN run_edge e WHERE e.run_id = w.id"

_SQLITE_IDS = """(WITH RECURSIVE k(n) AS (SELECT 0 UNION ALL SELECT n + 16 FROM k WHERE n + 16 < length(?1))
  SELECT substr(?1, n + 1, 16) AS id FROM k) w"""
_POSTGRES_IDS = "unnest(%s::uuid[]) AS w(id)"


@dataclass(frozen=True, slots=True)
class Texts:
    """Every statement as one database spells it."""

    productions: str
    outputs: str
    inputs: str
    bound_inputs: str
    later_inputs: str
    inputs_ahead: str
    readers: str
    origin_readers: str
    ambiguous: str
    column_edges: str
    run_edges: str
    names: str
    versions: str
    runs: str
    output_facets: str
    facets: str
    recalls: str


def _texts(ids: str, raw: str, body: str, same_version: str) -> Texts:
    """`raw` spells an id so that it arrives as bytes, `body` a facet's body so that it arrives as text."""

    def columns(wanted: tuple[tuple[str, str, bool], ...]) -> str:
        return ", ".join(raw.format(f"{t}.{name}") if is_id else f"{t}.{name}" for t, name, is_id in wanted)

    spelled = {
        "w": ids,
        "i": columns(_INPUT),
        "s": columns(_PRODUCTION),
        "body": body,
        "bound": "{bound}",
        "same_version": same_version,
    }
    for alias, column in _IDS.items():
        spelled[alias] = raw.format(column)

    def text(template: str) -> str:
        return template.format(**spelled)

    return Texts(
        productions=text(_PRODUCTIONS),
        outputs=text(_OUTPUTS),
        inputs=text(_INPUTS),
        bound_inputs=text(_BOUND_INPUTS),
        later_inputs=text(_LATER_INPUTS),
        inputs_ahead=text(_INPUTS_AHEAD),
        readers=text(_READERS),
        origin_readers=text(_ORIGIN_READERS),
        ambiguous=text(_AMBIGUOUS),
        column_edges=text(_COLUMN_EDGES),
        run_edges=text(_RUN_EDGES),
        names=text(_NAMES),
        versions=text(_VERSIONS),
        runs=text(_RUNS),
        output_facets=text(_OUTPUT_FACETS),
        facets=text(_FACETS),
        recalls=text(_RECALLS),
    )


# The index holds the beginnings of versions (see `tables.indexed`).
_INDEXED_TOO = " AND substr(v.version, 1, 200) = substr(named.version, 1, 200)"

TEXTS = {
    # Told how few versions fit: from its own guess it would read all of `run_input` into a Bloom filter.
    "sqlite": _texts(
        _SQLITE_IDS, "{}", "f.body", "likelihood(v.version = named.version, 0.0001)" + _INDEXED_TOO
    ),
    # As bytea, so that an id arrives as bytes and no UUID object is built for it.
    "postgresql": _texts(
        _POSTGRES_IDS, "uuid_send({})", "f.body::text", "v.version = named.version" + _INDEXED_TOO
    ),
}


class Statements:
    """The statements on one connection. `begin` pins the plans until its transaction ends."""

    def __init__(self, connection: Connection) -> None:
        dialect = connection.dialect.name
        if dialect not in TEXTS:
            raise Misconfigured(f"no lineage queries for {dialect}", remedy="use sqlite or postgresql")
        self._texts = TEXTS[dialect]
        self._postgres = dialect == "postgresql"
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
        unnamed = {row[0] for row in rows if row[3] is None}
        if not unnamed:
            return rows
        bound = self._with_later(self._rows(self._texts.bound_inputs, unnamed))
        return [row for row in rows if row[3] is not None] + bound

    def inputs_ahead(self, ids: Collection[bytes], bound: int) -> Rows:
        """The inputs of every run that a walk up from `ids` meets, of `bound` nodes at most."""
        return self._with_later(self._rows(self._texts.inputs_ahead.format(bound=int(bound)), ids))

    def _with_later(self, rows: Rows) -> Rows:
        """`rows`, whose last column is `last_at`, and what streaming runs among them read later on."""
        streaming = {row[0] for row in rows if row[-1] is not None}
        return rows + self._rows(self._texts.later_inputs, streaming)

    def readers(self, ids: Collection[bytes]) -> Rows:
        """The inputs bound to the productions `ids`, each with the one it is bound to."""
        return self._rows(self._texts.readers, ids)

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

    def output_facets(self, productions: Collection[bytes]) -> Rows:
        return self._rows(self._texts.output_facets, productions)

    def facets(self, facets: Collection[bytes]) -> Rows:
        """(facet id, name, body as JSON text) of each."""
        return self._rows(self._texts.facets, facets)

    def recalls(self, datasets: Collection[bytes]) -> Rows:
        """(dataset, version or None, withdrawn) in the order in which they were said."""
        return self._rows(self._texts.recalls, datasets)

    def column_edges(self, facets: Collection[bytes]) -> Rows:
        return self._rows(self._texts.column_edges, facets)

    def run_edges(self, runs: Collection[bytes]) -> Rows:
        return self._rows(self._texts.run_edges, runs)

    def _rows(self, text: str, ids: Collection[bytes]) -> Rows:
        if not ids:
            return []
        if self._postgres:
            cursor = self._driver.cursor(binary=True)
            cursor.execute(text, ("{" + ",".join(id.hex() for id in ids) + "}",), prepare=True)
            rows: Rows = cursor.fetchall()
            return rows
        rows = self._driver.execute(text, (b"".join(ids),)).fetchall()
        return rows
