"""Is this deployment sound? Everything between an emitter's folder and the store, looked at once.

Nothing is changed, and no check stands in the way of the next: what cannot be asked is a failed check with
the error's own remedy. Texts of errors pass the redactor, and URLs are shown without what may be secret.
What a topic must be like is the business of `headwater.consumers.topics`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from headwater.consumers import books, migrations, tables
from headwater.consumers.checks import Check, State, judged
from headwater.consumers.faults import line_of
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.partitioning import misplaced
from headwater.consumers.store import Store, connect
from headwater.consumers.subscription import Subscription
from headwater.emitter import parking
from headwater.emitter.acks import acknowledged
from headwater.emitter.kafka_settings import GUARDED, KafkaSettings, is_loopback
from headwater.emitter.redaction import Redactor
from headwater.emitter.settings import Settings
from headwater.schemas.errors import HeadwaterError, Retryable
from headwater.schemas.segment import SegmentReader, list_segments, read_seal

if TYPE_CHECKING:
    # The embedded carrier needs no client of Kafka's.
    from headwater.consumers.kafka_cluster import Cluster, TopicFacts

SKEW_S = 5.0
BACKLOG_AGE_S = 300.0
KEYS_TO_JUDGE_BY = 20

Checks = Iterator[Check]
Found = TypeVar("Found")


def examine_folder(folder: Path, settings: Settings, *, drained: bool = False) -> Checks:
    """The folder of segments: the log, or (`drained`) the spool from which a drain sends to Kafka."""
    yield from _guarded(str(folder), lambda: _folder(folder, settings, drained=drained))


def examine_store(url: str) -> Checks:
    """The store: reached, of this code's schema and projection, its clock, what it has parked."""
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).exists():  # to connect would make it
        yield Check(
            subject=path,
            name="store",
            state=State.WARN,
            found="missing",
            wanted="made by the first consumer",
            remedy="headwater consume",
        )
        return
    yield from _guarded("store", lambda: _reached(url))


def examine_kafka(
    cluster: Cluster, log: Subscription, *, foreign: bool = False, store_url: str | None = None
) -> Checks:
    """The cluster, once: reached, let in, guarded; then each topic: its settings, keys, times, the lag.

    The first name is ours, unless all are `foreign`; other names, and what patterns match, are others'.
    """
    from headwater.consumers.topics import check

    yield from _guarded(cluster.bootstrap, lambda: _security(cluster))
    brokers = list(_guarded(cluster.bootstrap, lambda: _brokers(cluster)))
    yield from brokers
    if any(found.name == "answer" for found in brokers):
        return  # whoever does not answer this answers nothing
    topics: dict[str, bool] = {}
    yield from _guarded(str(log), lambda: _choose(topics, cluster, log, foreign))
    for topic, others in topics.items():
        ruled = partial(check, cluster, topic, profile=cluster.given.profile, foreign=others)
        yield from _guarded(topic, ruled)
        yield from _guarded(topic, partial(_records, cluster, topic))
        if store_url is not None:
            yield from examine_lag(cluster, topic, store_url)


def examine_lag(cluster: Cluster, topic: str, store_url: str) -> Checks:
    """How far the store is behind the topic, where it has read it."""
    yield from _guarded(topic, lambda: _lag(cluster, topic, store_url))


def _guarded(subject: str, checks: Callable[[], Checks]) -> Checks:
    try:
        yield from checks()
    except (HeadwaterError, OSError, DBAPIError) as problem:
        yield _failed(subject, problem)
    except Exception as problem:
        client = sys.modules.get("confluent_kafka")  # not imported here: no folder needs it
        if client is None or not isinstance(problem, client.KafkaException):
            raise
        yield _failed(subject, problem)


def _failed(subject: str, problem: Exception) -> Check:
    redact = Redactor().text
    message, remedy = str(problem), ""
    if isinstance(problem, HeadwaterError):
        message, remedy = problem.message, problem.remedy
    elif isinstance(problem, DBAPIError):
        message = line_of(problem)
        remedy = "see that the store's tables are all there, and that its user may SELECT from them"
    return Check(
        subject=subject,
        name="answer",
        state=State.FAIL,
        found=redact(message),
        wanted="an answer",
        remedy=redact(remedy),
    )


# -- the folder ----------------------------------------------------------------------------


