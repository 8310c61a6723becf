"""The handbook's processes as durable workflows. A new process is one more line here."""

from temporalio import workflow

if not workflow.unsafe.in_sandbox():  # there each case loads what it runs anew: its own process, not all of them
    from models.tasks import Process
    from workflows.audit import AuditListWorkflow, AuditWorkflow
    from workflows.canary import CanaryWorkflow
    from workflows.complaint import ComplaintWorkflow
    from workflows.desk import Desk
    from workflows.expiry import ExpiryCallsWorkflow, ExpiryNoticeWorkflow, ExpiryWorkflow
    from workflows.visits import VisitMonthWorkflow, VisitPlanWorkflow

    WORKFLOWS: list[type[Desk]] = [
        ComplaintWorkflow,
        AuditListWorkflow,
        AuditWorkflow,
        ExpiryWorkflow,
        ExpiryCallsWorkflow,
        ExpiryNoticeWorkflow,
        VisitPlanWorkflow,
        VisitMonthWorkflow,
        CanaryWorkflow,
    ]

    PROCESSES: dict[str, Process] = {workflow.process.name: workflow.process for workflow in WORKFLOWS}
