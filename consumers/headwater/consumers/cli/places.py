"""Which log and which store a command means: options, then the environment, then headwater.yaml."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from headwater.consumers.breaker import Limits
    from headwater.consumers.kafka_cluster import Cluster
    from headwater.consumers.subscription import Subscription
    from headwater.emitter.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What stood before the command's name."""

    store: str | None = None
    log: str | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The store's URL, the log's folder or URL, librdkafka's settings for Kafka, budgets by topic."""

    store: str = field(repr=False)  # it may hold a password
    log: str
    kafka: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)


def with_places(command: Command) -> Command:
    """The options --store, --log, --config and --debug after the command's name as well."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from."),
        click.option("--config", metavar="FILE", help="A headwater.yaml other than the nearest."),
        click.option(
            "--log", metavar="PATH", help="The log: a folder of segments, or kafka://host:9092/topic."
        ),
        click.option("--store", metavar="URL", help="The lineage store: sqlite:///path or postgresql://…"),
    ):
        command = option(command)
    return command


def resolve(ctx: click.Context, store: str | None, log: str | None, config: str | None) -> Places:
    """The places that hold for this command. Raises `Misconfigured` for a wrong headwater.yaml."""
    given = ctx.find_object(Given) or Given()
    store, log, config = store or given.store, log or given.log, config or given.config
    from headwater.emitter import kafka_settings

    found = settings_of(ctx, config)
    log = log or found.log_url
    at_kafka = log.startswith("kafka://")
    return Places(
        store=store or _store(found),
        log=log,
        kafka=kafka_settings.of(found) if at_kafka else {},
        limits=_limits(found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnKafka:
    """A log on Kafka that a command means, and how to reach it."""

    bootstrap: str
    topics: Subscription
    settings: Mapping[str, Any]
    profile: str

    def cluster(self, answer_s: float = 15.0) -> Cluster:
        try:
            from headwater.consumers.kafka_cluster import Cluster
        except ImportError as missing:
            from headwater.emitter.kafka_faults import missing_client

            raise missing_client(missing) from missing
        return Cluster(self.bootstrap, self.settings, answer_s=answer_s)


def on_kafka(ctx: click.Context, store: str | None, log: str | None, config: str | None) -> OnKafka:
    """The log that holds for this command; raises `Misconfigured` where it is not on Kafka."""
    from headwater.consumers.log import kafka_address
    from headwater.consumers.subscription import subscribed

    places = resolve(ctx, store, log, config)
    bootstrap, topics = kafka_address(places.log)
    return OnKafka(
        bootstrap=bootstrap,
        topics=subscribed(topics),
        settings=places.kafka,
        profile=settings_of(ctx, config).profile,
    )


def settings_of(ctx: click.Context, config: str | None) -> Settings:
    """What was decided for the project: of the file that the command names, else of the nearest one."""
    from headwater.emitter import settings

    given = ctx.find_object(Given) or Given()
    variables = dict(os.environ)
    if config := config or given.config:
        variables["HEADWATER_CONFIG"] = str(Path(config).absolute())
    return settings.load(variables, Path.cwd())


def writing(ctx: click.Context, log: str | None, config: str | None) -> Settings:
    """What was decided for the project, with the log that the command names: for those who write to it."""
    given = ctx.find_object(Given) or Given()
    named = log or given.log
    found = settings_of(ctx, config)
    return found if named is None else found.with_log(named)


def spool_of(ctx: click.Context, log: str | None, config: str | None) -> Path:
    """The folder that events of the log are put into first."""
    return writing(ctx, log, config).log


def _limits(found: Settings) -> Mapping[str, Limits]:
    """How much of each topic may be parked, under `quarantine:` in headwater.yaml."""
    document = found.document.get("quarantine")
    if document is None:
        return {}
    from headwater.consumers.breaker import limits_of

    found.require("quarantine")
    return limits_of(document, f"{found.source}: quarantine")


def _store(found: Settings) -> str:
    """A relative SQLite path in a file is relative to that file, as `log` is."""
    named = bool(os.environ.get("HEADWATER_STORE"))
    if not named:
        found.require("store")
    if named or found.source is None or not found.store.startswith(_SQLITE):
        return found.store
    path = found.store.removeprefix(_SQLITE)
    return f"{_SQLITE}{found.source.parent / path}" if path and path != ":memory:" else found.store
