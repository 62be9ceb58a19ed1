"""What a problem was played on, in the few words that a record keeps: a log, a graph, a set of keys, expressions.

Whatever an environment holds as its `workload` may describe itself. Two results are compared only where the
descriptions have the same `sha256`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Change:
    """One named change that reading made.

    Attributes:
        rule: Its name.
        count: How many entries it touched.
        dropped: Whether they are gone, not changed.
    """

    rule: str
    count: int
    dropped: bool


@dataclass(frozen=True)
class Instance:
    """A description.

    Attributes:
        kind: "log", "graph", "keys", "expressions", or another word for what it is.
        name: Without the folder it lies in.
        size: How many.
        unit: Of what, such as "jobs" or "operations".
        sha256: Of everything that a result depends on, hexadecimal.
        file_sha256: Of the file; empty if it was generated.
        facts: What else a reader should know, such as the number of processors.
        changes: What reading changed.
    """

    kind: str
    name: str
    size: int
    unit: str
    sha256: str
    file_sha256: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()


@runtime_checkable
class Described(Protocol):
    """Whatever can be played and says what it is."""

    def instance(self) -> Instance:
        """The description."""
