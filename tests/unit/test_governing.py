"""What curators say is in the log for good, in the store at once, and in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.consumers import positions
from headwater.consumers.answers import Ambiguous, AssetDetails, Unknown
from headwater.consumers.asking import Lineage
from headwater.consumers.completeness import emitters
from headwater.consumers.governing import Curation, Recorded
from headwater.consumers.log import SEGMENTS, Partition, open_log, records_of
from headwater.consumers.positions import Fenced
from headwater.consumers.replaying import replay, verify
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.emitter.emitter import from_settings
from headwater.emitter.governing import state
from headwater.emitter.settings import RedactionRules, Settings
from headwater.emitter.sinks import SpoolFull
from headwater.schemas import events as facts
from headwater.schemas.errors import HeadwaterError, Rejected
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise
from tests.support.churn import CUSTOMERS, MODELS, SECOND, START, recorded_log, run_of


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return recorded_log(tmp_path)


@pytest.fixture
def store(store_url: str, log: Path) -> Any:
    with open_store(store_url, create=True) as opened:
        with open_log(str(log)) as source:
            Runner(opened, source).run()
        yield opened


def curation(store: Store, log: Path, *, now: int = START + 3600 * SECOND, **given: Any) -> Curation:
    clock = iter(range(now, now + 1_000))
    return Curation(store, log, actor="ada", settings=Settings(**given), now=lambda: next(clock))


def shown(store: Store, name: str) -> AssetDetails:
    found = Lineage(store).show(name)
    assert isinstance(found, AssetDetails)
    return found


def test_every_statement_is_in_the_log_and_in_the_store_when_it_returns(store: Store, log: Path) -> None:
    ada = curation(store, log)
    said = [
        ada.tag("crm/customers", {"pii": "yes"}),
        ada.describe("customers", "One row per customer."),
        ada.own("customers", ["team:crm", "user:ada"], "MAINTAINER"),
        ada.alias(f"churn-model@{MODELS[1]}", "production"),
        ada.recall("customers@bbbb", "wrong units"),
    ]
    assert all(one.in_store and one.notes == () for one in said)
    assert [one.kind for one in said] == ["tag", "description", "ownership", "alias", "recall"]
    with open_log(str(log)) as source:
        known = {record.value for record in records_of(source)}
        facts_in_log = [recognise(parse(value)) for value in known]
        assert verify(store, source).equal
    assert sum(isinstance(fact, facts.AssetFact) for fact in facts_in_log) == 5
    assert emitters(store, incomplete_only=True) == []
    customers = shown(store, "customers")
    assert customers.tags == {"pii": "yes"}
    assert {one.kind: one.value for one in customers.statements} == {
        "tag": "yes",
        "description": "One row per customer.",
        "ownership": '[["team:crm","MAINTAINER"],["user:ada","MAINTAINER"]]',
        "recall": "wrong units",
    }
    assert customers.facets.keys().isdisjoint({"headwater_describing", "headwater_owning"})


def test_a_statement_publishes_no_version(store: Store, log: Path) -> None:
    before = shown(store, "customers").history
    curation(store, log).recall("customers@bbbb", "wrong units")
    curation(store, log).describe("customers", "what it is")
    assert [one.id for one in shown(store, "customers").history] == [one.id for one in before]


def test_what_was_made_from_a_recalled_version_says_so_until_it_is_lifted(store: Store, log: Path) -> None:
    ada = curation(store, log)
    lineage = Lineage(store)
    ada.recall("customers@bbbb", "wrong units")
    model, data = lineage.upstream("churn-model").nodes
    assert (model.recalled, model.recalled_upstream) == (False, True)
    assert (data.recalled, data.recalled_upstream) == (True, False)
    cut = lineage.upstream("churn-model", depth=0).nodes
    assert [node.recalled_upstream for node in cut] == [True]
    older = lineage.upstream(f"churn-model@{MODELS[0]}").nodes
    assert [(node.recalled, node.recalled_upstream) for node in older] == [(False, False)] * 2
    assert [recall.reason for recall in shown(store, "churn-model").upstream_recalls] == ["wrong units"]
    assert [one.recalled for one in shown(store, "customers").history] == [True, False]
    assert {one.name: (one.recalled, one.recalls) for one in lineage.assets()} == {
        "churn-model": (False, 0),
        "customers": (True, 1),
        "raw": (False, 0),
    }
    run = lineage.show(run_of(12, "train").id)
    assert run.inputs[0].recalled
    ada.recall("customers@bbbb", "they were right", lift=True)
    assert not any(n.recalled or n.recalled_upstream for n in lineage.upstream("churn-model").nodes)


def test_an_asset_recalled_in_whole_is_lifted_in_whole(store: Store, log: Path) -> None:
    ada = curation(store, log)
    ada.recall("customers", "the source lies", all_versions=True)
    assert Lineage(store).upstream(f"churn-model@{MODELS[0]}").nodes[0].recalled_upstream
    with pytest.raises(Unknown, match="all-versions"):
        ada.recall("customers@bbbb", "fine", lift=True)
    ada.recall("customers@bbbb", "and this one too")
    lifted = ada.recall("customers@bbbb", "fine", lift=True)
    assert lifted.notes == ("it stays recalled: the whole asset is",)
    ada.recall("customers", "fine", lift=True, all_versions=True)
    assert Lineage(store).recalled().recalls == ()


def test_what_a_run_wrote_without_a_version_can_be_recalled(store: Store, log: Path) -> None:
    production = shown(store, "raw").production
    assert production is not None
    said = curation(store, log).recall(f"raw@{production.run_id}", "half of it is missing")
    assert (said.version, said.run_id) == (None, production.run_id)
    details = shown(store, "raw")
    assert [(recall.whole, recall.run_id) for recall in details.recalls] == [(False, production.run_id)]
    assert details.statements[0].run_id == production.run_id


def test_an_alias_moves_and_is_taken_from_the_version_that_has_it(store: Store, log: Path) -> None:
    ada = curation(store, log)
    ada.alias(f"churn-model@{MODELS[0]}", "production")
    moved = ada.alias(f"churn-model@{MODELS[1]}", "production")
    assert moved.notes == (f"production pointed at churn-model@{MODELS[0]} before",)
    with pytest.raises(Rejected, match="does not point at"):
        ada.alias(f"churn-model@{MODELS[0]}", "production", remove=True)
    removed = ada.alias("churn-model", "production", remove=True)
    assert removed.version == MODELS[1]
    with pytest.raises(Unknown, match="no alias 'production'"):
        ada.alias("churn-model", "production", remove=True)


def test_a_tag_that_a_step_set_is_taken_away_by_a_curator(store: Store, log: Path) -> None:
    ada = curation(store, log)
    ada.tag("churn-model", {"team": "sales", "stage": "candidate"})
    ada.tag(f"churn-model@{MODELS[1]}", {"stage": "live"})
    assert shown(store, "churn-model").tags == {"team": "sales", "stage": "live"}
    ada.tag("churn-model", {"team": None})
    assert shown(store, "churn-model").tags == {"stage": "live"}
    assert shown(store, f"churn-model@{MODELS[0]}").tags == {"stage": "candidate"}


Say = Callable[[Curation], Recorded]


@pytest.mark.parametrize(
    ("say", "error", "told"),
    [
        (lambda c: c.tag("customres", {"a": "b"}), Unknown, "customers"),
        (lambda c: c.tag("customers", {}), Rejected, "key"),
        (lambda c: c.own("customers", [" "]), Rejected, "name"),
        (lambda c: c.recall("customers", "why"), Ambiguous, f"customers@{CUSTOMERS[1]}"),
        (lambda c: c.recall("customers@bbbb", " "), Rejected, "reason"),
        (lambda c: c.recall("customers@bbbb", "why", lift=True), Unknown, "not recalled"),
        (lambda c: c.alias("churn-model", "production"), Ambiguous, f"churn-model@{MODELS[1]}"),
        (lambda c: c.alias("churn-model@cccc", "a@b"), Rejected, "no alias"),
        (lambda c: c.describe(run_of(1, "load").id, "a run"), Rejected, "is a run"),
        (lambda c: c.recall("raw", "why"), Rejected, "raw@RUN"),
    ],
)
def test_what_cannot_be_said_is_refused_and_nothing_is_written(
    store: Store, log: Path, say: Say, error: type[HeadwaterError], told: str
) -> None:
    before = sorted(log.iterdir())
    with pytest.raises(error, match=told):
        say(curation(store, log))
    assert sorted(log.iterdir()) == before


def test_the_last_word_holds_also_on_a_clock_that_is_a_day_behind(store: Store, log: Path) -> None:
    tomorrow = curation(store, log, now=START + 86_400 * SECOND)
    tomorrow.recall("customers@bbbb", "wrong units")
    lifted = curation(store, log).recall("customers@bbbb", "right after all", lift=True)
    assert Lineage(store).recalled().recalls == ()
    assert "ahead of this clock" in lifted.notes[0]
    again = curation(store, log).recall("customers@bbbb", "wrong, really")
    assert again.at > lifted.at
    assert len(Lineage(store).recalled().recalls) == 1


def test_secrets_are_taken_out_of_what_is_said(store: Store, log: Path) -> None:
    rules = RedactionRules(patterns=(r"MRN-\d+",))
    said = curation(store, log, redact=rules).recall("customers@bbbb", "MRN-123 is in it")
    assert "MRN-123" not in said.values["reason"]
    assert all(b"MRN-123" not in path.read_bytes() for path in log.glob("*.seg"))


def test_what_cannot_be_kept_raises_and_nothing_is_folded(store: Store, log: Path) -> None:
    from headwater.emitter.settings import SpoolLimits

    full = curation(store, log, spool=SpoolLimits(max_bytes=1))
    with pytest.raises(SpoolFull):
        full.recall("customers@bbbb", "wrong units")
    assert Lineage(store).recalled().recalls == ()


def test_a_statement_needs_at_least_one_event() -> None:
    with pytest.raises(Rejected):
        state([])


def test_several_events_of_one_statement_are_one_whole_chain(tmp_path: Path) -> None:
    asset = facts.AssetRef(namespace="crm", name="customers")
    tagged = facts.AssetTagged(time=START, asset=asset, tags={"a": "b"})
    receipts = state([tagged, tagged], Settings(log=tmp_path / "log", profile="default", mode="memory"))
    assert [receipt.sequence for receipt in receipts] == [0, 1]
    assert receipts[0].event_id != receipts[1].event_id


# -- beside other consumers ---------------------------------------------------------------


def test_a_store_of_what_was_known_then_is_left_as_it_is(store_url: str, log: Path) -> None:
    if store_url.startswith("postgresql"):
        open_store(store_url, create=True).close()
    with open_log(str(log)) as source:
        replay(source, store_url, until=2**62)
    with open_store(store_url) as past:
        said = curation(past, log).tag("customers", {"a": "b"})
        assert not said.in_store
        assert "holds" in said.notes[0]
        assert shown(past, "customers").tags == {}


def test_a_partition_that_another_has_is_left_to_it(store: Store, log: Path) -> None:
    (receipt,) = state(
        [
            facts.AssetTagged(
                time=START, asset=facts.AssetRef(namespace="crm", name="customers"), tags={"a": "b"}
            )
        ],
        Settings(log=log),
    )
    partition = Partition(SEGMENTS, receipt.position.partition)
    with store.writing() as tx:
        claimed = positions.claim(tx, "lineage", partition, "another")
    with open_log(str(log)) as source:
        with pytest.raises(Fenced):
            Runner(store, source, bounds={partition: 1}, take_over=False).run()
        with store.connecting() as connection:
            assert positions.still_mine(connection, "lineage", {partition: claimed})


def test_a_consumer_that_follows_the_log_is_not_disturbed(store: Store, log: Path) -> None:
    stop, failure = threading.Event(), list[BaseException]()

    def follow() -> None:
        try:
            url = store.engine.url.render_as_string(hide_password=False)
            with open_store(url) as own, open_log(str(log)) as source:
                Runner(own, source).run(follow=True, stopping=stop.is_set)
        except BaseException as error:  # noqa: BLE001 - the test looks at what ended it
            failure.append(error)

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        ada = Curation(store, log, actor="ada", settings=Settings())
        said = [ada.tag("customers", {"count": str(number)}) for number in range(6)]
    finally:
        stop.set()
        follower.join(30)
    assert failure == []
    assert all(one.in_store for one in said)
    assert shown(store, "customers").tags == {"count": "5"}


def test_what_is_said_of_an_asset_that_nobody_wrote_makes_it_no_production(store: Store, log: Path) -> None:
    emitter = from_settings(Settings(log=log))
    source = facts.AssetRef(namespace="lake", name="source")
    run = run_of(200, "import")
    made = facts.AssetRef(namespace="lake", name="imported", version="bytes1:" + "e" * 64)
    emitter.emit(facts.StepCompleted(time=START, run=run, inputs=(source,), outputs=(made,)))
    emitter.close()
    with open_log(str(log)) as opened:
        Runner(store, opened).run()
    curation(store, log).describe("source", "comes by mail")
    curation(store, log).recall("source", "it lies", all_versions=True)
    lineage = Lineage(store)
    assert shown(store, "source").production is None
    assert [found.name for found in lineage.impact("source").assets] == ["imported"]
    (impact,) = lineage.recalled().recalls
    assert (impact.copies, impact.productions) == (0, 1)
    assert lineage.upstream("imported").nodes[0].recalled_upstream
    assert [recall.reason for recall in shown(store, "imported").upstream_recalls] == ["it lies"]
