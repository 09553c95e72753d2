"""How a trial's answers agree with the default's."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; trials from before have no value there."""
    op.add_column("trials", sa.Column("answers", sa.JSON))
