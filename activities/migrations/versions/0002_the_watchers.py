"""the watchers: alarms; cases that come with a past; which keys a case needs"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("entered_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
        cases.add_column(sa.Column("keys", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default=""))
    with op.batch_alter_table("cases") as cases:
        cases.alter_column("keys", server_default=None)
    _note_keys(op.get_bind())
    with op.batch_alter_table("notices") as notices:
        notices.alter_column("case_id", existing_type=sqlmodel.sql.sqltypes.AutoString(), nullable=True)
    op.create_table(
        "alarms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("case_id", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("since", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.Column("raised_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.Column("told_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
        sa.Column("cleared_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("alarms_case_id_of_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("alarms_key")),
    )
    op.create_index(
        "alarms_open_by_key",
        "alarms",
        ["key"],
        unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"),
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_table(
        "watches",
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("watches_key")),
    )


def _note_keys(ledger: sa.Connection) -> None:
    """Until now one key at a time wrote for all processes: those of a case's submissions are all it has."""
    by_case: dict[str, set[str]] = {}
    for case, digest in ledger.execute(sa.text("SELECT case_id, digest FROM submissions")):
        by_case.setdefault(case, set()).add(digest.partition(":")[0])
    noted = sa.text("UPDATE cases SET keys = :keys WHERE id = :case")
    if by_case:
        ledger.execute(noted, [{"case": case, "keys": ",".join(sorted(keys))} for case, keys in by_case.items()])


def downgrade() -> None:
    op.drop_table("watches")
    op.drop_table("alarms")
    op.execute("DELETE FROM notices WHERE case_id IS NULL")
    with op.batch_alter_table("notices") as notices:
        notices.alter_column("case_id", existing_type=sqlmodel.sql.sqltypes.AutoString(), nullable=False)
    with op.batch_alter_table("cases") as cases:
        cases.drop_column("keys")
        cases.drop_column("entered_at")
