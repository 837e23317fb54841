"""Recipes as the store tells them: the runs of a cone, with all that their events said.

Runs are loaded breadth-first from the one that made the subject, in two statements and a few
more a round, whatever their number. What to make of gaps is the business of `recipes`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sqlalchemy import Connection, select

from headwater.consumers.answers import Ambiguous, Run, Unknown
from headwater.consumers.descent import BUDGETS
from headwater.consumers.details import (
    ROLES,
    Details,
    Facets,
    asset_type,
    location,
    mapping,
    schema_fields,
    statistics,
    text_of,
)
from headwater.consumers.existence import document
from headwater.consumers.marks import Mark, Marks
from headwater.consumers.naming import NamedAsset, NamedRun, find, id_text
from headwater.consumers.recipes import (
    FORMAT,
    MAX_STEPS,
    Missing,
    Recipe,
    RecipeCode,
    RecipeEnvironment,
    RecipeInput,
    RecipeOutput,
    RecipeStep,
    Subject,
    missing,
)
from headwater.consumers.statements import Rows, Statements
from headwater.consumers.tables import event, run_input, run_output
from headwater.schemas.parameters import parameter_value
from headwater.schemas.text import original

#: How many events of a process are looked at for the one that tells its whole environment.
EVENTS_OF_EMITTER = 64


def recipe(connection: Connection, name: str, *, whole: bool = False, as_of: int | None = None) -> Recipe:
    """The recipe of what `name` names, `as_of` a time in µs; raises `Unknown` and `Ambiguous`."""
    named = find(connection, name, as_of)
    production = _production(connection, named)
    gathered = _Gathered(connection, as_of)
    if production is None:
        return _of_nothing(connection, named, as_of)
    own = connection.execute(
        select(run_output.c.run_id, run_output.c.dataset_id, run_output.c.version_id).where(
            run_output.c.production_id == production
        )
    ).one()
    gathered.load(own.run_id, whole=whole)
    gathered.mark(production)
    subject = gathered.subject(production, own)
    steps = tuple(gathered.steps())
    environments = gathered.environments(steps)
    gaps = tuple(missing(subject, steps, environments, cut=gathered.cut, whole=whole))
    return Recipe(
        recipe=FORMAT,
        subject=subject,
        whole=whole,
        complete=not gaps,
        **gathered.marks[production].fields(),
        missing=gaps,
        steps=steps,
        environments=environments,
    )


def _production(connection: Connection, named: NamedAsset | NamedRun) -> bytes | None:
    """The production meant; of a run the one that it wrote."""
    if isinstance(named, NamedAsset):
        return named.production
    ids = connection.scalars(
        select(run_output.c.production_id)
        .where(run_output.c.run_id == named.run)
        .order_by(run_output.c.production_id)
        .limit(9)
    ).all()
    if not ids:
        raise Unknown(
            f"the run {id_text(named.run)} wrote nothing", remedy="name what it should have written"
        )
    if len(ids) > 1:
        raise Ambiguous(f"the run {id_text(named.run)} wrote {len(ids)} assets", tuple(map(id_text, ids)))
    found: bytes = ids[0]
    return found


def _of_nothing(connection: Connection, named: NamedAsset | NamedRun, as_of: int | None) -> Recipe:
    if isinstance(named, NamedRun):
        raise Unknown(f"the run {id_text(named.run)} wrote nothing")
    gap = Missing(
        run_id=None,
        what=f"the step that made {original(named.name)}",
        reason="no known run wrote it",
        remedy="record what brings it into the pipeline as a step",
    )
    subject = Subject(
        namespace=original(named.namespace),
        name=original(named.name),
        version=None,
        type=None,
        production_id=None,
        run_id=None,
    )
    return Recipe(
        recipe=FORMAT,
        subject=subject,
        whole=False,
        complete=False,
        **Marks(connection, as_of).of_version(named.datasets[0]).fields(),
        missing=(gap,),
        steps=(),
        environments={},
    )


# -- what the store says ------------------------------------------------------------------


class _Gathered:
    """The runs of a recipe with their inputs and outputs, loaded breadth-first from the last one."""

    def __init__(self, connection: Connection, as_of: int | None) -> None:
        self._connection = connection
        self._statements = Statements(connection, as_of)
        self._details = Details(connection, as_of)
        self._inputs: dict[bytes, Rows] = {}
        self._outputs: dict[bytes, Rows] = {}
        # By run, dataset, version and production, as `run_input` names them.
        self._read_facets: dict[tuple[Any, ...], Facets] = {}
        self.cut = False
        self._marks = Marks(connection, as_of, BUDGETS)
        #: By production.
        self.marks: dict[bytes, Mark] = {}

    def mark(self, subject: bytes) -> None:
        """Find out what of the subject and of all that was read must not be relied on."""
        read = [row[6] for rows in self._inputs.values() for row in rows if row[6] is not None]
        self.marks = self._marks.of_productions([subject, *read])

    def load(self, last: bytes, *, whole: bool) -> None:
        self._statements.begin()
        frontier = {last}
        while frontier:
            self._enter(frontier)
            made_by = {row[7] for run_id in frontier for row in self._inputs[run_id] if row[6] is not None}
            frontier = {run_id for run_id in made_by if run_id not in self._inputs} if whole else set()
            if frontier and len(self._inputs) + len(frontier) > MAX_STEPS:
                self.cut, frontier = True, set()
        self._name_everything()

    def _enter(self, runs: set[bytes]) -> None:
        self._inputs.update((run_id, []) for run_id in runs)
        self._outputs.update((run_id, []) for run_id in runs)
        for row in self._statements.inputs(runs):
            if row[7] != row[0]:  # what a run wrote itself and read again is none of its ingredients
                self._inputs[row[0]].append(row[:15])
        for row in self._statements.outputs(runs):
            if row[1] is not None:
                self._outputs[row[0]].append(row[1:])
        self._details.load_runs(runs)
        self._load_read_facets(runs)

    def _load_read_facets(self, runs: Collection[bytes]) -> None:
        rows = self._connection.execute(
            select(
                run_input.c.run_id,
                run_input.c.dataset_id,
                run_input.c.version_id,
                run_input.c.production_id,
                run_input.c.facets,
            ).where(run_input.c.run_id.in_(runs))
        ).all()
        wanted = {row.facets[at : at + 16] for row in rows for at in range(0, len(row.facets), 16)}
        known = {row[0]: (row[1], document(row[2])) for row in self._statements.facets(wanted)}
        for row in rows:
            ids = (row.facets[at : at + 16] for at in range(0, len(row.facets), 16))
            self._read_facets[tuple(row[:4])] = dict(known[id] for id in ids if id in known)

    def _name_everything(self) -> None:
        read = [row for rows in self._inputs.values() for row in rows]
        wrote = [row for rows in self._outputs.values() for row in rows]
        self._details.load_names([*(row[1] for row in read), *(row[2] for row in wrote)])
        versions = (*(row[2] for row in read), *(row[9] for row in read), *(row[3] for row in wrote))
        self._details.load_versions(id for id in versions if id is not None)
        self._details.load_facets([row[6] for row in read if row[6] is not None] + [row[0] for row in wrote])

    def subject(self, production: bytes, own: Any) -> Subject:
        facets = self._details.facets.get(production, {})
        namespace, name = self._details.names[own.dataset_id]
        return Subject(
            namespace=namespace,
            name=name,
            version=self._details.versions.get(own.version_id),
            type=asset_type(facets),
            production_id=id_text(production),
            run_id=id_text(own.run_id),
        )

    def steps(self) -> Iterator[RecipeStep]:
        """In the order in which they have to run; ties by time, then by id."""
        for run_id in self._ordered():
            known = self._details.runs[run_id]
            facets = self._details.run_facets[run_id]
            parent = known.parent_run_id
            yield RecipeStep(
                run_id=known.id,
                job=known.job,
                state=known.state,
                part_of=parent if parent is not None and _bytes(parent) in self._inputs else None,
                code=_code(known),
                parameters=parameters_of(facets),
                environment=text_of(mapping(facets, "headwater_environment"), "digest"),
                inputs=tuple(sorted(map(self._input, self._inputs[run_id]), key=_input_order)),
                outputs=tuple(sorted(map(self._output, self._outputs[run_id]), key=_output_order)),
            )

    def _ordered(self) -> list[bytes]:
        graph = {run_id: set(self._before(run_id)) for run_id in self._inputs}
        by_time = sorted(graph, key=lambda id: (self._details.runs[id].first_at, id))
        place = {run_id: at for at, run_id in enumerate(by_time)}
        sorter = TopologicalSorter(graph)
        try:
            sorter.prepare()
        except CycleError:  # foreign runs that read and write one table: their times are all there is
            return by_time
        ordered: list[bytes] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=place.__getitem__)
            ordered += ready
            sorter.done(*ready)
        return ordered

    def _before(self, run_id: bytes) -> Iterator[bytes]:
        """The runs that have to be over before `run_id` begins: not those that it calls itself."""
        for row in self._inputs[run_id]:
            if row[7] in self._inputs and self._details.runs[row[7]].parent_run_id != id_text(run_id):
                yield row[7]

    def _input(self, row: tuple[Any, ...]) -> RecipeInput:
        namespace, name = self._details.names[row[1]]
        facets = self._details.facets.get(row[6], {}) if row[6] is not None else {}
        read = self._read_facets.get((row[0], row[1], row[2], row[3]), {})
        version = row[2] if row[2] is not None else row[9] if row[10] else None
        # What nobody is known to have written may be recalled all the same.
        mark = self._marks.of_version(row[1], row[2]) if row[6] is None else self.marks[row[6]]
        return RecipeInput(
            argument=text_of(mapping(read, "headwater_consumption"), "argument"),
            namespace=namespace,
            name=name,
            version=None if version is None else self._details.versions.get(version),
            type=asset_type(facets) or text_of(mapping(read, "headwater_input"), "assetType"),
            location=location(facets) or location(read),
            format=_format(facets) or _format(read),
            library=text_of(mapping(facets, "headwater_dataset"), "library"),
            inferred=row[3] is None,
            role=ROLES[row[4]],
            production_id=None if row[6] is None else id_text(row[6]),
            run_id=None if row[7] is None else id_text(row[7]),
            **mark.flags(),
        )

    def _output(self, row: tuple[Any, ...]) -> RecipeOutput:
        namespace, name = self._details.names[row[2]]
        facets = self._details.facets.get(row[0], {})
        return RecipeOutput(
            namespace=namespace,
            name=name,
            version=self._details.versions.get(row[3]) if row[4] else None,
            type=asset_type(facets),
            location=location(facets),
            columns=tuple((str(column["name"]), text_of(column, "type")) for column in schema_fields(facets)),
            statistics=dict(statistics(facets)),
            metrics=_column_metrics(facets),
            details=_details(facets),
            recalled=self._marks.of_version(row[2], row[3]).recalled,
        )

    def environments(self, steps: Iterable[RecipeStep]) -> dict[str, RecipeEnvironment]:
        """By digest, those that the steps name, each in full where any event told it."""
        found: dict[str, RecipeEnvironment] = {}
        for run_id, step in zip(self._ordered(), steps, strict=True):
            digest = step.environment
            if digest is not None and (digest not in found or not found[digest].packages):
                found[digest] = self._environment(run_id, digest)
        return dict(sorted(found.items()))

    def _environment(self, run_id: bytes, digest: str) -> RecipeEnvironment:
        """Told once by each process: by this run, one above it, or another of the same process."""
        known = self._details.runs[run_id]
        above = [_bytes(id) for id in (known.parent_run_id, known.root_run_id) if id is not None]
        for candidates in ([run_id], above, self._same_process(run_id)):
            self._details.load_runs(candidates)
            for candidate in candidates:
                body = mapping(self._details.run_facets.get(candidate, {}), "headwater_environment")
                if body.get("digest") == digest and isinstance(body.get("packages"), dict):
                    return RecipeEnvironment(
                        python=text_of(body, "python"),
                        platform=text_of(body, "platform"),
                        packages={str(name): str(version) for name, version in body["packages"].items()},
                    )
        return RecipeEnvironment(python=None, platform=None, packages={})

    def _same_process(self, run_id: bytes) -> list[bytes]:
        emitter = self._connection.scalar(
            select(event.c.emitter_id)
            .where(event.c.run_id == run_id, event.c.emitter_id.is_not(None))
            .order_by(event.c.at, event.c.event_id)
            .limit(1)
        )
        if emitter is None:
            return []
        runs = self._connection.scalars(
            select(event.c.run_id)
            .where(event.c.emitter_id == emitter)
            .order_by(event.c.sequence)
            .limit(EVENTS_OF_EMITTER)
        )
        return list(dict.fromkeys(runs))


def parameters_of(facets: Facets) -> dict[str, Any]:
    """The parameters that a run's facets tell, by name."""
    listed = mapping(facets, "executionParameters").get("parameters")
    return {
        str(entry["key"]): parameter_value(entry["value"]) if isinstance(entry.get("value"), str) else None
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and "key" in entry
    }


