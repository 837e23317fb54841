"""The run at the top of a run: named by its events, or found by walking up when it is asked, in SQL.

The events of the parents may arrive later than those of a run, or never; so, like what an input
is bound to, this is never stored. The text reads the same on SQLite and PostgreSQL. (A condition
there that names `up` needlessly keeps SQLite from reading all runs into a Bloom filter first.)
"""

from __future__ import annotations

#: The root of the row `r` of `run`: what it names; else what the nearest run above it names; else
#: the uppermost that is known, seen or not. NULL for a run without parent, and for one whose
#: parents go round in a circle (the set `up` grows no more, and none of its runs is uppermost).
ROOT = """CASE
  WHEN r.root_run_id IS NOT NULL THEN r.root_run_id
  WHEN r.parent_run_id IS NOT NULL THEN (
    WITH RECURSIVE up(id) AS (
      SELECT r.parent_run_id
      UNION
      SELECT p.parent_run_id FROM up CROSS JOIN run p
      WHERE p.run_id = up.id
        AND (up.id IS NULL OR (p.root_run_id IS NULL AND p.parent_run_id IS NOT NULL)))
    SELECT COALESCE(p.root_run_id, up.id)
    FROM up LEFT JOIN run p ON p.run_id = up.id
    WHERE p.root_run_id IS NOT NULL OR p.parent_run_id IS NULL
    LIMIT 1) END"""