def _folder(folder: Path, settings: Settings, *, drained: bool) -> Checks:
    subject = str(folder)
    if not folder.is_dir():
        yield Check(
            subject=subject,
            name="folder",
            state=State.WARN,
            found="missing",
            wanted="it is made by the first event",
            remedy="run a step, or see to `log` in headwater.yaml",
        )
        return
    writable = os.access(folder, os.W_OK | os.X_OK)
    yield judged(
        subject,
        "folder",
        writable,
        "writable" if writable else "not writable for this user",
        "writable for emitters",
        f"chown or chmod {folder}",
        State.WARN,
    )
    segments = list_segments(folder)
    size = sum(_unless_gone(path, lambda path: path.stat().st_size, 0) for path in segments)
    limit = settings.spool.max_bytes
    yield judged(
        subject,
        "size",
        not limit or size < 0.8 * limit,
        f"{len(segments)} segments, {size:,} bytes",
        f"below 80 % of spool.max_bytes ({limit:,}), beyond which events are refused",
        "headwater drain" if drained else "raise spool.max_bytes, or move sealed segments to an archive",
        State.FAIL if limit and size >= limit else State.WARN,
    )
    free = shutil.disk_usage(folder).free
    yield judged(
        subject,
        "disk",
        free > 1 << 30,
        f"{free:,} bytes free",
        "more than 1 GiB",
        "make room",
        State.WARN,
    )
    dead = [path.name for path in segments if _unless_gone(path, _left_open, False)]
    yield judged(
        subject,
        "dead processes' segments",
        not dead,
        f"{len(dead)} left open" if dead else "none",
        "none: their runs show as running",
        "headwater log adopt",
        State.WARN,
    )
    if drained:
        yield _backlog(subject, segments)
        yield _kept_aside(folder)


def _unless_gone(path: Path, look: Callable[[Path], Found], otherwise: Found) -> Found:
    """What is found in a segment; `otherwise` where a drain removed it, or its head is not written yet."""
    try:
        return look(path)
    except (FileNotFoundError, Retryable):
        return otherwise


def _left_open(path: Path) -> bool:
    """Whether the segment has no seal, and nobody alive holds it."""
    if read_seal(path) is not None:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _backlog(subject: str, segments: list[Path]) -> Check:
    """What no broker has acknowledged yet: its bytes, and the age of its oldest event."""
    nothing: tuple[int, int | None] = (0, None)
    found = [_unless_gone(path, _unacknowledged, nothing) for path in segments]
    waiting = sum(size for size, _ in found)
    oldest = min((first for _, first in found if first is not None), default=None)
    age = 0.0 if oldest is None else time.time() - oldest / 1e6
    return judged(
        subject,
        "backlog",
        age < BACKLOG_AGE_S,
        f"{waiting:,} bytes, the oldest event {age:,.0f} s" if waiting else "none",
        f"nothing older than {BACKLOG_AGE_S:,.0f} s",
        "headwater drain",
        State.WARN,
    )


def _unacknowledged(path: Path) -> tuple[int, int | None]:
    """How many bytes of a segment wait, and the time (µs) of the oldest event among them."""
    waiting, oldest, done = 0, None, acknowledged(path)
    with SegmentReader(path) as reader:
        while frames := reader.read():
            for frame in frames:
                if frame.offset >= done:
                    waiting += len(frame.value)
                    oldest = min(oldest or frame.append_time, frame.append_time)
    return waiting, oldest


def _kept_aside(folder: Path) -> Check:
    """Events that the topic would not take: they count as handled, and are in no log."""
    count = sum(1 for _ in (folder / parking.FOLDER).glob(f"*{parking.REASON}"))
    return judged(
        str(folder),
        "kept aside",
        not count,
        f"{count:,} events that the topic would not take" if count else "none",
        f"none: they are in no log; {folder / parking.FOLDER} has the reason of each",
        "mend the cause, then headwater drain --parked",
        State.WARN,
    )


# -- the store -----------------------------------------------------------------------------


def _reached(url: str) -> Checks:
    with connect(url) as store:
        yield from _guarded(store.url, lambda: _store(store))


def _store(store: Store) -> Checks:
    current = migrations.current(store)
    yield judged(
        store.url,
        "schema",
        current == migrations.HEAD,
        current or "missing",
        migrations.HEAD,
        "headwater store upgrade" if current else "headwater consume",
    )
    if current != migrations.HEAD:
        return
    held = books.folded_by(store, LineageProjection.name)
    needed = LineageProjection.version
    yield judged(
        store.url,
        "projection",
        held in (None, needed),
        "nothing consumed yet" if held is None else f"version {held}",
        f"version {needed}",
        books.REBUILD,
    )
    with store.connecting() as connection:
        if store.dialect == "postgresql":
            before = time.time()
            there = float(
                connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
            )
            yield _skew(store.url, there - (before + time.time()) / 2)
        parked = connection.execute(
            select(func.count())
            .select_from(tables.quarantine)
            .where(tables.quarantine.c.accepted_at.is_(None))
        ).scalar_one()
    yield judged(
        store.url,
        "quarantine",
        parked == 0,
        f"{parked:,} records",
        "none",
        "headwater quarantine list",
        State.WARN,
    )


def _skew(subject: str, skew_s: float) -> Check:
    return judged(
        subject,
        "clock",
        abs(skew_s) < SKEW_S,
        f"{skew_s:+.1f} s from this machine's",
        f"within {SKEW_S:.0f} s",
        "let NTP keep both",
        State.WARN,
    )


