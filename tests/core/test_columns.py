import doctest
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from sysgym.core import columns


class State(NamedTuple):
    clock: NDArray[np.float64]
    waiting: NDArray[np.int8]
    table: NDArray[np.bool_]


def test_columns_have_the_shapes_that_are_given_and_the_dtypes_that_are_annotated():
    state = columns.zeroed(State, 3, waiting=5, table=(2, 4))
    assert [column.shape for column in state] == [(3,), (3, 5), (3, 2, 4)]
    assert [column.dtype for column in state] == [np.float64, np.int8, np.bool_]
    assert not any(column.any() for column in state)
    assert doctest.testmod(columns).failed == 0


def test_what_is_shown_stays_read_only():
    shown = columns.read_only(np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        shown[0] = 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        shown.flags.writeable = True


def test_a_snapshot_is_put_back():
    state = columns.zeroed(State, 2)
    state.clock[:] = 1.0
    kept = columns.copied_columns(state)
    state.clock[:] = 2.0
    columns.restore_columns(state, kept)
    assert state.clock.tolist() == [1.0, 1.0]


def test_columns_grow_where_their_names_begin_so_and_parts_are_found_again():
    state = columns.zeroed(State, 2, waiting=3, table=2)
    state.waiting[:] = 1
    grown = columns.doubled(state, "wait")
    assert grown.waiting.tolist() == [[1, 1, 1, 0, 0, 0]] * 2 and grown.table.shape == (2, 2)
    kept = {f"own/{name}": array for name, array in columns.copied_columns(state).items()} | {"clock": state.clock}
    assert columns.part_of(kept, "own/").keys() == set(State._fields)
