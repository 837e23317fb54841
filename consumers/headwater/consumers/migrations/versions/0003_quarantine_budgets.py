"""From where quarantined records count. A migration is history: it is never edited after a release."""

from alembic import op
from sqlalchemy import BigInteger, Column, text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The consumer's own books alone: no row of the projection changes its meaning."""
    op.add_column("position", Column("counted_from", BigInteger, nullable=False, server_default=text("0")))
