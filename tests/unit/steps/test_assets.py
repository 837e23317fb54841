"""Assets: identity, immutability, what is recorded of them and where."""

from __future__ import annotations

import io
import pickle
import threading
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from headwater.emitter import (
    Artifact,
    Asset,
    Dataset,
    Metrics,
    Model,
    log_metric,
    log_metrics,
    pipeline,
    start_step,
    step,
)
from headwater.emitter.address import asset_read
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import Identifier
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


class TestIdentity:
    def test_a_named_asset_belongs_to_the_project_and_its_place_is_a_symlink(self, log: Recorded) -> None:
        asset = Dataset.create(FRAME, name="orders", location="s3://lake/raw/orders.parquet?versionId=7")
        assert (asset.namespace, asset.name) == ("crm", "orders")
        assert asset.location == "s3://lake/raw/orders.parquet"
        [created] = log.created("orders.create")
        assert created.symlinks == (
            Identifier(namespace="s3://lake", name="raw/orders.parquet", type="LOCATION"),
        )

    def test_without_a_name_the_physical_name_is_the_name(self, log: Recorded) -> None:
        asset = Dataset.create(FRAME, location="postgres://u:secret@db:5432/shop/public/orders")
        assert (asset.namespace, asset.name) == ("postgres://db:5432", "shop.public.orders")
        assert log.of(events.AssetCreated)[0].asset.symlinks == ()
        assert b"secret" not in b"".join(log.sink.values)

    def test_in_a_step_an_asset_without_both_is_named_by_the_step(self, log: Recorded) -> None:
        @step
        def make() -> list[Artifact]:
            return [Artifact.create({"a": 1}), Artifact.create({"a": 2})]

        assert names(asset.record for asset in make()) == ["make", "make.1"]

    def test_outside_of_a_step_an_asset_without_both_is_refused(self, log: Recorded) -> None:
        with pytest.raises(Misconfigured, match="name= or location="):
            Dataset.create(FRAME)

    @pytest.mark.parametrize("name", ["", 7])
    def test_a_name_must_be_a_text(self, log: Recorded, name: str) -> None:
        with pytest.raises(Misconfigured):
            Dataset.create(FRAME, name=name)

    def test_an_asset_of_nothing_is_refused(self, log: Recorded) -> None:
        with pytest.raises(Misconfigured, match="no content"):
            Dataset.create(name="nothing")

    def test_a_file_elsewhere_may_state_its_version(self, log: Recorded) -> None:
        asset = Artifact.create(name="weights", location="gs://models/w.bin", version="gs1:7")
        assert asset.version == "gs1:7"

    def test_odd_names_are_names(self, log: Recorded) -> None:
        for name in ("../etc/passwd", "a'; DROP TABLE x;--", "\u202eabc", "x" * 4_000, "nul\0", 'q"uote'):
            assert Artifact.create({"a": 1}, name=name).name == name
        assert len(log.of(events.AssetCreated)) == 6


