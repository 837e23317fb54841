"""scikit-learn estimators and whatever keeps their interface: parameters, fit, and a version of the fit.

Class labels and feature values stay out of the description: they are raw values.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.emitter.extractors.extraction import Extraction, told, unidentified
from headwater.emitter.extractors.state import qualified, state_of
from headwater.schemas.canonical import json_version
from headwater.schemas.events import Json, Properties, Statistics

_SHOWN_ITEMS = 20
_SHOWN_TEXT = 200
_SHOWN_FEATURES = 1_000
_FRAMEWORKS = {"sklearn": "scikit-learn"}


@dataclass(frozen=True, slots=True)
class ModelContent:
    """A model whose state can be walked; estimators are described, others are only named."""

    data: Any

    def version(self) -> str:
        """See `Content`: `json1` over class and state."""
        return json_version(state_of(self.data))

    def sample(self) -> str:
        """See `Content`: a model has no cheap sample that a refit is sure to change."""
        return self.version()

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        errors: list[str] = []
        version = _attempt(self.version, errors, "content") or unidentified()
        model = _attempt(lambda: describe(self.data), errors, "description")
        model = model or {"class": qualified(type(self.data))}
        return Extraction(
            version=version,
            statistics=Statistics(),
            details={"headwater_model": model},
            error="; ".join(errors) or None,
        )


def open_model(data: Any) -> ModelContent:
    """An estimator, or any object that is called a model."""
    return ModelContent(data)


def _attempt(work: Any, errors: list[str], what: str) -> Any:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - foreign objects raise anything, and a step must go on
        errors.append(f"{what}: {told(error)}")
        return None


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator was fitted, by scikit-learn's own rule where it is loaded."""
    validation = sys.modules.get("sklearn.utils.validation")
    if validation is None:
        return _looks_fitted(estimator)
    try:
        validation.check_is_fitted(estimator)
    except Exception as error:  # noqa: BLE001 - one class says no; all others say that the rule does not apply
        return type(error).__name__ != "NotFittedError" and _looks_fitted(estimator)
    return True


def _looks_fitted(estimator: Any) -> bool:
    names = getattr(estimator, "__dict__", {})
    return any(name.endswith("_") and not name.startswith("__") for name in names)


def describe(model: Any) -> Properties:
    """What the `headwater_model` facet says of a model."""
    kind = type(model)
    root = kind.__module__.partition(".")[0]
    found: dict[str, Json] = {"framework": _FRAMEWORKS.get(root, root), "class": qualified(kind)}
    version = getattr(sys.modules.get(root), "__version__", None)
    if isinstance(version, str):
        found["frameworkVersion"] = version
    if not hasattr(model, "get_params"):
        return found
    found["isFitted"] = is_fitted(model)
    found["parameters"] = {name: shown(value) for name, value in sorted(_parameters(model).items())}
    found.update(_sizes(model))
    names = _quietly(model, "feature_names_in_")
    if names is not None:
        found["features"] = [str(name) for name in names[:_SHOWN_FEATURES]]
    steps = _steps(model)
    if steps:
        found["steps"] = steps
    return found


def _parameters(model: Any) -> Mapping[str, Any]:
    try:
        return dict(model.get_params(deep=True))
    except TypeError:  # wrappers of other libraries know no `deep`
        return dict(model.get_params())


def _sizes(model: Any) -> dict[str, Json]:
    sizes: dict[str, Json] = {}
    for key, attribute in (("featureCount", "n_features_in_"), ("outputCount", "n_outputs_")):
        count = _quietly(model, attribute)
        if count is not None and not hasattr(count, "__len__"):
            sizes[key] = int(count)
    for key, attribute in (("classCount", "classes_"), ("estimatorCount", "estimators_")):
        counted = _quietly(model, attribute)
        if counted is not None and hasattr(counted, "__len__"):
            sizes[key] = len(counted)
    shape = getattr(_quietly(model, "coef_"), "shape", None)
    if shape is not None:
        sizes["coefficientShape"] = [int(size) for size in shape]
    return sizes


def _quietly(model: Any, attribute: str) -> Any:
    """An attribute that may be a property which raises before the fit, or for some kernels."""
    try:
        return getattr(model, attribute, None)
    except Exception:  # noqa: BLE001 - an attribute that cannot be had is absent
        return None


def _steps(model: Any) -> Json:
    steps = (
        getattr(model, "steps", None)
        or getattr(model, "transformers", None)
        or getattr(model, "estimators", None)
    )
    if not isinstance(steps, list):
        return None
    named = [step for step in steps if isinstance(step, tuple) and len(step) >= 2]
    return [{"name": str(step[0]), "class": _class_name(step[1])} for step in named]


def _class_name(value: Any) -> str:
    return value if isinstance(value, str) else qualified(type(value))


def shown(value: Any, depth: int = 0) -> Json:
    """A parameter as metadata shows it; what is long or no JSON is named by its type or its version."""
    if value is None or isinstance(value, (bool, int, float)):
        return getattr(value, "item", lambda: value)()  # numpy's float64 is a float
    if isinstance(value, str):
        return value if len(value) <= _SHOWN_TEXT else f"{value[:_SHOWN_TEXT]}…"
    if hasattr(value, "get_params"):
        return qualified(type(value)) if not isinstance(value, type) else qualified(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return shown(value.item(), depth)
    small = isinstance(value, (list, tuple, dict)) and len(value) <= _SHOWN_ITEMS and depth < 3
    if small and isinstance(value, dict):
        return {str(key): shown(item, depth + 1) for key, item in value.items()}
    if small:
        return [shown(item, depth + 1) for item in value]
    if callable(value):
        return qualified(value) if hasattr(value, "__qualname__") else qualified(type(value))
    try:
        return json_version(state_of(value))
    except Exception:  # noqa: BLE001 - a parameter without content is named by its type
        return qualified(type(value))
