"""Columns of state: made, shown so that nobody writes to them, copied for a snapshot, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def zeroed(kind: type[T], rows: int, **shapes: int | tuple[int, ...]) -> T:
    """Zeroed columns of the state of many episodes.

    Args:
        kind: A `NamedTuple` of arrays; its annotations say their dtypes, as in `NDArray[np.int64]`.
        rows: Episodes, the first dimension of every column.
        shapes: The other dimensions of columns that have some.

    >>> from typing import NamedTuple
    >>> class Queue(NamedTuple):
    ...     length: NDArray[np.int64]
    ...     waiting: NDArray[np.float32]
    >>> zeroed(Queue, 2, waiting=3).waiting.shape
    (2, 3)
    """

    def column(name: str, hint: Any) -> NDArray[Any]:
        (scalar,) = get_args(get_args(hint)[1])  # ndarray[shape, dtype[scalar]]
        others = shapes.get(name, ())
        return np.zeros((rows, *(others if isinstance(others, tuple) else (others,))), dtype=scalar)

    return kind(**{name: column(name, hint) for name, hint in get_type_hints(kind).items()})


def doubled(columns: Any, prefix: str) -> Any:
    """A `NamedTuple` of arrays, with twice the room, zeros behind, in the columns whose names begin with `prefix`."""
    grown = {name: array for name, array in columns._asdict().items() if name.startswith(prefix)}
    return columns._replace(**{name: np.pad(array, ((0, 0), (0, array.shape[1]))) for name, array in grown.items()})


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to, and that cannot be made writable again."""
    return np.asarray(array.data.toreadonly())


def read_only_columns(columns: Any) -> Any:
    """`read_only` views of all columns of a `NamedTuple` of arrays."""
    return columns._make(read_only(column) for column in columns)


def copied_columns(columns: Any) -> dict[str, NDArray[Any]]:
    """A kernel's snapshot: copies of the columns of its state, a `NamedTuple` of arrays."""
    return {name: column.copy() for name, column in columns._asdict().items()}


def part_of(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose name begins with a prefix, under the rest of their name."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def restore_columns(columns: Any, snapshot: Mapping[str, NDArray[Any]]) -> None:
    """The inverse of `copied_columns`, in place."""
    for name, column in columns._asdict().items():
        np.copyto(column, snapshot[name])
