"""The one door for logs: recognise the format by content, read, clean, and make a `Workload`.

A new format is one file beside this one, with a `recognises(file)` and a reader that returns a `JobTable`, and one row
in `FORMATS`. Opening, cleaning, machine size and provenance are done here, once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sysgym.core.errors import InputFileError, SettingError, UnknownNameError, require_range
from sysgym.workloads import generic_csv, swf
from sysgym.workloads.cleaning import CLEANING_RULES, PROCESSOR_SOURCES, clean_jobs
from sysgym.workloads.job_table import JobTable
from sysgym.workloads.trace_file import TraceFile, open_trace
from sysgym.workloads.workload import LARGEST_MACHINE, Machine, Provenance, Workload


@dataclass(frozen=True)
class Format:
    """A format of logs.

    Attributes:
        title: What it is, for lists and errors.
        recognises: Whether a file looks like it.
        reads: The reader; a format with a column mapping takes it as second argument.
        maps_columns: Whether the reader takes a column mapping.
    """

    title: str
    recognises: Callable[[TraceFile], bool]
    reads: Callable[..., JobTable]
    maps_columns: bool = False


FORMATS: Mapping[str, Format] = {
    "swf": Format("Standard Workload Format", swf.recognises, swf.read_swf),
    "csv": Format("table with a header row", generic_csv.recognises, generic_csv.read_csv, maps_columns=True),
}
"""The formats by name, in the order in which they are asked whether they recognise a file."""


def read_trace(
    path: str | Path,
    format: str = "auto",
    clean: str = "default",
    processors: int | None = None,
    columns: Mapping[str, Any] | str | Path | None = None,
    *,
    processors_from: str | None = None,
) -> Workload:
    """Read a log of jobs.

    Args:
        path: The log, plain or gzip.
        format: A name in `FORMATS`; "auto" recognises it by content.
        clean: A name in `CLEANING_RULES`: "default", "sc15" or "none".
        processors: Size of the machine, where the file does not tell it or tells it wrong.
        columns: For "csv": which column is what, a mapping or a TOML file; see `generic_csv`.
        processors_from: "requested" (as None), "allocated" or "max": which count is a job's size.

    Returns:
        The jobs, sorted stably by (submission, job number), with everything that cleaning changed in `repairs`. Under
        "none" the file's own order and values stand, and an unknown run time or estimate is NaN.

    Raises:
        InputFileError: The file cannot be read, with line and column; or no job is left after cleaning.
        UnknownNameError: No such format, cleaning rule, processors source or column.
        SettingError: `processors` below 1, or a column mapping for a format that has none.
    """
    source = _known("processors source", processors_from or "requested", PROCESSOR_SOURCES)
    _known("cleaning rule", clean, CLEANING_RULES)
    if format != "auto":
        _known("format", format, {**FORMATS, "auto": None})
    if columns is not None and not isinstance(columns, Mapping | str | Path):
        raise SettingError(f"columns is {columns!r}; give a mapping, or the path of a TOML file")
    file = open_trace(path)
    name = _recognise(file) if format == "auto" else format
    table = _read(file, name, columns)
    machine = _machine(file.path, table, processors)
    jobs, repairs = clean_jobs(file.path, table.columns, clean, source, machine.processors)
    provenance = Provenance(str(path), name, clean, file.sha256, table.header)
    return Workload.from_columns(jobs, machine, provenance, repairs)


def _known(kind: str, name: str, known: Mapping[str, Any]) -> str:
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return name


def _recognise(file: TraceFile) -> str:
    for name, format in FORMATS.items():
        if format.recognises(file):
            return name
    what = "a binary file" if file.is_binary else f"a file that begins {file.first_line[:60]!r}"
    raise InputFileError(
        file.path, f"{what} is no known format ({', '.join(FORMATS)}); name one with format=..., or convert the file"
    )


def _read(file: TraceFile, name: str, columns: Mapping[str, Any] | str | Path | None) -> JobTable:
    format = FORMATS[name]
    if format.maps_columns:
        return format.reads(file, columns)
    if columns is not None:
        raise SettingError(f"columns is for formats with named columns; {file.path} is {name!r}, leave columns out")
    return format.reads(file)


def _machine(path: Path, table: JobTable, processors: int | None) -> Machine:
    if processors is None:
        if table.machine is None:
            raise InputFileError(path, "the file does not tell the size of the machine; give it with processors=...")
        return table.machine
    require_range("processors", processors, 1, LARGEST_MACHINE, whole=True)
    return Machine(int(processors), "caller")
