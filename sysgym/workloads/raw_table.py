"""A log as its format states it: the file's own columns, and every fault that was met on the way.

One parse serves two readers. `read_trace` takes the first fault as an error; validation counts them all and goes on
with the rows that are left. A number that is missing or broken is NaN, a missing time is NaT, a missing text is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError


@dataclass(frozen=True)
class Fault:
    """One way in which rows or cells cannot be read.

    Attributes:
        rule: "field_count", "not_a_number", "not_a_time", "not_a_row" or "missing_column".
        message: What is wrong at the first of them, what was expected and what to do.
        count: How many rows or cells.
        lines: The first of their 1-based lines, at most five.
        column: The column, if the fault has one.
    """

    rule: str
    message: str
    count: int = 1
    lines: tuple[int, ...] = ()
    column: str | None = None


@dataclass(frozen=True)
class RawTable:
    """The rows of a file that could be taken apart.

    Attributes:
        columns: By the file's own names, arrays of one length: float64 or int64, datetime64[ns], or object (text,
            lists).
        lines: int64: 1-based line (or record) of each row.
        faults: What could not be read.
        header: What the file says about itself.
        blank_lines: Lines without anything between the rows.
        point_lines: int64: lines with a decimal point, for formats that count in whole numbers.
        fields: Fields a row, where the format has rows.
        companion: What does not fit into columns, such as the stages of a DAG.
    """

    columns: Mapping[str, NDArray[Any]]
    lines: NDArray[np.int64]
    faults: tuple[Fault, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)
    blank_lines: tuple[int, ...] = ()
    point_lines: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    fields: int | None = None
    companion: Any = None

    def __len__(self) -> int:
        return len(self.lines)

    def number(self, name: str, default: float = np.nan) -> NDArray[Any]:
        """A column of numbers, or `default` in every row where the file has no such column."""
        return self.columns[name] if name in self.columns else np.full(len(self), default)

    def text(self, name: str) -> NDArray[Any]:
        """A column of text, or "" in every row where the file has no such column."""
        return self.columns[name] if name in self.columns else np.full(len(self), "", dtype=object)

    def refuse_faults(self, path: Path) -> None:
        """Raise `InputFileError` for the fault that comes first in the file, if there is one."""
        if self.faults:
            fault = min(self.faults, key=lambda fault: fault.lines[0] if fault.lines else 0)
            line = fault.lines[0] if fault.lines else None
            raise InputFileError(path, fault.message, line=line, column=fault.column)


def first_lines(lines: Sequence[int] | NDArray[np.int64]) -> tuple[int, ...]:
    """The first five line numbers, as plain integers."""
    return tuple(int(line) for line in lines[:5])


def codes(texts: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Text as numbers from 1 in order of appearance, -1 where empty, and the labels in that order.

    >>> codes(np.array(["b", "", "a", "b"], dtype=object))
    (array([ 1, -1,  2,  1]), ('b', 'a'))
    """
    labels = tuple(text for text in dict.fromkeys(texts.tolist()) if text != "")
    code = {text: number for number, text in enumerate(labels, 1)}
    return np.array([code.get(text, -1) for text in texts.tolist()], dtype=np.int64), labels


def known_or(values: NDArray[Any], unknown: float = -1) -> NDArray[Any]:
    """Numbers with `unknown` for NaN."""
    return np.where(np.isnan(values), unknown, values)
