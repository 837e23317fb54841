"""The text of each statement of the walks, as each database spells it.

Every table is reached through an index, whatever the planner's statistics say: the shape of the
text is part of the design (`tests/unit/test_plans.py` holds it). Each statement has two texts: asked
as of a time, it tells of the inputs read and the productions published by then; asked as of now,
it has no condition of that sort to pay for. How they are run, and what comes back, is the business
of `headwater.consumers.statements`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from headwater.consumers.ancestry import ROOT
from headwater.consumers.binding import DROPPED, FEEDS, HAS_OTHER_NAMES, LATER_FROM, binding, existed

#: Later than any event: what "as of no time in particular" is where a text has a time to compare with.
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
    "wid": "w.id",
    "a": "a.dataset_id",
    "irun": "i.run_id",
    "idataset": "i.dataset_id",
    "iproduction": "i.production_id",
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

_PRODUCTIONS = """SELECT {s} FROM {w} CROSS JOIN run_output s
WHERE s.production_id = w.id{and_existed}"""

# A job's own statements (kind 1) are part of no walk.
_OUTPUTS = """SELECT {r}, {s} FROM {w} CROSS JOIN run r LEFT JOIN run_output s
  ON s.run_id = r.run_id{and_written}
WHERE r.run_id = w.id AND r.kind <> 1"""

# What names its production (all that headwater itself emits) needs no binding; and each production is
# fetched once, however many runs read it.
_INPUTS = """SELECT {i} FROM {w} CROSS JOIN run_input i
WHERE i.run_id = w.id{and_begun}"""

_BOUND_INPUTS = """SELECT {i}, {s}, i.last_at
FROM {w} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id =
  CASE WHEN i.version_id IS NOT NULL THEN {by_version} ELSE {by_time} END
WHERE i.run_id = w.id AND i.production_id IS NULL{and_begun}"""

# In a statement of its own, because few runs are streaming ones.
_LATER_INPUTS = f"""SELECT {{i}}, {{s}} FROM {{w}} CROSS JOIN {LATER_FROM}
WHERE i.run_id = w.id AND {{later}}"""

# What failed runs may have written before they ended: next to what an input, which names the dataset
# alone, is bound to by time, whatever such a run may have left there after that was published.
_ENDED = "COALESCE(f.ended_at, f.last_at)"
_MAY_HAVE_WRITTEN = """s.published_at IS NULL AND (s.lifecycle IS NULL OR s.lifecycle <> 'DROP')
  AND f.run_id = s.run_id AND f.kind = 0 AND f.state > 3"""
_POSSIBLE_INPUTS = f"""WITH i AS MATERIALIZED (
  SELECT i.run_id, i.dataset_id, i.version_id, i.production_id, i.role, i.first_at,
    COALESCE(i.last_at, i.first_at) AS last_at, {{since}} AS since
  FROM {{w}} CROSS JOIN run_input i
  WHERE i.run_id = w.id AND i.version_id IS NULL{{and_begun}})
SELECT {{i}}, {{s}}
FROM i CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN run_output s CROSS JOIN run f
WHERE g.dataset_id = i.dataset_id AND m.group_id = g.group_id AND s.dataset_id = m.dataset_id
  AND s.run_id <> i.run_id AND {_MAY_HAVE_WRITTEN}
  AND {_ENDED} >= i.since AND {_ENDED} <= i.last_at{{and_ended}}"""

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
  WHERE {{few_t}} AND i.run_id = t.run_id{{and_begun}} AND s.production_id = {{bound_to}}{{and_existed}}
    AND {FEEDS} AND NOT {DROPPED})
SELECT {{i}}, {{s}}, i.last_at
FROM (SELECT DISTINCT a.run_id FROM (SELECT run_id FROM t LIMIT {{bound}}) a) w
  CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = {{bound_to}}{{and_existed}}
WHERE i.run_id = w.run_id{{and_begun}}"""

_NAMED_READERS = """SELECT {i}, {iproduction} FROM {w} CROSS JOIN run_input i
WHERE i.production_id = w.id{and_begun}"""

# Most datasets have one name and are never read without a version, and most versions are never read but as
# a production: of their productions nobody has to be asked who read them without naming them.
_READ_BY_NAME = f"""SELECT {{a}} FROM {{w}} CROSS JOIN dataset a
WHERE a.dataset_id = w.id AND ({HAS_OTHER_NAMES}
  OR (SELECT i.run_id FROM run_input i
      WHERE i.dataset_id = a.dataset_id AND i.version_id IS NULL LIMIT 1) IS NOT NULL)"""
_READ_BY_VERSION = """SELECT {wid} FROM {w}
WHERE (SELECT i.run_id FROM run_input i
       WHERE i.version_id = w.id AND i.production_id IS NULL LIMIT 1) IS NOT NULL"""

