"""SIGINT and SIGTERM while a run has something to save: remembered, and acted on between two updates."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within it, the first SIGINT or SIGTERM is only remembered; a second one does what it did before.

    Signals that are ignored stay so. It does nothing outside the main thread, where Python takes no signals, and in a
    worker process, which whoever started it ends at once; what such a run saved last can be resumed as well.

    Attributes:
        received: The signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._next: Any = None

    def __enter__(self) -> Interruption:
        worker = multiprocessing.parent_process() is not None
        if threading.current_thread() is threading.main_thread() and not worker:
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def end_run(self) -> None:
        """What follows the save: what a handler set before does; else `KeyboardInterrupt` or, after SIGTERM, exit 0."""
        if self.received is None:
            return
        if callable(self._next):
            self._next(self.received, None)
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(0)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received, self._next = number, self._before.get(signal.Signals(number))
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
