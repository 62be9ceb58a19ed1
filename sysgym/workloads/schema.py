"""What a good log of a format looks like, as data: columns with types and domains, and rules across columns.

Every format has a schema in `schemas/NAME.toml`; readers take their column types from it and validation checks against
it. A user's own schema is the same kind of file, written by hand or inferred from a good log (`inference`), in the
manner of TensorFlow Data Validation (Breck et al., "Data validation for machine learning", MLSys 2019).

    format = "tiresias"

    [columns.duration]
    type = "number"          # integer, number, time, text, boolean or list
    presence = "required"    # required, optional or unexpected
    above = 0                # also: min, max, values, missing, unique, present_fraction, drift, severity

    [[rules]]
    name = "interval_too_long"
    where = ["interval > 86400"]     # a row that meets all of these is an anomaly
    severity = "warning"             # error, warning or info
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError, UnknownNameError

TYPES = ("integer", "number", "time", "text", "boolean", "list")
PRESENCES = ("required", "optional", "unexpected")
SEVERITIES = ("error", "warning", "info")
CHECKS = (
    "clock_change",
    "constant",
    "decimals",
    "decreasing",
    "gaps",
    "oversized",
    "repeats",
    "rows_differ_from_header",
    "seconds",
    "unit",
    "unknown_parent",
)
"""Checks of a rule that are no comparison of cells; `checks` says what each finds."""

_FOLDER = Path(__file__).parent / "schemas"


@dataclass(frozen=True)
class ColumnSchema:
    """What a column has to be.

    Attributes:
        type: A name in `TYPES`.
        presence: A name in `PRESENCES`; an unexpected column is an anomaly where it is there.
        present_fraction: Smallest share of rows with a known value.
        missing: Numbers that mark an unknown value, such as -1.
        min: Smallest known value.
        max: Largest known value.
        above: Bound that every known value exceeds.
        values: The allowed values, or None for any.
        unique: Whether a known value may stand only once.
        order: "rising" where known values must not decrease down the file, else None.
        drift: Largest distance from a baseline: L-infinity of the shares for text and `categorical` columns,
            Jensen-Shannon divergence for other numbers; None is not compared.
        categorical: Whether the numbers of the column are names.
        severity: Of anomalies in the column; where it is None, a wrong type or a missing column is an error, a
            value outside the domain a warning.
    """

    type: str = "text"
    presence: str = "optional"
    present_fraction: float = 0.0
    missing: tuple[float, ...] = ()
    min: float | None = None
    max: float | None = None
    above: float | None = None
    values: tuple[Any, ...] | None = None
    unique: bool = False
    order: str | None = None
    drift: float | None = None
    categorical: bool = False
    severity: str | None = None


@dataclass(frozen=True)
class Rule:
    """A rule across columns, or one that a column's domain cannot say.

    Attributes:
        name: Its name in reports.
        column: The column it is about.
        where: Comparisons such as "run > limit" or "gpu_time != duration * num_gpus"; rows that meet all are at fault.
        check: A name in `CHECKS`, instead of `where`.
        severity: A name in `SEVERITIES`.
        message: What it means, for people.
        limit: A bound of the check.
        key: The header's key for "rows_differ_from_header".
    """

    name: str
    column: str | None = None
    where: tuple[str, ...] = ()
    check: str | None = None
    severity: str = "warning"
    message: str = ""
    limit: float | None = None
    key: str | None = None


@dataclass(frozen=True)
class Schema:
    """The schema of a format, or a user's own.

    Attributes:
        format: Name of the format.
        columns: By name, in the order of the file.
        rules: Across columns.
        duplicate_rows: Severity of rows that are equal in every column; None allows them.
        unexpected_columns: Severity of columns that the schema does not name; None allows them.
        blank_lines: Severity of lines without anything.
        time_zone: The zone in which local times are likely to be, for warnings about clock changes.
        arrival: The column of submissions, whose gaps are compared with a baseline's.
        source: Where it stands.
    """

    format: str
    columns: Mapping[str, ColumnSchema] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    duplicate_rows: str | None = "warning"
    unexpected_columns: str | None = "info"
    blank_lines: str | None = "info"
    time_zone: str | None = None
    arrival: str | None = None
    source: str = ""


@lru_cache
def schema_of(format: str) -> Schema:
    """The packaged schema of a format.

    Raises:
        UnknownNameError: There is none.
    """
    path = _FOLDER / f"{format}.toml"
    if not path.is_file():
        raise UnknownNameError("schema", format, [file.stem for file in _FOLDER.glob("*.toml")])
    return read_schema(path)


def read_schema(path: str | Path) -> Schema:
    """A schema from a TOML file.

    Raises:
        InputFileError: It cannot be read, is not TOML, or describes no schema.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(path, f"cannot read the schema: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(path, f"the schema is not TOML ({error}); infer one with sysgym trace infer") from None
    return _schema(Path(path), content)


def _schema(path: Path, content: Mapping[str, Any]) -> Schema:
    known = {f.name for f in fields(Schema)} - {"source"}
    _only(path, content, known, "the schema")
    if not isinstance(content.get("format"), str):
        raise InputFileError(path, 'the schema names no format; write format = "swf", or another one')
    columns, rules = content.get("columns", {}), content.get("rules", [])
    if not isinstance(columns, Mapping) or not isinstance(rules, list):
        raise InputFileError(path, "columns is a table and rules a list of tables; write [columns.NAME] and [[rules]]")
    for key in ("duplicate_rows", "unexpected_columns", "blank_lines"):
        _one_of(path, key, content.get(key, "info"), (*SEVERITIES, "allowed"))
    for key in ("time_zone", "arrival"):
        if not isinstance(content.get(key, ""), str):
            raise InputFileError(path, f"{key} is {content[key]!r}; it must be a name")
    given = {
        key: None if value == "allowed" else value
        for key, value in content.items()
        if key not in {"columns", "rules", "format"}
    }
    return Schema(
        content["format"],
        {name: _column(path, name, entry) for name, entry in columns.items()},
        tuple(_rule(path, entry, set(columns)) for entry in rules),
        source=str(path),
        **given,
    )


def _column(path: Path, name: str, entry: Any) -> ColumnSchema:
    if not isinstance(entry, Mapping):
        raise InputFileError(path, f"{entry!r} describes no column; write [columns.{name}]", column=name)
    _only(path, entry, {f.name for f in fields(ColumnSchema)}, f"column {name}")
    _one_of(path, f"type of {name}", entry.get("type", "text"), TYPES)
    _one_of(path, f"presence of {name}", entry.get("presence", "optional"), PRESENCES)
    _one_of(path, f"order of {name}", entry.get("order"), ("rising", None))
    _one_of(path, f"severity of {name}", entry.get("severity"), (*SEVERITIES, None))
    for key in ("present_fraction", "min", "max", "above", "drift"):
        if not isinstance(entry.get(key, 0.0), int | float) or isinstance(entry.get(key), bool):
            raise InputFileError(path, f"{key} is {entry[key]!r}; it must be a number", column=name)
    for key in ("unique", "categorical"):
        if not isinstance(entry.get(key, False), bool):
            raise InputFileError(path, f"{key} is {entry[key]!r}; it must be true or false", column=name)
    for key in ("values", "missing"):
        if not isinstance(entry.get(key, []), list):
            raise InputFileError(path, f"{key} is {entry[key]!r}; it must be a list", column=name)
    lists = {key: tuple(entry[key]) for key in ("values", "missing") if key in entry}
    return ColumnSchema(**{**entry, **lists})


def _rule(path: Path, entry: Any, columns: set[str]) -> Rule:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise InputFileError(path, f"{entry!r} is no rule; write [[rules]] with name and where")
    name = entry["name"]
    _only(path, entry, {f.name for f in fields(Rule)}, f"rule {name}")
    _one_of(path, f"severity of {name}", entry.get("severity", "warning"), SEVERITIES)
    _one_of(path, f"check of {name}", entry.get("check"), (*CHECKS, None))
    where = entry.get("where", [])
    if not isinstance(where, list) or not (where or entry.get("check")):
        raise InputFileError(path, f'rule {name} has no condition; write where = ["a > b"]')
    for text in where:
        for operand in _condition(path, name, text).names:
            if operand not in columns:
                raise InputFileError(path, f"rule {name} compares {operand!r}, which is no column of the schema")
    return Rule(**{**entry, "where": tuple(where)})


def _only(path: Path, entry: Mapping[str, Any], known: set[str], what: str) -> None:
    for key in entry:
        if key not in known:
            raise InputFileError(path, str(UnknownNameError(f"key of {what}", key, known)))


def _one_of(path: Path, what: str, value: Any, known: tuple[str | None, ...]) -> None:
    if value not in known:
        names = ", ".join(str(name) for name in known if name)
        raise InputFileError(path, f"the {what} is {value!r}; expected one of {names}")


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|==|<|>)\s*('[^']*'|[\w.+-]+)\s*(?:\*\s*(\w+)\s*)?")


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with a number, a 'text', a column, or a product of two columns.

    The word "missing" on the right asks whether the value is unknown.

    >>> condition("gpu_time != duration * num_gpus").names
    ('gpu_time', 'duration', 'num_gpus')
    """

    left: str
    operator: str
    right: str | float
    factor: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it needs."""
        operands = (self.left, self.right, self.factor)
        return tuple(name for name in operands if isinstance(name, str) and name != "missing" and name[0] != "'")

    def holds(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Rows in which it holds; an unknown value meets no comparison but those with "missing"."""
        left = columns[self.left]
        if self.right == "missing":
            unknown = is_missing(left)
            return unknown if self.operator == "==" else ~unknown
        right: Any = self.right
        if isinstance(right, str):
            right = right.strip("'") if right[0] == "'" else columns[right]
        if self.factor is not None:
            right = right * columns[self.factor]
        held: NDArray[np.bool_] = np.asarray(_OPERATORS[self.operator](left, right))
        if self.operator == "!=":
            held = held & ~is_missing(left) & (~is_missing(right) if isinstance(right, np.ndarray) else True)
        return held


def condition(text: str) -> Condition:
    """Parse a comparison; ValueError where it is none."""
    match = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(text)
    left, symbol, right, factor = match.groups()
    try:
        number: str | float = float(right)
    except ValueError:
        number = right
        if not (right[0] == "'" or right.isidentifier()):
            raise
    return Condition(left, symbol, number, factor)


def _condition(path: Path, name: str, text: str) -> Condition:
    try:
        return condition(text)
    except ValueError:
        raise InputFileError(
            path, f"rule {name}: {text!r} is no comparison; write column < number, column < column or a < b * c"
        ) from None


def is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are unknown: NaN, NaT, an empty text, an absent list."""
    unknown = np.zeros(len(values), dtype=np.bool_)
    if values.dtype.kind in "fM":
        unknown[:] = np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
    elif values.dtype.kind == "O":
        unknown[:] = [value is None or (isinstance(value, str) and value == "") for value in values.tolist()]
    return unknown
