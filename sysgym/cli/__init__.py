"""The command line: parses what a user wrote, calls one function of a room below, and shows what came back.

The only room that prints. Every command shows a table to people and plain JSON to machines (`--json`). A user's
mistake is one line on standard error and exit code 2; whatever was already written stays whole. One file a group of
commands; heavy rooms are imported when a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from sysgym.cli import (  # noqa: F401  they register their commands
    expressions,
    indexes,
    leaderboards,
    logs,
    placement,
    reproduction,
    studies,
    traces,
)
from sysgym.cli.app import app
from sysgym.cli.show import log
from sysgym.core.errors import SysgymError
from sysgym.core.stopping import Terminated

INTERRUPTED = 130  # what typer makes of Ctrl-C too
_UsageError: Any = typer.BadParameter.__base__  # the words were wrong; typer doesn't export this class itself


def main() -> None:
    """Run the command line; the entry point of `sysgym`.

    Modules that a user names (`module:Id`, `module:function`) are also looked for where he stands.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        code = app(standalone_mode=False)
    except SysgymError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(error.format_message())
    except PermissionError as error:
        _fail(f"{error.filename}: permission denied")
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Terminated as stop:
        code = stop.exit_code
    except BrokenPipeError:
        sys.exit(0)
    if code in (INTERRUPTED, Terminated.exit_code):
        log.print("interrupted; what was finished is kept")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    log.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}", soft_wrap=True, highlight=False)
    sys.exit(2)