# Who read a production without naming it: whoever began to read its dataset from its publication
# until the next one; the run of that next one (a run never reads what it wrote itself, so it may
# still have read ours later); and streaming runs that had begun before and read on. Each candidate
# but the last is then bound, as any input, to see.
_READERS = """WITH x AS MATERIALIZED (
  SELECT p.production_id, p.run_id, p.version_id, p.versioned, p.lifecycle, p.published_at, g.group_id,
    (SELECT min((SELECT n.published_at FROM run_output n
                 WHERE n.dataset_id = m.dataset_id AND n.published_at > p.published_at
                 ORDER BY n.published_at LIMIT 1))
     FROM dataset m WHERE m.group_id = g.group_id) AS until
  FROM {w} CROSS JOIN run_output p CROSS JOIN dataset g
  WHERE p.production_id = w.id AND g.dataset_id = p.dataset_id)
SELECT {i}, {x}
FROM x CROSS JOIN version named CROSS JOIN dataset m CROSS JOIN version v CROSS JOIN run_input i
WHERE {few_x} AND x.versioned AND named.version_id = x.version_id AND m.group_id = x.group_id
  AND v.dataset_id = m.dataset_id AND {same_version}
  AND i.version_id = v.version_id AND i.production_id IS NULL{and_begun}
  AND {by_version} = x.production_id
UNION ALL
SELECT {i}, {x}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {few_x} AND (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at >= x.published_at
  AND i.first_at <= {until}
  AND {by_time} = x.production_id
UNION ALL
SELECT {i}, {x}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {few_x} AND (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.last_at >= x.published_at AND i.first_at < x.published_at AND i.run_id <> x.run_id
UNION ALL
SELECT {i}, {x}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {few_x} AND (x.lifecycle IS NULL OR x.lifecycle <> 'DROP') AND m.group_id = x.group_id
  AND i.run_id = (
    SELECT n.run_id FROM dataset d CROSS JOIN run_output n
    WHERE d.group_id = x.group_id AND n.dataset_id = d.dataset_id AND n.published_at = x.until LIMIT 1)
  AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at > x.until{and_begun}
  AND {by_time} = x.production_id"""

# The same for what a failed run may have written: its end stands for a publication.
_POSSIBLE_READERS = f"""WITH x AS MATERIALIZED (
  SELECT s.production_id, s.run_id, {_ENDED} AS ended_at, g.group_id,
    (SELECT min((SELECT n.published_at FROM run_output n
                 WHERE n.dataset_id = m.dataset_id AND n.published_at > {_ENDED}
                 ORDER BY n.published_at LIMIT 1))
     FROM dataset m WHERE m.group_id = g.group_id) AS until
  FROM {{w}} CROSS JOIN run_output s CROSS JOIN run f CROSS JOIN dataset g
  WHERE s.production_id = w.id AND {_MAY_HAVE_WRITTEN}{{and_ended}}
    AND g.dataset_id = s.dataset_id)
SELECT {{i}}, {{x}}
FROM x CROSS JOIN dataset m CROSS JOIN run_input i
WHERE {{few_x}} AND m.group_id = x.group_id AND i.dataset_id = m.dataset_id AND i.version_id IS NULL
  AND i.first_at >= x.ended_at
  AND i.first_at <= {{until}}
  AND i.run_id <> x.run_id AND {{since}} <= x.ended_at
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
  AND i.first_at > x.until{{and_begun}}
  AND i.run_id <> x.run_id AND {{since}} <= x.ended_at"""

# Who read a dataset that nobody is known to have written.
_ORIGIN_READERS = """WITH w AS MATERIALIZED (SELECT w.id FROM {w})
SELECT {i}, {d}
FROM w CROSS JOIN run_input i
WHERE {few_w} AND i.dataset_id = w.id AND i.version_id IS NULL{and_begun}
  AND {by_time} IS NULL
UNION ALL
SELECT {i}, {d}
FROM w CROSS JOIN version v CROSS JOIN run_input i
WHERE {few_w} AND v.dataset_id = w.id AND i.version_id = v.version_id AND i.production_id IS NULL{and_begun}
  AND {by_version} IS NULL
UNION ALL
SELECT {i}, {d}
FROM w CROSS JOIN run_mention n CROSS JOIN run_input i
WHERE {few_w} AND n.dataset_id = w.id AND i.run_id = n.run_id AND i.dataset_id = w.id
  AND i.production_id IS NOT NULL{and_begun}
  AND (SELECT s.production_id FROM run_output s
       WHERE s.production_id = i.production_id{and_existed}) IS NULL"""

_AMBIGUOUS = """SELECT {irun}, {idataset}
FROM {w} CROSS JOIN run_input i LEFT JOIN run_output s ON s.production_id = {by_time}
WHERE i.run_id = w.id AND i.version_id IS NULL{and_begun} AND {ambiguous}"""

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
class _Spelling:
    """How a database spells what the statements share."""

    #: Where the ids asked for stand (as `w.id`), and the time asked for.
    ids: str
    as_of: str
    #: An id so that it arrives as bytes, and a facet's body so that it arrives as text.
    raw: str
    body: str
    #: A condition of which the planner is told that few rows meet it.
    few: str

    def columns(self, wanted: tuple[tuple[str, str, bool], ...]) -> str:
        return ", ".join(
            self.raw.format(f"{table}.{name}") if is_id else f"{table}.{name}"
            for table, name, is_id in wanted
        )


