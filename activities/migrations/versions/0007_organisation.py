"""the organisation as data; who acknowledged a breach, and when it climbs"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text, instant = sqlmodel.sql.sqltypes.AutoString, sqlmodel.sql.sqltypes.UTCDateTime
    op.create_table(
        "organisation",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", instant(), nullable=False),
        sa.Column("by", text(), nullable=False),
        sa.Column("what", text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key", text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("organisation_key")),
    )
    op.create_table(
        "hand_overs",
        sa.Column("absence", text(), nullable=False),
        sa.Column("case_id", text(), nullable=False),
        sa.Column("task", text(), nullable=False),
        sa.Column("deputy", text(), nullable=False),
        sa.Column("at", instant(), nullable=False),
        sa.Column("by", text(), nullable=False),
        sa.Column("returned_at", instant(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("hand_overs_case_id_of_cases")),
        sa.PrimaryKeyConstraint("absence", "case_id", "task", name=op.f("hand_overs_key")),
    )
    with op.batch_alter_table("deadlines") as deadlines:
        deadlines.add_column(sa.Column("acknowledged_by", text(), nullable=True))
        deadlines.add_column(sa.Column("climbs_at", instant(), nullable=True))
        deadlines.add_column(sa.Column("hops", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("deadlines") as deadlines:
        deadlines.alter_column("hops", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("deadlines") as deadlines:
        deadlines.drop_column("hops")
        deadlines.drop_column("climbs_at")
        deadlines.drop_column("acknowledged_by")
    op.drop_table("hand_overs")
    op.drop_table("organisation")
