"""The command line: `kefu …`. Everything on one machine, or the same doors as the API for those who prefer to type."""

import os
import sys
from typing import Any, NoReturn

import typer

from activities import schema
from starter.commands import (
    calendar,
    care,
    expiry,
    files,
    library,
    mail,
    members,
    operate,
    organisation,
    papers,
    post,
    visits,
    work,
)

app = typer.Typer(
    name="kefu",
    help="客服工作台 · the customer-service desk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for room in (operate, care, work, library, papers, files, mail, members, calendar, expiry, visits):
    app.add_typer(room.app)
app.add_typer(organisation.app, name="org")
app.add_typer(post.app, name="post")
app.add_typer(mail.answers, name="answers")


def main() -> NoReturn:
    """Run a command and leave at once: the engine's client may abort at interpreter exit after its work is done."""
    code: Any = 0
    try:
        app(standalone_mode=True)
    except SystemExit as leaving:
        code = leaving.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except schema.UnknownSchema as error:
        print(error, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main()
