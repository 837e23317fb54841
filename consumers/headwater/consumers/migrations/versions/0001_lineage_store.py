"""The first lineage store. A migration is history: it is never edited after a release."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects import postgresql

from headwater.consumers.tables import Id

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON_TEXT = Text().with_variant(postgresql.JSON(), "postgresql")
KEY = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make every table and index."""
    _tables()
    _indexes()


def _tables() -> None:
    op.create_table(
        "dataset",
        Column("dataset_id", Id, primary_key=True),
        Column("namespace", KEY, nullable=False),
        Column("name", KEY, nullable=False),
        Column("group_id", Id, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job",
        Column("job_id", Id, primary_key=True),
        Column("namespace", KEY, nullable=False),
        Column("name", KEY, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "version",
        Column("version_id", Id, primary_key=True),
        Column("dataset_id", Id, nullable=False),
        Column("version", KEY, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "facet",
        Column("facet_id", Id, primary_key=True),
        Column("name", KEY, nullable=False),
        Column("body", JSON_TEXT, nullable=False),
    )
    op.create_table(
        "edge_map",
        Column("facet_id", Id, primary_key=True),
        Column("target_id", Id, primary_key=True),
        Column("source_id", Id, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "column_map",
        Column("column_id", Id, primary_key=True),
        Column("facet_id", Id, nullable=False),
        Column("target_id", Id, nullable=False),
        Column("target_field", KEY, nullable=False),
        Column("source_id", Id, nullable=False),
        Column("source_field", KEY, nullable=False),
        Column("kind", KEY, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dataset_link",
        Column("a", Id, primary_key=True),
        Column("b", Id, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        Column("at", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", LargeBinary(32), primary_key=True),
        Column("run_id", Id, nullable=False),
        Column("kind", SmallInteger, nullable=False),
        Column("rank", SmallInteger, nullable=False),
        Column("topic", KEY, nullable=False),
        Column("partition", KEY, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("appended_at", BigInteger, nullable=False),
        Column("emitter_id", Id),
        Column("sequence", BigInteger),
        Column("previous", LargeBinary(32)),
        Column("final", Boolean),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_closure",
        Column("run_id", Id, primary_key=True),
        Column("emitter_id", Id, primary_key=True),
        Column("last_sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("events", BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_point",
        Column("point_id", Id, primary_key=True),
        Column("run_id", Id, nullable=False),
        Column("key", KEY, nullable=False),
        Column("step", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("value", Double),
    )
    op.create_table(
        "governance",
        Column("governance_id", Id, primary_key=True),
        Column("event_id", LargeBinary(32), nullable=False),
        Column("kind", KEY, nullable=False),
        Column("key", KEY, nullable=False),
        Column("dataset_id", Id, nullable=False),
        Column("version_id", Id),
        Column("value", Text),
        Column("withdrawn", Boolean, nullable=False),
        Column("actor", Text),
        Column("at", BigInteger, nullable=False),
    )
    op.create_table(
        "run_fold",
        Column("run_id", Id, primary_key=True),
        Column("doc", LargeBinary, nullable=False),
        Column("run_hash", Id, nullable=False),
        Column("input_hash", Id, nullable=False),
        Column("output_hash", Id, nullable=False),
        Column("edge_hash", Id, nullable=False),
    )
    op.create_table(
        "run",
        Column("run_id", Id, primary_key=True),
        Column("kind", SmallInteger, nullable=False),
        Column("ext_id", Text),
        Column("job_id", Id),
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
    op.create_table(
        "run_input",
        Column("run_id", Id, nullable=False),
        Column("dataset_id", Id, nullable=False),
        Column("version_id", Id),
        Column("production_id", Id),
        Column("role", SmallInteger, nullable=False),
        Column("first_at", BigInteger, nullable=False),
        Column("last_at", BigInteger),
        Column("live", Boolean, nullable=False),
        Column("facets", LargeBinary, nullable=False),
    )
    op.create_table(
        "run_output",
        Column("production_id", Id, primary_key=True),
        Column("run_id", Id, nullable=False),
        Column("dataset_id", Id, nullable=False),
        Column("version_id", Id, nullable=False),
        Column("versioned", Boolean, nullable=False),
        Column("published_at", BigInteger),
        Column("lifecycle", Text),
        Column("basis", SmallInteger, nullable=False),
        Column("edge_facet", Id),
        Column("live", Boolean, nullable=False),
        Column("facets", LargeBinary, nullable=False),
    )
    op.create_table(
        "run_edge",
        Column("run_id", Id, primary_key=True),
        Column("target_id", Id, primary_key=True),
        Column("source_id", Id, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dataset_facet",
        Column("register_id", Id, primary_key=True),
        Column("dataset_id", Id, nullable=False),
        Column("name", KEY, nullable=False),
        Column("stamp", KEY, nullable=False),
        Column("facet_id", Id),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "projection",
        Column("name", KEY, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("code_version", Text, nullable=False),
        Column("known_at", BigInteger),
    )
    op.create_table(
        "position",
        Column("projection", KEY, primary_key=True),
        Column("topic", KEY, primary_key=True),
        Column("partition", KEY, primary_key=True),
        Column("start_offset", BigInteger, nullable=False),
        Column("next_offset", BigInteger, nullable=False),
        Column("next_byte", BigInteger, nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("owner", Text, nullable=False),
        Column("applied", BigInteger, nullable=False),
        Column("duplicate", BigInteger, nullable=False),
        Column("quarantined", BigInteger, nullable=False),
        Column("gaps", BigInteger, nullable=False),
    )
    op.create_table(
        "quarantine",
        Column("projection", KEY, primary_key=True),
        Column("topic", KEY, primary_key=True),
        Column("partition", KEY, primary_key=True),
        Column("offset", BigInteger, primary_key=True, autoincrement=False),
        Column("appended_at", BigInteger, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("path", Text, nullable=False),
        Column("found", Text, nullable=False),
        Column("rule", Text, nullable=False),
        Column("code_version", Text, nullable=False),
        Column("quarantined_at", BigInteger, nullable=False),
        Column("accepted_at", BigInteger),
    )


def _indexes() -> None:
    op.create_index("dataset_group_ix", "dataset", ["group_id", "dataset_id"])
    op.create_index("dataset_name_ix", "dataset", [text("substr(name, 1, 200)")])
    op.create_index("job_name_ix", "job", [text("substr(name, 1, 200)")])
    op.create_index("version_dataset_ix", "version", ["dataset_id", text("substr(version, 1, 200)")])
    op.create_index("version_text_ix", "version", [text("substr(version, 1, 200)")])
    op.create_index("column_map_facet_ix", "column_map", ["facet_id", "target_id"])
    op.create_index("column_map_source_ix", "column_map", ["source_id"])
    op.create_index("event_emitter_ix", "event", ["emitter_id", "sequence"])
    op.create_index("event_run_ix", "event", ["run_id", "at"])
    op.create_index("metric_point_run_ix", "metric_point", ["run_id"])
    op.create_index("governance_dataset_ix", "governance", ["dataset_id", "kind"])
    op.create_index("run_first_ix", "run", ["first_at"])
    op.create_index("run_job_ix", "run", ["job_id", "first_at"])
    op.create_index(
        "run_parent_ix",
        "run",
        ["parent_run_id"],
        sqlite_where=text("parent_run_id IS NOT NULL"),
        postgresql_where=text("parent_run_id IS NOT NULL"),
    )
    op.create_index(
        "run_root_ix",
        "run",
        ["root_run_id"],
        sqlite_where=text("root_run_id IS NOT NULL"),
        postgresql_where=text("root_run_id IS NOT NULL"),
    )
    op.create_index(
        "run_input_dataset_ix",
        "run_input",
        ["dataset_id", "first_at"],
        sqlite_where=text("version_id IS NULL"),
        postgresql_where=text("version_id IS NULL"),
    )
    op.create_index(
        "run_input_production_ix",
        "run_input",
        ["production_id"],
        sqlite_where=text("production_id IS NOT NULL"),
        postgresql_where=text("production_id IS NOT NULL"),
    )
    op.create_index("run_input_run_ix", "run_input", ["run_id"])
    op.create_index(
        "run_input_streaming_ix",
        "run_input",
        ["dataset_id", "last_at"],
        sqlite_where=text("last_at IS NOT NULL"),
        postgresql_where=text("last_at IS NOT NULL"),
    )
    op.create_index(
        "run_input_version_ix",
        "run_input",
        ["version_id"],
        sqlite_where=text("version_id IS NOT NULL AND production_id IS NULL"),
        postgresql_where=text("version_id IS NOT NULL AND production_id IS NULL"),
    )
    op.create_index(
        "run_output_dataset_ix",
        "run_output",
        ["dataset_id", "published_at", "version_id", "production_id", "run_id"],
        sqlite_where=text("published_at IS NOT NULL"),
        postgresql_where=text("published_at IS NOT NULL"),
    )
    op.create_index("run_output_run_ix", "run_output", ["run_id"])
    op.create_index(
        "run_output_version_ix", "run_output", ["version_id", "published_at", "production_id", "run_id"]
    )
    op.create_index("dataset_facet_dataset_ix", "dataset_facet", ["dataset_id"])
