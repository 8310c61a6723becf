"""The HTTP door: one route for each process and each of its forms, made at start from the list of workflows; every error a problem document.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import Field, create_model
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.forms import LEDGER, Code, FieldError, Form, Instant
from models.people import Person
from models.tasks import OPENING, REOPENING, Process
from models.words import Language, language_of, say
from settings import LOOPBACK
from starter import answering, customers, erasure, reference
from starter.attachments import doors as attachment_doors
from starter.docket import Receipt
from starter.expiry import doors as expiry
from starter.front import Front
from starter.library import doors as library
from starter.mail import doors as mail
from starter.members import doors as members
from starter.organisation import doors as organisation
from starter.pages import Page, Part
from starter.papers import doors as papers
from starter.post import doors as post
from starter.refusals import Invalid, Refused, TooLarge, field_errors, of_ledger, reason_of
from starter.shown import CaseSummary, CaseView, NoticeView, SubmissionView, TaskView
from starter.visits import doors as visits
from starter.visits import papers as visit_papers
from starter.watching import metrics
from workflows import PROCESSES

BODY_LIMIT = 128 * 1024
PROBLEM = "application/problem+json"

log = structlog.get_logger()

CaseId = Annotated[Code, Path(description="工单编号 · the case's id")]
Key = Annotated[
    Code | None,
    Header(alias="Idempotency-Key", description="提交编号，重发时不变 · the submission's id, the same on every retry"),
]


class CaseQuery(Part):
    process: Literal[tuple(PROCESSES)] | None = None  # type: ignore[valid-type]
    state: Literal["open", "archived"] | None = None
    kind: Code | None = None
    store: Code | None = None
    region: Code | None = None
    owner: Code | None = None
    since: Instant | None = Field(default=None, alias="from")
    until: Instant | None = Field(default=None, alias="to")
    q: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")


class TaskQuery(Part):
    owner: Code | None = None
    state: Literal["open", "done", "withdrawn"] = "open"
    due_before: Instant | None = None


class CaseAnswer(CaseView):
    """A case, and the submission this call made or repeated."""

    submission: str
    submission_state: str


def build(front: Front) -> FastAPI:
    """The API over one front. It needs neither worker nor engine to take submissions."""
    app = FastAPI(
        title="Kefu 客服",
        version="0.1.0",
        description="登记工单、提交表单、查看待办。Open cases, hand in forms, see what is due.",
        docs_url=None,  # its viewer, and that of /redoc, would come from another host
        redoc_url=None,
        responses={
            status: {"description": text, "content": {PROBLEM: {"schema": PROBLEM_SCHEMA}}}
            for status, text in {"4XX": "refused, with the reason", "5XX": "failed, nothing half-done"}.items()
        },
    )

    def acting(actor: Annotated[str | None, Header(alias="X-Kefu-Actor", description="经办人工号")] = None) -> Person:
        return front.actor(actor)

    who = Annotated[Person, Depends(acting)]
    router = APIRouter(prefix="/api")
    for process in PROCESSES.values():
        _add_opening(router, front, process, who)
        for form in process.submittable.values():
            _add_form(router, front, process, form, who)
    _add_reading(router, front, who)
    papers.add(router, front, who)
    attachment_doors.add_to(router, front.attachments, who)
    customers.add_routes(router, front, who)
    erasure.add_routes(router, front, who)
    library.add_routes(router, front, who)
    organisation.add_routes(router, front, who)
    visit_papers.add_routes(router, front, who)
    visits.add_routes(router, front, who)
    expiry.add_routes(router, front, who)
    members.add_routes(router, front, who)
    post.add_routes(router, front, who)
    mail.add_routes(router, front, who)
    app.include_router(router)
    pages = APIRouter()
    answering.add_routes(pages, front)
    app.include_router(pages)

    @app.get("/health", tags=["operations"])
    async def health() -> dict[str, str]:
        """Alive, and able to read the ledger; to write it, too, where the last submission could not be."""
        await front.alive()
        return {"status": "ok"}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference.page(app.openapi()), headers={"Content-Security-Policy": reference.POLICY})

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    def show_metrics() -> Response:
        """Numbers for Prometheus: what is open, overdue, undecided, unsent; the alarms; and when somebody last watched."""
        return PlainTextResponse(metrics.exposition(front.house.database), media_type=metrics.CONTENT_TYPE)

    _speak_in_problems(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]", "testserver"])
    return app


# Doors for submissions


def _add_opening(router: APIRouter, front: Front, process: Process, who: Any) -> None:
    facts_model = process.case

    @router.post(
        f"/cases/{process.name}",
        name=f"open_{process.name}",
        summary=f"登记 · open a case ({process.name})",
        tags=[process.name],
        status_code=201,
        response_model=CaseAnswer,
    )
    async def open_case(facts: facts_model, by: who, response: Response, key: Key = None) -> Any:  # type: ignore[valid-type]
        receipt = await front.open(process, facts, by, key)
        response.headers["Location"] = f"/api/cases/{receipt.case}"
        is_new = receipt.first and receipt.form in (OPENING, REOPENING)
        return await _answer(front, by, receipt, response, 201 if is_new else 200)


def _add_form(router: APIRouter, front: Front, process: Process, form: type[Form], who: Any) -> None:
    body_model = _body_of(process, form)

    @router.post(
        f"/cases/{process.name}/{{case}}/{form.form}",
        name=f"{process.name}_{form.form}",
        summary=f"{say('form', form.form)} · {say('form', form.form, 'en')}",
        tags=[process.name],
        response_model=CaseAnswer,
    )
    async def hand_in(case: CaseId, body: body_model, by: who, response: Response, key: Key = None) -> Any:  # type: ignore[valid-type]
        content = body.model_dump(context=LEDGER)  # type: ignore[attr-defined]
        task = None if body_model is form else content.pop("task")
        receipt = await front.hand_in(process, case, form.model_validate(content), by, task, key)
        return await _answer(front, by, receipt, response, 200)


@cache
def _body_of(process: Process, form: type[Form]) -> type[Form]:
    """The form, with `task` for where several of one form are open; an act has its own."""
    if "task" in form.model_fields or form not in process.forms:
        return form
    return create_model(form.__name__, __base__=form, __doc__=form.__doc__, task=(Code | None, None))


async def _answer(front: Front, by: Person, receipt: Receipt, response: Response, status: int) -> Any:
    """The case as the ledger shows it now; 202 while the submission is being processed, and where it cannot be shown."""
    receipt = front.taken(receipt)
    sent = {"submission": receipt.submission, "submission_state": receipt.state}
    response.status_code = 202 if receipt.state == "pending" else status
    try:
        view = await front.look(by, lambda views: views.case(receipt.case))
    except Exception as error:  # it is committed: whatever fails now, its sender must not hear that it was not taken
        log.error("answer.failed", case=receipt.case, submission=receipt.submission, exc_info=_without_values(error))
        return JSONResponse({"case": receipt.case, **sent}, 202, {"Location": f"/api/cases/{receipt.case}"})
    return CaseAnswer(**dict(view), **sent)


# Doors for looking


def _add_reading(router: APIRouter, front: Front, who: Any) -> None:
    @router.get("/cases", tags=["lists"], summary="工单列表 · cases, the soonest due first")
    async def list_cases(by: who, wanted: Annotated[CaseQuery, Query()]) -> Page[CaseSummary]:
        return await front.look(by, lambda views: views.cases(**dict(wanted)))

    @router.get("/cases/{case}", tags=["lists"], summary="工单 · a case, its tasks, clocks and timeline")
    async def show_case(case: CaseId, by: who) -> CaseView:
        return await front.look(by, lambda views: views.case(case))

    @router.get("/tasks", tags=["lists"], summary="待办列表 · tasks, the soonest due first")
    async def list_tasks(by: who, wanted: Annotated[TaskQuery, Query()]) -> Page[TaskView]:
        return await front.look(by, lambda views: views.tasks(**dict(wanted)))

    @router.get("/notices", tags=["lists"], summary="消息 · your inbox, the latest first")
    async def list_notices(
        by: who, part: Annotated[Part, Query()], accept_language: Annotated[str | None, Header()] = None
    ) -> Page[NoticeView]:
        language = language_of(accept_language)
        return await front.look(by, lambda views: views.notices(language=language, **dict(part)))

    @router.get("/submissions/{submission:path}", tags=["lists"], summary="提交 · what became of a submission")
    async def show_submission(submission: Code, by: who) -> SubmissionView:
        return await front.look(by, lambda views: views.submission(submission))


# Errors

PROBLEM_SCHEMA = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("field", "code", "reason")},
            },
        },
    },
}
TITLES = {401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict"} | {
    408: "Request Timeout",
    413: "Content Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


def problem(
    status: int,
    code: str,
    language: Language,
    values: dict[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """An RFC 9457 problem document in the reader's language. It never repeats what was sent."""
    document: dict[str, Any] = {
        "type": f"urn:kefu:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": say("refusal", code, language, **(values or {})),
    }
    if errors is not None:
        document["errors"] = errors
    headers = {"Retry-After": "5"} if status == 503 else None
    return JSONResponse(document, status, headers, media_type=PROBLEM)


