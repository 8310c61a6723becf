"""runs of the calendar, notices to members"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STRING = sqlmodel.sql.sqltypes.AutoString()
INSTANT = sqlmodel.sql.sqltypes.UTCDateTime()


def upgrade() -> None:
    op.create_table(
        "periods",
        sa.Column("process", STRING, nullable=False),
        sa.Column("period", STRING, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("by", STRING, nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("process", "period", name=op.f("periods_key")),
    )
    op.create_table(
        "expiry_lists",
        sa.Column("month", STRING, nullable=False),
        sa.Column("case_id", STRING, nullable=False),
        sa.Column("as_of", INSTANT, nullable=False),
        sa.Column("made_at", INSTANT, nullable=True),
        sa.Column("opened_at", INSTANT, nullable=True),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("waived", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("keys", STRING, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("expiry_lists_case_id_of_cases")),
        sa.PrimaryKeyConstraint("month", name=op.f("expiry_lists_key")),
    )
    op.create_index(op.f("expiry_lists_by_case_id"), "expiry_lists", ["case_id"])
    op.create_index(op.f("expiry_lists_by_keys"), "expiry_lists", ["keys"])
    op.create_table(
        "expiry_lines",
        sa.Column("month", STRING, nullable=False),
        sa.Column("member_id", STRING, nullable=False),
        sa.Column("nth", sa.Integer(), nullable=False),
        sa.Column("store", STRING, nullable=False),
        sa.Column("region", STRING, nullable=False),
        sa.Column("valid_through", sa.Date(), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("purchases", sa.Integer(), nullable=False),
        sa.Column("fen", sa.Integer(), nullable=False),
        sa.Column("waived", sa.Boolean(), nullable=False),
        sa.Column("case_id", STRING, nullable=True),
        sa.Column("checked_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("expiry_lines_case_id_of_cases")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("expiry_lines_member_id_of_members")),
        sa.PrimaryKeyConstraint("month", "member_id", name=op.f("expiry_lines_key")),
        sa.UniqueConstraint("month", "nth", name=op.f("expiry_lines_unique_month_nth")),
    )
    op.create_index("expiry_lines_by_region", "expiry_lines", ["month", "region"])
    op.create_index(op.f("expiry_lines_by_case_id"), "expiry_lines", ["case_id"])
    op.create_index(op.f("expiry_lines_by_expires_at"), "expiry_lines", ["expires_at"])
    op.create_index(op.f("expiry_lines_by_member_id"), "expiry_lines", ["member_id"])


def downgrade() -> None:
    op.drop_table("expiry_lines")
    op.drop_table("expiry_lists")
    op.drop_table("periods")
