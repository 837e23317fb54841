"""The events of the benchmarks: ours, and such as Airflow or Spark send. The same in every run.

Native: a pipeline whose steps each read one asset and write one, as facts for an emitter.
Foreign: START and COMPLETE of runs with two unversioned inputs and one output, some 1.7 kB each;
they come up to `APART` runs apart, and their facets repeat as real ones do: schemas belong to
datasets, SQL to jobs, nominal times to runs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from headwater.schemas import events as facts
from headwater.schemas.ids import hash128

START_US = 1_790_000_000_000_000
APART = 25
JOBS = 200
DATASETS = 500
_BEGIN = datetime(2026, 9, 21, tzinfo=UTC)
_PRODUCER = "https://airflow.apache.org/3.1"
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_TYPES = ("bigint", "varchar(64)", "timestamp", "decimal(18,2)", "boolean")


def run_id(*parts: object) -> str:
    """A UUIDv7-shaped id that is a function of `parts`."""
    digits = hash128("bench run", *map(str, parts)).hex()
    return f"0198b3c2-{digits[:4]}-7{digits[4:7]}-8{digits[7:10]}-{digits[10:22]}"


def digest(number: int) -> str:
    """64 hexadecimal digits, as of a sha256."""
    half = hash128("bench digest", str(number)).hex()
    return half + half[::-1]


# -- ours ---------------------------------------------------------------------------------

PIPELINE = facts.Job(namespace="bench", name="churn")
STEPS_A_PIPELINE = 10


def asset(number: int, *, details: bool = False) -> facts.Asset:
    """The version that step `number` wrote: 1.9 kB as an event, more as a table that is described."""
    more: dict[str, Any] = {}
    if details:
        columns = ("customer", "tenure", "monthly_charges", "churned")
        more = {
            "columns": tuple(facts.Column(name=name, type="float64") for name in columns),
            "column_metrics": {
                "monthly_charges": {"nullCount": 0, "min": 18.25, "max": 118.75, "sum": 4561.5}
            },
            "location": f"s3://lake/churn/{number}.parquet",
            "format": "parquet",
            "tags": {"team": "crm", "stage": "training"},
            "owner": "crm",
        }
    return facts.Asset(
        namespace="bench",
        name=f"customers.features-{number % STEPS_A_PIPELINE}",
        version=f"table1:{digest(number)}",
        type="Dataset",
        properties={"split": "training", "seed": 7, "share": 0.75, "source": "crm", "stage": "features"},
        **more,
    )


def created(number: int, *, details: bool = False, events_a_run: int = 1) -> facts.AssetCreated:
    """Step `number` wrote its asset, or step `number // events_a_run` one of its assets."""
    root = _pipeline(number // STEPS_A_PIPELINE)
    job = facts.Job(namespace="bench", name=f"churn.step-{number % STEPS_A_PIPELINE}")
    return facts.AssetCreated(
        time=START_US + number * 1_000,
        run=facts.Run(id=run_id("step", number // events_a_run), job=job),
        parent=root,
        root=root,
        asset=asset(number, details=details),
    )


@lru_cache(maxsize=4)
def _pipeline(number: int) -> facts.Run:
    """One object for all events of a run, as a running pipeline has it."""
    return facts.Run(id=run_id("pipeline", number), job=PIPELINE)


def native_steps(numbers: Iterable[int]) -> Iterator[facts.RunEvent]:
    """What these steps tell: each reads what the step before it wrote; ten are a pipeline."""
    for number in numbers:
        yield from _step(number)


def _step(number: int) -> Iterator[facts.RunEvent]:
    wrote = created(number, details=True)
    told: dict[str, Any] = {"run": wrote.run, "parent": wrote.parent, "root": wrote.root}
    first = number % STEPS_A_PIPELINE == 0
    if first and wrote.root is not None:
        yield facts.PipelineStarted(time=wrote.time - 300, run=wrote.root, parameters={"depth": 8})
    yield facts.StepStarted(
        time=wrote.time - 200,
        parameters={"depth": 8, "number": number},
        code=facts.Code(function="churn:step", source_digest=digest(number % 10), git_commit="4f1c9ab" * 5),
        **told,
    )
    read = () if first else (_ref(number - 1),)
    for ref in read:
        yield facts.AssetConsumed(time=wrote.time - 100, asset=ref, argument="features", **told)
    yield wrote
    yield facts.StepCompleted(time=wrote.time + 100, inputs=read, outputs=(_ref(number),), **told)
    if number % STEPS_A_PIPELINE == STEPS_A_PIPELINE - 1 and wrote.root is not None:
        yield facts.PipelineCompleted(time=wrote.time + 300, run=wrote.root)


def _ref(number: int) -> facts.AssetRef:
    made = asset(number)
    return facts.AssetRef(
        namespace=made.namespace,
        name=made.name,
        version=made.version,
        type=made.type,
        production=run_id("step", number),
    )


# -- foreign ------------------------------------------------------------------------------


def foreign(numbers: Iterable[int]) -> Iterator[bytes]:
    """START and COMPLETE of these runs, in the order of a log."""
    draw = random.Random(7)
    waiting: list[tuple[int, bytes]] = []
    for number in numbers:
        run = _foreign_run(number, draw)
        yield _event(run, "START", number)
        waiting.append((number + draw.randrange(APART), _event(run, "COMPLETE", number)))
        due = [value for at, value in waiting if at <= number]
        waiting = [(at, value) for at, value in waiting if at > number]
        yield from due
    yield from (value for _, value in waiting)


def _foreign_run(number: int, draw: random.Random) -> dict[str, Any]:
    job = number % JOBS
    out = job % DATASETS
    sources = draw.sample(range(DATASETS), 2)
    name = f"warehouse.load_{job:04d}"
    started = _BEGIN + timedelta(seconds=number)
    facets = {
        "nominalTime": _facet("NominalTimeRunFacet", "1-0-1", nominalStartTime=_text(started)),
        "parent": _facet(
            "ParentRunFacet",
            "1-1-0",
            run={"runId": run_id("dag", number // 20)},
            job={"namespace": "airflow", "name": f"dag_{job // 20}"},
        ),
    }
    sql = f"INSERT INTO table_{out} SELECT * FROM source_{job}"
    return {
        "run": {"runId": run_id("foreign", number), "facets": facets},
        "job": {
            "namespace": "airflow",
            "name": name,
            "facets": {"sql": _facet("SQLJobFacet", "1-0-1", query=sql)},
        },
        "inputs": [_dataset(sources[0]), _dataset(sources[1], schema=False)],
        "outputs": [_dataset(out)],
    }


def _dataset(number: int, *, schema: bool = True) -> dict[str, Any]:
    fields = [{"name": f"column_{n}", "type": _TYPES[(n + number) % 5]} for n in range(1 + number % 2)]
    return {
        "namespace": "postgres://warehouse:5432",
        "name": f"warehouse.public.table_{number}",
        "facets": {"schema": _facet("SchemaDatasetFacet", "1-1-1", fields=fields)} if schema else {},
    }


def _facet(name: str, version: str, **fields: Any) -> dict[str, Any]:
    url = f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": _PRODUCER, "_schemaURL": url, **fields}


def _event(run: dict[str, Any], kind: str, number: int) -> bytes:
    at = _BEGIN + timedelta(seconds=number + (30 if kind == "COMPLETE" else 0))
    head = {"eventTime": _text(at), "eventType": kind, "producer": _PRODUCER, "schemaURL": _SPEC}
    return orjson.dumps({**head, **run})


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
