"""Which production an input read: bound when it is asked, in SQL, never stored.

An event often names a dataset and nothing more. Which of its versions a run then read
depends on the events of other runs, and those may arrive years later; so the answer is
computed from what is there at the moment of asking. The rules, for one input `i`:

- it names the production: that one, seen or not;
- it names a version: the last production of that content, under any name of the dataset,
  published until `i` was first read; when there is none, the first one after;
- it names neither: what was current when `i` was first read, or nothing where that was dropped
  or no publication is known; in a streaming run also each one published until `i` was last read.

A run never binds to what it wrote itself. Asked as of a time, only what had been published by
then exists, and the same rules hold; which inputs there were by then is the statement's business.

The text here is part of the design: each subquery ends in one index probe per member of the
alias group (`tests/unit/test_plans.py` holds it), and it reads the same on SQLite and
PostgreSQL. It never picks a dialect.
"""

from __future__ import annotations

from dataclasses import dataclass

# One name: a single index probe.
_CURRENT_ALONE = """(
    SELECT o.production_id FROM run_output o
    WHERE o.dataset_id = i.dataset_id AND o.published_at <= i.first_at
      AND o.run_id <> i.run_id
    ORDER BY o.published_at DESC, o.version_id DESC, o.production_id DESC LIMIT 1)"""

_OF_VERSION_ALONE = """(
    SELECT o.production_id FROM run_output o
    WHERE o.version_id = i.version_id AND o.published_at {beside} AND o.run_id <> i.run_id
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
        WHERE o.version_id = v.version_id AND o.published_at {beside} AND o.run_id <> i.run_id
        ORDER BY o.published_at {order}, o.production_id {order} LIMIT 1)
    ORDER BY c.published_at {order}, c.production_id {order} LIMIT 1)"""

# A group is called by its least member: of a dataset without other names it is the only one, so the last too.
_ALONE = """(
    SELECT m.dataset_id FROM dataset m
    WHERE m.group_id = i.dataset_id ORDER BY m.dataset_id DESC LIMIT 1) = i.dataset_id"""

#: Whether the row `a` of `dataset` is not its only name.
HAS_OTHER_NAMES = f"({_ALONE.replace('i.dataset_id', 'a.dataset_id')}) IS NOT TRUE"

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

_NEAR_BY = f"""o.published_at >= i.first_at - {SKEW_US}
      AND o.published_at <= COALESCE(
        (SELECT e.ended_at FROM run e WHERE e.run_id = i.run_id AND e.ended_at > {_LAST_DOUBT}{{ended_by}}),
        {_LAST_DOUBT}){{published_by}}"""

_LATER = """(i.version_id IS NULL AND i.last_at IS NOT NULL
  AND g.dataset_id = i.dataset_id AND m.group_id = g.group_id AND s.dataset_id = m.dataset_id
  AND s.published_at > i.first_at AND s.published_at <= i.last_at{published_by}
  AND s.run_id <> i.run_id AND (s.lifecycle IS NULL OR s.lifecycle <> 'DROP'))"""

#: The row `i` with each `s` that it read later on; the condition is `Binding.later`.
LATER_FROM = "run_input i CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN run_output s"

#: Whether what the row `i` of `run_input` is bound to (`s`, of `run_output`) says that it was dropped.
DROPPED = "(i.version_id IS NULL AND COALESCE(s.lifecycle, '') = 'DROP')"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """SQL about a row `i` of `run_input` and a row `s` of `run_output`.

    `by_version` and `by_time` are the id of the production that `i` is bound to, when it names a
    version and when it names the dataset alone (a tombstone there means that it read nothing: see
    `DROPPED`); `bound` is that of any row, or NULL. Between `LATER_FROM`, `later` is whether `s` was
    published while the streaming run read `i`, which names the dataset alone: it is bound to each of
    those, next to what it is bound to by time. `ambiguous` is whether `i` may as well have read
    another production than what it is bound to by time (`s`): one published about when it read or
    later while it ran, or one published at the same instant as `s`.
    """

    by_version: str
    by_time: str
    bound: str
    later: str
    ambiguous: str


def binding(as_of: str | None = None) -> Binding:
    """The texts; with `as_of` (the SQL of a time in µs) only what was published by then exists."""
    # The plus keeps this bound out of the indexes, where the nearer one belongs.
    published_by = "" if as_of is None else f" AND +o.published_at <= {as_of}"
    by_version = f"""CASE WHEN {_ALONE}
  THEN {_until_or_after(_OF_VERSION_ALONE, as_of)}
  ELSE {_until_or_after(_OF_VERSION_GROUP, as_of)} END"""
    by_time = f"CASE WHEN {_ALONE} THEN {_CURRENT_ALONE} ELSE {_CURRENT_GROUP} END"
    near_by = _NEAR_BY.format(
        published_by=published_by, ended_by="" if as_of is None else f" AND e.ended_at <= {as_of}"
    )
    return Binding(
        by_version=by_version,
        by_time=by_time,
        bound=f"""CASE
  WHEN i.production_id IS NOT NULL THEN i.production_id
  WHEN i.version_id IS NOT NULL THEN {by_version}
  ELSE {by_time} END""",
        later=_LATER.format(published_by=published_by.replace("o.", "s.")),
        ambiguous=f"""(i.version_id IS NULL AND ({_ANOTHER.format(when=near_by)}
  OR {_ANOTHER.format(when="o.published_at = s.published_at")}))""",
    )


def _until_or_after(template: str, as_of: str | None) -> str:
    """The last one until `i` was first read; else the first one after."""
    until = template.format(beside="<= i.first_at", order="DESC")
    by_then = "" if as_of is None else f" AND o.published_at <= {as_of}"
    after = template.format(beside=f"> i.first_at{by_then}", order="ASC")
    return f"COALESCE({until}, {after})"


def existed(production: str, as_of: str) -> str:
    """Whether the row `production` of `run_output` was there by then: published, or its run had ended."""
    return f"""({production}.published_at <= {as_of} OR ({production}.published_at IS NULL AND (
    SELECT COALESCE(e.ended_at, e.last_at) FROM run e WHERE e.run_id = {production}.run_id) <= {as_of}))"""


_ALL = binding()
BOUND = _ALL.bound
LATER = _ALL.later
AMBIGUOUS = _ALL.ambiguous
