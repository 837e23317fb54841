"""README's way into production, as it is written there: three commands on a broker and a database."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from headwater.consumers.answers import Unknown
from headwater.consumers.asking import Lineage
from headwater.schemas.errors import Misconfigured
from tests.docs.documents import ROOT, blocks_of
from tests.support.kafka import Broker
from tests.support.postgres import Server
from tests.support.serving import until

PROGRAM = Path(sys.executable).with_name("headwater")
STEPS = """
from headwater.emitter import Artifact, pipeline, step

@step
def make() -> Artifact:
    return Artifact.create({"a": 1}, name="made-in-production")

with pipeline("quickstart"):
    make()
"""


def _section() -> list[tuple[str, str]]:
    """(language, text) of the blocks of the section, as they are printed."""
    blocks = [block for block in blocks_of(ROOT / "README.md") if "test_quickstart" in block.says]
    return [(block.language, block.text) for block in blocks]


@pytest.fixture
def brokers() -> Iterator[Broker]:
    """Three, as the profile `prod` wants copies."""
    broker = Broker.started(brokers=3)
    yield broker
    broker.stop()


@pytest.fixture
def project(tmp_path: Path, brokers: Broker, postgres_server: Server) -> tuple[Path, str]:
    """A folder with README's headwater.yaml, at a broker and a database that are there; the store's URL."""
    (text,) = [text for language, text in _section() if language == "yaml"]
    document = yaml.safe_load(text)
    topic = document["log"].rpartition("/")[2]
    store = postgres_server.create()
    document["log"] = f"kafka://{brokers.bootstrap}/{topic}"
    document["store"] = store
    # Brokers on the loopback interface are the ones that `prod` lets go unguarded.
    assert document["profile"] == "prod"
    del document["kafka"]
    (tmp_path / "headwater.yaml").write_text(yaml.safe_dump(document))
    return tmp_path, store


def _commands() -> list[list[str]]:
    (text,) = [text for language, text in _section() if language == "console"]
    return [shlex.split(line.removeprefix("$ ")) for line in text.splitlines()]


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@contextmanager
def _serving(folder: Path, command: list[str]) -> Iterator[None]:
    with (folder / "service.log").open("wb") as written:
        service = subprocess.Popen([PROGRAM, *command], cwd=folder, stdout=written, stderr=written)
        try:
            yield
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0, (folder / "service.log").read_text()
        finally:
            service.kill()
            service.wait()


def test_three_commands_bring_a_pipeline_into_production(project: tuple[Path, str]) -> None:
    folder, store = project
    create, upgrade, consume = _commands()
    for command in (create, upgrade):
        made = _run(folder, str(PROGRAM), *command[1:])
        assert made.returncode == 0, made.stdout + made.stderr
    port = re.sub(r":\d+$", ":0", consume[-1])
    (folder / "steps.py").write_text(STEPS)
    with _serving(folder, [*consume[1:-1], port]):
        ran = _run(folder, sys.executable, "steps.py")
        assert ran.returncode == 0, ran.stderr
        until(lambda: _knows(store, "made-in-production"), "the asset in the store")
        looked = _run(folder, str(PROGRAM), "doctor")
        assert looked.returncode == 0, looked.stdout + looked.stderr
        assert "0 fail" in looked.stdout


def _knows(store: str, name: str) -> bool:
    """Whether the store says what made it."""
    with Lineage(store) as lineage:
        try:
            return bool(lineage.upstream(name).nodes)
        except (Unknown, Misconfigured):
            return False