def _speak_in_problems(app: FastAPI) -> None:
    def language(request: Request) -> Language:
        return language_of(request.headers.get("accept-language"))

    async def refused(request: Request, error: Refused) -> Response:
        errors = [spelt(e, language(request)) for e in error.errors] if isinstance(error, Invalid) else None
        return problem(error.status, error.code, language(request), error.values, errors)

    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await refused(request, Invalid(field_errors(error.errors(), _form_at(request))))

    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "not_json")
        return problem(error.status_code, code, language(request), {"limit": str(BODY_LIMIT // 1024)})

    async def busy(request: Request, error: OperationalError) -> Response:
        log.warning("ledger.busy", reason=type(error.orig).__name__)
        return await refused(request, of_ledger(error))

    async def failed(request: Request, error: Exception) -> Response:
        trace = f"{id(request):x}"
        log.error("api.failed", trace=trace, route=request.scope.get("path"), exc_info=_without_values(error))
        return problem(500, "failed", language(request), {"trace": trace})

    handlers: dict[Any, Callable[..., Awaitable[Response]]] = {
        Refused: refused,
        RequestValidationError: invalid,
        HTTPException: http,
        OperationalError: busy,
        Exception: failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def spelt(error: FieldError, language: Language = "zh") -> dict[str, str]:
    """A field's error in the reader's language."""
    return {"field": error.field, "code": error.code, "reason": reason_of(error, language)}


def _form_at(request: Request) -> Any:
    """What the address takes, where it takes anything."""
    bodies = request.scope["route"].dependant.body_params
    return bodies[0].field_info.annotation if bodies else None


def _without_values(error: Exception) -> Any:
    """Where a failure happened and of what kind, without its message: that may quote what somebody sent."""
    return RuntimeError, RuntimeError(type(error).__name__), error.__traceback__


class BodyLimit:
    """Refuses a body over the limit before anything reads it whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or attachment_doors.takes_files(scope):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"0")
        language = language_of(headers.get(b"accept-language", b"").decode("latin-1"))
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_LIMIT:
                raise HTTPException(TooLarge.status)
            return message

        if announced.isdigit() and int(announced) > BODY_LIMIT:
            await problem(TooLarge.status, "too_large", language, {"limit": str(BODY_LIMIT // 1024)})(
                scope, receive, send
            )
        else:
            await self._app(scope, counted, send)
