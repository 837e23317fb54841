"""What is installed by `pip install headwater`, without any extra: a wheel in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import needed

ROOT = Path(__file__).parents[2]
REMEDY = "pip install 'headwater[consumers]'"

PROGRAM = """
from headwater.emitter import Dataset, step

@step
def load() -> Dataset:
    return Dataset.create([{"a": 1}], name="rows")

assert len(load().data) == 1
"""


@dataclass(frozen=True)
class Installation:
    """An environment that holds headwater and what it needs, and the wheel that it came from."""

    folder: Path
    wheel: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an installed program in the environment's folder, with nothing of ours around it."""
        hidden = ("HEADWATER_", "OPENLINEAGE_", "PYTHON", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-c", program)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    _uv("build", "--wheel", "--out-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    _uv("venv", "--python", sys.executable, str(environment))
    python, constraints = str(environment / "bin" / "python"), str(ROOT / "constraints.txt")
    _uv("pip", "install", "--python", python, "--constraint", constraints, str(wheel))
    return Installation(environment, wheel)


def _uv(*arguments: str) -> None:
    """Run uv, first with what it has in its cache: where that suffices, no network is needed."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        needed.lacking("no uv to build the wheel with (make test brings it)")
    for offline in (["--offline"], []):
        done = subprocess.run([uv, *arguments, *offline], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    raise AssertionError(f"uv {arguments[0]}: {done.stderr}")


def test_the_wheel_holds_what_is_no_python_as_well(installation: Installation) -> None:
    with zipfile.ZipFile(installation.wheel) as wheel:
        names = set(wheel.namelist())
    packages = ("emitter", "consumers", "schemas")
    assert {f"headwater/{package}/py.typed" for package in packages} <= names
    facets = sorted((ROOT / "schemas" / "headwater" / "schemas" / "facets").glob("*.json"))
    assert facets
    assert {f"headwater/schemas/facets/{facet.name}" for facet in facets} <= names
    migrations = ROOT / "consumers" / "headwater" / "consumers" / "migrations"
    scripts = {path.relative_to(migrations.parents[1]).as_posix() for path in migrations.rglob("*.py")}
    assert {f"headwater/{script}" for script in scripts} <= names
    assert "headwater/__init__.py" not in names  # it would hide two of the three packages
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_a_step_needs_nothing_else(installation: Installation) -> None:
    done = installation.python(PROGRAM)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((installation.folder / ".headwater" / "log").glob("*.seg"))


def test_only_what_a_step_needs_is_installed(installation: Installation) -> None:
    names = "from importlib.metadata import distributions as d; print(*sorted(x.name.lower() for x in d()))"
    assert installation.python(names).stdout.split() == ["headwater", "orjson", "pyyaml"]


def test_the_command_line_says_what_to_install(installation: Installation) -> None:
    for arguments in ([], ["--help"], ["lineage", "churn-model"]):
        done = installation.run("headwater", *arguments)
        assert (done.returncode, done.stdout) == (3, "")
        assert REMEDY in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["Lineage", "open_store", "quarantine", "replay"])
def test_the_python_interface_says_what_to_install(installation: Installation, name: str) -> None:
    program = f"""
from headwater.schemas.errors import HeadwaterError, Misconfigured
try:
    from headwater.consumers import {name}
except HeadwaterError as refused:
    assert type(refused) is Misconfigured
    print(refused)
"""
    done = installation.python(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert REMEDY in done.stdout
    assert f"headwater.consumers.{name} needs sqlalchemy" in done.stdout


def test_a_public_name_that_is_none_is_an_attribute_error(installation: Installation) -> None:
    done = installation.python("from headwater.consumers import no_such_name")
    assert "ImportError: cannot import name 'no_such_name'" in done.stderr
