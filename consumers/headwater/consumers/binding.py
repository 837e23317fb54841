"""Which production an input read: bound when it is asked, in SQL, never stored.

An event often names a dataset and nothing more. Which of its versions a run then read
depends on the events of other runs, and those may arrive years later; so the answer is
computed from what is there at the moment of asking. The rules, for one input `i`:

- it names the production: that one, seen or not;
- it names a version: the last production of that content, under any name of the dataset,
  published until `i` was first read; when there is none, the first one after;
- it names neither: what was current when `i` was first read, or nothing where that was dropped
  or no publication is known; in a streaming run also each one published until `i` was last read.

A run never binds to what it wrote itself. The text here is part of the design: each
subquery ends in one index probe per member of the alias group (`tests/unit/test_plans.py`
holds it), and it reads the same on SQLite and PostgreSQL. It never picks a dialect.
"""

from __future__ import annotations

# One name: a single index probe.
_CURRENT_ALONE = """(
    SELECT o.production_id FROM run_output o
    WHERE o.dataset_id = i.dataset_id AND o.published_at <= i.first_at
      AND o.run_id <> i.run_id
    ORDER BY o.published_at DESC, o.version_id DESC, o.production_id DESC LIMIT 1)"""

_OF_VERSION_ALONE = """(
    SELECT o.production_id FROM run_output o
    WHERE o.version_id = i.version_id AND o.published_at {beside} i.first_at AND o.run_id <> i.run_id
    ORDER BY o.published_at {order}, o.production_id {order} LIMIT 1)"""

# Several names: one probe for each, and the best of what they found.
_CURRENT_GROUP = """(
    SELECT c.production_id
    FROM dataset g CROSS JOIN dataset m CROSS JOIN run_output c
    WHERE g.dataset_id = i.dataset_id AND m.group_id = g.group_id
      AND c.production_id = (
        SELECT o.production_id FROM run_output o
        WHERE o.dataset_id = m.dataset_id AND o.published_at <= i.first_at
          AND o.run_id <> i.run_id
        ORDER BY o.published_at DESC, o.version_id DESC, o.production_id DESC LIMIT 1)
    ORDER BY c.published_at DESC, c.version_id DESC, c.production_id DESC LIMIT 1)"""

_OF_VERSION_GROUP = """(
    SELECT c.production_id
    FROM version named CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN version v CROSS JOIN run_output c
    WHERE named.version_id = i.version_id
      AND g.dataset_id = i.dataset_id AND m.group_id = g.group_id
      AND v.dataset_id = m.dataset_id AND v.version = named.version
      AND substr(v.version, 1, 200) = substr(named.version, 1, 200)
      AND c.production_id = (
        SELECT o.production_id FROM run_output o
        WHERE o.version_id = v.version_id AND o.published_at {beside} i.first_at AND o.run_id <> i.run_id
        ORDER BY o.published_at {order}, o.production_id {order} LIMIT 1)
    ORDER BY c.published_at {order}, c.production_id {order} LIMIT 1)"""

# Written with LIMIT and not as EXISTS, which a planner may answer by hashing the whole table.
_ALONE = """(
    SELECT 1 FROM dataset g CROSS JOIN dataset m
    WHERE g.dataset_id = i.dataset_id AND m.group_id = g.group_id AND m.dataset_id <> g.dataset_id
    LIMIT 1) IS NULL"""


def _until_or_after(template: str) -> str:
    until, after = template.format(beside="<=", order="DESC"), template.format(beside=">", order="ASC")
    return f"COALESCE({until}, {after})"


#: What the row `i` of `run_input`, which names a version, is bound to.
BOUND_BY_VERSION = f"""CASE WHEN {_ALONE}
  THEN {_until_or_after(_OF_VERSION_ALONE)}
  ELSE {_until_or_after(_OF_VERSION_GROUP)} END"""

#: What the row `i` of `run_input`, which names the dataset alone, is bound to. Where that is a
#: tombstone, `i` read nothing: see `DROPPED`.
BOUND_BY_TIME = f"CASE WHEN {_ALONE} THEN {_CURRENT_ALONE} ELSE {_CURRENT_GROUP} END"

#: The id of the production that any row `i` of `run_input` is bound to, or NULL.
BOUND = f"""CASE
  WHEN i.production_id IS NOT NULL THEN i.production_id
  WHEN i.version_id IS NOT NULL THEN {BOUND_BY_VERSION}
  ELSE {BOUND_BY_TIME} END"""

#: Whether what the row `i` of `run_input` is bound to (`s`, of `run_output`) says that it was dropped.
DROPPED = "(i.version_id IS NULL AND COALESCE(s.lifecycle, '') = 'DROP')"

#: Which rows `s` of `run_output` were published while a streaming run read the row `i` of `run_input`,
#: which names the dataset alone: it is bound to each of them, next to what it is bound to by time.
LATER = """(i.version_id IS NULL AND i.last_at IS NOT NULL
  AND g.dataset_id = i.dataset_id AND m.group_id = g.group_id AND s.dataset_id = m.dataset_id
  AND s.published_at > i.first_at AND s.published_at <= i.last_at
  AND s.run_id <> i.run_id AND (s.lifecycle IS NULL OR s.lifecycle <> 'DROP'))"""

#: The row `i` with each such `s`; the condition is `LATER`.
LATER_FROM = "run_input i CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN run_output s"

#: How far apart two clocks may be: what was published this close to a read may lie on its other side.
SKEW_US = 2_000_000

_ANOTHER = """(
    SELECT 1 FROM dataset g CROSS JOIN dataset m CROSS JOIN run_output o
    WHERE g.dataset_id = i.dataset_id AND m.group_id = g.group_id AND o.dataset_id = m.dataset_id
      AND {when}
      AND NOT (o.published_at > i.first_at AND o.published_at <= COALESCE(i.last_at, i.first_at))
      AND o.run_id <> i.run_id AND (s.production_id IS NULL OR o.production_id <> s.production_id)
    LIMIT 1) IS NOT NULL"""

_LAST_DOUBT = f"COALESCE(i.last_at, i.first_at) + {SKEW_US}"

_NEAR_BY = _ANOTHER.format(
    when=f"""o.published_at >= i.first_at - {SKEW_US}
      AND o.published_at <= COALESCE(
        (SELECT e.ended_at FROM run e WHERE e.run_id = i.run_id AND e.ended_at > {_LAST_DOUBT}),
        {_LAST_DOUBT})"""
)

#: Whether the row `i` of `run_input`, which names the dataset alone, may as well have read another
#: production than what it is bound to by time (`s`, of `run_output`): one published about when it
#: read or later while it ran, or one published at the same instant as `s`. (What a streaming run
#: is bound to as well, see `LATER`, is no other.)
AMBIGUOUS = f"""(i.version_id IS NULL AND ({_NEAR_BY}
  OR {_ANOTHER.format(when="o.published_at = s.published_at")}))"""

#: Whether the row `i` of `run_input` went into the row `t` of `run_output` (its basis says).
FEEDS = """(t.basis = 0
  OR (t.basis = 1 AND (
    SELECT 1 FROM edge_map e
    WHERE e.facet_id = t.edge_facet AND e.target_id = t.dataset_id AND e.source_id = i.dataset_id
    LIMIT 1) IS NOT NULL)
  OR (t.basis = 2 AND (
    SELECT 1 FROM run_edge e
    WHERE e.run_id = t.run_id AND e.target_id = t.dataset_id AND e.source_id = i.dataset_id
    LIMIT 1) IS NOT NULL))"""
