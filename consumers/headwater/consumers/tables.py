"""The lineage store's tables: one definition for SQLite and PostgreSQL.

Four kinds of tables, and no other (the reasons are in docs/design/0003):

- dictionaries (`dataset`, `job`, `version`, `facet`, `column_map`, …): rows exist as soon
  as any event mentions them and never change;
- `run_fold`: one document per run, a join of everything its events said;
- rows derived from that one document (`run`, `run_input`, `run_output`, `run_edge`, `run_lineage`);
- the consumer's own books (`projection`, `position`, `quarantine`), which no digest covers.

On PostgreSQL `event` and `metric_point` are partitioned by the hash of the run, which is part of their
keys there (docs/design/0011). The migrations do that; `metadata.create_all` makes them whole.

Ids are 16 bytes, functions of natural keys (`headwater.schemas.ids`); an event's id is its
whole sha256. Times are whole microseconds since 1970 UTC. Lists of facet ids are the sorted
16-byte ids, concatenated. People who write SQL read the views (`headwater.consumers.views`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class Id(TypeDecorator[bytes]):
    """16 bytes: `uuid` on PostgreSQL, a BLOB on SQLite; `bytes` in Python on both."""

    impl = LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "postgresql":
            return value
        return UUID(bytes=value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        return value.bytes if isinstance(value, UUID) else bytes(value)


metadata = MetaData()

# `json` and not `jsonb`: the text stays as it was hashed, so an edited body is found.
_Json = Text().with_variant(postgresql.JSON(), "postgresql")
#: The names of such columns; drivers would parse them, and round their numbers.
JSON = frozenset({"body", "tags"})
# Stamps and natural keys are compared byte by byte, whatever the database's locale.
_Key = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _table(name: str, *columns: Any, clustered: bool = False) -> Table:
    return Table(name, metadata, *columns, sqlite_with_rowid=not clustered)


def indexed(column: Any) -> Any:
    """The beginning of a long text, as the indexes on texts hold it."""
    return func.substr(column, literal_column("1"), literal_column("200"))


# -- dictionaries ----------------------------------------------------------------------

dataset = _table(
    "dataset",
    Column("dataset_id", Id, primary_key=True),
    Column("namespace", _Key, nullable=False),
    Column("name", _Key, nullable=False),
    # The least id of everything linked to this one by symlinks; its own id when nothing is.
    Column("group_id", Id, nullable=False),
    clustered=True,
)
Index("dataset_group_ix", dataset.c.group_id, dataset.c.dataset_id)
# A B-tree entry ends at 2.7 kB on PostgreSQL, and names do not: indexes hold their beginnings,
# keys hold hashes. Queries by name compare `indexed(name)` as well as the name.
Index("dataset_name_ix", indexed(dataset.c.name))

job = _table(
    "job",
    Column("job_id", Id, primary_key=True),
    Column("namespace", _Key, nullable=False),
    Column("name", _Key, nullable=False),
    clustered=True,
)
Index("job_name_ix", indexed(job.c.name))

version = _table(
    "version",
    Column("version_id", Id, primary_key=True),
    Column("dataset_id", Id, nullable=False),
    Column("version", _Key, nullable=False),
    clustered=True,
)
Index("version_dataset_ix", version.c.dataset_id, indexed(version.c.version))
Index("version_text_ix", indexed(version.c.version))

facet = _table(
    "facet",
    Column("facet_id", Id, primary_key=True),
    Column("name", _Key, nullable=False),
    Column("body", _Json, nullable=False),
)

edge_map = _table(
    "edge_map",
    Column("facet_id", Id, primary_key=True),
    Column("target_id", Id, primary_key=True),
    Column("source_id", Id, primary_key=True),
    clustered=True,
)

column_map = _table(
    "column_map",
    # hash128("column", facet, target, target field, source, source field, kind), ids in hex.
    Column("column_id", Id, primary_key=True),
    Column("facet_id", Id, nullable=False),
    Column("target_id", Id, nullable=False),
    Column("target_field", _Key, nullable=False),
    Column("source_id", Id, nullable=False),
    Column("source_field", _Key, nullable=False),
    Column("kind", _Key, nullable=False),
    clustered=True,
)
Index("column_map_facet_ix", column_map.c.facet_id, column_map.c.target_id)
Index("column_map_source_ix", column_map.c.source_id)

dataset_link = _table(
    "dataset_link",
    Column("a", Id, primary_key=True),
    Column("b", Id, primary_key=True),
    clustered=True,
)

run_mention = _table(
    "run_mention",
    # What an event of the run names and does not list (a source or target of lineage, a former name),
    # and what it read of a production that it names. With them, every run whose events ever said
    # anything of a dataset can be found: rows of `run_input` and `run_output` that rest on what is not
    # listed come and go with later events, and none of their indexes leads from a dataset to the latter.
    Column("dataset_id", Id, primary_key=True),
    Column("run_id", Id, primary_key=True),
    clustered=True,
)

event = _table(
    "event",
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", LargeBinary(32), primary_key=True),
    Column("run_id", Id, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("rank", SmallInteger, nullable=False),
    Column("topic", _Key, nullable=False),
    Column("partition", _Key, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("appended_at", BigInteger, nullable=False),
    # The emitter's chain; NULL for events that were not emitted by headwater.
    Column("emitter_id", Id),
    Column("sequence", BigInteger),
    Column("previous", LargeBinary(32)),
    Column("final", Boolean),
    clustered=True,
)
Index("event_run_ix", event.c.run_id, event.c.at)
Index("event_emitter_ix", event.c.emitter_id, event.c.sequence)

run_closure = _table(
    "run_closure",
    Column("run_id", Id, primary_key=True),
    Column("emitter_id", Id, primary_key=True),
    Column("last_sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("events", BigInteger, primary_key=True, autoincrement=False),
    clustered=True,
)

metric_point = _table(
    "metric_point",
    Column("point_id", Id, primary_key=True),
    Column("run_id", Id, nullable=False),
    Column("key", _Key, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    # NULL stands for NaN, which SQLite cannot store.
    Column("value", Double),
)
# On PostgreSQL the partitioned table's key begins with the run.
Index("metric_point_run_ix", metric_point.c.run_id).ddl_if(dialect="sqlite")
Index("metric_point_value_ix", indexed(metric_point.c.key), metric_point.c.value)

governance = _table(
    "governance",
    # hash128("governance", event in hex, kind, key).
    Column("governance_id", Id, primary_key=True),
    Column("event_id", LargeBinary(32), nullable=False),
    Column("kind", _Key, nullable=False),
    Column("key", _Key, nullable=False),
    Column("dataset_id", Id, nullable=False),
    # NULL: about every version of the dataset.
    Column("version_id", Id),
    Column("value", Text),
    Column("withdrawn", Boolean, nullable=False),
    Column("actor", Text),
    Column("at", BigInteger, nullable=False),
)
Index("governance_dataset_ix", governance.c.dataset_id, governance.c.kind)
# Recalls are few among all that is said, and every question asks for all of them.
Index(
    "governance_recall_ix",
    governance.c.at,
    postgresql_where=text("kind = 'recall'"),
    sqlite_where=text("kind = 'recall'"),
)

# -- folds and what is derived from one fold --------------------------------------------

run_fold = _table(
    "run_fold",
    Column("run_id", Id, primary_key=True),
    Column("doc", LargeBinary, nullable=False),
    # 128-bit hashes of the derived row sets: equal means "do not write again".
    Column("run_hash", Id, nullable=False),
    Column("input_hash", Id, nullable=False),
    Column("output_hash", Id, nullable=False),
    Column("edge_hash", Id, nullable=False),
)

run = _table(
    "run",
    Column("run_id", Id, primary_key=True),
    # 0 a run, 1 a job's own statements (JobEvent), 2 a dataset's own (DatasetEvent).
    Column("kind", SmallInteger, nullable=False),
    # The producer's text where it is no UUID.
    Column("ext_id", Text),
    Column("job_id", Id),
    # The winning event type's rank: OTHER 0, START 1, RUNNING 2, COMPLETE 3, ABORT 4, FAIL 5.
    Column("state", SmallInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("last_at", BigInteger, nullable=False),
    Column("last_start_at", BigInteger),
    Column("streaming", Boolean, nullable=False),
    Column("parent_run_id", Id),
    Column("parent_job_id", Id),
    Column("root_run_id", Id),
    Column("facets", LargeBinary, nullable=False),
)
Index("run_job_ix", run.c.job_id, run.c.first_at)
Index("run_first_ix", run.c.first_at)
# Runs that have not ended, and runs that never said that they began: few, and asked for.
Index(
    "run_open_ix",
    run.c.last_at,
    postgresql_where=text("kind = 0 AND state < 3"),
    sqlite_where=text("kind = 0 AND state < 3"),
)
Index(
    "run_unstarted_ix",
    run.c.first_at,
    postgresql_where=text("kind = 0 AND started_at IS NULL"),
    sqlite_where=text("kind = 0 AND started_at IS NULL"),
)
Index(
    "run_parent_ix",
    run.c.parent_run_id,
    postgresql_where=run.c.parent_run_id.is_not(None),
    sqlite_where=run.c.parent_run_id.is_not(None),
)
Index(
    "run_root_ix",
    run.c.root_run_id,
    postgresql_where=run.c.root_run_id.is_not(None),
    sqlite_where=run.c.root_run_id.is_not(None),
)

run_input = _table(
    "run_input",
    Column("run_id", Id, nullable=False),
    Column("dataset_id", Id, nullable=False),
    # NULL: the event named no version; which one it was is bound in the query (rule R20).
    Column("version_id", Id),
    # The production that the event itself names, when it does.
    Column("production_id", Id),
    # 0 listed, 1 implied by a lineage facet, 2 implied by RENAME, 3 implied by ALTER.
    Column("role", SmallInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    # Kept for streaming runs only (rule R8).
    Column("last_at", BigInteger),
    Column("live", Boolean, nullable=False),
    Column("facets", LargeBinary, nullable=False),
)
Index("run_input_run_ix", run_input.c.run_id)
Index(
    "run_input_production_ix",
    run_input.c.production_id,
    postgresql_where=run_input.c.production_id.is_not(None),
    sqlite_where=run_input.c.production_id.is_not(None),
)
Index(
    "run_input_version_ix",
    run_input.c.version_id,
    postgresql_where=text("version_id IS NOT NULL AND production_id IS NULL"),
    sqlite_where=text("version_id IS NOT NULL AND production_id IS NULL"),
)
Index(
    "run_input_dataset_ix",
    run_input.c.dataset_id,
    run_input.c.first_at,
    postgresql_where=run_input.c.version_id.is_(None),
    sqlite_where=run_input.c.version_id.is_(None),
)
# Streaming runs only: nearly empty where runs end.
Index(
    "run_input_streaming_ix",
    run_input.c.dataset_id,
    run_input.c.last_at,
    postgresql_where=run_input.c.last_at.is_not(None),
    sqlite_where=run_input.c.last_at.is_not(None),
)

run_output = _table(
    "run_output",
    Column("production_id", Id, primary_key=True),
    Column("run_id", Id, nullable=False),
    Column("dataset_id", Id, nullable=False),
    Column("version_id", Id, nullable=False),
    # False where no version was named: the version is then "what this run wrote" (rule R17).
    Column("versioned", Boolean, nullable=False),
    # NULL: exists, but nobody inherits it (a failed run's unversioned output, a static statement).
    Column("published_at", BigInteger),
    Column("lifecycle", Text),
    # 0 every input of the run, 1 columnLineage (`edge_facet`), 2 lineage (`run_edge`), 3 no upstream.
    Column("basis", SmallInteger, nullable=False),
    Column("edge_facet", Id),
    Column("live", Boolean, nullable=False),
    Column("facets", LargeBinary, nullable=False),
)
Index("run_output_run_ix", run_output.c.run_id)
Index(
    "run_output_version_ix",
    run_output.c.version_id,
    run_output.c.published_at,
    run_output.c.production_id,
    run_output.c.run_id,
)
Index(
    "run_output_dataset_ix",
    run_output.c.dataset_id,
    run_output.c.published_at,
    run_output.c.version_id,
    run_output.c.production_id,
    run_output.c.run_id,
    postgresql_where=run_output.c.published_at.is_not(None),
    sqlite_where=run_output.c.published_at.is_not(None),
)

# What failed, and what jobs and datasets say of themselves: few.
Index(
    "run_output_unpublished_ix",
    run_output.c.dataset_id,
    postgresql_where=run_output.c.published_at.is_(None),
    sqlite_where=run_output.c.published_at.is_(None),
)

run_edge = _table(
    "run_edge",
    Column("run_id", Id, primary_key=True),
    Column("target_id", Id, primary_key=True),
    Column("source_id", Id, primary_key=True),
    clustered=True,
)

run_lineage = _table(
    "run_lineage",
    # The lineage bodies that speak of columns and still hold; `column_map` says what they say (rule R25).
    Column("run_id", Id, primary_key=True),
    Column("facet_id", Id, primary_key=True),
    clustered=True,
)

dataset_facet = _table(
    "dataset_facet",
    # hash128("register", dataset in hex, name).
    Column("register_id", Id, primary_key=True),
    Column("dataset_id", Id, nullable=False),
    Column("name", _Key, nullable=False),
    Column("stamp", _Key, nullable=False),
    # NULL: deleted by `_deleted`.
    Column("facet_id", Id),
    clustered=True,
)

Index("dataset_facet_dataset_ix", dataset_facet.c.dataset_id)

tag_register = _table(
    "tag_register",
    # hash128("tags", kind, entity in hex, source, field).
    Column("register_id", Id, primary_key=True),
    # dataset, job, run
    Column("kind", _Key, nullable=False),
    Column("entity_id", Id, nullable=False),
    # Who assigned the tags, as the facet says; "" where it says nothing.
    Column("source", _Key, nullable=False),
    # The dataset's field that they are about; "" for the whole entity.
    Column("field", _Key, nullable=False),
    Column("stamp", _Key, nullable=False),
    Column("at", BigInteger, nullable=False),
    # The event's: `_deleted` takes back what the same producer said.
    Column("producer", _Key, nullable=False),
    # Sorted pairs [key, value or null].
    Column("tags", _Json, nullable=False),
    clustered=True,
)
Index("tag_register_entity_ix", tag_register.c.entity_id)

tag_floor = _table(
    "tag_floor",
    # hash128("untags", kind, entity in hex, producer).
    Column("floor_id", Id, primary_key=True),
    Column("kind", _Key, nullable=False),
    Column("entity_id", Id, nullable=False),
    Column("producer", _Key, nullable=False),
    # What this producer said of the entity before is gone (rule R13).
    Column("stamp", _Key, nullable=False),
    clustered=True,
)
Index("tag_floor_entity_ix", tag_floor.c.entity_id)

# -- dictionaries for finding things (`headwater.consumers.terms` says what is in them) --------

facet_owner = _table(
    "facet_owner",
    Column("facet_id", Id, primary_key=True),
    # 0 a run said it (of itself or of what it wrote), 1 of a job, 2 of a dataset.
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner_id", Id, primary_key=True),
    clustered=True,
)

facet_value = _table(
    "facet_value",
    Column("facet_id", Id, primary_key=True),
    # hash128("value", kind, key, text, number).
    Column("value_id", Id, primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    Column("key", _Key, nullable=False),
    Column("text", _Key, nullable=False),
    # NULL: no number, or NaN.
    Column("number", Double),
    clustered=True,
)
Index(
    "facet_value_ix",
    facet_value.c.kind,
    indexed(facet_value.c.key),
    facet_value.c.number,
    indexed(facet_value.c.text),
)

word = _table(
    "word",
    Column("word", _Key, primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    # A dataset, a job or a facet, as the kind says.
    Column("subject_id", Id, primary_key=True),
    clustered=True,
)

# -- the consumer's own books -----------------------------------------------------------

projection = _table(
    "projection",
    Column("name", _Key, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("code_version", Text, nullable=False),
    # Set on a store that holds only what was known at a time (`replay --until`); it consumes no more.
    Column("known_at", BigInteger),
)

position = _table(
    "position",
    Column("projection", _Key, primary_key=True),
    Column("topic", _Key, primary_key=True),
    Column("partition", _Key, primary_key=True),
    Column("start_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    # Where the next record begins in a segment file; 0 for carriers that seek by offset.
    Column("next_byte", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    # applied + duplicate + quarantined + gaps = next_offset - start_offset (invariant B).
    Column("applied", BigInteger, nullable=False),
    Column("duplicate", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("gaps", BigInteger, nullable=False),
    # Quarantined records before it do not count against the topic's budget: a person said so.
    Column("counted_from", BigInteger, nullable=False, server_default=text("0")),
)

quarantine = _table(
    "quarantine",
    Column("projection", _Key, primary_key=True),
    Column("topic", _Key, primary_key=True),
    Column("partition", _Key, primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("appended_at", BigInteger, nullable=False),
    Column("value", LargeBinary, nullable=False),
    # Where in the document, what stands there, which rule it breaks.
    Column("path", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("quarantined_at", BigInteger, nullable=False),
    # Set when a later version of the code accepted the record.
    Column("accepted_at", BigInteger),
)

#: What the state digest covers: the tables that are functions of the set of events.
COVERED = (
    dataset,
    job,
    version,
    facet,
    edge_map,
    column_map,
    dataset_link,
    run_mention,
    event,
    run_closure,
    metric_point,
    governance,
    run_fold,
    run,
    run_input,
    run_output,
    run_edge,
    run_lineage,
    dataset_facet,
    tag_register,
    tag_floor,
    facet_owner,
    facet_value,
    word,
)
