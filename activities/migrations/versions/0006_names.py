"""the department's answer is the form `assist`, asked for by `ask_department`; which time a case began with"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAMES = (
    ("tasks", "key"),
    ("tasks", "form"),
    ("deadlines", "task"),
    ("events", "task"),
    ("notices", "task"),
    ("submissions", "task"),
)


def upgrade() -> None:
    op.execute("UPDATE submissions SET form = 'ask_department' WHERE form = 'assist'")
    op.execute("UPDATE submissions SET form = 'assist' WHERE form = 'answer'")
    _rename("answer", "assist")
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("first_cycle", sa.Integer(), nullable=False, server_default="1"))
    with op.batch_alter_table("cases") as cases:
        cases.alter_column("first_cycle", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("cases") as cases:
        cases.drop_column("first_cycle")
    _rename("assist", "answer")
    op.execute("UPDATE submissions SET form = 'answer' WHERE form = 'assist'")
    op.execute("UPDATE submissions SET form = 'assist' WHERE form = 'ask_department'")


def _rename(old: str, new: str) -> None:
    """Of the tasks of complaints: their names, and the keys of what happened to them."""
    for name in ("events", "notices"):
        rows = sa.table(name, sa.column("key", sa.String), sa.column("task", sa.String))
        ended = sa.func.replace(sa.func.replace(rows.c.key + "/", f"/{old}/", f"/{new}/"), f"/{old}-", f"/{new}-")
        bare = sa.func.substr(ended, 1, sa.func.length(ended) - 1)
        op.execute(rows.update().where(_is(rows.c.task, old)).values(key=bare))
    for name, column in NAMES:
        rows = sa.table(name, sa.column(column, sa.String))
        called = rows.c[column]
        op.execute(rows.update().where(_is(called, old)).values({column: sa.func.replace(called, old, new)}))


def _is(column: sa.ColumnElement[str], name: str) -> sa.ColumnElement[bool]:
    return (column == name) | column.like(f"{name}-%")
