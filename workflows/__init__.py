"""The handbook's processes as durable workflows. A new process is one more line here."""

from models.tasks import Process
from workflows.complaint import ComplaintWorkflow
from workflows.desk import Desk
from workflows.visits import VisitMonthWorkflow, VisitPlanWorkflow

WORKFLOWS: list[type[Desk]] = [ComplaintWorkflow, VisitPlanWorkflow, VisitMonthWorkflow]

PROCESSES: dict[str, Process] = {workflow.process.name: workflow.process for workflow in WORKFLOWS}
