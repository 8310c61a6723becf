"""Complaints: the facts, the forms and the promises of handbook 6.2."""

from models.complaint.facts import Complaint, ComplaintIntake
from models.complaint.forms import (
    Absorb,
    AgreedReply,
    Agreement,
    Amend,
    AskDepartment,
    AskManager,
    Assist,
    Attempt,
    BackAgain,
    Callback,
    Consent,
    Decision,
    Duplicate,
    Execution,
    ExternalReply,
    NoAgreement,
    NoContact,
    Opinion,
    OutOfAuthority,
    Reclassify,
    Record,
    Refer,
    Reply,
    SignOff,
    Solution,
    Solve,
    Supplement,
    Withdraw,
)
from models.complaint.past import ComplaintPast
from models.complaint.terms import ComplaintPromises
from models.tasks import Process

COMPLAINT = Process(
    name="complaint",
    case=Complaint,
    intake=ComplaintIntake,
    promises=ComplaintPromises,
    forms=(
        *(Reply, Solution, Consent, Execution, Callback, Record),
        *(Agreement, AgreedReply, Decision, SignOff, Assist, ExternalReply, Opinion, Supplement),
    ),
    acts=(
        Solve,
        AskManager,
        OutOfAuthority,
        AskDepartment,
        Refer,
        Attempt,
        Reclassify,
        Withdraw,
        NoAgreement,
        NoContact,
        Amend,
        Duplicate,
        BackAgain,
    ),
    sent=(Absorb,),
    renamed={"assist": ("question", "ask_department"), "answer": ("content", "assist")},
    past=ComplaintPast,
)
