"""The errors a user can cause, each in one clear line.

Every class below derives from `SysgymError`; the command line turns exactly these into one line on standard error
and exit code 2. A message names the value, what was expected and the remedy. Our own invariants use `assert`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path


class SysgymError(Exception):
    """Base of every error that a user can cause and mend."""


class InputFileError(SysgymError):
    """Raised when a file that was given cannot be read, with the place of the fault.

    Args:
        path: The file.
        message: What is wrong, what was expected and what to do.
        line: 1-based line number, if the fault has one.
        column: Name or 1-based number of the column, if the fault has one.
    """

    def __init__(
        self, path: str | Path, message: str, *, line: int | None = None, column: str | int | None = None
    ) -> None:
        place = str(path)
        if line is not None:
            place += f", line {line}"
        if column is not None:
            place += f", column {column}"
        super().__init__(f"{place}: {message}".replace("\n", " "))  # a quoted cell or name may hold line ends
        self.path, self.line, self.column = Path(path), line, column


class WorkloadError(SysgymError):
    """Raised when a workload cannot serve what is asked of it, such as a replay without run times."""


class GraphError(SysgymError):
    """Raised when a computation graph cannot be placed as it is: a cycle, a dangling edge, a cost below 0."""


class ModuleError(SysgymError):
    """Raised when a torch module cannot be imported, built or exported; names the line of the graph break."""


class InfeasibleError(SysgymError):
    """Raised when no placement at all can be feasible, with the reason and what would suffice."""


class UnknownNameError(SysgymError):
    """Raised when a name is not among the known ones; the message offers the nearest.

    Args:
        kind: What is named: "policy", "format", "setting" and so on.
        name: The name that was given.
        known: The names that exist.
        remedy: What else to do, as a sentence.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str], remedy: str = "") -> None:
        choices = sorted(known)
        near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(choices) or 'none'}"
        super().__init__(f"unknown {kind} {str(name)!r}; {hint} {remedy}".rstrip())
        self.kind, self.name = kind, name


def unknown_environment(env_id: str, registered: Iterable[str]) -> UnknownNameError:
    """The error for an id (or `module:Id`) that nobody registered: offers ours, near ones, and the form of own ones."""
    module, _, name = env_id.rpartition(":")
    registered = list(registered)
    known = {each for each in registered if each.startswith("sysgym/")} | {*difflib.get_close_matches(name, registered)}
    own = not module and not name.startswith("sysgym/")
    remedy = f"One of your own needs its module in front: mymodule:{name}" if own else ""
    return UnknownNameError("environment", name, known, remedy)


class SettingError(SysgymError):
    """Raised when a setting has a value outside its range or type."""


class InvalidActionError(SysgymError):
    """Raised by a single environment when an action is not in its action space."""


class PolicyError(SysgymError):
    """Raised when a policy's own code fails in an evaluation, with the file and line, or oversteps its budget."""


class CheckpointError(SysgymError):
    """Raised when a checkpoint is corrupt, foreign, or belongs to another environment."""


class TrainingError(SysgymError):
    """Raised when a training run cannot go on, such as at a reward or a gradient that is not finite."""


class StudyError(SysgymError):
    """Raised when a study file does not describe a study."""


class RecordError(SysgymError):
    """Raised when a file of records is damaged or of another version."""


class KeyValueError(SysgymError, ValueError):
    """Raised when keys or queries of an index have values it cannot order: unsorted, NaN, NaT, not one-dimensional."""


class KeyTypeError(SysgymError, TypeError):
    """Raised when keys or queries of an index have a type that cannot be compared exactly."""


class FetchError(SysgymError):
    """Raised when a file cannot be downloaded, or what came is not what was meant; says what to do by hand."""


class OutputError(SysgymError):
    """Raised when a result cannot be written; whatever stood at the path before is untouched."""


def require_options(options: object, *known: str) -> None:
    """Raise unless what was given to `reset` as options is None or a mapping of known names.

    Raises:
        SettingError: It is no mapping.
        UnknownNameError: One of its names is not known.
    """
    if options is None:
        return
    if not isinstance(options, Mapping):
        raise SettingError(f"options is {options!r}; give reset() a mapping of names, or None")
    for name in options:
        require_known("reset option", name, known)


def require_known(kind: str, name: object, known: Collection[str]) -> None:
    """Raise `UnknownNameError` unless a name is among the known ones; its arguments are those of the error."""
    if name not in known:
        raise UnknownNameError(kind, name, known)


def require_bool(name: str, value: object) -> None:
    """Raise `SettingError` unless a value is True or False."""
    if not isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}; it must be true or false")


def require_range(
    name: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    *,
    open_low: bool = False,
    whole: bool = False,
) -> None:
    """Raise `SettingError` unless a value is a number in its range.

    Args:
        name: The setting, as the user writes it.
        value: Its value; NaN is always refused.
        low: Smallest allowed value, or None.
        high: Largest allowed value, or None.
        open_low: Whether `low` itself is refused.
        whole: Whether it must be an integer.
    """
    kind = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}; it must be {'an integer' if whole else 'a number'}")
    too_low = low is not None and not (value > low if open_low else value >= low)
    too_high = high is not None and not value <= high
    if too_low or too_high or math.isnan(value):
        bounds = []
        if low is not None:
            bounds.append(f"{'above' if open_low else 'at least'} {low:g}")
        if high is not None:
            bounds.append(f"at most {high:g}")
        raise SettingError(f"{name} is {value}; it must be {' and '.join(bounds) or 'a number'}")
