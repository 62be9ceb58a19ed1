"""Settings of an algorithm from names and values: unknown names, wrong types and ranges are refused in one line.

The settings themselves are frozen dataclasses beside their algorithm, each documented where it is declared.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from sysgym.core.errors import SettingError, UnknownNameError

T = TypeVar("T")


def make_settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a settings dataclass.

    Args:
        kind: The dataclass; its own `__post_init__` checks ranges.
        values: By name; what is absent keeps its default. Whole numbers serve where a float is expected, lists where
            a tuple is.

    Raises:
        UnknownNameError: A name is not a setting.
        SettingError: A value has the wrong type, or lies outside its range.
    """
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise UnknownNameError("setting", name, hints)
    return kind(**{name: _converted(name, value, hints[name]) for name, value in values.items()})


def _converted(name: str, value: Any, hint: Any) -> Any:
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for choice in choices:
        if choice is type(None) and value is None:
            return None
        if typing.get_origin(choice) is tuple and isinstance(value, list | tuple):
            return tuple(_converted(name, part, typing.get_args(choice)[0]) for part in value)
        if choice is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(choice, type) and isinstance(value, choice) and isinstance(value, bool) == (choice is bool):
            return value
    expected = " or ".join("None" if choice is type(None) else _name(choice) for choice in choices)
    raise SettingError(f"{name} is {value!r}; it must be {expected}")


def _name(choice: Any) -> str:
    readable = {int: "a whole number", float: "a number", bool: "True or False", str: "a name"}
    return readable.get(choice, "a list of whole numbers")
