"""Tables as text: rows of cells with line numbers, and cells as numbers, times or text; faults are collected.

Every delimited format is read by these functions, driven by the column types of its schema.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.workloads.raw_table import Fault, RawTable, first_lines
from sysgym.workloads.schema import Schema, schema_of
from sysgym.workloads.trace_file import TraceFile

_TIME = re.compile(r"(?:1[7-9]|20|21)\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?", re.ASCII)
_TIME_FORM = "YYYY-MM-DD hh:mm:ss, with at most 9 digits behind a point"
_DURATION = re.compile(r"(?:(?:(\d{1,6})-)?(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:\.\d{1,9})?)", re.ASCII)


@dataclass(frozen=True)
class Rows:
    """Cells by row.

    Attributes:
        names: The columns.
        cells: One list a row, each as long as `names`.
        lines: 1-based line on which each row ends.
        blank_lines: Lines that hold nothing.
        faults: Rows that could not be taken apart.
    """

    names: list[str]
    cells: list[list[str]]
    lines: list[int]
    blank_lines: tuple[int, ...]
    faults: tuple[Fault, ...]


def split_rows(file: TraceFile, delimiter: str = ",", names: Sequence[str] | None = None) -> Rows:
    """Take a delimited file apart; O(cells).

    Args:
        file: The file.
        delimiter: What separates the cells.
        names: The columns of a file without a header row; None takes the first row.
    """
    reader = csv.reader(
        io.StringIO(file.text),
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_MINIMAL if names is None else csv.QUOTE_NONE,
    )
    header = list(names) if names is not None else None
    cells: list[list[str]] = []
    lines: list[int] = []
    blank: list[int] = []
    wrong: list[int] = []
    faults = []
    wrong_message = ""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            message = f"not a CSV row ({error}); mend the quotes of the row"
            faults.append(Fault("not_a_row", message, 1, (reader.line_num,)))
            continue
        if len(row) < 2 and not "".join(row).strip():
            blank.append(reader.line_num)
        elif header is None:
            header = [" ".join(name.split()) for name in row]
        elif len(row) != len(header):
            wrong_message = wrong_message or _row_length(len(row), len(header), names is None)
            wrong.append(reader.line_num)
        else:
            cells.append(row)
            lines.append(reader.line_num)
    if wrong:
        faults.append(Fault("field_count", wrong_message, len(wrong), first_lines(wrong)))
    return Rows(header or [], cells, lines, tuple(blank), tuple(faults))


def _row_length(found: int, expected: int, has_header: bool) -> str:
    whose = f"the header has {expected}" if has_header else f"expected {expected}"
    return f"{found} fields, {whose}; complete or remove the row"


def parse_table(file: TraceFile, format: str, delimiter: str = ",", names: Sequence[str] | None = None) -> RawTable:
    """A delimited file as the columns that the format's schema describes; others are kept as text.

    Args:
        file: The file.
        format: Name of the schema.
        delimiter: What separates the cells.
        names: The columns of a file without a header row; None takes the first row.
    """
    schema = schema_of(format)
    rows = split_rows(file, delimiter, names)
    faults = [*rows.faults, *header_faults(rows.names, schema)]
    by_name = dict(zip(rows.names, zip(*rows.cells, strict=True), strict=True)) if rows.cells else {}
    if not rows.cells and not faults:
        faults.append(Fault("no_rows", "the table has a header and no jobs; expected one row a job", 1, (1,)))
    lines = np.array(rows.lines, dtype=np.int64)
    columns: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(rows.names):
        kind = schema.columns[name].type if name in schema.columns else "text"
        columns[name], found = parse_cells(by_name.get(name, ()), kind, name, lines)
        faults += found
    return RawTable(columns, lines, tuple(faults), {}, rows.blank_lines, fields=len(rows.names))


def header_faults(names: Sequence[str], schema: Schema) -> list[Fault]:
    """Names that stand twice, and required columns that are not there."""
    faults = [
        Fault("repeated_column", "the header has this name twice; rename one", names.count(name), (1,), name)
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    for name, column in schema.columns.items():
        if column.presence == "required" and name not in names:
            message = f"no column {name}, which {schema.format} needs; the file has {', '.join(names)}"
            faults.append(Fault("missing_column", message, 1, (), name))
    return faults


def parse_cells(
    cells: Sequence[str], kind: str, name: str, lines: NDArray[np.int64]
) -> tuple[NDArray[Any], list[Fault]]:
    """One column of cells in its type; an empty cell is missing, a broken one is missing and a fault.

    Args:
        cells: The texts.
        kind: "integer", "number", "duration" (as seconds), "time", "boolean" or "text".
        name: The column, for the fault.
        lines: Line of each cell.
    """
    if kind == "text":
        return np.array([cell.strip() for cell in cells], dtype=object), []
    if kind == "time":
        return _parse_times(cells, name, lines)
    if kind == "duration":
        return _parse_each(cells, duration, "not_a_duration", "a duration (days-hh:mm:ss)", name, lines)
    if kind == "boolean":
        return _parse_each(cells, _boolean, "not_a_number", "true or false", name, lines)
    try:
        values = np.array(list(map(float, cells)), dtype=np.float64)
        if np.isfinite(values).all() and "_" not in "".join(cells):
            return values, []
    except ValueError:
        pass
    return _parse_each(cells, finite, "not_a_number", "a finite number", name, lines)


def _parse_each(
    cells: Sequence[str],
    parse: Callable[[str], float | None],
    rule: str,
    expected: str,
    name: str,
    lines: NDArray[np.int64],
) -> tuple[NDArray[np.float64], list[Fault]]:
    values = np.full(len(cells), np.nan)
    wrong = []
    for row, cell in enumerate(cells):
        if cell.strip():
            value = parse(cell)
            if value is None:
                wrong.append(row)
            else:
                values[row] = value
    return values, _cell_faults(wrong, cells, rule, expected, name, lines)


def _cell_faults(
    wrong: Sequence[int], cells: Sequence[str], rule: str, expected: str, name: str, lines: NDArray[np.int64]
) -> list[Fault]:
    if not len(wrong):
        return []
    message = f"{cells[wrong[0]][:80]!r} is not {expected}; mend the cell, or leave it empty where it is unknown"
    return [Fault(rule, message, len(wrong), first_lines(lines[list(wrong)]), name)]


def _parse_times(cells: Sequence[str], name: str, lines: NDArray[np.int64]) -> tuple[NDArray[Any], list[Fault]]:
    """Wall-clock times as datetime64[ns]; all digits behind the point are kept."""
    texts = [cell.strip() for cell in cells]
    if all(map(_TIME.fullmatch, texts)):
        try:
            return np.array(texts, dtype="datetime64[ns]"), []
        except ValueError:
            pass
    times = np.array([wall_time(text) for text in texts], dtype="datetime64[ns]")
    wrong = [row for row, text in enumerate(texts) if text and np.isnat(times[row])]
    return times, _cell_faults(wrong, cells, "not_a_time", f"a time ({_TIME_FORM})", name, lines)


def wall_time(text: str) -> np.datetime64 | None:
    """A time without a zone between the years 1700 and 2199, or None where the text is none.

    >>> wall_time("2023-11-16 18:15:46.6805900")
    np.datetime64('2023-11-16T18:15:46.680590000')
    >>> wall_time("2023-02-30 00:00:00"), wall_time("16/11/2023")
    (None, None)
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        return np.datetime64(text, "ns")
    except ValueError:
        return None


def duration(text: str) -> float | None:
    """Seconds of `days-hh:mm:ss`, `hh:mm:ss` or `mm:ss`, or None where the text is no such duration.

    >>> duration("1-02:00:30"), duration("07:30"), duration("90")
    (93630.0, 450.0, None)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def finite(cell: str) -> float | None:
    """The finite number in a cell, or None; `17_4` is a member of an array of jobs, although Python reads it as 174.

    >>> finite("1e3"), finite("17_4"), finite("nan")
    (1000.0, None, None)
    """
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None


_BOOLEANS: Mapping[str, float] = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0}


def _boolean(cell: str) -> float | None:
    return _BOOLEANS.get(cell.strip().lower())
