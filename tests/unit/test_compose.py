"""The compose file, which cannot be started here: its form, its commands, and the broker's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from deploy.kafka.cluster import Cluster
from headwater.consumers.cli.app import app
from headwater.consumers.topics import MAX_RECORD_BYTES

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Where the brokers are, and what only a broker of its own host has.
PLACES = (
    "listener",
    "log.dirs",
    "controller.quorum",
    "broker.session.timeout",
    "num.partitions",
    "inter.broker",
)


def test_every_service_has_an_image_or_is_built_from_a_file_that_is_there() -> None:
    for name, service in SERVICES.items():
        assert ("image" in service) != ("build" in service), name
        if "build" in service:
            build = service["build"]
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_what_a_service_waits_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert ("healthcheck" in SERVICES[other]) == healthy


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "command" in service])
def test_every_command_is_one_of_headwaters(name: str) -> None:
    words: list[str] = SERVICES[name]["command"]
    command: click.Command = app
    context = click.Context(app)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    command.make_context("headwater", list(words), parent=context)


def test_ports_are_this_machines_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_volumes_are_declared() -> None:
    used = {
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())
    }
    assert used == set(COMPOSE["volumes"])


def test_the_broker_is_the_scripts(tmp_path: Path) -> None:
    written = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in SERVICES["kafka"]["environment"].items()
    }
    scripts = Cluster(tmp_path)._properties(1, [[9092, 29093]])
    same = {name: value for name, value in scripts.items() if not any(place in name for place in PLACES)}
    assert written.items() >= same.items()
    assert written["message.max.bytes"] == str(MAX_RECORD_BYTES)


def test_the_head_says_that_it_was_not_started() -> None:
    for name in ("compose.yaml", "README.md"):
        assert "no Docker" in (DEPLOY / name).read_text() or "without Docker" in (DEPLOY / name).read_text()
