"""Models: a version of the fit that every process agrees on, and a description without raw values."""

from __future__ import annotations

import subprocess
import sys
import threading
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from headwater.emitter.extractors import asset_type_of, extract, fingerprint
from headwater.emitter.extractors.state import state_of
from headwater.schemas.canonical import Uncanonical, json_version

sparse: Any = import_module("scipy.sparse")  # it ships no types
X, Y = load_iris(return_X_y=True)

MODELS = {
    "logistic": LogisticRegression(max_iter=500),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestClassifier(n_estimators=5, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "neighbours": KNeighborsClassifier(algorithm="kd_tree"),
    "support vectors": SVC(random_state=0),
    "bayes": GaussianNB(),
    "means": KMeans(3, n_init=1, random_state=0),
    "search": GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}),
    "columns": ColumnTransformer([("scaled", StandardScaler(), [0, 1])]),
}
EVERY = pytest.mark.parametrize("name", MODELS)


def fitted(name: str, rows: slice = slice(None)) -> Any:
    return sklearn.clone(MODELS[name]).fit(X[rows], Y[rows])


def version(model: object) -> str:
    extraction = extract(model, asset_type="Model")
    assert extraction.error is None
    return extraction.version


def described(model: object) -> Any:
    return extract(model, asset_type="Model").details["headwater_model"]


class TestVersions:
    @EVERY
    def test_the_same_fit_has_the_same_version(self, name: str) -> None:
        assert version(fitted(name)) == version(fitted(name)) == fingerprint(fitted(name), sampled=True)[8:]

    @EVERY
    def test_another_fit_has_another_version(self, name: str) -> None:
        assert version(fitted(name)) != version(fitted(name, slice(0, 140)))
        assert version(fitted(name)) != version(sklearn.clone(MODELS[name]))

    def test_a_parameter_is_part_of_the_version(self) -> None:
        assert version(LogisticRegression(C=1.0)) != version(LogisticRegression(C=2.0))

    def test_every_process_gives_the_same_version(self) -> None:
        program = (
            "from tests.unit.test_extractors_models import MODELS, fitted, version\n"
            "print(*[version(fitted(name)) for name in MODELS])"
        )
        root = Path(__file__).parents[2]
        runs = [
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program],
                capture_output=True,
                text=True,
                check=True,
                cwd=root,
                env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(root)},
            ).stdout.split()
            for seed in ("1", "2")
        ]
        assert runs[0] == runs[1] == [version(fitted(name)) for name in MODELS]

    def test_an_address_is_no_content(self) -> None:
        fits = [CountVectorizer(stop_words=["a", "the"]).fit(["the cat", "a dog"]) for _ in range(3)]
        assert len(set(map(version, fits))) == 1

    def test_an_object_without_a_form_is_opaque_and_told(self) -> None:
        model = LogisticRegression()
        model.lock_ = threading.Lock()
        extraction = extract(model, asset_type="Model")
        assert extraction.version.startswith("opaque1:")
        assert extraction.error
        assert described(model)["class"].endswith("LogisticRegression")
        assert extraction.version != extract(model, asset_type="Model").version


class Home:
    def __init__(self, weights: Any) -> None:
        self.weights = weights
        self.self = self


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: object) -> None:
        self.a = a


class Level(Enum):
    LOW = 1
    HIGH = 2


