"""Topics that a log may stand on: what ours must be like, what reading another's requires, and making ours.

Our topic keeps every record as it came, for ever: it is the truth. So nothing is deleted or compacted, a
record of 10 MiB fits, and a record is there when `min.insync.replicas` brokers have it. Its times are
`CreateTime`: the drain sends each event with the time at which the emitter's log took it, and known time
must not move because a broker was away (docs/design/0009).

A topic of others is theirs to set; what its settings cost a reader is a warning, what makes reading
impossible a failure. Nothing here changes a topic that exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headwater.consumers.checks import Check, Made, State, judged
from headwater.consumers.kafka_cluster import Cluster, Denied, TopicFacts
from headwater.consumers.subscription import Subscription
from headwater.emitter.kafka_settings import GUARDED
from headwater.schemas.errors import Misconfigured

MAX_RECORD_BYTES = 10 << 20
PARTITIONS = 6
_COPIES = 3
_AT_LEAST = {
    *("max.message.bytes", "min.insync.replicas"),
    *("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"),
}
_WHY = {
    "cleanup.policy": "compaction removes events",
    "retention.ms": "retention removes events",
    "retention.bytes": "retention removes events",
    "max.message.bytes": "an event may have 8 MiB",
    "message.timestamp.type": "known time is the time at which the emitter's log took the event",
    "message.timestamp.before.max.ms": "events of an outage come late",
    "message.timestamp.difference.max.ms": "events of an outage come late",
    "min.insync.replicas": "an acknowledged event must survive the loss of a broker",
    "unclean.leader.election.enable": "an acknowledged event must survive the loss of a broker",
}
_FOR_EVER = "-1"
# Brokers before 3.6 know one limit for both directions.
_LATE, _APART = "message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"


def chosen(cluster: Cluster, log: Subscription, *, foreign: bool = False) -> dict[str, bool]:
    """The topics that a log names and that its patterns match, each with whether it is others'.

    The first name is ours, since our steps write there, unless all are `foreign`.
    """
    existing = cluster.names() if log.patterns else ()
    return {topic: foreign or topic != log.native for topic in log.chosen(existing)}


def none_chosen(log: Subscription) -> Check:
    """A log of patterns that match no topic may be right, since topics are made later."""
    return Check(
        subject=str(log),
        name="topics",
        state=State.WARN,
        found="none has such a name",
        wanted="one or more to read",
        remedy="correct the pattern, or see that the user may DESCRIBE the topics",
    )


def wanted_settings(profile: str, replicas: int) -> dict[str, str]:
    """What our topic must be like."""
    copies_in_sync = 2 if profile in GUARDED else max(1, replicas - 1)
    return {
        "cleanup.policy": "delete",
        "retention.ms": _FOR_EVER,
        "retention.bytes": _FOR_EVER,
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str((1 << 63) - 1),
        "min.insync.replicas": str(copies_in_sync),
        "unclean.leader.election.enable": "false",
    }


def known_to(wanted: Mapping[str, str], settings: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """What is wanted by the names that a broker knows, by the `settings` (with `prefix`) that it tells."""
    is_old = f"{prefix}{_APART}" in settings and f"{prefix}{_LATE}" not in settings
    return {_APART if is_old and name == _LATE else name: value for name, value in wanted.items()}


def create(
    cluster: Cluster,
    topic: str,
    *,
    profile: str = "default",
    partitions: int = PARTITIONS,
    replicas: int | None = None,
    dry_run: bool = False,
) -> Made:
    """Make our topic where there is none; look at it where there is one. May be called any number of times.

    Raises `Misconfigured` where the profile wants more copies than there are brokers.
    """
    facts = cluster.topics([topic])[topic]
    if facts is not None:
        return Made(
            topic=topic,
            existed=True,
            dry_run=dry_run,
            partitions=facts.partitions,
            replicas=facts.replicas,
            settings=_settings(cluster, topic),
            checks=tuple(check(cluster, topic, profile=profile)),
        )
    copies = _copies(cluster, profile, replicas)
    settings = known_to(wanted_settings(profile, copies), _defaults(cluster), "log.")
    if not dry_run:
        cluster.create(topic, partitions=partitions, replicas=copies, settings=settings)
    return Made(
        topic=topic,
        existed=False,
        dry_run=dry_run,
        partitions=partitions,
        replicas=copies,
        settings=settings,
        checks=() if dry_run else tuple(check(cluster, topic, profile=profile)),
    )


def check(
    cluster: Cluster, topic: str, *, profile: str = "default", foreign: bool = False
) -> Iterator[Check]:
    """Everything about a topic that a log needs; ours unless it is `foreign`."""
    facts = cluster.topics([topic])[topic]
    if facts is None:
        remedy = (
            "name a topic that is there"
            if foreign
            else f"headwater topics create --log {_url(cluster, topic)}"
        )
        yield Check(subject=topic, name="topic", state=State.FAIL, found="missing", remedy=remedy)
        return
    yield Check(
        subject=topic,
        name="topic",
        state=State.OK,
        found=f"{facts.partitions} partitions, {facts.replicas} replicas",
    )
    yield from _of_brokers(cluster, facts)
    yield from _of_rights(facts, foreign)
    if not foreign:
        yield _of_copies(cluster, facts, profile)
    try:
        settings = cluster.settings(topic)
    except Denied:
        yield _not_told(topic)
    else:
        if foreign:
            yield from _of_another(topic, settings)
        else:
            wanted = known_to(wanted_settings(profile, facts.replicas), settings)
            yield from _of_ours(cluster, topic, settings, wanted)
    if foreign:
        yield _of_first_records(cluster, facts)


# -- what is looked at ---------------------------------------------------------------------


def _of_brokers(cluster: Cluster, facts: TopicFacts) -> Iterator[Check]:
    if facts.leaderless:
        yield Check(
            subject=facts.name,
            name="leaders",
            state=State.FAIL,
            found=f"partitions {_listed(facts.leaderless)} have no leader",
            wanted="every partition has one",
            remedy=f"start the brokers that hold them; {len(cluster.brokers())} answer",
        )
    if facts.out_of_sync:
        yield Check(
            subject=facts.name,
            name="replicas in sync",
            state=State.WARN,
            found=f"partitions {_listed(facts.out_of_sync)} lack a copy",
            wanted="all replicas in sync",
            remedy="start the broker that is away, or wait until it has caught up",
        )


def _of_rights(facts: TopicFacts, foreign: bool) -> Iterator[Check]:
    if facts.allowed is None or "ALL" in facts.allowed:
        return
    wanted = ("READ",) if foreign else ("READ", "WRITE")
    for right in wanted:
        if right not in facts.allowed:
            yield Check(
                subject=facts.name,
                name=f"right to {right}",
                # Whoever only consumes needs no WRITE, and whoever only emits no READ.
                state=State.FAIL if foreign else State.WARN,
                found="not granted",
                wanted="granted to emitters" if right == "WRITE" else "granted to consumers",
                remedy=f"kafka-acls.sh --add --allow-principal … --operation {right} --topic {facts.name}",
            )


def _of_copies(cluster: Cluster, facts: TopicFacts, profile: str) -> Check:
    wanted = _COPIES if profile in GUARDED else 1
    return judged(
        facts.name,
        "replication factor",
        facts.replicas >= wanted,
        str(facts.replicas),
        f"{wanted} or more in profile {profile}",
        _tool(cluster, "reassign-partitions", "--reassignment-json-file … --execute"),
    )


def _of_ours(
    cluster: Cluster, topic: str, settings: Mapping[str, str], wanted: Mapping[str, str]
) -> Iterator[Check]:
    for name, value in wanted.items():
        found = settings.get(name, "not told")
        fits = found == value or (name in _AT_LEAST and found.isdigit() and int(found) >= int(value))
        alter = f"--alter --topic {topic} --add-config {name}={value}"
        wish = value if fits else f"{value}: {_WHY[name]}"
        yield judged(topic, name, fits, found, wish, _tool(cluster, "configs", alter))


def _not_told(topic: str) -> Check:
    """Whoever only reads or writes need not be allowed to ask."""
    return Check(
        subject=topic,
        name="settings",
        state=State.WARN,
        found="not told to this user",
        wanted="looked at by somebody who may ask",
        remedy=f"kafka-acls.sh --add --allow-principal … --operation DESCRIBE_CONFIGS --topic {topic}",
    )


def _of_another(topic: str, settings: Mapping[str, str]) -> Iterator[Check]:
    """What its settings cost a reader."""
    costs = (
        ("cleanup.policy", "delete", "what compaction removed is counted as a gap, and cannot be replayed"),
        ("retention.ms", _FOR_EVER, "what retention removed before it was read halts its partition"),
        ("retention.bytes", _FOR_EVER, "what retention removed before it was read halts its partition"),
        ("message.timestamp.type", "LogAppendTime", "known time is what the producers' clocks said"),
    )
    for name, value, cost in costs:
        found = settings.get(name, "not told")
        fits = found == value
        wish = value if fits else f"{value}, or else {cost}"
        yield judged(topic, name, fits, found, wish, "ask its owner, or keep the store fed", State.WARN)


def _of_first_records(cluster: Cluster, facts: TopicFacts) -> Check:
    gone = sum(first for first, _ in cluster.ends(facts).values())
    return judged(
        facts.name,
        "first records",
        not gone,
        f"{gone:,} were deleted" if gone else "all kept",
        "all kept, for a replay",
        "a store that is filled now lacks them; fill it from a copy of the topic",
        State.WARN,
    )


def _copies(cluster: Cluster, profile: str, replicas: int | None) -> int:
    brokers = len(cluster.brokers())
    copies = replicas or (_COPIES if profile in GUARDED else min(_COPIES, brokers))
    if profile in GUARDED and copies < _COPIES:
        raise Misconfigured(
            f"{copies} replicas: profile {profile} keeps {_COPIES}", remedy="leave --replication out"
        )
    if copies > brokers:
        raise Misconfigured(
            f"{copies} replicas need as many brokers, and {cluster.bootstrap} has {brokers}",
            remedy="start more brokers, or give --replication; "
            f"profiles {' and '.join(GUARDED)} want {_COPIES}",
        )
    return copies


def _settings(cluster: Cluster, topic: str) -> dict[str, str]:
    try:
        return cluster.settings(topic)
    except Denied:
        return {}  # told by `check`


def _defaults(cluster: Cluster) -> dict[str, str]:
    """A broker's own settings; none where we may not ask."""
    try:
        return cluster.broker_settings()
    except Denied:
        return {}


def _tool(cluster: Cluster, tool: str, arguments: str) -> str:
    servers = cluster.bootstrap.partition(",")[0]
    return f"kafka-{tool}.sh --bootstrap-server {servers} {arguments}"


def _url(cluster: Cluster, topic: str) -> str:
    return f"kafka://{cluster.bootstrap}/{topic}"


def _listed(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown}, …" if len(numbers) > 8 else shown
