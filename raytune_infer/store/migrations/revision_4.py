"""Points of operators' resource curves."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "operator_points",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("operator_hash", sa.String(64), nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("precision", sa.String(20), nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("cpu_cores", sa.Integer, nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("gpu_type", sa.Text),
        sa.Column("gpu_share", sa.Double, nullable=False),
        sa.Column("gpu_memory", sa.Double, nullable=False),
        sa.Column("mean_s", sa.Double, nullable=False),
        sa.Column("low_s", sa.Double, nullable=False),
        sa.Column("high_s", sa.Double, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("measured_at", sa.DateTime, nullable=False),
    )
    op.create_index("ix_operator_points_operator_hash", "operator_points", ["operator_hash"])
