"""The statements of the walks, as text, for each database.

They run on the driver beneath SQLAlchemy: ids go in and out as raw bytes, a statement has one
text for any number of ids and any time (prepared once), and each table is reached through an index,
whatever the planner's statistics say. Asked as of a time, they tell of the inputs read and the
productions published by then. Nothing here decides what a walk means; see `headwater.consumers.walk`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection

from headwater.consumers.ancestry import ROOT
from headwater.consumers.binding import DROPPED, FEEDS, LATER_FROM, binding, existed
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

_BOUND = binding("{as_of}")
#: What "as of no time in particular" is, so that a statement has one text: later than any event.
FOREVER = 2**62

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
    "tid": "t.production_id",
    "d": "w.id",
    "irun": "i.run_id",
    "idataset": "i.dataset_id",
    "v": "v.version_id",
    "r": "r.run_id",
    "parent": "r.parent_run_id",
    "root": ROOT,
    "o": "o.production_id",
    "f": "f.facet_id",
    "facet": "e.facet_id",
    "erun": "e.run_id",
    "target": "e.target_id",
    "source": "e.source_id",
    "cfacet": "c.facet_id",
    "ctarget": "c.target_id",
    "csource": "c.source_id",
    "lrun": "l.run_id",
    "lfacet": "l.facet_id",
}

_PRODUCTIONS = f"""SELECT {{s}} FROM {{w}} CROSS JOIN run_output s
WHERE s.production_id = w.id AND {existed("s", "{as_of}")}"""

# A job's own statements (kind 1) are part of no walk.
_OUTPUTS = """SELECT {r}, {s} FROM {w} CROSS JOIN run r LEFT JOIN run_output s ON s.run_id = r.run_id
  AND COALESCE(s.published_at, r.ended_at, r.last_at) <= {as_of}
WHERE r.run_id = w.id AND r.kind <> 1"""

# In two statements, because what names its production (all that headwater itself emits) needs no binding.
_INPUTS = f"""SELECT {{i}}, {{s}}
FROM {{w}} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = i.production_id
  AND {existed("s", "{as_of}")}
WHERE i.run_id = w.id AND i.first_at <= {{as_of}}"""

_BOUND_INPUTS = f"""SELECT {{i}}, {{s}}, i.last_at
FROM {{w}} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id =
  CASE WHEN i.version_id IS NOT NULL THEN {_BOUND.by_version} ELSE {_BOUND.by_time} END
WHERE i.run_id = w.id AND i.production_id IS NULL AND i.first_at <= {{as_of}}"""

# In a statement of its own, because few runs are streaming ones.
_LATER_INPUTS = f"""SELECT {{i}}, {{s}} FROM {{w}} CROSS JOIN {LATER_FROM}
WHERE i.run_id = w.id AND {_BOUND.later}"""

# What failed runs may have written before they ended: next to what an input, which names the dataset
# alone, is bound to by time, whatever such a run may have left there after that was published.
_ENDED = "COALESCE(f.ended_at, f.last_at)"
_MAY_HAVE_WRITTEN = """s.published_at IS NULL AND (s.lifecycle IS NULL OR s.lifecycle <> 'DROP')
  AND f.run_id = s.run_id AND f.kind = 0 AND f.state > 3"""
_SINCE = f"""COALESCE(
    (SELECT b.published_at FROM run_output b WHERE b.production_id = {_BOUND.by_time}), {-(2**62)})"""

_POSSIBLE_INPUTS = f"""WITH i AS MATERIALIZED (
  SELECT i.run_id, i.dataset_id, i.version_id, i.production_id, i.role, i.first_at,
    COALESCE(i.last_at, i.first_at) AS last_at, {_SINCE} AS since
  FROM {{w}} CROSS JOIN run_input i
  WHERE i.run_id = w.id AND i.version_id IS NULL AND i.first_at <= {{as_of}})
SELECT {{i}}, {{s}}
FROM i CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN run_output s CROSS JOIN run f
WHERE g.dataset_id = i.dataset_id AND m.group_id = g.group_id AND s.dataset_id = m.dataset_id
  AND s.run_id <> i.run_id AND {_MAY_HAVE_WRITTEN}
  AND {_ENDED} >= i.since AND {_ENDED} <= i.last_at AND {_ENDED} <= {{as_of}}"""

# Which productions a walk down is likely to meet, by the two ways in which most inputs name what they
# read. A hint and no more: who read them is asked of each (`_READERS`).
_NAMED_AHEAD = """WITH RECURSIVE t(production_id, run_id) AS (
  SELECT f.production_id, f.run_id FROM {w} CROSS JOIN run_output f WHERE f.production_id = w.id
  UNION
  SELECT o.production_id, o.run_id FROM t CROSS JOIN run_input i CROSS JOIN run_output o
  WHERE {few_t} AND i.production_id = t.production_id AND o.run_id = i.run_id)
