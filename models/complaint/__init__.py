"""Complaints: the facts, the forms and the promises of handbook 6.2."""

from models.complaint.facts import Complaint, ComplaintIntake
from models.complaint.forms import (
    Absorb,
    AgreedReply,
    Agreement,
    Amend,
    Answer,
    AskManager,
    Assist,
    Attempt,
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
    Record,
    Refer,
    Reply,
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
        *(Agreement, AgreedReply, Decision, Answer, ExternalReply, Opinion, Supplement),
    ),
    acts=(
        Solve,
        AskManager,
        OutOfAuthority,
        Assist,
        Refer,
        Attempt,
        Withdraw,
        NoAgreement,
        NoContact,
        Amend,
        Duplicate,
    ),
    sent=(Absorb,),
    past=ComplaintPast,
)
