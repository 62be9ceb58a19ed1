"""The dynamic programme over trees of models, beside the grid."""

import numpy as np
import pytest

from sysgym.learned_index.keysets import key_set
from sysgym.learned_index.tuning.dynamics import dominated
from sysgym.learned_index.tuning.live import live_instance
from sysgym.learned_index.tuning.programme import _best, programme_front, programme_share


def test_dear_memory_makes_one_leaf_and_free_memory_the_fastest_tree():
    keys = key_set("osm", 20_000)
    log_bytes, latency = programme_front(keys)
    assert log_bytes[-1] == 5.0  # 32 bytes
    assert (np.diff(log_bytes) <= 0).all() and (np.diff(latency) >= -1e-9).all()
    assert latency[0] < 0.6 * latency[-1]


def test_keys_on_a_line_need_no_tree():
    time, size = _best(np.arange(5000, dtype=np.float64), 1.0, 1e-9, 7.5)
    assert (time, size) == (0.0, 32.0)


def test_two_lines_are_cut_where_they_meet():
    """The first half is dense: a fan-out of four equal ranges leaves one line in each of them."""
    x = np.concatenate([np.arange(2000) / 2000 * 0.5, 0.5 + np.arange(101) / 100 * 0.5])
    time, size = _best(x, 1.0, 1e-6, 7.5)
    assert time == pytest.approx(6.0)  # one inner node, and no last mile
    assert size == 32 + 4 * 8 + 4 * 32


def test_cutting_twice_survives_outliers_that_spoil_the_roots_of_the_grid():
    keys = key_set("steps", 20_000)
    one = live_instance(keys)
    share = programme_share(keys, one.reference, one.promise)
    log_bytes, latency = programme_front(keys)
    assert share == dominated(log_bytes, latency, one.reference) / one.promise > 0.5
