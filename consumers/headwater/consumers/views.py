"""The store as people query it: documented views over the tables, the same on both databases.

The tables are for the projection and may change with it; these views are the promise
(docs/reference/sql.md documents every column). Ids read as UUIDs (type `uuid` on PostgreSQL,
text on SQLite), times as timestamps (`timestamptz`; ISO 8601 text ending in Z on SQLite), and
names as names. What a run's unversioned inputs were is bound while the view is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from headwater.consumers.ancestry import ROOT
from headwater.consumers.binding import AMBIGUOUS, BOUND, DROPPED, FEEDS, LATER
from headwater.consumers.tag_registers import STANDING
from headwater.schemas.errors import Misconfigured

#: Names of one asset beyond which somebody should look: two assets may have been linked by mistake.
ALIAS_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one database spells an id, a time (µs), a table with a row for each facet, and producers' tags."""

    id: Callable[[str], str]
    time: Callable[[str], str]
    facets: Callable[[str], str]
    #: The tags of the registers `x` that stand, a row each: `x`'s columns, `tag` and `value`.
    tags: str


def create(connection: Connection) -> None:
    """Make the views; those that exist are replaced. In the caller's transaction."""
    drop(connection)
    # psycopg takes a percent sign for the start of a parameter.
    percent = "%" if connection.dialect.name == "sqlite" else "%%"
    for name, body in definitions(connection.dialect.name).items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {body}".replace("%", percent))


def drop(connection: Connection) -> None:
    """Remove the views, as a migration of the tables needs it. In the caller's transaction."""
    for name in reversed(NAMES):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


def definitions(dialect: str) -> dict[str, str]:
    """The SELECT behind each view, as `dialect` (sqlite, postgresql) spells it."""
    if dialect not in _SPELLINGS:
        raise Misconfigured(f"no views for {dialect}", remedy="use sqlite or postgresql")
    spelling = _SPELLINGS[dialect]
    made = {
        name: body
        for group in (_assets, _productions, _inputs, _runs, _facets, _governance, _emitters)
        for name, body in group(spelling.id, spelling.time, spelling.facets).items()
    }
    return made | _tags(spelling.id, spelling.time, spelling.tags)


def _sqlite_id(column: str) -> str:
    parts = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
    return "lower(" + " || '-' || ".join(f"substr(hex({column}), {at}, {n})" for at, n in parts) + ")"


def _sqlite_time(column: str) -> str:
    # SQLite's % keeps the sign, and there are times before 1970: floor by hand.
    micros = f"((({column}) % 1000000 + 1000000) % 1000000)"
    seconds = f"((({column}) - {micros}) / 1000000)"
    return f"(strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || printf('.%06dZ', {micros}))"


def _sqlite_facets(table: str) -> str:
    # A JSON array with as many elements as there are ids: SQLite has no series of numbers built in.
    elements = "'[' || substr(replace(hex(zeroblob(length(x.facets) / 16)), '00', ',0'), 2) || ']'"
    return f"""{table} x CROSS JOIN json_each({elements}) n
JOIN facet f ON f.facet_id = substr(x.facets, n.key * 16 + 1, 16)"""


def _postgres_facets(table: str) -> str:
    return f"""{table} x CROSS JOIN LATERAL generate_series(0, length(x.facets) / 16 - 1) AS n
JOIN facet f ON f.facet_id = encode(substr(x.facets, n * 16 + 1, 16), 'hex')::uuid"""


_PAIRS = f"""FROM tag_register x CROSS JOIN {{}} p
WHERE {STANDING.format(register="x")}"""

_SPELLINGS = {
    "postgresql": Spelling(
        id=lambda column: column,
        time=lambda column: f"(timestamptz 'epoch' + ({column}) * interval '1 microsecond')",
        facets=_postgres_facets,
        tags="SELECT x.*, p.value->>0 AS tag, p.value->>1 AS value "
        + _PAIRS.format("json_array_elements(x.tags)"),
    ),
    "sqlite": Spelling(
        # NULL || text is NULL, but the parts of no id are empty texts.
        id=lambda column: f"CASE WHEN {column} IS NOT NULL THEN {_sqlite_id(column)} END",
        time=_sqlite_time,
        facets=_sqlite_facets,
        tags="SELECT x.*, json_extract(p.value, '$[0]') AS tag, json_extract(p.value, '$[1]') AS value "
        + _PAIRS.format("json_each(x.tags)"),
    ),
}

