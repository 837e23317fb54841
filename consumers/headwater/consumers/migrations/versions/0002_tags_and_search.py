"""Producers' tags, kept by who said them. A migration is history: it is never edited after a release."""

from alembic import op
from sqlalchemy import BigInteger, Column, Double, SmallInteger, Text, text
from sqlalchemy.dialects import postgresql

from headwater.consumers.tables import Id

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON_TEXT = Text().with_variant(postgresql.JSON(), "postgresql")
KEY = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables; a store that was filled before has nothing in them, and its projection is older."""
    _tags()
    _lineage()
    _search()
    _completeness()
    _mentions()
    _recalls()


def _tags() -> None:
    op.create_table(
        "tag_register",
        Column("register_id", Id, primary_key=True),
        Column("kind", KEY, nullable=False),
        Column("entity_id", Id, nullable=False),
        Column("source", KEY, nullable=False),
        Column("field", KEY, nullable=False),
        Column("stamp", KEY, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("producer", KEY, nullable=False),
        Column("tags", JSON_TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tag_register_entity_ix", "tag_register", ["entity_id"])
    op.create_table(
        "tag_floor",
        Column("floor_id", Id, primary_key=True),
        Column("kind", KEY, nullable=False),
        Column("entity_id", Id, nullable=False),
        Column("producer", KEY, nullable=False),
        Column("stamp", KEY, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tag_floor_entity_ix", "tag_floor", ["entity_id"])


def _recalls() -> None:
    recalls = text("kind = 'recall'")
    op.create_index(
        "governance_recall_ix", "governance", ["at"], postgresql_where=recalls, sqlite_where=recalls
    )


def _lineage() -> None:
    op.create_table(
        "run_lineage",
        Column("run_id", Id, primary_key=True),
        Column("facet_id", Id, primary_key=True),
        sqlite_with_rowid=False,
    )


def _mentions() -> None:
    unpublished = text("published_at IS NULL")
    op.create_index(
        "run_output_unpublished_ix",
        "run_output",
        ["dataset_id"],
        postgresql_where=unpublished,
        sqlite_where=unpublished,
    )
    op.create_table(
        "run_mention",
        Column("dataset_id", Id, primary_key=True),
        Column("run_id", Id, primary_key=True),
        sqlite_with_rowid=False,
    )


def _search() -> None:
    op.create_table(
        "facet_owner",
        Column("facet_id", Id, primary_key=True),
        Column("kind", SmallInteger, primary_key=True, autoincrement=False),
        Column("owner_id", Id, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "facet_value",
        Column("facet_id", Id, primary_key=True),
        Column("value_id", Id, primary_key=True),
        Column("kind", SmallInteger, nullable=False),
        Column("key", KEY, nullable=False),
        Column("text", KEY, nullable=False),
        Column("number", Double),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "facet_value_ix",
        "facet_value",
        ["kind", text('substr("key", 1, 200)'), "number", text("substr(text, 1, 200)")],
    )
    op.create_table(
        "word",
        Column("word", KEY, primary_key=True),
        Column("kind", SmallInteger, primary_key=True, autoincrement=False),
        Column("subject_id", Id, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("metric_point_value_ix", "metric_point", [text('substr("key", 1, 200)'), "value"])


def _completeness() -> None:
    op.create_index(
        "run_open_ix",
        "run",
        ["last_at"],
        sqlite_where=text("kind = 0 AND state < 3"),
        postgresql_where=text("kind = 0 AND state < 3"),
    )
    op.create_index(
        "run_unstarted_ix",
        "run",
        ["first_at"],
        sqlite_where=text("kind = 0 AND started_at IS NULL"),
        postgresql_where=text("kind = 0 AND started_at IS NULL"),
    )
