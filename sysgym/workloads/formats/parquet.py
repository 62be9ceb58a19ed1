"""Parquet files as columns, by pyarrow (the extra `parquet`), which is imported when the first such file is read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.raw_table import Fault, RawTable
from sysgym.workloads.schema import schema_of
from sysgym.workloads.text_table import header_faults
from sysgym.workloads.trace_file import TraceFile

_MAGIC = b"PAR1"


def is_parquet(file: TraceFile) -> bool:
    """Whether the file begins as Parquet does."""
    return file.data.startswith(_MAGIC)


def fault_of(file: TraceFile) -> str | None:
    """Why a file that begins as Parquet cannot be opened, or None where it can."""
    try:
        _open(file)
    except InputFileError as error:
        return str(error).removeprefix(f"{file.path}: ")
    return None


def column_names(file: TraceFile) -> set[str]:
    """The columns of a Parquet file; empty for any other file and for one that cannot be opened."""
    if not is_parquet(file):
        return set()
    try:
        return set(_open(file).schema_arrow.names)
    except InputFileError:
        return set()


def parse_parquet(file: TraceFile, format: str) -> RawTable:
    """The file as the columns that the format's schema describes; record n of the file is "line" n.

    Raises:
        InputFileError: pyarrow is not installed, or the file is damaged.
    """
    if not is_parquet(file):
        what = "is a binary file, but not Parquet" if file.is_binary else "is no Parquet file"
        raise InputFileError(file.path, f"{what}; expected one that begins with PAR1")
    schema = schema_of(format)
    opened = _open(file)
    try:
        table = opened.read()
    except _faults() as error:
        raise _damaged(file, error) from None
    faults = header_faults(table.column_names, schema)
    columns: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(table.column_names):
        if table.column_names.count(name) > 1:
            continue
        kind = schema.columns[name].type if name in schema.columns else None
        columns[name], fault = _column(table.column(name), kind, name)
        faults += fault
    if not table.num_rows and not faults:
        faults.append(Fault("no_rows", "the file has no rows", 1))
    return RawTable(columns, np.arange(1, table.num_rows + 1), tuple(faults), fields=table.num_columns)


def _open(file: TraceFile) -> Any:
    try:
        from pyarrow import parquet  # noqa: PLC0415  an extra
    except ImportError:
        raise InputFileError(file.path, "is a Parquet file; install pyarrow: pip install 'sysgym[parquet]'") from None
    try:
        return parquet.ParquetFile(io.BytesIO(file.data))
    except _faults() as error:
        raise _damaged(file, error) from None


def _faults() -> tuple[type[Exception], ...]:
    """What pyarrow raises for a damaged file."""
    import pyarrow  # noqa: PLC0415  an extra

    return pyarrow.ArrowException, OSError, ValueError


def _damaged(file: TraceFile, error: Exception) -> InputFileError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
    return InputFileError(file.path, f"damaged Parquet ({reason}); fetch the file again")


def _column(column: Any, kind: str | None, name: str) -> tuple[NDArray[Any], list[Fault]]:
    """A column as numpy knows it; a type other than the schema's is a fault, and the column unknown."""
    values = column.to_numpy(zero_copy_only=False) if hasattr(column, "chunks") else column.to_numpy()
    found = str(column.type)
    if kind in ("integer", "number", "boolean"):
        if found == "bool":
            values = np.array([np.nan if value is None else float(value) for value in column.to_pylist()])
        if values.dtype.kind not in "iuf":
            message = f"is a column of {found}; expected numbers"
            return np.full(len(values), np.nan), [Fault("not_a_number", message, len(values), (1,), name)]
        whole = values.dtype.kind in "iu" and values.dtype != np.uint64
        values = values.astype(np.int64 if whole else np.float64)
        wrong = np.flatnonzero(np.isinf(values))
        if len(wrong):
            values[wrong] = np.nan
            message = "is infinite; expected a finite number"
            return values, [Fault("not_a_number", message, len(wrong), (int(wrong[0]) + 1,), name)]
        return values, []
    if kind == "list":
        if not found.startswith(("list", "large_list")):
            message = f"is a column of {found}; expected lists of numbers"
            return np.full(len(values), None, dtype=object), [Fault("not_a_list", message, len(values), (1,), name)]
        return values.astype(object), []
    texts = np.empty(len(values), dtype=object)
    texts[:] = [
        "" if value is None else value if isinstance(value, str) else str(value) for value in column.to_pylist()
    ]
    return texts, []
