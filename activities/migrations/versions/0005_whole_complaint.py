"""the whole complaint: the employee a case is about; promises the desk keeps by itself"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("about", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("by_itself", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("by_itself", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("tasks") as tasks:
        tasks.drop_column("by_itself")
    with op.batch_alter_table("cases") as cases:
        cases.drop_column("about")