class TestAnyObject:
    def test_an_object_of_ones_own_is_its_attributes(self) -> None:
        assert version(Home(np.ones(3))) == version(Home(np.ones(3))) != version(Home(np.zeros(3)))

    def test_an_object_inside_itself_has_a_version(self) -> None:
        assert version(Home([1])) == version(Home([1]))

    @pytest.mark.parametrize(
        ("one", "another"),
        [
            (Slotted(1), Slotted(2)),
            (Level.LOW, Level.HIGH),
            ({1, 2}, {1, 3}),
            ({"a": np.float32(1)}, {"a": np.float32(2)}),
            (np.array([Slotted(1)], dtype=object), np.array([Slotted(2)], dtype=object)),
            (lambda x: x + 1, lambda x: x + 2),
            (int, str),
            (len, sorted),
            (sparse.csr_array([[1, 0]]), sparse.csr_array([[0, 1]])),
            (np.random.RandomState(1), np.random.RandomState(2)),
            ([np.ones(2)], [np.ones(3)]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_state_is_told_apart(self, one: object, another: object) -> None:
        assert json_version(state_of(one)) == json_version(state_of(one))
        assert json_version(state_of(one)) != json_version(state_of(another))

    def test_a_function_given_as_a_parameter_is_content(self) -> None:
        def closed(factor: int) -> Any:
            return FunctionTransformer(lambda x: x * factor)

        assert version(closed(2)) == version(closed(2)) != version(closed(3))

    def test_state_that_cannot_end_is_refused(self) -> None:
        deep: Any = None
        for _ in range(1_000):
            deep = Home(deep)
        with pytest.raises(Uncanonical):
            state_of(deep)

    def test_a_metrics_document_keeps_its_times(self) -> None:
        one = extract({"mean_fit_time": 1.0}, asset_type="Metrics").version
        assert one != extract({"mean_fit_time": 2.0}, asset_type="Metrics").version


class TestSparse:
    def test_the_format_is_invisible(self) -> None:
        dense = np.array([[0, 1.5, 0], [2, 0, 0]])
        matrices = [
            sparse.coo_array(dense),
            sparse.csc_matrix(dense),
            sparse.lil_array(dense),
        ]
        assert len({extract(matrix, asset_type="Dataset").version for matrix in matrices}) == 1
        assert {asset_type_of(matrix) for matrix in matrices} == {"Dataset"}
        explicit = sparse.csr_array(dense)
        explicit.data[0] = 0
        assert extract(explicit, asset_type="Dataset").error is None


class TestDescription:
    def test_an_estimator_tells_its_parameters_and_sizes(self) -> None:
        found = described(fitted("logistic"))
        assert found["framework"] == "scikit-learn"
        assert found["frameworkVersion"] == sklearn.__version__
        assert found["parameters"]["max_iter"] == 500
        assert (found["isFitted"], found["featureCount"], found["classCount"]) == (True, 4, 3)
        assert found["coefficientShape"] == [3, 4]

    def test_a_pipeline_tells_its_steps_and_their_parameters(self) -> None:
        found = described(fitted("pipeline"))
        assert [step["name"] for step in found["steps"]] == ["standardscaler", "logisticregression"]
        assert found["parameters"]["logisticregression__C"] == 1.0
        assert found["isFitted"]

    def test_class_labels_are_raw_values_and_stay_out(self) -> None:
        labels = np.array([f"patient-{n}" for n in Y])
        model = LogisticRegression(max_iter=500).fit(X, labels)
        assert "patient" not in repr(extract(model, asset_type="Model"))

    def test_parameters_of_any_kind_are_shown(self) -> None:
        model = CountVectorizer(
            vocabulary={f"w{n}": n for n in range(100)},
            analyzer=str.split,
            dtype=np.float32,
            stop_words=["a"],
        )
        shown = described(model)["parameters"]
        assert shown["vocabulary"].startswith("json1:")
        assert shown["analyzer"] == "builtins.str.split" or "split" in shown["analyzer"]
        assert shown["stop_words"] == ["a"]
        assert shown["dtype"] == "numpy.float32"

    def test_only_fitted_estimators_are_models_by_themselves(self) -> None:
        for name, model in MODELS.items():
            assert asset_type_of(model) is None
            assert asset_type_of(fitted(name)) == "Model"
        assert asset_type_of(LogisticRegression) is None

    def test_any_object_can_be_called_a_model(self) -> None:
        assert described(Home([1]))["class"].endswith("Home")
