"""The recorded attempts to make a version again: what came of each, when, and who tried.

An attempt is a run of its own, of a job that is named after the asset, in a namespace of its own; it
wrote nothing, so it is in no lineage. Making them is the business of `headwater.consumers.reproducing`.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from headwater.consumers.answers import Attempt
from headwater.consumers.existence import document
from headwater.consumers.naming import id_text
from headwater.consumers.tables import facet, run
from headwater.consumers.times import moment
from headwater.schemas import ids
from headwater.schemas.text import original, storable

#: The namespace of the jobs of attempts, whose names are those of the assets.
NAMESPACE = "headwater.reproduction"
#: The last ones of an asset that are looked at.
LOOKED_AT = 200


def job_of(namespace: str, name: str) -> bytes:
    """The id of the job of attempts at an asset."""
    return ids.job_id(storable(NAMESPACE), storable(f"{original(namespace)}/{original(name)}"))


def attempts(
    connection: Connection,
    names: Collection[tuple[str, str]],
    version: str | None,
    production_run: str | None,
    as_of: int | None,
) -> tuple[Attempt, ...]:
    """The attempts at one version of the asset called `names`, the latest first.

    Without a version: at what the run `production_run` wrote.
    """
    query = select(run.c.run_id, run.c.first_at, run.c.facets).where(
        run.c.job_id.in_([job_of(*name) for name in names]), run.c.kind == 0
    )
    if as_of is not None:
        query = query.where(run.c.first_at <= as_of)
    rows = connection.execute(
        query.order_by(run.c.first_at.desc(), run.c.run_id.desc()).limit(LOOKED_AT)
    ).all()
    listed = {row.facets[at : at + 16] for row in rows for at in range(0, len(row.facets), 16)}
    of_attempt = select(facet.c.facet_id, facet.c.body).where(
        facet.c.facet_id.in_(listed), facet.c.name == "headwater_reproduction"
    )
    bodies = {id: document(body) for id, body in connection.execute(of_attempt)} if listed else {}
    found = []
    for row in rows:
        for at in range(0, len(row.facets), 16):
            body = bodies.get(row.facets[at : at + 16])
            if isinstance(body, dict) and _is_of(body.get("subject"), version, production_run):
                found.append(_attempt(body, row.first_at, id_text(row.run_id)))
    return tuple(found)


def _is_of(subject: object, version: str | None, production_run: str | None) -> bool:
    if not isinstance(subject, dict):
        return False
    if version is not None:
        return subject.get("version") == version
    return subject.get("version") is None and subject.get("productionRunId") == production_run


def _attempt(body: dict[str, object], at: int, run_id: str) -> Attempt:
    def text(key: str) -> str | None:
        value = body.get(key)
        return value if isinstance(value, str) else None

    def first(*keys: str) -> str | None:
        said = (one for key in keys if isinstance(listed := body.get(key), list) for one in listed)
        return next((one for one in said if isinstance(one, str)), None)

    return Attempt(
        outcome=text("outcome") or "",
        version=text("version"),
        at=moment(at),
        actor=text("actor"),
        environment=text("environment"),
        run_id=run_id,
        reason=first("reasons", "differences"),
        step=text("step"),
    )