class TestRecording:
    def test_outside_of_any_run_an_asset_gets_one_of_its_own(self, log: Recorded) -> None:
        Dataset.create(FRAME, name="customers")
        assert log.story() == [
            "StepStarted customers.create",
            "AssetCreated customers.create customers",
            "StepCompleted customers.create",
            "RunClosed customers.create",
        ]

    def test_in_a_pipeline_and_outside_of_its_steps_it_belongs_to_the_pipeline(self, log: Recorded) -> None:
        with pipeline("churn") as run:
            asset = Dataset.create(FRAME, name="customers")
        assert asset.production == run.id
        assert names(log.created("churn")) == ["customers"]

    def test_everything_said_is_recorded(self, log: Recorded) -> None:
        source = Artifact.create({"q": 1}, name="query")
        Dataset.create(
            data=FRAME,
            name="customers",
            parents=[source],
            tags={"team": "crm", "tier": 1},
            owner="ana@example.com",
            description="Customers with a contract.",
            region="EU",
            rows_expected=3,
            unsayable=object(),
        )
        [created] = log.created("customers.create")
        assert dict(created.tags) == {"team": "crm", "tier": "1"}
        assert (created.owner, created.description) == ("ana@example.com", "Customers with a contract.")
        assert created.properties["region"] == "EU"
        assert created.properties["rows_expected"] == 3
        assert "unsayable" not in created.properties
        assert created.parents is not None
        assert [(p.name, p.version, p.production) for p in created.parents] == [
            ("query", source.version, source.production)
        ]

    def test_the_same_content_has_the_same_version_and_another_production(self, log: Recorded) -> None:
        first, second = Dataset.create(FRAME.copy(), name="a"), Dataset.create(FRAME.copy(), name="a")
        assert first.version == second.version
        assert first.production != second.production

    def test_content_that_cannot_be_identified_is_recorded_with_the_reason(self, log: Recorded) -> None:
        asset = Artifact.create({"lock": threading.Lock()}, name="odd")
        assert asset.version.startswith("opaque1:")
        assert log.of(events.AssetCreated)[0].asset.extraction_error

    def test_parents_may_be_assets_addresses_names_places_and_known_objects(self, log: Recorded) -> None:
        known = Dataset.create(FRAME.copy(), name="known")
        child = Artifact.create(
            {"a": 1},
            name="child",
            parents=[known.data, known.address, "by-name", "s3://lake/raw.csv", FRAME.copy()],
        )
        assert child.parents is not None
        assert [(p.namespace, p.name) for p in child.parents] == [
            ("crm", "known"),
            ("crm", "by-name"),
            ("s3://lake", "raw.csv"),
            ("crm", "child.create.parents.4"),
        ]

    def test_a_parent_that_is_no_asset_is_refused(self, log: Recorded) -> None:
        with pytest.raises(Misconfigured, match="int is no asset"):
            Artifact.create({"a": 1}, name="child", parents=[7])


class TestTheObject:
    def test_is_immutable(self, log: Recorded) -> None:
        asset = Dataset.create(FRAME, name="customers")
        with pytest.raises(AttributeError):
            asset.record = asset.record  # type: ignore[misc]
        with pytest.raises(AttributeError):
            asset.name = "other"  # type: ignore[misc]

    def test_shows_itself_in_one_line_without_data(self, log: Recorded) -> None:
        asset = Dataset.create(FRAME, name="customers")
        assert repr(asset).startswith("Dataset('customers', version='table1:")

    def test_survives_pickling_for_another_process(self, log: Recorded) -> None:
        asset = Dataset.create(FRAME, name="customers")
        copy = pickle.loads(pickle.dumps(asset))  # noqa: S301 - what multiprocessing does with an argument
        assert copy.ref == asset.ref

        @step
        def use(dataset: Dataset) -> None:
            return None

        use(copy)
        assert log.consumed("use") == [asset.ref]

    def test_its_address_names_version_type_and_production(self, log: Recorded) -> None:
        asset = Dataset.create(FRAME, name="odd/name@with#marks?")
        assert asset_read(asset.address) == asset.ref

    def test_a_type_is_a_subclass_and_nothing_more(self, log: Recorded) -> None:
        class Report(Asset):
            """A document for people."""

        @step
        def write() -> Report:
            return {"title": "Q3"}  # type: ignore[return-value]

        write()
        assert Report.create({"a": 1}, name="r").record.type == "Report"
        assert [event.asset.type for event in log.of(events.AssetCreated)] == ["Report", "Report"]


