"""what a case is taken for now"""

import json

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

cases = sa.table("cases", sa.column("id"), sa.column("taken_for"))


def upgrade() -> None:
    with op.batch_alter_table("cases") as table:
        table.add_column(sa.Column("taken_for", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
    connection = op.get_bind()
    for case, kind in _kinds(connection).items():
        connection.execute(cases.update().where(cases.c.id == case).values(taken_for=kind))


def downgrade() -> None:
    with op.batch_alter_table("cases") as table:
        table.drop_column("taken_for")


def _kinds(connection: sa.Connection) -> dict[str, str]:
    """What complaints were opened as, or found to be. What was to be thrown away is so where the manager has agreed."""
    kinds: dict[str, str] = {}
    said = connection.execute(
        sa.text(
            "SELECT s.case_id, s.outline, c.closed_because FROM submissions s JOIN cases c ON c.id = s.case_id"
            " WHERE c.process = 'complaint' AND (s.form = 'open' OR s.form = 'reclassify' AND s.state = 'decided')"
            " ORDER BY s.case_id, s.recorded_at"
        )
    )
    for case, outline, closed_because in said:
        kind = (json.loads(outline) if isinstance(outline, str) else outline).get("kind")
        if kind and (kind != "junk" or closed_because == "junk" or case not in kinds):
            kinds[case] = kind
    return kinds
