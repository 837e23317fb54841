"""emit: what an event costs the step that emits it, beside openlineage-python's client.

Ours is the whole way: redact, number, chain, render, hash, append to a segment file. The
peer's is to build a comparable event and to serialise it; nothing is sent or kept.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import isolated
from bench.rows import Figure, percentile
from bench.scale import Scale

if TYPE_CHECKING:
    from headwater.schemas.events import AssetCreated

CLIENT = f"openlineage-python {version('openlineage-python')}"
BUDGET_P50_US = 15.0
BUDGET_P99_US = 200.0
EVENTS_A_RUN = 5


def figures(scale: Scale) -> Iterator[Figure]:
    ours, theirs = list[dict[str, float]](), list[dict[str, float]]()
    for _ in range(scale.runs):
        ours.append(isolated.call("bench.emit:emitting", count=scale.emits, mode="spool"))
        theirs.append(isolated.call("bench.emit:client", count=scale.emits // 4))
    size = f"AssetCreated of {ours[0]['size']:,.0f} B, {EVENTS_A_RUN} a run"
    fixture = f"{size}; {scale.emits:,} events a run after a warm-up; GC on; file in the page cache, no fsync"
    compared = (
        f"the peer builds and serialises a comparable event of {theirs[0]['size']:,.0f} B, and sends nothing"
    )
    for name, budget in (("p50", BUDGET_P50_US), ("p99", BUDGET_P99_US)):
        yield Figure(
            name=f"emit:spool:{name}",
            unit="µs",
            values=[run[name] for run in ours],
            budget=budget,
            peer=CLIENT,
            peer_values=[run[name] for run in theirs],
            fixture=fixture,
            note=compared,
        )
    yield Figure(
        name="emit:spool:build+emit:p50",
        unit="µs",
        values=[run["build_p50"] for run in ours],
        peer=CLIENT,
        peer_values=[run["p50"] for run in theirs],
        fixture=fixture,
        note=f"the fact itself is built within the time too; {compared}",
    )
    yield Figure(
        name="emit:spool:rate",
        unit="events/s",
        better="higher",
        values=[run["rate"] for run in ours],
        peer=CLIENT,
        peer_values=[1e6 / run["mean"] for run in theirs],
        fixture=fixture,
        note=f"emits in a loop, from one thread; {compared}",
    )
    yield from _other_modes(scale)
    yield _backend_down(scale, [run["p50"] for run in ours])


def _other_modes(scale: Scale) -> Iterator[Figure]:
    for name, mode, count, details in (
        ("emit:spool:described:p50", "spool", scale.emits, True),
        ("emit:memory:p50", "memory", scale.emits, False),
        ("emit:spool+fsync:p50", "spool+fsync", max(20, scale.emits // 40), False),
    ):
        runs = [
            isolated.call("bench.emit:emitting", count=count, mode=mode, details=details)
            for _ in range(min(3, scale.runs))
        ]
        what = "schema, statistics, storage, tags, owner" if details else "as emit:spool"
        yield Figure(
            name=name,
            unit="µs",
            values=[run["p50"] for run in runs],
            fixture=f"AssetCreated of {runs[0]['size']:,.0f} B ({what}); {count:,} events a run",
            note=f"p99 {percentile([run['p99'] for run in runs], 0.5):,.0f} µs",
        )


def _backend_down(scale: Scale, ours_us: list[float]) -> Figure:
    seconds = isolated.call("bench.emit:client_without_server", count=scale.down_emits)
    return Figure(
        name="emit:backend-down:p50",
        unit="µs",
        values=ours_us,
        peer=f"{CLIENT} over HTTP",
        peer_values=[value * 1e6 for value in seconds],
        fixture="the same events; a closed port of the loopback interface for the peer",
        note="ours needs nothing but the file; the peer, by its defaults, retries 5 times and then raises",
    )


# -- in a process of their own ------------------------------------------------------------


def emitting(count: int, mode: str, details: bool = False) -> dict[str, float]:
    """µs for each of `count` emits, alone and with the building of the fact."""
    from bench.events import created
    from headwater.emitter import Settings
    from headwater.emitter.emitter import from_settings

    def made(number: int) -> Any:
        return created(number, details=details, events_a_run=EVENTS_A_RUN)

    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        emitter = from_settings(Settings(project="bench", log=Path(folder), mode=mode, profile="regulated"))
        facts = [made(number) for number in range(count)]
        warm = max(10, count // 10)
        for fact in facts[:warm]:
            emitter.emit(fact)
        alone = _timed(count - warm, lambda number: emitter.emit(facts[warm + number]))
        built = _timed(count // 4, lambda number: emitter.emit(_built_again(facts[number])))
        emitter.close()
    return _told(alone) | {"build_p50": percentile(built, 0.5) / 1e3, "size": _event_size(details)}


def _event_size(details: bool) -> float:
    """Bytes of one event."""
    from bench.events import created
    from headwater.schemas.events import Emission
    from headwater.schemas.rendering import encode

    emission = Emission(emitter_id="0198b3c2-0000-7000-8000-000000000000", sequence=999, previous="0" * 64)
    return len(encode(created(1, details=details), emission))


def _built_again(fact: AssetCreated) -> AssetCreated:
    """The same fact, made of its parts anew as a step makes it."""
    from headwater.schemas.events import Asset, AssetCreated, Job, Run

    run, root, made = fact.run, fact.root or fact.run, fact.asset
    parent = Run(id=root.id, job=Job(namespace=root.job.namespace, name=root.job.name))
    return AssetCreated(
        time=fact.time,
        run=Run(id=run.id, job=Job(namespace=run.job.namespace, name=run.job.name)),
        parent=parent,
        root=parent,
        asset=Asset(
            namespace=made.namespace,
            name=made.name,
            version=made.version,
            type=made.type,
            properties={**made.properties},
        ),
    )


def client(count: int) -> dict[str, float]:
    """µs to build and serialise a comparable event with openlineage-python."""
    from openlineage.client.serde import Serde

    from bench.events import created

    facts = [created(number, events_a_run=EVENTS_A_RUN) for number in range(count)]
    size = len(Serde.to_json(_client_event(facts[0])))
    _timed(count // 10, lambda number: Serde.to_json(_client_event(facts[number])))
    taken = _timed(count, lambda number: Serde.to_json(_client_event(facts[number])))
    return _told(taken) | {"size": size}


def client_without_server(count: int) -> list[float]:
    """Seconds that the client's HTTP transport blocks, by its own defaults, when nobody listens."""
    import requests
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    from bench.events import created

    sender = OpenLineageClient(transport=HttpTransport(HttpConfig(url="http://127.0.0.1:9")))
    taken = []
    for number in range(count):
        began = time.perf_counter()
        try:
            sender.emit(_client_event(created(number)))
        except requests.exceptions.RequestException:
            taken.append(time.perf_counter() - began)
    return taken


