"""Small lineage stores written by hand: rows for the tables, without events or projection.

A `Graph` collects what its methods say and `insert` writes it. Ids are the product's own
functions of natural keys; names stand for themselves (namespace `ns` unless told).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from headwater.consumers import tables
from headwater.schemas import ids

Row = dict[str, Any]
NAMESPACE = "ns"


class Graph:
    """Rows of the covered tables, keyed so that saying a thing twice is saying it once."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Any, Row]] = {table.name: {} for table in tables.COVERED}

    def dataset(self, name: str, namespace: str = NAMESPACE) -> bytes:
        key = ids.dataset_id(namespace, name)
        row = {"dataset_id": key, "namespace": namespace, "name": name, "group_id": key}
        self.rows["dataset"].setdefault(key, row)
        return key

    def alias(self, one: str, other: str) -> None:
        """Both names are one dataset from now on."""
        first, second = sorted((self.dataset(one), self.dataset(other)))
        self.rows["dataset_link"][first, second] = {"a": first, "b": second}
        datasets = self.rows["dataset"]
        merged = {datasets[first]["group_id"], datasets[second]["group_id"]}
        for row in datasets.values():
            if row["group_id"] in merged:
                row["group_id"] = min(merged)

    def version(self, dataset: str, version: str) -> bytes:
        key = ids.version_id(self.dataset(dataset), version)
        row = {"version_id": key, "dataset_id": self.dataset(dataset), "version": version}
        self.rows["version"][key] = row
        return key

    def facet(self, name: str, body: Mapping[str, Any]) -> bytes:
        text = json.dumps(body, sort_keys=True)
        key = ids.hash128("facet", name, text)
        self.rows["facet"][key] = {"facet_id": key, "name": name, "body": body}
        return key

    def job(self, name: str, namespace: str = NAMESPACE) -> bytes:
        key = ids.job_id(namespace, name)
        self.rows["job"][key] = {"job_id": key, "namespace": namespace, "name": name}
        return key

    def run(
        self,
        name: str,
        *,
        job: str | None = None,
        at: int = 0,
        facets: Mapping[str, Mapping[str, Any]] | None = None,
        **values: Any,
    ) -> bytes:
        """A run known by `name`; a UUID names itself."""
        job_name = job or f"job-of-{name}"
        key = ids.run_key(name, NAMESPACE, job_name if job else name)
        row = {
            "run_id": key,
            "kind": 0,
            "ext_id": None if ids.is_uuid(name) else name,
            "job_id": self.job(job_name),
            "state": 3,
            "first_at": at,
            "started_at": at,
            "ended_at": at + 1,
            "last_at": at + 1,
            "last_start_at": at,
            "streaming": False,
            "parent_run_id": None,
            "parent_job_id": None,
            "root_run_id": None,
            "facets": self._facets(facets),
        }
        self.rows["run"][key] = row | values
        return key

    def output(
        self,
        run: bytes,
        dataset: str,
        version: str | None = None,
        *,
        at: int | None = 0,
        facets: Mapping[str, Mapping[str, Any]] | None = None,
        **values: Any,
    ) -> bytes:
        """`run` wrote `dataset`, published `at`; returns the production's id."""
        target = self.dataset(dataset)
        content = self.version(dataset, version) if version else ids.unversioned_output_id(target, run)
        key = ids.production_id(run, target, content)
        row = {
            "production_id": key,
            "run_id": run,
            "dataset_id": target,
            "version_id": content,
            "versioned": version is not None,
            "published_at": at,
            "lifecycle": None,
            "basis": 0,
            "edge_facet": None,
            "live": True,
            "facets": self._facets(facets),
        }
        self.rows["run_output"][key] = row | values
        return key

    def input(
        self,
        run: bytes,
        dataset: str,
        version: str | None = None,
        *,
        at: int = 0,
        production: bytes | None = None,
        **values: Any,
    ) -> None:
        """`run` read `dataset`, first `at`."""
        source = self.dataset(dataset)
        content = self.version(dataset, version) if version else None
        row = {
            "run_id": run,
            "dataset_id": source,
            "version_id": content,
            "production_id": production,
            "role": 0,
            "first_at": at,
            "last_at": None,
            "live": True,
            "facets": b"",
        }
        self.rows["run_input"][run, source, content, production] = row | values

    def column_edge(self, facet: bytes, target: str, source: str) -> None:
        """`facet` says that `target` was made from `source` (basis 1)."""
        row = {"facet_id": facet, "target_id": self.dataset(target), "source_id": self.dataset(source)}
        self.rows["edge_map"][tuple(row.values())] = row

    def run_edge(self, run: bytes, target: str, source: str) -> None:
        """`run` said that it made `target` from `source` (basis 2)."""
        row = {"run_id": run, "target_id": self.dataset(target), "source_id": self.dataset(source)}
        self.rows["run_edge"][tuple(row.values())] = row

    def point(self, run: bytes, key: str, value: float | None, *, step: int = 0, at: int = 0) -> None:
        """`run` measured `value`; None stands for NaN."""
        point = ids.hash128("metric", run.hex(), key, str(step), str(at), repr(value))
        row = {"point_id": point, "run_id": run, "key": key, "step": step, "at": at, "value": value}
        self.rows["metric_point"][point] = row

    def governance(
        self, kind: str, key: str, dataset: str, version: str | None = None, *, at: int = 0, **values: Any
    ) -> None:
        """A curator's statement about `dataset` (or one version of it)."""
        content = self.version(dataset, version) if version else None
        event = ids.hash128("event", kind, key, dataset, str(version), str(at), repr(values)) * 2
        row = {
            "governance_id": ids.hash128("governance", event.hex(), kind, key),
            "event_id": event,
            "kind": kind,
            "key": key,
            "dataset_id": self.dataset(dataset),
            "version_id": content,
            "value": None,
            "withdrawn": False,
            "actor": None,
            "at": at,
        }
        self.rows["governance"][event, kind, key] = row | values

    def _facets(self, facets: Mapping[str, Mapping[str, Any]] | None) -> bytes:
        return b"".join(sorted(self.facet(name, body) for name, body in (facets or {}).items()))

    def insert(self, connection: Connection) -> None:
        """Write every row; the tables must be empty of them."""
        for table in tables.COVERED:
            rows = list(self.rows[table.name].values())
            if table is tables.facet and connection.dialect.name == "sqlite":
                rows = [row | {"body": json.dumps(row["body"])} for row in rows]
            if rows:
                connection.execute(table.insert(), rows)