_SPELLINGS = {
    "sqlite": _Spelling(_SQLITE_IDS, ":as_of", "{}", "f.body", "likelihood({}, 0.0001)"),
    # As bytea, so that an id arrives as bytes and no UUID object is built for it.
    "postgresql": _Spelling(_POSTGRES_IDS, "%(as_of)s::bigint", "uuid_send({})", "f.body::text", "{}"),
}


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
    named_readers: str
    read_by_name: str
    read_by_version: str
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


_TEMPLATES = Texts(
    productions=_PRODUCTIONS,
    outputs=_OUTPUTS,
    inputs=_INPUTS,
    bound_inputs=_BOUND_INPUTS,
    later_inputs=_LATER_INPUTS,
    possible_inputs=_POSSIBLE_INPUTS,
    inputs_ahead=_INPUTS_AHEAD,
    named_ahead=_NAMED_AHEAD,
    late_ahead=_LATE_AHEAD,
    named_readers=_NAMED_READERS,
    read_by_name=_READ_BY_NAME,
    read_by_version=_READ_BY_VERSION,
    readers=_READERS,
    possible_readers=_POSSIBLE_READERS,
    origin_readers=_ORIGIN_READERS,
    ambiguous=_AMBIGUOUS,
    column_edges=_COLUMN_EDGES,
    run_edges=_RUN_EDGES,
    columns=_COLUMNS,
    run_lineage=_RUN_LINEAGE,
    names=_NAMES,
    versions=_VERSIONS,
    runs=_RUNS,
    states_then=_STATES_THEN,
    output_facets=_OUTPUT_FACETS,
    facets=_FACETS,
)


def _texts(spelling: _Spelling, as_of: str | None) -> Texts:
    """With `as_of` (None: no time in particular), which of what is there had come to be by then."""
    filled = {
        "w": spelling.ids,
        "as_of": spelling.as_of,
        "i": spelling.columns(_INPUT),
        "s": spelling.columns(_PRODUCTION),
        "body": spelling.body,
        "bound": "{bound}",  # how many to look ahead for is filled in when it is asked
        # The index holds the beginnings of versions (see `tables.indexed`).
        "same_version": spelling.few.format("v.version = named.version")
        + " AND substr(v.version, 1, 200) = substr(named.version, 1, 200)",
        **{f"few_{table}": spelling.few.format(f"{table}.{id} IS NOT NULL") for table, id in _FEW.items()},
        **{alias: spelling.raw.format(column) for alias, column in _IDS.items()},
        **_bindings(as_of),
        **_conditions(as_of),
    }
    return Texts(**{field: template.format(**filled) for field, template in asdict(_TEMPLATES).items()})


def _bindings(as_of: str | None) -> dict[str, str]:
    """Which production an input is bound to."""
    bound = binding(as_of)
    return {
        "by_version": bound.by_version,
        "by_time": bound.by_time,
        "bound_to": bound.bound,
        "later": bound.later,
        "ambiguous": bound.ambiguous,
        "since": f"""COALESCE(
    (SELECT b.published_at FROM run_output b WHERE b.production_id = {bound.by_time}), {-FOREVER})""",
    }


def _conditions(as_of: str | None) -> dict[str, str]:
    """What had come to be by then; of no time in particular nothing is asked."""
    if as_of is None:
        none = dict.fromkeys(("and_begun", "and_ended", "and_written", "and_existed"), "")
        return none | {"until": f"COALESCE(x.until, {FOREVER})"}
    return {
        "and_begun": f" AND i.first_at <= {as_of}",
        "and_ended": f" AND {_ENDED} <= {as_of}",
        "and_written": f" AND COALESCE(s.published_at, r.ended_at, r.last_at) <= {as_of}",
        "and_existed": f" AND {existed('s', as_of)}",
        "until": f"CASE WHEN x.until < {as_of} THEN x.until ELSE {as_of} END",
    }


#: By database, for a question as of a time; and for one that is as of none.
TEXTS = {dialect: _texts(spelling, spelling.as_of) for dialect, spelling in _SPELLINGS.items()}
TEXTS_NOW = {dialect: _texts(spelling, None) for dialect, spelling in _SPELLINGS.items()}


def spelled(template: str, ids: Mapping[str, str]) -> dict[str, str]:
    """`template` for each database; {w}, {as_of} and `ids` (which column each of them is) are filled in."""
    return {
        dialect: template.format(
            w=spelling.ids,
            as_of=spelling.as_of,
            **{place: spelling.raw.format(column) for place, column in ids.items()},
        )
        for dialect, spelling in _SPELLINGS.items()
    }