SELECT {tid} FROM t LIMIT {bound}"""

_LATE_AHEAD = f"""WITH RECURSIVE t(production_id, run_id, dataset_id, published_at) AS (
  SELECT f.production_id, f.run_id, f.dataset_id, f.published_at
  FROM {{w}} CROSS JOIN run_output f WHERE f.production_id = w.id
  UNION
  SELECT o.production_id, o.run_id, o.dataset_id, o.published_at
  FROM t CROSS JOIN run_input i CROSS JOIN run_output o
  WHERE {{few_t}} AND i.dataset_id = t.dataset_id AND i.version_id IS NULL AND i.first_at >= t.published_at
    AND i.first_at <= COALESCE(
      (SELECT n.published_at FROM run_output n
       WHERE n.dataset_id = t.dataset_id AND n.published_at > t.published_at
       ORDER BY n.published_at LIMIT 1), {2**62})
    AND o.run_id = i.run_id)
SELECT {{tid}} FROM t LIMIT {{bound}}"""

_INPUTS_AHEAD = f"""WITH RECURSIVE t(production_id, run_id, dataset_id, basis, edge_facet) AS (
  SELECT f.production_id, f.run_id, f.dataset_id, f.basis, f.edge_facet
  FROM {{w}} CROSS JOIN run_output f WHERE f.production_id = w.id
  UNION
  SELECT s.production_id, s.run_id, s.dataset_id, s.basis, s.edge_facet
  FROM t CROSS JOIN run_input i CROSS JOIN run_output s
  WHERE {{few_t}} AND i.run_id = t.run_id AND i.first_at <= {{as_of}} AND s.production_id = {_BOUND.bound}
    AND {existed("s", "{as_of}")} AND {FEEDS} AND NOT {DROPPED})
SELECT {{i}}, {{s}}, i.last_at
FROM (SELECT DISTINCT a.run_id FROM (SELECT run_id FROM t LIMIT {{bound}}) a) w
  CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = {_BOUND.bound}
  AND {existed("s", "{as_of}")}
WHERE i.run_id = w.run_id AND i.first_at <= {{as_of}}"""

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
WHERE {{few_x}} AND i.production_id = x.production_id AND i.first_at <= {{as_of}}
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN version named CROSS JOIN dataset m CROSS JOIN version v CROSS JOIN run_input i
WHERE {{few_x}} AND x.versioned AND named.version_id = x.version_id AND m.group_id = x.group_id
  AND v.dataset_id = m.dataset_id AND {{same_version}}
  AND i.version_id = v.version_id AND i.production_id IS NULL AND i.first_at <= {{as_of}}
  AND {_BOUND.by_version} = x.production_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at >= x.published_at
  AND i.first_at <= CASE WHEN x.until < {{as_of}} THEN x.until ELSE {{as_of}} END
  AND {_BOUND.by_time} = x.production_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.last_at >= x.published_at AND i.first_at < x.published_at AND i.run_id <> x.run_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.run_id = (
    SELECT n.run_id FROM dataset d CROSS JOIN run_output n
    WHERE d.group_id = x.group_id AND n.dataset_id = d.dataset_id AND n.published_at = x.until LIMIT 1)
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at > x.until AND i.first_at <= {{as_of}}
  AND {_BOUND.by_time} = x.production_id"""

# The same for what a failed run may have written: its end stands for a publication.
_POSSIBLE_READERS = f"""WITH x AS MATERIALIZED (
  SELECT s.production_id, s.run_id, {_ENDED} AS ended_at, g.group_id,
    (SELECT min((SELECT n.published_at FROM run_output n
                 WHERE n.dataset_id = m.dataset_id AND n.published_at > {_ENDED}
                 ORDER BY n.published_at LIMIT 1))
     FROM dataset m WHERE m.group_id = g.group_id) AS until
  FROM {{w}} CROSS JOIN run_output s CROSS JOIN run f CROSS JOIN dataset g
  WHERE s.production_id = w.id AND {_MAY_HAVE_WRITTEN} AND {_ENDED} <= {{as_of}}
    AND g.dataset_id = s.dataset_id)
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND m.group_id = x.group_id AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at >= x.ended_at
  AND i.first_at <= CASE WHEN x.until < {{as_of}} THEN x.until ELSE {{as_of}} END
  AND i.run_id <> x.run_id AND {_SINCE} <= x.ended_at
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND m.group_id = x.group_id AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.last_at >= x.ended_at AND i.first_at < x.ended_at AND i.run_id <> x.run_id
UNION ALL
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND m.group_id = x.group_id
  AND i.run_id = (
    SELECT n.run_id FROM dataset d CROSS JOIN run_output n
    WHERE d.group_id = x.group_id AND n.dataset_id = d.dataset_id AND n.published_at = x.until LIMIT 1)
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at > x.until AND i.first_at <= {{as_of}}
  AND i.run_id <> x.run_id AND {_SINCE} <= x.ended_at"""

