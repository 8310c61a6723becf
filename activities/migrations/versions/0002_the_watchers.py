"""the watchers: alarms; cases that come with a past; which keys a case needs"""

from typing import Any

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
    op.execute("UPDATE submissions SET deferred = true WHERE state = 'pending'")
    _note_keys(op.get_bind())
    with op.batch_alter_table("notices") as notices:
        notices.alter_column("case_id", existing_type=sqlmodel.sql.sqltypes.AutoString(), nullable=True)
    op.create_index("submissions_by_decision", "submissions", ["decided_at"])
    op.create_index(
        "notices_unsent",
        "notices",
        ["created_at"],
        sqlite_where=sa.text("delivered_at IS NULL"),
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
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
    op.create_index("alarms_by_kind", "alarms", ["kind", "told_at"])
    op.create_table(
        "watches",
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("watches_key")),
    )


def _note_keys(ledger: sa.Connection) -> None:
    """What a case's submissions and its archive are sealed with; of an open one also every key that has written since it
    was opened, by whatever is recorded: its history may hold what the desk has written with it."""
    by_case: dict[str, set[str]] = {}
    last_used: dict[str, Any] = {}
    in_order = sa.text("SELECT case_id, digest, recorded_at FROM submissions ORDER BY recorded_at")
    for case, digest, recorded_at in ledger.execute(in_order):
        key = digest.partition(":")[0]
        by_case.setdefault(case, set()).add(key)
        last_used[key] = recorded_at
    for case, sealed in ledger.execute(sa.text("SELECT case_id, substr(sealed, 1, 300) FROM archive")):
        by_case.setdefault(case, set()).add(bytes(sealed).partition(b":")[0].decode())
    for case, opened_at in ledger.execute(sa.text("SELECT id, opened_at FROM cases WHERE state = 'open'")):
        by_case.setdefault(case, set()).update(key for key, last in last_used.items() if last >= opened_at)
    noted = sa.text("UPDATE cases SET keys = :keys WHERE id = :case")
    if by_case:
        ledger.execute(noted, [{"case": case, "keys": ",".join(sorted(keys))} for case, keys in by_case.items()])


def downgrade() -> None:
    op.drop_table("watches")
    op.drop_table("alarms")
    op.drop_index("notices_unsent", "notices")
    op.drop_index("submissions_by_decision", "submissions")
    op.execute("DELETE FROM notices WHERE case_id IS NULL")
    with op.batch_alter_table("notices") as notices:
        notices.alter_column("case_id", existing_type=sqlmodel.sql.sqltypes.AutoString(), nullable=False)
    with op.batch_alter_table("cases") as cases:
        cases.drop_column("keys")
        cases.drop_column("entered_at")
