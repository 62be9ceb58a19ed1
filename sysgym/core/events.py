"""The event log: what happened in a simulation, and the only source of its scores.

Every simulator and every kernel writes the same four columns, in the order in which things happened. Metrics are
computed from them and from the workload, never from what a policy says, which is what makes an evaluation hard to
fool and a replay verifiable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class EventKind(IntEnum):
    """What can happen to a job; a domain uses those that it needs."""

    SUBMIT = 0
    """A job enters the system; the amount is its size (processors or length)."""
    BOOK = 1
    """A job gets a start in the future or now; the amount is the start time."""
    START = 2
    """A job begins to run; the amount is the processors it takes."""
    FINISH = 3
    """A job has ended; the amount is the processors it gives back."""
    DROP = 4
    """A job is lost because the queue was full; the amount is its size."""
    REWRITE = 5
    """An expression is rewritten; the subject is the rewrite's number, the amount the expression's size after it."""
    MEASURE = 6
    """A configuration was evaluated; the subject is its number, the amount what was found (nanoseconds)."""
    PREEMPT = 7
    """A running job is stopped and waits again; the amount is what it loses of its progress, in seconds."""
    PLACE = 8
    """A group of operations is put on a device, or a worker of a job on a node; the amount is its number."""
    LENGTH = 9
    """The characters of an expression; the subject is the number of the rewrite that led to it."""


def event_kinds(*kinds: EventKind) -> NDArray[np.int8]:
    """Kinds as kernels write them: numbers of numpy, since numba compiles a function anew for every literal integer."""
    return np.array(kinds, dtype=np.int8)


@dataclass(frozen=True)
class EventLog:
    """Columns of a finished (or running) simulation's events.

    Attributes:
        time: float64, shape (n,), seconds or time steps of the domain; never decreasing.
        kind: int8, shape (n,), values of `EventKind`.
        subject: int64, shape (n,), row of the job in its workload.
        amount: float64, shape (n,), see `EventKind`.
    """

    time: NDArray[np.float64]
    kind: NDArray[np.int8]
    subject: NDArray[np.int64]
    amount: NDArray[np.float64]

    @classmethod
    def of_row(cls, columns: Any, row: int, count: int) -> EventLog:
        """The first `count` events of a kernel's episode, copied.

        Args:
            columns: State of many episodes with `event_time`, `event_kind`, `event_subject`, `event_amount`, (B, most).
            row: Which episode.
            count: Events that it has written.
        """
        return cls(
            columns.event_time[row, :count].astype(np.float64),
            columns.event_kind[row, :count].copy(),
            columns.event_subject[row, :count].copy(),
            columns.event_amount[row, :count].astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.time)

    def __iter__(self) -> Iterator[tuple[float, EventKind, int, float]]:
        rows = zip(self.time, self.kind, self.subject, self.amount, strict=True)
        return ((float(t), EventKind(k), int(s), float(a)) for t, k, s, a in rows)

    def of(self, kind: EventKind) -> EventLog:
        """The events of one kind, in order; O(n)."""
        chosen = self.kind == kind
        return EventLog(self.time[chosen], self.kind[chosen], self.subject[chosen], self.amount[chosen])

    def sha256(self) -> str:
        """Hexadecimal SHA-256 over the four columns: equal exactly when two simulations went the same way."""
        digest = hashlib.sha256()
        for column, dtype in ((self.time, "<f8"), (self.kind, "<i1"), (self.subject, "<i8"), (self.amount, "<f8")):
            digest.update(np.ascontiguousarray(column, dtype=dtype).tobytes())
        return digest.hexdigest()


class EventRecorder:
    """Append-only writer of an event log, for the simulators written in Python; O(1) an event."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, int, int, float]] = []

    def append(self, time: float, kind: EventKind, subject: int, amount: float) -> None:
        """Write down one event."""
        self._rows.append((time, kind, subject, amount))

    def log(self) -> EventLog:
        """The events so far, as columns; O(n)."""
        return EventLog(
            np.array([time for time, _, _, _ in self._rows], dtype=np.float64),
            np.array([kind for _, kind, _, _ in self._rows], dtype=np.int8),
            np.array([subject for _, _, subject, _ in self._rows], dtype=np.int64),
            np.array([amount for _, _, _, amount in self._rows], dtype=np.float64),
        )