# -- Kafka ---------------------------------------------------------------------------------


def _security(cluster: Cluster) -> Checks:
    given: KafkaSettings = cluster.given
    protocol = str(given.get("security.protocol", "PLAINTEXT")).upper()
    yield judged(
        cluster.bootstrap,
        "connection",
        protocol.endswith("SSL") or is_loopback(cluster.bootstrap),
        protocol,
        "encrypted, beyond this machine",
        f"set security.protocol to SASL_SSL or SSL; profiles {' and '.join(GUARDED)} insist on it",
        State.WARN,
    )
    if given.plain:
        yield Check(
            subject=cluster.bootstrap,
            name="secrets",
            state=State.WARN,
            found=f"{', '.join(given.plain)} stands in headwater.yaml",
            wanted="in the environment, or in a file of its own",
            remedy="write ${VARIABLE} or ${file:/run/secrets/…}",
        )


def _brokers(cluster: Cluster) -> Checks:
    brokers = cluster.brokers()
    yield Check(
        subject=cluster.bootstrap,
        name="brokers",
        state=State.OK,
        found=f"{len(brokers)} answer, we are let in",
    )
    from headwater.consumers.kafka_cluster import Denied

    try:
        makes = cluster.broker_settings().get("auto.create.topics.enable", "false")
    except Denied:
        return  # an emitter's or a consumer's user need not be allowed to ask
    yield judged(
        cluster.bootstrap,
        "auto.create.topics.enable",
        makes == "false",
        makes,
        "false: a mistyped name would become a topic with a retention of a week",
        "set it to false on the brokers",
        State.WARN,
    )


def _choose(into: dict[str, bool], cluster: Cluster, log: Subscription, foreign: bool) -> Checks:
    from headwater.consumers.topics import chosen, none_chosen

    into.update(chosen(cluster, log, foreign=foreign))
    if not into:
        yield none_chosen(log)


def _records(cluster: Cluster, topic: str) -> Checks:
    facts = cluster.topics([topic])[topic]
    if facts is None:
        return  # told by `check`
    yield from _keys(cluster, facts)
    newest = cluster.newest(facts)
    if newest is not None:
        ahead = newest / 1e3 - time.time()
        yield judged(
            topic,
            "newest record",
            ahead < SKEW_S,
            f"{-ahead:,.0f} s old" if ahead < 0 else f"{ahead:,.0f} s in the future",
            "not in the future",
            "see to the clocks of producers, brokers and of this machine",
            State.WARN,
        )


def _keys(cluster: Cluster, facts: TopicFacts) -> Checks:
    if facts.partitions < 2:
        return
    wrong, looked = misplaced(cluster.newest_keys(facts), facts.partitions)
    if looked < KEYS_TO_JUDGE_BY:
        return
    yield judged(
        facts.name,
        "partitioner",
        not wrong,
        f"{wrong} of {looked} newest keys lie elsewhere than murmur2 puts them",
        "none: one key, one partition, whoever writes",
        "set partitioner=murmur2_random in the producers that build on librdkafka (Python, Go, C)",
        State.WARN,
    )


def _lag(cluster: Cluster, topic: str, store_url: str) -> Checks:
    facts = cluster.topics([topic])[topic]
    if facts is None:
        return
    with connect(store_url) as store:
        if migrations.current(store) != migrations.HEAD:
            return
        position = tables.position.c
        query = select(position.topic, position.partition, position.next_offset)
        with store.connecting() as connection:
            rows = connection.execute(query.where(position.projection == LineageProjection.name)).all()
    ends = cluster.ends(facts)
    read = {int(row.partition): row.next_offset for row in rows if row.topic == f"{topic}@{facts.topic_id}"}
    ours = bool(read) or all(row.topic.rpartition("@")[0] != topic for row in rows)
    behind = sum(end - max(first, read.get(part, 0)) for part, (first, end) in ends.items())
    lost = [part for part, (first, _) in ends.items() if 0 <= read.get(part, first) < first]
    beyond = [part for part, (_, end) in ends.items() if read.get(part, 0) > end]
    found, remedy = f"{behind:,} records unread", ""
    if not ours:
        found = "the store has read another topic of this name, which was deleted or is elsewhere"
        remedy = "see to the brokers in `log`; else begin a store of its own for this topic"
    elif beyond:
        found = f"the store has read more of partitions {beyond} than they hold"
        remedy = "the topic was put back to an earlier state: begin a new store"
    elif lost:
        found = f"unread records were deleted in partitions {lost}"
        remedy = "fill a store from an archive or a copy of the topic"
    yield judged(
        topic,
        "lag",
        not remedy,
        found,
        "the topic that the store has read, and nothing deleted unread",
        remedy,
    )
