"""The environment of a process, the parameters of a call, and what importing costs."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater.emitter
from headwater.emitter.environment import environment, installed
from headwater.emitter.parameters import MAX_NODES, parameters
from headwater.schemas.canonical import json_version


class TestEnvironment:
    def test_names_every_installed_distribution_as_the_metadata_does(self) -> None:
        found = environment().packages
        for name in ("pandas", "numpy", "scikit-learn", "orjson", "PyYAML"):
            assert found[name.lower()] == metadata.version(name)

    def test_is_read_once_and_its_digest_is_of_the_rest(self) -> None:
        found = environment()
        assert environment() is found
        rest = {"python": found.python, "platform": found.platform, "packages": dict(found.packages)}
        assert found.digest == json_version(rest)

    def test_of_two_copies_the_first_on_the_path_counts(self, tmp_path: Path) -> None:
        for folder, version in (("a", "1.0"), ("b", "2.0")):
            (tmp_path / folder / f"Some_Thing-{version}.dist-info").mkdir(parents=True)
        folders = [str(tmp_path / "missing"), str(tmp_path / "a"), str(tmp_path / "b")]
        assert installed(folders) == {"some-thing": "1.0"}


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Config:
    depth: int
    lock: object = dataclasses.field(default_factory=threading.Lock)


class TestParameters:
    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (Colour.RED, "RED"),
            (datetime.date(2026, 11, 23), "2026-11-23"),
            (Path("/data/x.csv"), "/data/x.csv"),
            (np.int64(7), 7),
            (np.float32(0.5), 0.5),
            ({3, 1, 2}, [1, 2, 3]),
            (Config(depth=3), {"depth": 3}),
            (float, "builtins:float"),
            (2**200, hex(2**200)),
            ("x" * 5_000, "x" * 2_000 + "…"),
            ([1] * 101, {"omitted": "list", "items": 101}),
        ],
    )
    def test_are_said_in_json(self, value: object, said: object) -> None:
        assert parameters({"p": value}) == {"p": said}

    @pytest.mark.parametrize(
        "value", [object(), threading.Lock(), np.zeros(3), [object()], {"a": object()}, b"x"]
    )
    def test_what_json_cannot_say_is_left_out(self, value: object) -> None:
        assert parameters({"p": value, "q": 1}) == {"q": 1}

    def test_a_cycle_and_a_deep_nest_end(self) -> None:
        cycle: list[object] = [1]
        cycle.append(cycle)
        deep: object = 1
        for _ in range(5_000):
            deep = [deep]
        parameters({"cycle": cycle, "deep": deep})

    def test_a_wide_nest_costs_a_bounded_time(self) -> None:
        wide = {str(n): {str(m): list(range(100)) for m in range(100)} for n in range(100)}

        def count(value: object) -> int:
            if isinstance(value, dict):
                return sum(map(count, value.values()))
            return sum(map(count, value)) if isinstance(value, list) else 1

        assert count(parameters({"p": wide})) <= MAX_NODES

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
    def test_any_json_is_said_without_raising(self, value: object) -> None:
        parameters({"p": value})


class TestImporting:
    def test_brings_nothing_heavy(self) -> None:
        program = (
            "import sys, headwater.emitter as e\n"
            "[getattr(e, name) for name in e.__all__]\n"
            "heavy = {'numpy', 'pandas', 'yaml', 'sqlalchemy', 'asyncio', 'sklearn'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "[]"

    def test_the_public_names_are_these(self) -> None:
        assert headwater.emitter.__all__ == [
            "Artifact",
            "Asset",
            "Dataset",
            "MemorySink",
            "Metrics",
            "Model",
            "PipelineRun",
            "Settings",
            "StepRun",
            "active_run",
            "configure",
            "failures",
            "in_context",
            "log_metric",
            "log_metrics",
            "pipeline",
            "resume_step",
            "start_pipeline",
            "start_step",
            "step",
        ]
        assert set(headwater.emitter.__all__) <= set(dir(headwater.emitter))

    def test_a_name_that_is_not_there_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = headwater.emitter.nothing
