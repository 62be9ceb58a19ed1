"""Calling code that is not ours: a policy's, an environment's, a library's on a damaged file.

What such code raises is not ours to foresee. It becomes one line, `sys.exit()` included, so that a run that fails
takes no other with it; only Ctrl-C passes. What it prints goes to standard error, since standard output is for results.
"""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from sysgym.core.errors import PolicyError, SysgymError

FAULTS = (Exception, SystemExit)
"""What foreign code may end with; a KeyboardInterrupt is the user's own."""


def guarded(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a policy's code.

    Raises:
        PolicyError: Whatever it raised, as one line.
    """
    try:
        return quiet(call, *arguments)
    except PolicyError:
        raise
    except FAULTS as error:
        raise PolicyError(one_line(error)) from error


@contextmanager
def foreign_faults(
    kind: type[SysgymError], subject: str, made_by: Callable[[], Any], *, exits: bool = True
) -> Iterator[None]:
    """Within it, what an environment, reward or observation of the user's raises is one line; our own faults pass.

    Args:
        kind: What is raised in its place.
        subject: First words of the line.
        made_by: Gives the class or function that makes the environment, once something was raised.
        exits: Whether `sys.exit()` is a fault; a training run ends so itself after SIGTERM.
    """
    try:
        yield
    except FAULTS as error:
        ours = isinstance(error, SysgymError) or (isinstance(error, SystemExit) and not exits)
        if ours or not _is_foreign(error, made_by()):
            raise
        notes = getattr(error, "__notes__", ())
        raise kind("; ".join([f"{subject}: {one_line(error)}", *notes])) from error


def quiet(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call foreign code with its prints sent to standard error."""
    with redirect_stdout(sys.stderr):
        return call(*arguments, **named)


def one_line(error: BaseException) -> str:
    """An exception in one line: its kind, what it says, and the file and line where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}, line {frames[-1].lineno})" if frames else ""
    return f"{summary(error)}{place}"


def _is_foreign(error: BaseException, made_by: Any) -> bool:
    """Whether what was raised came from code that is not ours: an environment's, or a reward, observation or file's.

    Args:
        error: The exception.
        made_by: The class or function that makes the environment.
    """
    if not str(getattr(made_by, "__module__", "")).startswith("sysgym."):
        return True
    installed = (str(Path(__file__).parents[1]), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), "<")
    return any(not frame.filename.startswith(installed) for frame in traceback.extract_tb(error.__traceback__))


def summary(error: BaseException) -> str:
    """Kind of an exception and what it says, without line breaks and without what UTF-8 cannot hold."""
    said = error.msg if isinstance(error, SyntaxError) else str(error)  # its place is told beside it
    text = " ".join(said.split())
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def printable(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 file can hold, replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def line_in(error: BaseException, path: Path) -> int | None:
    """The innermost line of a file that an exception passed through; None if it did not meet the file."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
