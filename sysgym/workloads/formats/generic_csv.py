"""Tables with a header row, one job a row, and a mapping that says which column is what.

For logs in a house's own format. A mapping goes from our column names to the file's, with a unit where the file does
not count in seconds (times) or KB (memory):

    {"submit_time": "queued_at", "run_time": {"column": "elapsed", "unit": "ms"}, "processors": "cores", "status": ""}

or the same in a TOML file. Columns that the mapping leaves out are taken by our own names where the file has them; an
empty name leaves a column out. `processors` is the requested count, `allocated_processors` the granted one. A mapping
may also name the columns of `EXTRA_COLUMNS`, such as `gpus` and `gpu_type`.

Submissions may be calendar times too (YYYY-MM-DD hh:mm:ss, T for the space): local ones or, with Z or +00:00 behind
each, UTC. Another form is given as Python's `strptime` writes it: {"column": "queued", "form": "%d.%m.%Y %H:%M"}. They
become seconds since the first, as `wall_clock` says. Durations may be written days-hh:mm:ss.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError, SettingError, require_known
from sysgym.workloads.job_table import COLUMNS, JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, codes, first_lines, known_or
from sysgym.workloads.text_table import duration, finite, parse_cells, split_rows, wall_time
from sysgym.workloads.trace_file import TraceFile
from sysgym.workloads.wall_clock import Readings, since_first
from sysgym.workloads.workload import EXTRA_COLUMNS

_DELIMITERS = ",;\t|"
_REQUIRED = ("submit_time", "run_time", "processors")
_TEXT_COLUMNS = ("user", "group", "executable", "queue", "partition", "name", "gpu_type", "qos", "role", "allocation")
_DURATIONS = ("run_time", "requested_time")
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
    """Where one of our columns comes from: a column of the file, its unit's factors, the form of its calendar times."""

    column: str
    multiply: float = 1
    divide: float = 1
    form: str | None = None

    def in_our_unit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values in seconds or KB; -1, the mark of an unknown one, stays."""
        return np.where(values == -1, -1.0, values * self.multiply / self.divide)


def recognises(file: TraceFile) -> bool:
    """Whether the first line holds a delimiter and a cell that is no number, as a header row does; JSON is no table."""
    if file.first_line.lstrip().startswith((";", "[", "{")):
        return False
    names = file.first_line.split(_delimiter(file))
    return len(names) > 1 and any(finite(name) is None for name in names)


def parse(file: TraceFile, columns: Mapping[str, Any] | str | Path | None = None) -> RawTable:
    """Read a table by a column mapping, under our own names, seconds and KB; O(cells).

    Args:
        file: The table; comma, semicolon, tab or bar separates, as its first line shows.
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
        if name == "submit_time" and (source.form or _first(texts, _is_time)):
            given[name], found, header = _times(_in_our_form(texts, source.form), source.column, lines)
            faults += found
            continue
        is_duration = name in _DURATIONS and source == _Source(source.column) and _first(texts, duration)
        values, found = parse_cells(texts, "duration" if is_duration else "number", source.column, lines)
        if name in _TEXT_COLUMNS and found:
            given[name] = parse_cells(texts, "text", source.column, lines)[0]
            continue
        if name == "submit_time":
            found = found or _absent(values, source.column, lines)
            found = found if _first(texts, finite) else _no_submission(found)
        faults += found
        given[_OWN_NAMES.get(name, name)] = source.in_our_unit(known_or(values))
    return RawTable(given, lines, tuple(faults), header, rows.blank_lines, fields=len(rows.names))


def _first(texts: Sequence[str], reads: Callable[[str], Any]) -> bool:
    """Whether the first cell that holds anything can be read so."""
    first = next((text.strip() for text in texts if text.strip()), "")
    return reads(first) is not None


def _is_time(text: str) -> Any:
    return wall_time(_without_utc(text))


def _in_our_form(texts: Sequence[str], form: str | None) -> Sequence[str]:
    """Calendar times of another form in ours; what is not of that form stays."""
    return texts if form is None else [_rewritten(text.strip(), form) for text in texts]


def _rewritten(text: str, form: str) -> str:
    try:
        time = datetime.strptime(text, form)
        return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if time.tzinfo else time.isoformat(" ", "seconds")
    except (ValueError, OverflowError):
        return text


def _no_submission(found: Sequence[Fault]) -> list[Fault]:
    """Cells of a column whose first is no number: what they may be instead."""
    form = 'YYYY-MM-DD hh:mm:ss or another form, {"column": "...", "form": "%d.%m.%Y %H:%M:%S"}'
    return [
        replace(fault, message=fault.message.split(" is not ")[0] + f" is neither a number nor a time ({form})")
        for fault in found
    ]


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
    absent = [name for name in _REQUIRED if name not in entries or (name == "submit_time" and name not in sources)]
    if absent:
        words = " ".join(f"--columns {name}=..." for name in absent)
        wanted = ", ".join(f"{name!r}: ..." for name in absent)
        raise InputFileError(
            file.path,
            f"no column {', '.join(absent)}; name {'it' if len(absent) == 1 else 'them'} with columns={{{wanted}}} "
            f"({words}), the file has {', '.join(names)}",
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
        or not set(entry) <= {"column", "unit", "form"}
    ):
        raise SettingError(f'column {name} is {entry!r}; expected a name, or {{"column": name, "unit": unit}}')
    if "form" in entry:
        if name != "submit_time" or "unit" in entry or not isinstance(entry["form"], str):
            raise SettingError(
                f"column {name} is {entry!r}; a form is for calendar times in submit_time, without a unit"
            )
        return _Source(entry["column"], form=entry["form"])
    if "unit" not in entry:
        return _Source(entry["column"])
    units = TIME_UNITS if name.endswith("_time") else MEMORY_UNITS if name == "requested_memory" else {}
    if not units:
        raise SettingError(f"column {name} has no unit; give its column's name alone")
    require_known(f"unit of {name}", entry["unit"], list(units))
    return _Source(entry["column"], *units[entry["unit"]])


def _delimiter(file: TraceFile) -> str:
    return max(_DELIMITERS, key=file.first_line.count)