# Who read a dataset that nobody is known to have written.
_ORIGIN_READERS = f"""WITH w AS MATERIALIZED (SELECT w.id FROM {{w}})
SELECT {{i}}, {{d}}
FROM w CROSS JOIN run_input i
WHERE {{few_w}} AND i.dataset_id = w.id AND i.version_id IS NULL AND i.first_at <= {{as_of}}
  AND {_BOUND.by_time} IS NULL
UNION ALL
SELECT {{i}}, {{d}}
FROM w CROSS JOIN version v CROSS JOIN run_input i
WHERE {{few_w}} AND v.dataset_id = w.id AND i.version_id = v.version_id AND i.production_id IS NULL
  AND i.first_at <= {{as_of}}
  AND {_BOUND.by_version} IS NULL
UNION ALL
SELECT {{i}}, {{d}}
FROM w CROSS JOIN run_mention n CROSS JOIN run_input i
WHERE {{few_w}} AND n.dataset_id = w.id AND i.run_id = n.run_id AND i.dataset_id = w.id
  AND i.production_id IS NOT NULL AND i.first_at <= {{as_of}}
  AND (SELECT s.production_id FROM run_output s
       WHERE s.production_id = i.production_id AND {existed("s", "{as_of}")}) IS NULL"""

_AMBIGUOUS = f"""SELECT {{irun}}, {{idataset}}
FROM {{w}} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = {_BOUND.by_time}
WHERE i.run_id = w.id AND i.version_id IS NULL AND i.first_at <= {{as_of}} AND {_BOUND.ambiguous}"""

_NAMES = "SELECT {d}, d.namespace, d.name FROM {w} CROSS JOIN dataset d WHERE d.dataset_id = w.id"
_VERSIONS = "SELECT {v}, v.version FROM {w} CROSS JOIN version v WHERE v.version_id = w.id"
_RUNS = """SELECT {r}, r.ext_id, r.state, r.started_at, r.ended_at, r.first_at, r.last_at, r.streaming,
  {parent}, {root}, j.namespace, j.name, p.namespace, p.name, r.facets
FROM {w} CROSS JOIN run r
LEFT JOIN job j ON j.job_id = r.job_id
LEFT JOIN job p ON p.job_id = r.parent_job_id
WHERE r.run_id = w.id"""
# What runs had said of themselves by then; asked for those alone that said more later.
_STATES_THEN = """SELECT {r},
  (SELECT max(e.at) FROM event e WHERE e.run_id = r.run_id AND e.at <= {as_of}),
  (SELECT max(e.rank) FROM event e WHERE e.run_id = r.run_id AND e.at <= {as_of} AND e.rank < 3),
  (SELECT e.rank FROM event e WHERE e.run_id = r.run_id AND e.at <= {as_of} AND e.rank >= 3
   ORDER BY e.at DESC, e.rank DESC LIMIT 1),
  (SELECT e.at FROM event e WHERE e.run_id = r.run_id AND e.at <= {as_of} AND e.rank >= 3
   ORDER BY e.at DESC, e.rank DESC LIMIT 1)
FROM {w} CROSS JOIN run r
WHERE r.run_id = w.id"""
_OUTPUT_FACETS = "SELECT {o}, o.facets FROM {w} CROSS JOIN run_output o WHERE o.production_id = w.id"
_FACETS = "SELECT {f}, f.name, {body} FROM {w} CROSS JOIN facet f WHERE f.facet_id = w.id"

_COLUMN_EDGES = "SELECT {facet}, {target}, {source} FROM {w} CROSS JOIN edge_map e WHERE e.facet_id = w.id"
_RUN_EDGES = "SELECT {erun}, {target}, {source} FROM {w} CROSS JOIN run_edge e WHERE e.run_id = w.id"

_COLUMNS = """SELECT {cfacet}, {ctarget}, c.target_field, {csource}, c.source_field, c.kind
FROM {w} CROSS JOIN column_map c WHERE c.facet_id = w.id"""
_RUN_LINEAGE = "SELECT {lrun}, {lfacet} FROM {w} CROSS JOIN run_lineage l WHERE l.run_id = w.id"

