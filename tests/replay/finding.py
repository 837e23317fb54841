"""A search as it would be done by hand: every row is looked at for every term.

Terms come as what they mean, not as text to parse. Shares with the product the numbers of the
kinds, and with the reference fold how a facet's body is read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Text, cast, select

from headwater.consumers import tables
from headwater.consumers.store import Store
from headwater.schemas import ids
from headwater.schemas.text import original
from tests.replay import search
from tests.replay.search import words_of

Thing: TypeAlias = tuple[str, bytes]
Row: TypeAlias = Any

FIELDS = {
    "name": {search.NAME, search.JOB},
    "asset": {search.NAME},
    "job": {search.JOB},
    "type": {search.TYPE},
    "tag": {search.TAG},
    "owner": {search.OWNER},
    "description": {search.DESCRIPTION},
    "column": {search.COLUMN},
    "parameter": {search.PARAMETER},
    "code": {search.CODE, search.COMMIT},
    "model": {search.MODEL},
}
EVERYWHERE = set(range(20))
COMPARED = {search.PARAMETER, search.METRIC, search.TAG}
SIGNS = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Term:
    """`field` None looks everywhere; `sign` compares `text` (the name) with `value`."""

    text: str
    field: str | None = None
    sign: str | None = None
    value: float | str | None = None

    def typed(self) -> str:
        text = self.text if self.sign is None else f"{self.text}{self.sign}{self.value}"
        return text if self.field is None else f"{self.field}:{text}"


class Fact(NamedTuple):
    kind: int
    key: str
    text: str
    number: float | None
    compared: bool


def _is_true(term: Term, facts: list[Fact]) -> bool:
    if term.sign is not None or term.field == "metric":
        kinds = (
            COMPARED
            if term.field is None
            else {search.METRIC}
            if term.field == "metric"
            else FIELDS[term.field]
        )
        return any(_compares(term, fact) for fact in facts if fact.kind in kinds)
    kinds = EVERYWHERE if term.field is None else FIELDS[term.field]
    told = [fact for fact in facts if fact.kind in kinds]
    if term.field in (None, "parameter") and any(fact.compared and fact.key == term.text for fact in told):
        return True
    if (
        term.field in (None, "code")
        and len(term.text) >= 4
        and set(term.text.lower()) <= set("0123456789abcdef")
    ):
        commits = [fact.text for fact in told if fact.kind == search.COMMIT]
        if any(commit.startswith(term.text.lower()) for commit in commits):
            return True
    # The name of a parameter is no text that is looked through.
    there = [
        word
        for fact in told
        if not fact.compared
        for text in ((fact.text,) if fact.kind == search.PARAMETER else (fact.text, fact.key))
        for word in words_of(text)
    ]
    if term.field is None or term.text.endswith("*"):
        return all(any(one.startswith(word) for one in there) for word in words_of(term.text))
    return all(word in there for word in words_of(term.text))


def _compares(term: Term, fact: Fact) -> bool:
    if fact.kind == search.TAG:
        same = (words_of(fact.key), fact.text.casefold()) == (words_of(term.text), str(term.value).casefold())
        return term.sign == "=" and same and fact.key.casefold() == term.text.casefold()
    if not fact.compared or fact.key != term.text:
        return False
    if term.sign is None:
        return True
    if isinstance(term.value, str):
        return fact.number is None and fact.kind == search.PARAMETER and fact.text == term.value
    return fact.number is not None and SIGNS[term.sign](fact.number, term.value)


class World:
    """Every row of a store."""

    def __init__(self, store: Store) -> None:
        with store.connecting() as connection:
            self.rows = {
                table.name: connection.execute(
                    select(
                        *(cast(c, Text).label(c.name) if c.name in tables.JSON else c for c in table.columns)
                    )
                ).all()
                for table in tables.COVERED
            }
        self.bodies = {row.facet_id: (row.name, row.body) for row in self.rows["facet"]}

    def find(self, terms: list[Term]) -> set[Thing]:
        """The assets (by group), runs and jobs that fit."""
        found = {("asset", group) for group in self._groups() if self._fits(terms, self.asset(group), [])}
        for run in self.rows["run"]:
            own, job = self.run(run), self.job_name(run)
            if run.kind == 0 and self._fits(terms, own, job):
                found.add(("run", run.run_id))
            if run.kind == 1:
                continue
            for output in self.rows["run_output"]:
                if output.run_id == run.run_id:
                    group = self._group_of(output.dataset_id)
                    of_output = self.listed(output.facets, ("headwater_model", "headwater_metrics"))
                    if self._fits(terms, self.asset(group) + of_output, own + job):
                        found.add(("asset", group))
        jobs = {("job", job.job_id) for job in self.rows["job"] if self._fits(terms, self.job(job), [])}
        return found | jobs

    def find_runs(self, terms: list[Term]) -> set[Thing]:
        """The runs that fit where runs alone are asked for: by themselves, or with one of their outputs."""
        found = set()
        for run in self.rows["run"]:
            of_outputs = [
                self.listed(output.facets, ("headwater_model", "headwater_metrics"))
                for output in self.rows["run_output"]
                if output.run_id == run.run_id
            ]
            own, job = self.run(run), self.job_name(run)
            if run.kind == 0 and any(self._fits(terms, own + one, job) for one in ([], *of_outputs)):
                found.add(("run", run.run_id))
        return found

    def _fits(self, terms: list[Term], own: list[Fact], beside: list[Fact]) -> bool:
        if not all(_is_true(term, own + beside) for term in terms):
            return False
        return any(self._is_own(term, own, beside) for term in terms)

    @staticmethod
    def _is_own(term: Term, own: list[Fact], beside: list[Fact]) -> bool:
        """Whether something in `own` alone makes a part of the term true."""
        # At the end: some of its words are here, the others there.
        return _is_true(term, own) or (term.sign is None and not _is_true(term, beside))

    # -- what is said ------------------------------------------------------------------------

    def _groups(self) -> set[bytes]:
        return {row.group_id for row in self.rows["dataset"]}

    def _group_of(self, dataset: bytes) -> bytes:
        found: bytes = next(row.group_id for row in self.rows["dataset"] if row.dataset_id == dataset)
        return found

    def asset(self, group: bytes) -> list[Fact]:
        found: list[Fact] = []
        for row in self.rows["dataset"]:
            if row.group_id == group:
                found.append(Fact(search.NAME, original(row.namespace), original(row.name), None, False))
                found += self._dataset(row.dataset_id)
        return found

    def _dataset(self, dataset: bytes) -> list[Fact]:
        found = self._tags("dataset", dataset) + self._stated(dataset)
        for row in self.rows["dataset_facet"]:
            if row.dataset_id != dataset or row.facet_id is None:
                continue
            name, text = self.bodies[row.facet_id]
            if name in ("schema", "ownership", "documentation"):
                found += self._facts(row.facet_id)
            key = {"headwater_asset": "assetType", "datasetType": "datasetType"}.get(name)
            body = search.body_of(text)
            if key and isinstance(body, dict) and type(body.get(key)) is str:
                found.append(Fact(search.TYPE, "", original(body[key]), None, False))
        return found

    def run(self, run: Row) -> list[Fact]:
        found = self.listed(run.facets, ("executionParameters", "headwater_code", "sourceCodeLocation"))
        found += self._tags("run", run.run_id)
        for point in self.rows["metric_point"]:
            if point.run_id == run.run_id:
                found.append(Fact(search.METRIC, original(point.key), "", point.value, True))
        return found if run.kind == 0 else []

    def job_name(self, run: Row) -> list[Fact]:
        return [
            Fact(search.JOB, original(job.namespace), original(job.name), None, False)
            for job in self.rows["job"]
            if job.job_id == run.job_id and run.kind == 0
        ]

    def job(self, job: Row) -> list[Fact]:
        found = [Fact(search.JOB, original(job.namespace), original(job.name), None, False)]
        found += self._tags("job", job.job_id)
        runs = [run for run in self.rows["run"] if run.job_id == job.job_id and run.kind == 0]
        newest = max(runs, key=lambda run: (run.first_at, run.run_id), default=None)
        own = ids.hash128("jobevent", original(job.namespace), original(job.name))
        owned = {
            row.facet_id
            for row in self.rows["facet_owner"]
            if (row.kind, row.owner_id) == (search.OF_JOB, job.job_id)
        }
        for run in self.rows["run"]:
            if run is newest or run.run_id == own:
                names = ("ownership", "documentation", "sourceCodeLocation")
                found += self.listed(run.facets, names, owned)
        return found

    def listed(
        self, text: bytes, names: tuple[str, ...], among: Collection[bytes] | None = None
    ) -> list[Fact]:
        found: list[Fact] = []
        for at in range(0, len(text), 16):
            facet = text[at : at + 16]
            if self.bodies[facet][0] in names and (among is None or facet in among):
                found += self._facts(text[at : at + 16])
        return found

    def _facts(self, facet: bytes) -> list[Fact]:
        name, text = self.bodies[facet]
        body = search.body_of(text)
        found = [
            Fact(kind, original(k), original(t), None, False) for kind, k, t in search.texts_of(name, body)
        ]
        for kind, key, value, number in search.values_of(name, body):
            found.append(Fact(kind, original(key), original(value)[:2000], number, True))
        return found

    def _tags(self, kind: str, entity: bytes) -> list[Fact]:
        found = []
        for row in self.rows["tag_register"]:
            if (row.kind, row.entity_id) != (kind, entity):
                continue
            floors = [
                floor.stamp
                for floor in self.rows["tag_floor"]
                if (floor.kind, floor.entity_id, floor.producer) == (kind, entity, row.producer)
            ]
            if any(stamp > row.stamp for stamp in floors):
                continue
            for key, value in search.body_of(row.tags):
                found.append(Fact(search.TAG, original(key), original(value or ""), None, False))
        return found

    def _stated(self, dataset: bytes) -> list[Fact]:
        last: dict[Any, Row] = {}
        for row in sorted(self.rows["governance"], key=lambda row: (row.at, row.event_id)):
            if row.dataset_id == dataset:
                last[row.version_id, row.kind, row.key] = row
        found = []
        for row in last.values():
            if row.withdrawn:
                continue
            value = row.value or ""
            if row.kind == "tag":
                found.append(Fact(search.TAG, original(row.key), original(value), None, False))
            elif row.kind == "description":
                found.append(Fact(search.DESCRIPTION, "", original(value), None, False))
            elif row.kind == "ownership":
                for name, _ in search.body_of(original(value)):
                    found.append(Fact(search.OWNER, "", original(name), None, False))
        return found