class TestDataset:
    def test_of_a_csv_file_holds_the_frame_and_its_place(self, log: Recorded, tmp_path: Path) -> None:
        path = tmp_path / "customers.csv"
        FRAME.to_csv(path, index=False)
        dataset = Dataset.from_csv(
            path, name="customers", dtype={"tenure": "float64"}, properties={"season": "Q3"}
        )
        assert dataset.columns == ("tenure", "churned")
        assert dataset.num_rows == 3
        assert dataset.location == str(path)
        assert str(dataset.data.tenure.dtype) == "float64"
        assert dataset.properties["season"] == "Q3"
        assert dataset.column_metrics.keys() == {"tenure", "churned"}

    def test_of_a_buffer_has_no_place(self, log: Recorded) -> None:
        assert Dataset.from_csv(io.StringIO("a\n1\n"), name="typed").location is None  # type: ignore[arg-type]

    def test_of_parquet_may_be_one_file_or_a_folder(self, log: Recorded, tmp_path: Path) -> None:
        FRAME.to_parquet(tmp_path / "a.parquet")
        FRAME.to_parquet(tmp_path / "b.parquet")
        assert Dataset.from_parquet(tmp_path / "a.parquet", name="one").num_rows == 3
        assert Dataset.from_parquet(tmp_path, name="folder").num_rows == 6
        assert Dataset.from_parquet(tmp_path / "a.parquet", columns=["tenure"]).name == str(
            tmp_path / "a.parquet"
        )

    @pytest.mark.parametrize(
        "data",
        [np.zeros((3, 2)), {"a": [1, 2, 3], "b": [4, 5, 6]}, [{"a": 1}, {"a": 2}, {"a": 3}]],
        ids=["numpy", "dict", "list of dicts"],
    )
    def test_of_other_data_has_rows_and_a_version(self, log: Recorded, data: object) -> None:
        dataset = Dataset.create(data, name="d")
        assert dataset.data is data
        assert dataset.num_rows == 3
        assert not dataset.version.startswith("opaque")

    def test_of_a_file_is_its_bytes(self, log: Recorded, tmp_path: Path) -> None:
        path = tmp_path / "raw.bin"
        path.write_bytes(b"abc")
        by_data, by_place = Dataset.create(path, name="raw"), Dataset.create(location=path, name="raw")
        assert by_data.version == by_place.version
        assert by_data.version.startswith("bytes1:")
        assert by_data.location == str(path)

    def test_a_known_file_is_recognised_until_it_is_written_again(
        self, log: Recorded, tmp_path: Path
    ) -> None:
        @step
        def use(path: Path) -> None:
            return None

        path = tmp_path / "raw.bin"
        path.write_bytes(b"abc")
        Artifact.create(path, name="raw")
        use(path)
        assert names(log.consumed("use")) == ["raw"]
        path.write_bytes(b"abcd")
        use(path)
        assert len(log.consumed("use")) == 1


class TestModel:
    def test_of_scikit_learn_knows_its_parameters(self, log: Recorded) -> None:
        fitted = RandomForestClassifier(n_estimators=3, max_depth=4).fit(FRAME[["tenure"]], FRAME.churned)
        model = Model.create(fitted, name="m")
        assert model.data is fitted
        assert model.parameters["max_depth"] == 4
        assert not model.version.startswith("opaque")

    def test_may_be_any_object(self, log: Recorded) -> None:
        class Rule:
            def __init__(self) -> None:
                self.threshold = 0.5

        assert Model.create(Rule(), name="rule").record.type == "Model"


class TestMetrics:
    def test_are_given_as_a_mapping_or_as_keywords(self, log: Recorded) -> None:
        by_mapping = Metrics.create({"auc": 0.9}, name="m", fold=3)
        by_keyword = Metrics.create(auc=0.9, name="m", split="test")
        assert by_mapping.values == by_keyword.values == {"auc": 0.9}
        assert by_mapping.version == by_keyword.version
        assert by_mapping.properties["fold"] == 3
        assert by_keyword.properties["split"] == "test"
        assert by_keyword["auc"] == 0.9

    def test_logged_points_arrive_in_batches_and_end_as_an_asset(self, log: Recorded) -> None:
        @step
        def train() -> None:
            for n in range(1_200):
                log_metric("loss", 1 / (n + 1))
            log_metrics({"auc": 0.9, "f1": np.float32(0.5)}, step=7)

        train()
        batches = [event.points for event in log.of(events.MetricsLogged)]
        assert [len(batch) for batch in batches] == [500, 500, 202]
        assert [point.step for point in batches[0][:3]] == [0, 1, 2]
        assert batches[2][-1].step == 7
        [asset] = log.created("train")
        assert (asset.name, asset.type) == ("train.metrics", "Metrics")

    def test_what_was_measured_before_a_failure_is_kept(self, log: Recorded) -> None:
        @step
        def train() -> None:
            log_metric("loss", float("nan"), 3)
            raise ValueError

        with pytest.raises(ValueError):
            train()
        [point] = log.one(events.MetricsLogged).points
        assert (point.key, point.step, point.value != point.value) == ("loss", 3, True)
        assert log.created("train") == []

    def test_something_that_is_no_number_is_told_and_not_raised(self, log: Recorded) -> None:
        @step
        def train() -> None:
            log_metric("loss", "low")  # type: ignore[arg-type]

        log.failures_expected = True
        train()
        assert log.of(events.MetricsLogged) == []

    def test_what_comes_after_the_end_is_passed_on_at_once(self, log: Recorded) -> None:
        run = start_step("train")
        run.complete()
        run.log_metric("late", 1.0)
        assert [point.key for point in log.one(events.MetricsLogged).points] == ["late"]

    def test_a_pipeline_may_measure_too(self, log: Recorded) -> None:
        with pipeline("churn"):
            log_metric("profit", 3.0)
        assert names(log.created("churn")) == ["churn.metrics"]