# From a JSON array with an element for each id, because SQLite takes that for a short list. Of a recursive
# query it expects a million rows, and to meet those it would read whole tables into Bloom filters: so it
# has to be told, wherever it does, that there are few (`_FEW`).
_SQLITE_IDS = "(SELECT substr(:ids, e.key * 16 + 1, 16) AS id FROM json_each(:each) e) w"
_FEW = {"x": "run_id", "t": "run_id", "w": "id"}
# The time goes as text, so that the size of the number does not make another statement of it.
_POSTGRES_IDS = "unnest(%(ids)s::uuid[]) AS w(id)"


@dataclass(frozen=True, slots=True)
class Texts:
    """Every statement as one database spells it."""

    productions: str
    outputs: str
    inputs: str
    bound_inputs: str
    later_inputs: str
    possible_inputs: str
    inputs_ahead: str
    named_ahead: str
    late_ahead: str
    readers: str
    possible_readers: str
    origin_readers: str
    ambiguous: str
    column_edges: str
    run_edges: str
    columns: str
    run_lineage: str
    names: str
    versions: str
    runs: str
    states_then: str
    output_facets: str
    facets: str


def _texts(ids: str, as_of: str, raw: str, body: str, few: str) -> Texts:
    """`raw` spells an id so that it arrives as bytes, `body` a facet's body so that it arrives as text.

    `few` spells a condition of which the planner is told that few rows meet it.
    """

    def columns(wanted: tuple[tuple[str, str, bool], ...]) -> str:
        return ", ".join(raw.format(f"{t}.{name}") if is_id else f"{t}.{name}" for t, name, is_id in wanted)

    spelled = {
        "w": ids,
        "as_of": as_of,
        "i": columns(_INPUT),
        "s": columns(_PRODUCTION),
        "body": body,
        "bound": "{bound}",
        # The index holds the beginnings of versions (see `tables.indexed`).
        "same_version": few.format("v.version = named.version")
        + " AND substr(v.version, 1, 200) = substr(named.version, 1, 200)",
        **{f"few_{table}": few.format(f"{table}.{id} IS NOT NULL") for table, id in _FEW.items()},
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
        possible_inputs=text(_POSSIBLE_INPUTS),
        inputs_ahead=text(_INPUTS_AHEAD),
        named_ahead=text(_NAMED_AHEAD),
        late_ahead=text(_LATE_AHEAD),
        readers=text(_READERS),
        possible_readers=text(_POSSIBLE_READERS),
        origin_readers=text(_ORIGIN_READERS),
        ambiguous=text(_AMBIGUOUS),
        column_edges=text(_COLUMN_EDGES),
        run_edges=text(_RUN_EDGES),
        columns=text(_COLUMNS),
        run_lineage=text(_RUN_LINEAGE),
        names=text(_NAMES),
        versions=text(_VERSIONS),
        runs=text(_RUNS),
        states_then=text(_STATES_THEN),
        output_facets=text(_OUTPUT_FACETS),
        facets=text(_FACETS),
    )


TEXTS = {
    "sqlite": _texts(_SQLITE_IDS, ":as_of", "{}", "f.body", "likelihood({}, 0.0001)"),
    # As bytea, so that an id arrives as bytes and no UUID object is built for it.
    "postgresql": _texts(_POSTGRES_IDS, "%(as_of)s::bigint", "uuid_send({})", "f.body::text", "{}"),
}


#: Where the ids asked for stand (as `w.id`), the time asked for, and an id so that it arrives as bytes.
_SPELLING = {
    "sqlite": (_SQLITE_IDS, ":as_of", "{}"),
    "postgresql": (_POSTGRES_IDS, "%(as_of)s::bigint", "uuid_send({})"),
}


def spelled(template: str, ids: Mapping[str, str]) -> dict[str, str]:
    """`template` for each database; {w}, {as_of} and `ids` (which column each of them is) are filled in."""
    return {
        dialect: template.format(
            w=where, as_of=as_of, **{place: raw.format(column) for place, column in ids.items()}
        )
        for dialect, (where, as_of, raw) in _SPELLING.items()
    }


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
        self._texts = TEXTS[dialect]
        self._as_of = FOREVER if as_of is None else as_of
        self._include_failed = include_failed
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
        bound = self._with_others(self._rows(self._texts.bound_inputs, unnamed))
        return [row for row in rows if row[3] is not None] + bound

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

    def readers(self, ids: Collection[bytes]) -> Rows:
        """The inputs bound to the productions `ids`, each with the one it is bound to."""
        found = self._rows(self._texts.readers, ids)
        return found + self._rows(self._texts.possible_readers, ids) if self._include_failed else found

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
