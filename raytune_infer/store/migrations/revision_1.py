"""The tables as they were when they got versions: made, or completed where an earlier version made them.

Every version before added columns that may be null to those that there were, so what lacks only such columns is ours.
"""

import sqlalchemy as sa
from alembic import op

from raytune_infer.errors import RunError
from raytune_infer.store.database_url import shown

revision = "0001"
down_revision = None

TABLES = sa.MetaData()
sa.Table(
    "studies", TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("searcher", sa.String(100), nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("trials", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.JSON, nullable=False),
    sa.Column("emulated", sa.String(200)),
    sa.Column("created_at", sa.DateTime, nullable=False),
)  # fmt: skip
sa.Table(
    "trials", TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), index=True, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("purpose", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("usd_per_hour", sa.Double),
    sa.Column("value", sa.Double),
    sa.Column("metrics", sa.JSON),
    sa.Column("reason", sa.Text),
    sa.Column("reported", sa.Integer),
    sa.Column("rate_low_rps", sa.Double),
    sa.Column("rate_high_rps", sa.Double),
    sa.Column("ended", sa.Text),
    sa.Column("client_limited", sa.Boolean, nullable=False),
    sa.Column("enforcements", sa.JSON, nullable=False),
    sa.Column("hostname", sa.String(255)),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("emulated", sa.Boolean, nullable=False),
    sa.Column("in_place", sa.Boolean),
    sa.Column("ended_early", sa.Boolean),
    sa.Column("overhead", sa.JSON),
    sa.Column("lost", sa.Text),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("finished_at", sa.DateTime),
    sa.UniqueConstraint("study_id", "number"),
)  # fmt: skip
sa.Table(
    "measurements", TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.ForeignKey("trials.id"), index=True, nullable=False),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("finished_at", sa.DateTime, nullable=False),
    sa.Column("load", sa.JSON, nullable=False),
)  # fmt: skip


def upgrade() -> None:
    """Make the tables that are not there, and the columns that those lack which are.

    Raises:
        RunError: a table of that name is another program's; a view always is, as rows cannot be added to it.
    """
    found = sa.inspect(op.get_bind())
    there = {name: {column["name"] for column in found.get_columns(name)} for name in found.get_table_names()}
    lacking = [
        column
        for table in TABLES.sorted_tables if table.name in there
        for column in table.columns if column.name not in there[table.name]
    ]  # fmt: skip
    views = {name for name in TABLES.tables if name not in there and found.has_table(name)}
    if foreign := sorted(views | {column.table.name for column in lacking if not column.nullable}):
        raise RunError(
            f"{shown(op.get_bind().engine.url)} holds {' and '.join(foreign)} of another program, or of a version of "
            "this one that is not known; name another database"
        )
    for column in lacking:
        op.add_column(column.table.name, sa.Column(column.name, column.type))
    TABLES.create_all(op.get_bind())
