"""Tables with a header row, one job a row, and a mapping that says which column is what.

For logs in a house's own format. A mapping goes from our column names to the file's, with a unit where the file does
not count in seconds (times) or KB (memory):

    {"submit_time": "queued_at", "run_time": {"column": "elapsed", "unit": "ms"}, "processors": "cores", "status": ""}

or the same in a TOML file. Columns that the mapping leaves out are taken by our own names where the file has them; an
empty name leaves a column out. `processors` is the requested count, `allocated_processors` the granted one. A mapping
may also name the columns of `EXTRA_COLUMNS`, such as `gpus` and `gpu_type`.

Submissions may be calendar times too (YYYY-MM-DD hh:mm:ss, T for the space): local ones or, with Z or +00:00 behind
each, UTC. They become seconds since the first, as `wall_clock` says.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError, SettingError, require_known
from sysgym.workloads.job_table import COLUMNS, JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, codes, first_lines, known_or
from sysgym.workloads.text_table import parse_cells, split_rows, wall_time
from sysgym.workloads.trace_file import TraceFile
from sysgym.workloads.wall_clock import Readings, since_first
from sysgym.workloads.workload import EXTRA_COLUMNS

_DELIMITERS = ",;\t"
_REQUIRED = ("submit_time", "run_time", "processors")
_TEXT_COLUMNS = ("user", "group", "executable", "queue", "partition", "name", "gpu_type", "qos", "role", "allocation")
_OWN_NAMES = {"processors": "requested_processors"}
_OWN = {name for name in COLUMNS if name != "requested_processors"} | {"processors"}
_NAMES = _OWN | set(EXTRA_COLUMNS)
"""What a mapping may name; only the first kind is taken without one, where the file has that name."""

TIME_UNITS: Mapping[str, tuple[float, float]] = {
    "s": (1, 1),
    "ms": (1, 1e3),
    "us": (1, 1e6),
    "ns": (1, 1e9),
    "min": (60, 1),
    "h": (3600, 1),
    "d": (86400, 1),
}
"""Units of times: what a value is multiplied with, then divided by, to give seconds."""

MEMORY_UNITS: Mapping[str, tuple[float, float]] = {"KB": (1, 1), "B": (1, 1024), "MB": (1024, 1), "GB": (1024**2, 1)}
"""Units of memory, likewise to give KB."""


@dataclass(frozen=True)
class _Source:
    """Where one of our columns comes from: a column of the file, and its unit's factors."""

    column: str
    multiply: float = 1
    divide: float = 1

    def in_our_unit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values in seconds or KB; -1, the mark of an unknown one, stays."""
        return np.where(values == -1, -1.0, values * self.multiply / self.divide)


def recognises(file: TraceFile) -> bool:
    """Whether the first line holds a delimiter and a cell that is no number, as a header row does; JSON is no table."""
    if file.first_line.lstrip().startswith((";", "[", "{")):
        return False
    names = file.first_line.split(_delimiter(file))
    return len(names) > 1 and any(_number(name) is None for name in names)


def parse(file: TraceFile, columns: Mapping[str, Any] | str | Path | None = None) -> RawTable:
    """Read a table by a column mapping, under our own names, seconds and KB; O(cells).

    Args:
        file: The table; comma, semicolon or tab separates, as its first line shows.
        columns: The mapping, the path of a TOML file with it, or None for our own names.

    Returns:
        The mapped columns. An empty cell is unknown (-1).

    Raises:
        InputFileError: A missing or repeated column, or a table without rows.
        UnknownNameError: The mapping names a column that the file, or a workload, does not have; or an unknown unit.
        SettingError: The mapping is not one.
    """
    rows = split_rows(file, _delimiter(file))
    if not rows.cells and not rows.faults:
        raise InputFileError(file.path, "the table has a header and no jobs; expected one row a job", line=1)
    cells = dict(zip(rows.names, zip(*rows.cells, strict=True), strict=True)) if rows.cells else {}
    lines = np.array(rows.lines, dtype=np.int64)
    faults = list(rows.faults)
    given: dict[str, NDArray[Any]] = {}
    header: dict[str, str] = {}
    for name, source in _sources(file, rows.names, columns).items():
        texts = cells.get(source.column, ())
        if name == "submit_time" and _holds_times(texts):
            given[name], found, header = _times(texts, source.column, lines)
            faults += found
            continue
        values, found = parse_cells(texts, "number", source.column, lines)
        if name in _TEXT_COLUMNS and found:
            given[name] = parse_cells(texts, "text", source.column, lines)[0]
            continue
        if name == "submit_time":
            found += _absent(values, source.column, lines) if not found else []
        faults += found
        given[_OWN_NAMES.get(name, name)] = source.in_our_unit(known_or(values))
    return RawTable(given, lines, tuple(faults), header, rows.blank_lines, fields=len(rows.names))


def _holds_times(texts: Sequence[str]) -> bool:
    """Whether the first cell that holds anything is a calendar time."""
    first = next((text.strip() for text in texts if text.strip()), "")
    return wall_time(_without_utc(first)) is not None


def _without_utc(text: str) -> str:
    return text.removesuffix("Z").removesuffix("+00:00").rstrip()


def _times(
    texts: Sequence[str], column: str, lines: NDArray[np.int64]
) -> tuple[NDArray[Any], list[Fault], dict[str, str]]:
    """Calendar times, what is none, and the zone where every cell names it."""
    cells = [text.strip() for text in texts]
    bare = [_without_utc(cell) for cell in cells]
    utc = all(short != cell for short, cell in zip(bare, cells, strict=True))
    times, found = parse_cells(bare if utc else cells, "time", column, lines)
    absent = np.flatnonzero(np.isnat(times))
    if len(absent) and not found:
        message = "'' is not a time; a job needs its submission"
        found = [Fault("not_a_time", message, len(absent), first_lines(lines[absent]), column)]
    return times, found, {"TimeZoneString": "UTC"} if utc else {}


def _absent(values: NDArray[np.float64], column: str, lines: NDArray[np.int64]) -> list[Fault]:
    absent = np.flatnonzero(np.isnan(values))
    if not len(absent):
        return []
    message = "'' is not a finite number; a job needs its submission"
    return [Fault("not_a_number", message, len(absent), first_lines(lines[absent]), column)]


def jobs(path: Path, raw: RawTable, time_zone: str | None = None) -> JobTable:
    """Jobs by the mapping; users and other names that are text become numbers from 1 in order of appearance.

    Raises:
        SettingError: A zone for submissions that are seconds, or UTC already.
    """
    given = dict(raw.columns)
    header: dict[str, str] = {}
    readings: Readings = ()
    if given["submit_time"].dtype.kind == "M":
        zone = raw.header.get("TimeZoneString")
        if None not in (zone, time_zone):
            raise SettingError(f"the times of {path} are {zone} already; leave time_zone out")
        given["submit_time"], header, readings = since_first(path, raw, "submit_time", zone or time_zone)
    elif time_zone is not None:
        raise SettingError(f"time_zone is for calendar times; {path} has submissions in seconds, leave time_zone out")
    categories = {}
    for name, column in raw.columns.items():
        if column.dtype.kind == "O":
            given[name], categories[name] = codes(column)
        elif name in EXTRA_COLUMNS and EXTRA_COLUMNS[name][0] is np.float64:
            given[name] = np.where(column == -1, np.nan, column)
    if "run_time" not in given:
        given["run_time"] = np.full(len(raw), np.nan)
    return JobTable(make_columns(path, given, raw.lines), header, categories=categories, readings=readings)


def _sources(file: TraceFile, names: list[str], columns: Mapping[str, Any] | str | Path | None) -> dict[str, _Source]:
    """The mapping with our own names filled in, checked against the file."""
    mapping = _load_mapping(columns)
    for name in mapping:
        require_known("column", name, _NAMES)
    entries = {name: name for name in sorted(_OWN) if name in names} | mapping
    sources = {name: _source(name, entry) for name, entry in entries.items() if entry != ""}
    for name in _REQUIRED:
        if name not in entries or (name == "submit_time" and name not in sources):
            raise InputFileError(
                file.path,
                f"no column {name}; name it with columns={{{name!r}: ...}} (--columns {name}=...), the file has "
                f"{', '.join(names)}",
            )
    for source in sources.values():
        require_known(f"column of {file.path}", source.column, names)
        if names.count(source.column) > 1:
            raise InputFileError(file.path, "the header has this name twice; rename one", line=1, column=source.column)
    return sources


def _load_mapping(columns: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    if columns is None or isinstance(columns, Mapping):
        return dict(columns or {})
    try:
        return tomllib.loads(Path(columns).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(columns, f"cannot read the column mapping: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(columns, f'the column mapping is not TOML ({error}); write submit_time = "..."') from None


def _source(name: str, entry: Any) -> _Source:
    if isinstance(entry, str):
        return _Source(entry)
    if (
        not isinstance(entry, Mapping)
        or not isinstance(entry.get("column"), str)
        or not set(entry) <= {"column", "unit"}
    ):
        raise SettingError(f'column {name} is {entry!r}; expected a name, or {{"column": name, "unit": unit}}')
    if "unit" not in entry:
        return _Source(entry["column"])
    units = TIME_UNITS if name.endswith("_time") else MEMORY_UNITS if name == "requested_memory" else {}
    if not units:
        raise SettingError(f"column {name} has no unit; give its column's name alone")
    require_known(f"unit of {name}", entry["unit"], list(units))
    return _Source(entry["column"], *units[entry["unit"]])


def _delimiter(file: TraceFile) -> str:
    return max(_DELIMITERS, key=file.first_line.count)


def _number(cell: str) -> float | None:
    """The finite number in a cell, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
