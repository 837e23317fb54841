"""Event sets as headwater's own emitters write them, and the real events that others wrote."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headwater.schemas import events as facts
from headwater.schemas.rendering import encode
from tests.support.openlineage import SPEC, real_events, require_data

_RUNS = [
    facts.Run(
        id=f"01890000-0000-7000-8000-0000000000{number:02x}",
        job=facts.Job(namespace="crm", name=f"churn.step{number}"),
    )
    for number in range(3)
]
_PIPELINE = facts.Run(
    id="01890000-0000-7000-8000-0000000000ff", job=facts.Job(namespace="crm", name="churn\x00␛")
)
_NAMES = ["customers", "features", "\x00model"]
_VERSIONS = [f"table1:{digit * 64}" for digit in "ab"]

times = st.integers(0, 4).map(lambda n: 1_709_287_200_000_000 + n * 500_000)
runs = st.sampled_from(_RUNS)
versions = st.sampled_from(_VERSIONS)
emissions = st.none() | st.builds(
    facts.Emission,
    emitter_id=st.sampled_from([run.id for run in _RUNS[:2]]),
    sequence=st.integers(0, 5),
    previous=st.sampled_from([None, "ab" * 32]),
    final=st.booleans(),
)
told = {
    "time": times,
    "run": runs,
    "parent": st.sampled_from([None, _PIPELINE]),
    "root": st.sampled_from([None, _PIPELINE]),
    "emission": emissions,
}
references = st.builds(
    facts.AssetRef,
    namespace=st.just("lake"),
    name=st.sampled_from(_NAMES),
    version=versions | st.none(),
    type=st.sampled_from([None, "Dataset", "Model"]),
    production=st.sampled_from([None, *(run.id for run in _RUNS)]),
)
some_references = st.lists(references, max_size=2).map(tuple)
assets = st.builds(
    facts.Asset,
    namespace=st.just("lake"),
    name=st.sampled_from(_NAMES),
    version=versions,
    type=st.sampled_from(["Dataset", "Model", "Metrics", "Artifact"]),
    parents=st.none() | some_references,
    previous_version=st.none() | versions,
    location=st.sampled_from([None, "s3://lake/customers.csv"]),
    columns=st.sampled_from([(), (facts.Column(name="x", type="int64"),)]),
    tags=st.sampled_from([{}, {"team": "crm"}]),
    symlinks=st.sampled_from([(), (facts.Identifier(namespace="s3://lake", name="customers.csv"),)]),
)
_failure = facts.Failure(type="ValueError", message="no \ud800", traceback=None)
_outputs = st.lists(references, max_size=2).map(tuple)
_points = st.builds(
    facts.MetricPoint,
    key=st.sampled_from(["loss", "auc"]),
    value=st.sampled_from([0.5, 1.0, float("nan"), float("inf"), -0.0]),
    step=st.integers(0, 2),
    time=times,
)
_about = {"time": times, "asset": references, "emission": emissions, "actor": st.sampled_from([None, "ann"])}

events: SearchStrategy[facts.Event] = st.one_of(
    st.builds(facts.StepStarted, **told, parameters=st.sampled_from([{}, {"depth": 6}])),
    st.builds(facts.AssetCreated, **told, asset=assets),
    st.builds(facts.AssetCreated, **told, asset=assets),
    st.builds(facts.AssetConsumed, **told, asset=references),
    st.builds(
        facts.StepCompleted,
        **told,
        inputs=some_references,
        outputs=_outputs,
        lineage=st.lists(st.tuples(references, some_references), max_size=2).map(tuple),
    ),
    st.builds(facts.StepFailed, **told, failure=st.just(_failure), inputs=some_references, outputs=_outputs),
    st.builds(
        facts.RunAborted, **told, adopted_from=st.just(_RUNS[0].id), reason=st.just("the process died")
    ),
    st.builds(facts.MetricsLogged, **told, points=st.lists(_points, max_size=3).map(tuple)),
    st.builds(
        facts.RunClosed,
        **told,
        emitter_id=st.sampled_from([run.id for run in _RUNS]),
        events=st.integers(0, 3),
        last_sequence=st.integers(-1, 3),
    ),
    st.builds(
        facts.ReproductionAttempted,
        **told,
        subject=references,
        outcome=st.sampled_from(["identical", "different", "cannot"]),
        environment=st.just("compatible"),
        reasons=st.sampled_from([(), ("the packages: pandas 2.1 ran",)]),
    ),
    st.builds(
        facts.AssetTagged,
        **_about,
        tags=st.dictionaries(st.sampled_from(["team", "\x00"]), st.sampled_from(["crm", None]), max_size=2),
    ),
    st.builds(facts.AssetAliased, **_about, alias=st.just("production"), removed=st.booleans()),
    st.builds(facts.AssetRecalled, **_about, reason=st.just("leak"), lifted=st.booleans()),
    st.builds(facts.AssetErased, **_about, reason=st.just("law"), location=st.just("s3://lake/x")),
    st.builds(facts.AssetDescribed, **_about, description=st.sampled_from(["it", ""])),
    st.builds(facts.AssetOwned, **_about, owners=st.sampled_from([(), (facts.Owner(name="team:crm"),)])),
)
native_universes = st.lists(events.map(encode), min_size=1, max_size=14)
large_native_universes = st.lists(events.map(encode), min_size=7, max_size=14)


def whole_events() -> list[bytes]:
    """Every event recorded from other producers, and the specification's own example of a whole one.

    Where they are not to be had, the test that asks for them ends as one that carries `requires_spec`.
    """
    require_data()
    return [*(value for _, value in real_events()), (SPEC / "tests" / "example_full_event.json").read_bytes()]
