"""numbers under which customers came back with what was closed"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sqlmodel.sql.sqltypes.AutoString()
    op.create_table(
        "numbers",
        sa.Column("process", text, nullable=False),
        sa.Column("number", text, nullable=False),
        sa.Column("case_id", text, nullable=False),
        sa.Column("submission", text, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("numbers_case_id_of_cases")),
        sa.PrimaryKeyConstraint("process", "number", name=op.f("numbers_key")),
    )
    op.create_index(op.f("numbers_by_case_id"), "numbers", ["case_id"])


def downgrade() -> None:
    op.drop_index(op.f("numbers_by_case_id"), "numbers")
    op.drop_table("numbers")
