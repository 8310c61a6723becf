"""The ledger's tables. Instants are UTC; whatever a person typed is in a sealed column, and only there.

Only the case library is in the clear: it is there to be searched, and its door keeps customers out of it.
"""

from models.tables.cases import (
    ERASED,
    SYSTEM_GRACE,
    ArchiveRow,
    CaseRow,
    DeadlineRow,
    EventRow,
    NoticeRow,
    NumberRow,
    SubmissionRow,
    TaskRow,
)
from models.tables.members import AuditLineRow, FinderRow, MemberFileRow, MemberRow, MessageRow, PullRow, PurchaseRow
from models.tables.months import ExpiryLineRow, ExpiryListRow, PeriodRow
from models.tables.people import HandOverRow, OrganisationRow
from models.tables.post import AnswerRow, DeliveryRow, LetterRow, MailboxRow
from models.tables.shelf import (
    WORD,
    AttachmentRow,
    CustomerRow,
    LibraryChangeRow,
    LibraryRow,
    LibraryWordRow,
    SearchRow,
)
from models.tables.visits import (
    DayRevisionRow,
    DayRow,
    PlanVersionRow,
    VisitCallRow,
    VisitFinderRow,
    VisitListRow,
    VisitRow,
)
from models.tables.watch import AlarmRow, WatchRow

__all__ = [
    "ERASED",
    "SYSTEM_GRACE",
    "WORD",
    "AlarmRow",
    "AnswerRow",
    "ArchiveRow",
    "AttachmentRow",
    "AuditLineRow",
    "CaseRow",
    "CustomerRow",
    "DayRevisionRow",
    "DayRow",
    "DeadlineRow",
    "DeliveryRow",
    "EventRow",
    "ExpiryLineRow",
    "ExpiryListRow",
    "FinderRow",
    "HandOverRow",
    "LetterRow",
    "LibraryChangeRow",
    "LibraryRow",
    "LibraryWordRow",
    "MailboxRow",
    "MemberFileRow",
    "MemberRow",
    "MessageRow",
    "NoticeRow",
    "NumberRow",
    "OrganisationRow",
    "PeriodRow",
    "PlanVersionRow",
    "PullRow",
    "PurchaseRow",
    "SearchRow",
    "SubmissionRow",
    "TaskRow",
    "VisitCallRow",
    "VisitFinderRow",
    "VisitListRow",
    "VisitRow",
    "WatchRow",
]
