"""members, their purchases, the member system's door"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STRING = sqlmodel.sql.sqltypes.AutoString()
INSTANT = sqlmodel.sql.sqltypes.UTCDateTime()


def upgrade() -> None:
    op.create_table(
        "members",
        sa.Column("id", STRING, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", STRING, nullable=False),
        sa.Column("store", STRING, nullable=False),
        sa.Column("region", STRING, nullable=True),
        sa.Column("joined_on", sa.Date(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_through", sa.Date(), nullable=True),
        sa.Column("standing", STRING, nullable=False),
        sa.Column("entered_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("clean_at_first", sa.Boolean(), nullable=True),
        sa.Column("existing", sa.Boolean(), nullable=False),
        sa.Column("case_id", STRING, nullable=True),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("keys", STRING, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("members_case_id_of_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("members_key")),
    )
    for column in ("store", "region", "changed_at", "case_id", "keys"):
        op.create_index(op.f(f"members_by_{column}"), "members", [column])
    op.create_index("members_by_expiry", "members", ["valid_through", "region"])
    op.create_table(
        "member_finders",
        sa.Column("member_id", STRING, nullable=False),
        sa.Column("kind", STRING, nullable=False),
        sa.Column("value", STRING, nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("member_finders_member_id_of_members")),
        sa.PrimaryKeyConstraint("member_id", "kind", "value", name=op.f("member_finders_key")),
    )
    op.create_index(op.f("member_finders_by_value"), "member_finders", ["value"])
    op.create_index(
        "member_finders_of_number",
        "member_finders",
        ["value"],
        unique=True,
        sqlite_where=sa.text("kind = 'number'"),
        postgresql_where=sa.text("kind = 'number'"),
    )
    op.create_table(
        "purchases",
        sa.Column("receipt", STRING, nullable=False),
        sa.Column("member_id", STRING, nullable=False),
        sa.Column("store", STRING, nullable=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("fen", sa.Integer(), nullable=False),
        sa.Column("refund_of", STRING, nullable=True),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("purchases_member_id_of_members")),
        sa.PrimaryKeyConstraint("receipt", name=op.f("purchases_key")),
    )
    op.create_index("purchases_of_member", "purchases", ["member_id", "at"])
    op.create_index(op.f("purchases_by_refund_of"), "purchases", ["refund_of"])
    op.create_table(
        "audit_lines",
        sa.Column("case_id", STRING, nullable=False),
        sa.Column("member_id", STRING, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("state", STRING, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("audit_lines_case_id_of_cases")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("audit_lines_member_id_of_members")),
        sa.PrimaryKeyConstraint("case_id", "member_id", name=op.f("audit_lines_key")),
    )
    op.create_index(op.f("audit_lines_by_member_id"), "audit_lines", ["member_id"])
    op.create_table(
        "member_messages",
        sa.Column("id", STRING, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", STRING, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("member_messages_key")),
    )
    op.create_table(
        "member_pulls",
        sa.Column("source", STRING, nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("member_pulls_key")),
    )
    counts = [
        sa.Column(name, sa.Integer(), nullable=False) for name in ("total", "new", "changed", "known", "rejected")
    ]
    op.create_table(
        "member_files",
        sa.Column("digest", STRING, nullable=False),
        sa.Column("kind", STRING, nullable=False),
        sa.Column("by", STRING, nullable=False),
        sa.Column("role", STRING, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        *counts,
        sa.PrimaryKeyConstraint("digest", name=op.f("member_files_key")),
    )


def downgrade() -> None:
    for table in (
        "member_files",
        "member_pulls",
        "member_messages",
        "audit_lines",
        "purchases",
        "member_finders",
        "members",
    ):
        op.drop_table(table)
