"""how late: found by when it fired, and by when a channel took it"""

from alembic import op

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("deadlines_by_fired_at"), "deadlines", ["fired_at"])
    op.create_index("deliveries_by_delivery", "deliveries", ["delivered_at"])


def downgrade() -> None:
    op.drop_index("deliveries_by_delivery", "deliveries")
    op.drop_index(op.f("deadlines_by_fired_at"), "deadlines")
