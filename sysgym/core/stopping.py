"""How work ends early: a study at SIGTERM as at Ctrl-C, a worker process with the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM came: like a `KeyboardInterrupt` no fault of the code that was running, so no `Exception`."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def terminable() -> Iterator[None]:
    """Within it, SIGTERM raises `Terminated`; a training that is under way saves its checkpoint first.

    It does nothing outside the main thread, where Python takes no signals, and where somebody else handles or ignores
    the signal.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_with_parent() -> None:
    """From now on this process ends as soon as the one that started it has, even where that was killed."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