_Spell = Callable[[str], str]


def _state(run: str) -> str:
    names = ("OTHER", "START", "RUNNING", "COMPLETE", "ABORT", "FAIL")
    return f"CASE {run}.state {' '.join(f'WHEN {n} THEN {name!r}' for n, name in enumerate(names))} END"


# The inputs with what they are bound to, and the streaming ones with what they read later on.
_BOUND = f"run_input i {{}} run_output s ON s.production_id = {BOUND}"
_NEVER = "(1 = 0)"
_LATER = f"""run_input i
JOIN dataset g ON g.dataset_id = i.dataset_id
JOIN dataset m ON m.group_id = g.group_id
JOIN run_output s ON {LATER}"""


def _assets(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    of_version = "FROM run_output o WHERE o.version_id = v.version_id"
    return {
        "assets": f"""
SELECT {id("d.dataset_id")} AS asset_id, d.namespace, d.name, {id("d.group_id")} AS group_id,
  (SELECT count(*) FROM version v WHERE v.dataset_id = d.dataset_id) AS versions,
  {
            time('''SELECT max(o.published_at) FROM run_output o
    WHERE o.dataset_id = d.dataset_id AND o.published_at IS NOT NULL''')
        } AS last_published_at
FROM dataset d""",
        "alias_groups": f"""
SELECT {id("d.dataset_id")} AS group_id, d.namespace, d.name, m.members,
  m.members > {ALIAS_LIMIT} AS over_limit
FROM (SELECT group_id, count(*) AS members FROM dataset GROUP BY group_id HAVING count(*) > 1) m
JOIN dataset d ON d.dataset_id = m.group_id""",
        "asset_versions": f"""
SELECT {id("v.version_id")} AS version_id, {id("v.dataset_id")} AS asset_id, d.namespace, d.name, v.version,
  {time(f"SELECT min(o.published_at) {of_version}")} AS first_published_at,
  {time(f"SELECT max(o.published_at) {of_version}")} AS last_published_at,
  (SELECT count(*) {of_version}) AS productions
FROM version v JOIN dataset d ON d.dataset_id = v.dataset_id""",
    }


def _productions(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    return {
        "productions": f"""
SELECT {id("o.production_id")} AS production_id, {id("o.run_id")} AS run_id,
  j.namespace AS job_namespace, j.name AS job_name, {_state("r")} AS run_state,
  {id("o.dataset_id")} AS asset_id, d.namespace, d.name, {id("o.version_id")} AS version_id, v.version,
  {time("o.published_at")} AS published_at, o.lifecycle,
  CASE o.basis WHEN 0 THEN 'inputs' WHEN 1 THEN 'columns' WHEN 2 THEN 'stated' ELSE 'none' END AS basis,
  o.live
FROM run_output o
JOIN run r ON r.run_id = o.run_id
JOIN dataset d ON d.dataset_id = o.dataset_id
LEFT JOIN job j ON j.job_id = r.job_id
LEFT JOIN version v ON v.version_id = o.version_id""",
        "edges": " UNION ALL ".join(
            f"""
SELECT {id("s.production_id")} AS source_production_id, {id("t.production_id")} AS target_production_id,
  sd.namespace AS source_namespace, sd.name AS source_name, sv.version AS source_version,
  td.namespace AS target_namespace, td.name AS target_name, tv.version AS target_version,
  {id("t.run_id")} AS run_id, i.production_id IS NULL AS inferred, {ambiguous} AS ambiguous,
  {time("i.first_at")} AS read_at
FROM {inputs}
JOIN run_output t ON t.run_id = i.run_id
JOIN dataset sd ON sd.dataset_id = s.dataset_id
JOIN dataset td ON td.dataset_id = t.dataset_id
LEFT JOIN version sv ON sv.version_id = s.version_id
LEFT JOIN version tv ON tv.version_id = t.version_id
WHERE {FEEDS} AND s.production_id <> t.production_id AND NOT {DROPPED}"""
            for inputs, ambiguous in (
                (_BOUND.format("JOIN"), AMBIGUOUS),
                (_LATER, _NEVER),
            )
        ),
    }


def _inputs(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    read = "CASE WHEN s.lifecycle = 'DROP' AND i.version_id IS NULL THEN NULL ELSE {} END"
    return {
        "resolved_input": " UNION ALL ".join(
            f"""
SELECT {id("i.run_id")} AS run_id, {id("i.dataset_id")} AS asset_id, d.namespace, d.name,
  v.version AS named_version,
  CASE WHEN i.production_id IS NOT NULL THEN 'named' WHEN s.production_id IS NULL THEN 'unknown'
    WHEN {DROPPED} THEN 'dropped' WHEN i.version_id IS NOT NULL THEN 'version'
    ELSE '{current}' END AS binding,
  {id(read.format("COALESCE(s.production_id, i.production_id)"))} AS production_id,
  {id(read.format("s.run_id"))} AS source_run_id,
  i.production_id IS NULL AS inferred, {ambiguous} AS ambiguous,
  CASE i.role WHEN 0 THEN 'listed' WHEN 1 THEN 'lineage' WHEN 2 THEN 'rename' ELSE 'alter' END AS role,
  {time("i.first_at")} AS first_at, {time("i.last_at")} AS last_at, i.live
FROM {inputs}
JOIN dataset d ON d.dataset_id = i.dataset_id
LEFT JOIN version v ON v.version_id = i.version_id"""
            for inputs, current, ambiguous in (
                (_BOUND.format("LEFT JOIN"), "current", AMBIGUOUS),
                (_LATER, "later", _NEVER),
            )
        ),
    }


def _runs(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    of_job = "FROM run r WHERE r.job_id = j.job_id AND r.kind = 0"
    return {
        "jobs": f"""
SELECT {id("j.job_id")} AS job_id, j.namespace, j.name, (SELECT count(*) {of_job}) AS runs,
  {time(f"SELECT max(r.first_at) {of_job}")} AS last_run_at,
  (SELECT {_state("r")} {of_job} ORDER BY r.first_at DESC, r.run_id DESC LIMIT 1) AS last_state
FROM job j""",
        "runs": f"""
SELECT {id("r.run_id")} AS run_id, r.ext_id AS external_id, {id("r.job_id")} AS job_id,
  j.namespace AS job_namespace, j.name AS job_name, {_state("r")} AS state,
  {time("r.started_at")} AS started_at, {time("r.ended_at")} AS ended_at,
  CAST(r.ended_at - r.started_at AS double precision) / 1000000 AS duration_s,
  {time("r.first_at")} AS first_at, {time("r.last_at")} AS last_at, r.streaming,
  (r.last_start_at > r.ended_at) IS TRUE AS restarted,
  {id("r.parent_run_id")} AS parent_run_id,
  p.namespace AS parent_job_namespace, p.name AS parent_job_name, {id(f"({ROOT})")} AS root_run_id
FROM run r
LEFT JOIN job j ON j.job_id = r.job_id
LEFT JOIN job p ON p.job_id = r.parent_job_id
WHERE r.kind = 0""",
        "metrics": f"""
SELECT {id("m.run_id")} AS run_id, j.namespace AS job_namespace, j.name AS job_name,
  m.key, m.step, {time("m.at")} AS logged_at, m.value
FROM metric_point m
LEFT JOIN run r ON r.run_id = m.run_id
LEFT JOIN job j ON j.job_id = r.job_id""",
    }


def _facets(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    return {
        "production_facets": f"""
SELECT {id("x.production_id")} AS production_id, f.name AS facet, f.body
FROM {facets("run_output")}""",
        "run_facets": f"""
SELECT {id("x.run_id")} AS run_id, f.name AS facet, f.body
FROM {facets("run")}""",
        "asset_facets": f"""
SELECT {id("x.dataset_id")} AS asset_id, d.namespace, d.name, f.name AS facet, f.body
FROM dataset_facet x
JOIN dataset d ON d.dataset_id = x.dataset_id
JOIN facet f ON f.facet_id = x.facet_id""",
    }


def _current(kind: str, per: str) -> str:
    """The last statement of a kind about each subject, unless it withdrew what was said."""
    return f"""FROM (
  SELECT g.*, row_number() OVER (PARTITION BY {per} ORDER BY g.at DESC, g.event_id DESC) AS newest
  FROM governance g WHERE g.kind = '{kind}') c
JOIN dataset d ON d.dataset_id = c.dataset_id
LEFT JOIN version v ON v.version_id = c.version_id
WHERE c.newest = 1 AND NOT c.withdrawn"""


def _governance(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    asset = f"{id('c.dataset_id')} AS asset_id, d.namespace, d.name, v.version"
    return {
        "asset_aliases": f"""
SELECT {asset}, c.key AS alias, c.actor, {time("c.at")} AS set_at
{_current("alias", "g.dataset_id, g.key")}""",
        "asset_recalls": f"""
SELECT {asset}, c.value AS reason, c.actor, {time("c.at")} AS recalled_at
{_current("recall", "g.dataset_id, g.version_id")}""",
        "asset_erasures": f"""
SELECT {asset}, c.value AS reason, c.actor, {time("c.at")} AS erased_at
{_current("erasure", "g.event_id")}""",
    }


def _tags(id: _Spell, time: _Spell, tags: str) -> dict[str, str]:
    """What curators say, and beside it what producers say, each source for itself (R13)."""
    said = f"x.tag, x.value, x.source, {time('x.at')} AS set_at"
    return {
        "asset_tags": f"""
SELECT {id("c.dataset_id")} AS asset_id, d.namespace, d.name, v.version, c.key AS tag, c.value, c.actor,
  {time("c.at")} AS set_at, NULL AS source, NULL AS field
{_current("tag", "g.dataset_id, g.version_id, g.key")}
UNION ALL
SELECT {id("x.entity_id")} AS asset_id, d.namespace, d.name, NULL AS version, x.tag, x.value, NULL AS actor,
  {time("x.at")} AS set_at, x.source, NULLIF(x.field, '') AS field
FROM ({tags}) x JOIN dataset d ON d.dataset_id = x.entity_id
WHERE x.kind = 'dataset'""",
        "job_tags": f"""
SELECT {id("x.entity_id")} AS job_id, j.namespace, j.name, {said}
FROM ({tags}) x JOIN job j ON j.job_id = x.entity_id
WHERE x.kind = 'job'""",
        "run_tags": f"""
SELECT {id("x.entity_id")} AS run_id, j.namespace AS job_namespace, j.name AS job_name, {said}
FROM ({tags}) x LEFT JOIN run r ON r.run_id = x.entity_id
LEFT JOIN job j ON j.job_id = r.job_id
WHERE x.kind = 'run'""",
    }


def _emitters(id: _Spell, time: _Spell, facets: _Spell) -> dict[str, str]:
    return {
        "emitters": f"""
SELECT {id("e.emitter_id")} AS emitter_id, count(*) AS events,
  max(e.sequence) + 1 - count(DISTINCT e.sequence) AS missing,
  max(CASE WHEN e.final THEN 1 ELSE 0 END) = 1 AS closed,
  {time("min(e.at)")} AS first_at, {time("max(e.at)")} AS last_at
FROM event e WHERE e.emitter_id IS NOT NULL GROUP BY e.emitter_id""",
        "emitter_gaps": f"""
SELECT {id("q.emitter_id")} AS emitter_id, q.before + 1 AS first_missing, q.sequence - 1 AS last_missing
FROM (SELECT e.emitter_id, e.sequence,
    COALESCE(lag(e.sequence) OVER (PARTITION BY e.emitter_id ORDER BY e.sequence), -1) AS before
  FROM event e WHERE e.emitter_id IS NOT NULL AND e.sequence IS NOT NULL) q
WHERE q.sequence > q.before + 1""",
    }


#: The views by name, in the order in which they are made.
NAMES = tuple(definitions("sqlite"))