class TestArtifact:
    def test_is_a_file_bytes_or_json(self, log: Recorded, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_bytes(b"<html>")
        assert Artifact.create(path, name="file").path == path
        assert Artifact.create(b"<html>", name="bytes").version == Artifact.create(path, name="file").version
        assert Artifact.create({"a": [1, None]}, name="json").version.startswith("json1:")

    def test_a_returned_path_is_one_when_it_is_named(self, log: Recorded, tmp_path: Path) -> None:
        @step
        def write() -> Annotated[Path, "report"]:
            path = tmp_path / "report.html"
            path.write_bytes(b"<html>")
            return path

        @step
        def where() -> Path:
            return tmp_path

        @step
        def publish(report: Path) -> None:
            return None

        publish(write())
        where()
        assert names(log.created("write")) == ["report"]
        assert names(log.consumed("publish")) == ["report"]
        assert log.created("where") == []


class TestParents:
    def test_a_frame_is_one_parent_and_not_its_columns(self, log: Recorded) -> None:
        frame = Dataset.create(FRAME.copy(), name="customers").data
        model = Model.create(object(), name="m", version="v1", parents=frame)
        assert names(model.parents or ()) == ["customers"]

    def test_a_frame_that_nothing_is_known_of_is_one_parent(self, log: Recorded) -> None:
        with pipeline("p"):
            model = Model.create(object(), name="m", version="v1", parents=FRAME.copy())
        assert len(model.parents or ()) == 1

    def test_a_dict_or_list_that_a_step_returned_is_one_parent(self, log: Recorded) -> None:
        @step
        def rows() -> list[dict[str, int]]:
            return [{"a": 1}, {"a": 2}]

        @step
        def scores() -> dict[str, float]:
            return {"auc": 0.9, "f1": 0.8}

        with pipeline("p"):
            made = [Artifact.create([n], name="x", parents=of) for n, of in enumerate((rows(), scores()))]
        assert [names(asset.parents or ()) for asset in made] == [["rows"], ["scores"]]

    def test_a_path_is_one_parent(self, log: Recorded, tmp_path: Path) -> None:
        (path := tmp_path / "raw.csv").write_text("a\n1\n")
        raw = Artifact.create(path, name="raw")
        model = Model.create(object(), name="m", version="v1", parents=path)
        assert model.parents == (raw.ref,)

    def test_a_path_that_nothing_is_known_of_is_a_parent_by_its_place(
        self, log: Recorded, tmp_path: Path
    ) -> None:
        model = Model.create(object(), name="m", version="v1", parents=tmp_path / "raw.csv")
        (parent,) = model.parents or ()
        assert (parent.namespace, parent.name) == ("file", str(tmp_path / "raw.csv"))
        assert parent.version is None

    def test_several_parents_stay_several(self, log: Recorded) -> None:
        frame, other = FRAME.copy(), Dataset.create(FRAME + 1, name="other")
        Dataset.create(frame, name="one")
        model = Model.create(object(), name="m", version="v1", parents=(p for p in (frame, other, "crm-x")))
        assert names(model.parents or ()) == ["one", "other", "crm-x"]


class TestSaidAgain:
    def test_what_is_said_of_the_same_content_later_is_told_with_what_was_said_before(
        self, log: Recorded
    ) -> None:
        with pipeline("p"):
            Dataset.create(FRAME, name="customers", tags={"a": "1"}, owner="ann", rows=3)
            Dataset.create(FRAME, name="customers", tags={"b": "2"}, description="all of them", parents=[])
        first, second = log.created("p")
        assert first.version == second.version
        assert second.tags == {"a": "1", "b": "2"}
        assert (second.owner, second.description, second.parents) == ("ann", "all of them", ())
        assert second.properties == first.properties

    def test_what_was_said_already_is_not_told_again(self, log: Recorded) -> None:
        with pipeline("p"):
            Dataset.create(FRAME, name="customers", tags={"a": "1"})
            Dataset.create(FRAME, name="customers", tags={"a": "1"})
            Dataset.create(FRAME, name="customers")
        assert len(log.created("p")) == 1
