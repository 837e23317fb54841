"""How much the property tests look at: the same examples every time, or many new ones."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings

Test = TypeVar("Test", bound=Any)

# The explain phase runs each failure some hundred times more; what it says is seldom the cause here.
_SHRINKING = (Phase.explicit, Phase.generate, Phase.shrink)
_COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}


def examples(number: int, *, shrink: bool = True) -> settings:
    """`number` examples, the same in every run: for `make test`.

    Without `shrink` a failure is reported as it was found: where an example takes a second,
    making it small would outlast the test's time.
    """
    phases = _SHRINKING if shrink else _SHRINKING[:2]
    return settings(max_examples=number, derandomize=True, phases=phases, **_COMMON)  # type: ignore[arg-type]


def fresh_examples(number: int) -> settings:
    """`number` examples, others in every run: for the deep legs."""
    return settings(max_examples=number, phases=_SHRINKING, **_COMMON)  # type: ignore[arg-type]
