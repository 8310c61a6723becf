"""plans, visits, the calendar's days"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STRING = sqlmodel.sql.sqltypes.AutoString()
INSTANT = sqlmodel.sql.sqltypes.UTCDateTime()


def upgrade() -> None:
    op.create_table(
        "calendar_revisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("by", STRING, nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("why", STRING, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("calendar_revisions_key")),
    )
    op.create_table(
        "calendar_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("working", sa.Boolean(), nullable=False),
        sa.Column("name", STRING, nullable=False),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["revision"], ["calendar_revisions.id"], name=op.f("calendar_days_revision_of_calendar_revisions")
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("calendar_days_key")),
    )
    op.create_table(
        "plan_versions",
        sa.Column("id", STRING, nullable=False),
        sa.Column("case_id", STRING, nullable=False),
        sa.Column("month", STRING, nullable=False),
        sa.Column("store", STRING, nullable=False),
        sa.Column("nth", sa.Integer(), nullable=False),
        sa.Column("kind", STRING, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("by", STRING, nullable=False),
        sa.Column("nil", sa.Boolean(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("source", STRING, nullable=False),
        sa.ForeignKeyConstraint(["id"], ["submissions.id"], name=op.f("plan_versions_id_of_submissions")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("plan_versions_case_id_of_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("plan_versions_key")),
    )
    op.create_index(op.f("plan_versions_by_case_id"), "plan_versions", ["case_id"])
    op.create_index(op.f("plan_versions_by_month"), "plan_versions", ["month"])
    op.create_table(
        "visits",
        sa.Column("id", STRING, nullable=False),
        sa.Column("case_id", STRING, nullable=False),
        sa.Column("month", STRING, nullable=False),
        sa.Column("store", STRING, nullable=False),
        sa.Column("region", STRING, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("added_at", INSTANT, nullable=False),
        sa.Column("dropped_at", INSTANT, nullable=True),
        sa.Column("purpose", STRING, nullable=False),
        sa.Column("method", STRING, nullable=False),
        sa.Column("planned_on", sa.Date(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("caller", STRING, nullable=False),
        sa.Column("list_nth", sa.Integer(), nullable=False),
        sa.Column("member_id", STRING, nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("state", STRING, nullable=False),
        sa.Column("held_for", STRING, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", STRING, nullable=True),
        sa.Column("satisfaction", sa.Integer(), nullable=True),
        sa.Column("problem", sa.Boolean(), nullable=False),
        sa.Column("cause", STRING, nullable=True),
        sa.Column("won", STRING, nullable=True),
        sa.Column("reached", sa.Boolean(), nullable=False),
        sa.Column("on_time", sa.Boolean(), nullable=False),
        sa.Column("done_at", INSTANT, nullable=True),
        sa.Column("done_by", STRING, nullable=True),
        sa.Column("complaint", STRING, nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("visits_case_id_of_cases")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("visits_member_id_of_members")),
        sa.ForeignKeyConstraint(["complaint"], ["cases.id"], name=op.f("visits_complaint_of_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("visits_key")),
    )
    for column in ("case_id", "member_id", "complaint"):
        op.create_index(op.f(f"visits_by_{column}"), "visits", [column])
    op.create_index("visits_by_month", "visits", ["month", "store"])
    op.create_index("visits_by_day", "visits", ["due_on", "state"])
    op.create_index("visits_by_call", "visits", ["done_at"])
    op.create_table(
        "visit_lists",
        sa.Column("case_id", STRING, nullable=False),
        sa.Column("nth", sa.Integer(), nullable=False),
        sa.Column("caller", STRING, nullable=False),
        sa.Column("role", STRING, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("visit_lists_case_id_of_cases")),
        sa.PrimaryKeyConstraint("case_id", "nth", name=op.f("visit_lists_key")),
    )
    op.create_index(op.f("visit_lists_by_day"), "visit_lists", ["day"])
    op.create_table(
        "visit_calls",
        sa.Column("visit_id", STRING, nullable=False),
        sa.Column("nth", sa.Integer(), nullable=False),
        sa.Column("key", STRING, nullable=True),
        sa.Column("digest", STRING, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("channel", STRING, nullable=False),
        sa.Column("outcome", STRING, nullable=False),
        sa.Column("by", STRING, nullable=False),
        sa.Column("role", STRING, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["visit_id"], ["visits.id"], name=op.f("visit_calls_visit_id_of_visits")),
        sa.PrimaryKeyConstraint("visit_id", "nth", name=op.f("visit_calls_key")),
        sa.UniqueConstraint("key", name=op.f("visit_calls_unique_key")),
    )
    op.create_table(
        "visit_finders",
        sa.Column("visit_id", STRING, nullable=False),
        sa.Column("kind", STRING, nullable=False),
        sa.Column("value", STRING, nullable=False),
        sa.ForeignKeyConstraint(["visit_id"], ["visits.id"], name=op.f("visit_finders_visit_id_of_visits")),
        sa.PrimaryKeyConstraint("visit_id", "kind", "value", name=op.f("visit_finders_key")),
    )
    op.create_index(op.f("visit_finders_by_value"), "visit_finders", ["value"])


def downgrade() -> None:
    for table in (
        "visit_finders",
        "visit_calls",
        "visit_lists",
        "visits",
        "plan_versions",
        "calendar_days",
        "calendar_revisions",
    ):
        op.drop_table(table)