def _bytes(id: str) -> bytes:
    return bytes.fromhex(id.replace("-", ""))


def _input_order(found: RecipeInput) -> tuple[str, ...]:
    return (found.argument or "", found.namespace, found.name, found.version or "", found.run_id or "")


def _output_order(found: RecipeOutput) -> tuple[str, ...]:
    return (found.namespace, found.name, found.version or "")


def _code(known: Run) -> RecipeCode:
    code = known.code
    if code is None:
        return RecipeCode()
    return RecipeCode(
        function=code.function,
        source_digest=code.source_digest,
        path=code.path,
        repository_url=code.repository_url,
        git_commit=code.git_commit,
        git_branch=code.git_branch,
        git_dirty=code.git_dirty,
    )


def _format(facets: Facets) -> str | None:
    return text_of(mapping(facets, "headwater_asset"), "format") or text_of(
        mapping(facets, "storage"), "fileFormat"
    )


def _column_metrics(facets: Facets) -> dict[str, dict[str, Any]]:
    """What was measured of each column: the standard facet's numbers and ours."""
    standard = mapping(facets, "dataQualityMetrics", "columnMetrics")
    ours = mapping(facets, "headwater_columns", "columns")
    return {
        name: {**_mapping(standard.get(name)), **_mapping(ours.get(name))}
        for name in sorted({*standard, *ours})
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _details(facets: Facets) -> dict[str, Any]:
    """What is known of a model or of metrics itself."""
    found: dict[str, Any] = {}
    for name in ("headwater_model", "headwater_metrics", "headwater_dataset"):
        body = {key: value for key, value in mapping(facets, name).items() if not key.startswith("_")}
        if body:
            found[name.removeprefix("headwater_")] = body
    return found
