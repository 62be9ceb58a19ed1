"""Columns of state: shown so that nobody writes to them, copied for a snapshot, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to, and that cannot be made writable again."""
    return np.asarray(array.data.toreadonly())


def copied_columns(columns: Any) -> dict[str, NDArray[Any]]:
    """A kernel's snapshot: copies of the columns of its state, a `NamedTuple` of arrays."""
    return {name: column.copy() for name, column in columns._asdict().items()}


def restore_columns(columns: Any, snapshot: Mapping[str, NDArray[Any]]) -> None:
    """The inverse of `copied_columns`, in place."""
    for name, column in columns._asdict().items():
        np.copyto(column, snapshot[name])
