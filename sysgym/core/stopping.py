"""SIGTERM while a study runs: it stops as at Ctrl-C, instead of counting against the run that was under way."""

from __future__ import annotations

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


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
