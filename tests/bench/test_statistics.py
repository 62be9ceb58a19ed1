"""Statistics against published reference values, scipy, and the definitions written out naively."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu, trim_mean

from sysgym.bench import statistics
from sysgym.core.errors import SettingError

SCORES = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.floats(-5, 5, width=16))


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(0)
    return rng.random((10, 8)), rng.random((10, 8)) + 0.1


def test_aggregates_equal_the_reference_values(matrices):
    expected = {
        statistics.iqm: (0.51659057, 0.67545012),
        statistics.mean: (0.51345944, 0.64567253),
        statistics.median: (0.50153060, 0.63214922),
        statistics.optimality_gap: (0.48654056, 0.36183992),
    }
    for aggregate, values in expected.items():
        assert [aggregate(matrix) for matrix in matrices] == pytest.approx(values, abs=5e-9)
    assert statistics.iqm(np.random.default_rng(0).random((5, 3))) == pytest.approx(0.57625094, abs=5e-9)


def test_profiles_equal_the_reference_values(matrices):
    a, b = matrices
    assert statistics.performance_profile(a, [0.25, 0.5, 0.75]).tolist() == [0.7625, 0.5125, 0.25]
    assert statistics.performance_profile(b, [0.25, 0.5, 0.75]).tolist() == [0.8125, 0.675, 0.4375]
    assert [float(statistics.mean_score_profile(m, 0.5)) for m in matrices] == [0.5, 0.875]


def test_probability_of_improvement_equals_the_reference_and_mann_whitney(matrices):
    a, b = matrices
    assert statistics.probability_of_improvement(a, b) == pytest.approx(0.3825, abs=1e-12)
    assert statistics.probability_of_improvement(b, a) == pytest.approx(0.6175, abs=1e-12)
    u = [mannwhitneyu(a[:, k], b[:, k]).statistic / 100 for k in range(8)]
    assert statistics.probability_of_improvement(a, b) == pytest.approx(np.mean(u), abs=1e-12)


def test_intervals_equal_the_published_recipe_to_eight_digits(matrices):
    a, b = matrices
    found = statistics.bootstrap(a, statistics.iqm, seed=0)
    assert (found.low, found.high) == pytest.approx((0.43442276, 0.60110346), abs=5e-9)
    found = statistics.paired_difference(b, a, seed=0)
    values = (found.estimate, found.low, found.high)
    assert values == pytest.approx((0.13221309, 0.04070032, 0.22141792), abs=5e-9)


def test_interval_of_the_iqm_is_bytewise_the_recipe_written_out(matrices):
    a, _ = matrices
    rows = np.random.default_rng(0).integers(0, 10, (5000, 10, 8))
    drawn = [statistics.iqm(a[rows[r], np.arange(8)]) for r in range(5000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    found = statistics.bootstrap(a, statistics.iqm, seed=0)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-14)


def test_improvement_interval_lies_at_the_reference(matrices):
    found = statistics.improvement_interval(*matrices, replicates=2000)
    assert (found.low, found.high) == pytest.approx((0.297, 0.473), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(SCORES)
def test_iqm_is_the_trimmed_mean(scores):
    assert statistics.iqm(scores) == pytest.approx(trim_mean(scores, 0.25, axis=None), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(SCORES, SCORES)
def test_probability_of_improvement_is_the_mean_over_all_pairs(first, second):
    tasks = min(first.shape[1], second.shape[1])
    first, second = first[:, :tasks], second[:, :tasks]
    naive = np.mean(
        [
            np.mean([(x > y) + 0.5 * (x == y) for x, y in itertools.product(first[:, k], second[:, k])])
            for k in range(tasks)
        ]
    )
    found = statistics.probability_of_improvement(first, second)
    assert found == pytest.approx(naive, abs=1e-12)
    assert found + statistics.probability_of_improvement(second, first) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(SCORES, st.integers(0, 1000))
def test_intervals_hold_within_the_range_of_the_scores_and_repeat(scores, seed):
    found = statistics.bootstrap(scores, statistics.mean, replicates=50, seed=seed)
    assert scores.min() - 1e-9 <= found.low <= found.high <= scores.max() + 1e-9
    assert found == statistics.bootstrap(scores, statistics.mean, replicates=50, seed=seed)


def test_one_vectorised_call_equals_one_call_a_replicate(matrices):
    stack = np.stack(matrices)
    for aggregate in (statistics.iqm, statistics.mean, statistics.median, statistics.optimality_gap):
        assert aggregate(stack) == pytest.approx([aggregate(matrix) for matrix in matrices], abs=1e-15)


def test_blocks_are_runs_of_neighbours_and_cover_every_window():
    rows = statistics.resample(7, 1, replicates=400, seed=3, block=3)[:, :, 0]
    assert rows.shape == (400, 7) and set(rows.ravel()) == set(range(7))
    assert set(rows[:, 0]) <= {0, 3, 6}
    assert ((rows[:, 1] - rows[:, 0]) % 7 == 1).all() and ((rows[:, 2] - rows[:, 1]) % 7 == 1).all()


def test_blocks_widen_the_interval_of_dependent_windows():
    windows = np.repeat(np.random.default_rng(1).random(12), 5)
    single = statistics.bootstrap(windows, statistics.mean)
    blocks = statistics.bootstrap(windows, statistics.mean, block=5)
    assert blocks.high - blocks.low > 1.5 * (single.high - single.low)


def test_paired_ratio_is_the_ratio_of_means_and_pairing_removes_shared_noise():
    noise = np.random.default_rng(2).pareto(1.5, 40) + 1
    found = statistics.paired_ratio(0.9 * noise, noise)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.9, 0.9, 0.9), abs=1e-12)
    with pytest.raises(SettingError, match="paired_difference"):
        statistics.paired_ratio([0.0, 1.0], [1.0, 1.0])


def test_lost_share_and_win_rate_count_paired_scenarios():
    policy, best = [1.0, 2.0, 3.0, 4.0], [1.0 + 1e-12, 3.0, 2.0, 4.0]
    assert statistics.fraction_lost(policy, best) == 0.25
    assert statistics.paired_win_rate([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == 0.5
    with pytest.raises(SettingError, match="share their scenarios"):
        statistics.paired_win_rate([1.0, 2.0], [1.0])


def test_crossed_runs_draw_whole_runs_and_shared_scenarios():
    scores = np.array([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]])
    rows = statistics.resample(3, 1, 500, seed=5)[:, :, 0]
    drawn = statistics.crossed_runs(scores, statistics.scenario_weights(3, 500, seed=5), seed=6)
    runs = statistics.resample(2, 1, 500, seed=6)[:, :, 0]
    naive = np.array([scores[runs[b]][:, rows[b]].mean(axis=1) for b in range(500)])
    assert drawn == pytest.approx(naive, abs=1e-12)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(SettingError, match="not finite"):
        statistics.bootstrap([1.0, float("nan")])


def test_a_missing_score_is_not_taken_for_a_bad_one_or_dropped():
    scores = [[1.0, 2.0], [3.0, np.nan]]
    assert np.isnan([statistics.iqm(scores), statistics.mean(scores), statistics.optimality_gap(scores)]).all()
    stacked = statistics.iqm([scores, [[1.0, 2.0], [3.0, 4.0]]])
    assert np.isnan(stacked[0]) and stacked[1] == 2.5
    for profile in (statistics.performance_profile, statistics.mean_score_profile):
        with pytest.raises(SettingError, match="not finite"):
            profile(scores, [0.0])
    for wrong in ({"replicates": 2.5}, {"block": 1.5}):
        with pytest.raises(SettingError, match="must be an integer"):
            statistics.resample(3, **wrong)


def test_profile_bands_hold_the_profile_and_are_the_percentiles_of_replicates(matrices):
    a, _ = matrices
    thresholds = [0.25, 0.5, 0.75]
    low, high = statistics.profile_band(a, thresholds, replicates=300, seed=4)
    rows = statistics.resample(10, 8, 300, seed=4)
    drawn = [statistics.performance_profile(a[r, np.arange(8)], thresholds) for r in rows]
    expected = np.percentile(drawn, [2.5, 97.5], axis=0)
    assert np.allclose([low, high], expected, rtol=0, atol=1e-12)
    profile = statistics.performance_profile(a, thresholds)
    assert (low < profile).all() and (profile < high).all()