def _client_event(fact: AssetCreated) -> Any:
    """An output with version, type, storage and the properties as a text, its run with parent and root."""
    from openlineage.client import event_v2, facet_v2

    parent, made, root = facet_v2.parent_run, fact.asset, fact.root
    if root is None:
        raise ValueError("a step's event names its root")
    return event_v2.RunEvent(
        eventTime="2026-09-21T14:13:20.000000Z",
        producer="https://example.com/bench",
        eventType=event_v2.RunState.RUNNING,
        run=event_v2.Run(
            runId=fact.run.id,
            facets={
                "parent": parent.ParentRunFacet(
                    run=parent.Run(runId=root.id),
                    job=parent.Job(namespace=root.job.namespace, name=root.job.name),
                    root=parent.Root(
                        run=parent.RootRun(runId=root.id),
                        job=parent.RootJob(namespace=root.job.namespace, name=root.job.name),
                    ),
                )
            },
        ),
        job=event_v2.Job(namespace=fact.run.job.namespace, name=fact.run.job.name),
        outputs=[
            event_v2.OutputDataset(
                namespace=made.namespace,
                name=made.name,
                facets={
                    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(made.version),
                    "datasetType": facet_v2.dataset_type_dataset.DatasetTypeDatasetFacet("TABLE"),
                    "documentation": facet_v2.documentation_dataset.DocumentationDatasetFacet(
                        json.dumps(made.properties)
                    ),
                    "storage": facet_v2.storage_dataset.StorageDatasetFacet("s3", "parquet"),
                },
            )
        ],
    )


def _timed(count: int, action: Callable[[int], object]) -> list[int]:
    """Nanoseconds of each call."""
    clock, taken = time.perf_counter_ns, list[int]()
    for number in range(count):
        began = clock()
        action(number)
        taken.append(clock() - began)
    return taken


def _told(taken: list[int]) -> dict[str, float]:
    return {
        "p50": percentile(taken, 0.5) / 1e3,
        "p99": percentile(taken, 0.99) / 1e3,
        "mean": sum(taken) / len(taken) / 1e3,
        "rate": len(taken) / (sum(taken) / 1e9),
    }
