"""Ranks against the reference values, the definitions, and cases whose answer is known."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sysgym.bench import ranking
from sysgym.core.errors import SettingError


def test_borda_points_equal_the_reference_values():
    rng = np.random.default_rng(0)
    a, b = rng.random((10, 8)), rng.random((10, 8)) + 0.1
    points = ranking.borda_points([a.mean(axis=0), b.mean(axis=0), np.full(8, 0.5)])
    assert points.tolist() == [4, 15, 5] and ranking.places(points).tolist() == [3, 1, 2]


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(ranking).failed == 0


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_points_count_the_policies_that_are_beaten_ties_half(scores):
    naive = [sum((row > other) + 0.5 * (row == other) for other in scores).sum() - 0.5 * len(row) for row in scores]
    assert ranking.borda_points(scores).tolist() == pytest.approx(naive)


def test_rank_intervals_are_the_range_of_the_replicates_ranks():
    rng = np.random.default_rng(3)
    drawn = np.column_stack([rng.normal(5, 0.1, 4000), rng.normal(1, 1, 4000), rng.normal(1, 1, 4000)])
    assert ranking.rank_intervals(drawn) == [(1, 1), (2, 3), (2, 3)]


def test_ranks_are_shared_where_no_difference_is_shown():
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 3, 4000)
    steps = np.column_stack([shared + mean + rng.normal(0, 0.1, 4000) for mean in (2.0, 1.0, 1.01, 0.0)])
    assert ranking.shared_ranks(steps) == [1, 2, 2, 4]
    unpaired = np.column_stack([rng.normal(mean, 3, 4000) for mean in (2.0, 1.0, 1.01, 0.0)])
    assert ranking.shared_ranks(unpaired) == [1, 1, 1, 1]


def test_policies_that_lack_a_task_are_not_ranked():
    with pytest.raises(SettingError, match="every entry finite"):
        ranking.borda_points([[1.0, float("nan")], [0.5, 0.5]])
    for rank in (ranking.places, ranking.rank_intervals, ranking.shared_ranks):
        with pytest.raises(SettingError, match="has no rank"):
            rank([[1.0, float("nan")], [0.5, 0.5]])
