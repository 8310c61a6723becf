"""A case to ourselves until the transaction ends: its row, its tasks, and who plays a role for it."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session, and_, col, func, or_, select

from models.organisation import Wanted, Who
from models.people import Role
from models.tables import CaseRow, NumberRow, TaskRow


def locked(session: Session, case: str) -> CaseRow:
    """The case's row, and the case to ourselves until the transaction ends."""
    return session.exec(select(CaseRow).where(CaseRow.id == case).with_for_update()).one()


def other_case(session: Session, process: str, named: str) -> CaseRow | None:
    """A case by its id or its business number, to ourselves until the transaction ends."""
    leads_to = select(NumberRow.case_id).where(NumberRow.process == process, NumberRow.number == named)
    numbered = and_(CaseRow.process == process, CaseRow.number == named)
    named_so = or_(col(CaseRow.id) == named, numbered, col(CaseRow.id) == leads_to.scalar_subquery())
    return session.exec(select(CaseRow).where(named_so).with_for_update()).first()


@dataclass(frozen=True)
class Held:
    """A case that is locked, the transaction that holds it, and the people it may need."""

    session: Session
    row: CaseRow
    people: Who

    def task(self, key: str) -> TaskRow:
        return self.session.get_one(TaskRow, (self.row.id, key))

    def first_due(self) -> datetime | None:
        """The earliest due time among its open tasks."""
        return self.session.exec(
            select(func.min(TaskRow.due_at)).where(
                TaskRow.case_id == self.row.id, TaskRow.state == "open", col(TaskRow.by_itself).is_(False)
            )
        ).one()

    def who(self, role: Role, at: datetime, unit: str | None = None) -> str:
        """The person who plays a role for it at that instant: of several, whoever did so before."""

        def before() -> str | None:
            of_role = select(TaskRow.owner).where(TaskRow.case_id == self.row.id, TaskRow.owner_role == role)
            return self.session.exec(of_role.order_by(col(TaskRow.owed_at).desc()).limit(1)).first()

        return self.people.resolve(role, replace(self._wanted(at, unit), before=before))

    def next_in_line(self, told: list[str], at: datetime) -> str | None:
        """Who hears after those who were told, the last of whom does not answer; None at the top."""
        return self.people.next_in_line(told[-1], told, self._wanted(at))

    def _wanted(self, at: datetime, unit: str | None = None) -> Wanted:
        def load() -> dict[str, int]:
            open_tasks = select(TaskRow.owner, func.count()).where(TaskRow.state == "open").group_by(TaskRow.owner)
            return dict(self.session.exec(open_tasks).all())

        return Wanted(
            case=self.row.id,
            at=at,
            region=self.row.region,
            store=self.row.store,
            unit=unit,
            about=self.row.about,
            process=self.row.process,
            load=load,
        )
