"""Texts of any length, and seeds of 64 bits: limits that SQLite never had, and other databases hold to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Widen the columns, except in SQLite, to which the length of a type means nothing."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, column, nullable in (
        ("studies", "name", False), ("studies", "searcher", False), ("studies", "emulated", True),
        ("trials", "hostname", True),
    ):  # fmt: skip
        op.alter_column(table, column, type_=sa.Text(), existing_type=sa.String(), existing_nullable=nullable)
    op.alter_column("studies", "seed", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
