"""Policies side by side on a range: disjoint blocks, the same windows, and what a log must have."""

import numpy as np
import pytest

from sysgym.bench.comparisons import compare_policies
from sysgym.core.errors import UnknownNameError, WorkloadError
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto

JOBS = poisson_pareto(2000, 32, load=0.95, seed=2)


def test_a_block_is_the_mean_of_its_windows():
    first, second = compare_policies(JOBS, ["sjf", "easy"], length=64, stride=18, blocks=4)
    windows = [JOBS.take(slice(1700 + offset, 1764 + offset)) for offset in (0, 18, 36)]  # block 1 has 1700 to 1799
    expected = np.mean([replay(window, "sjf").bounded_slowdown().mean() for window in windows])
    assert first.block_means[1] == pytest.approx(expected) and first.ratio is None
    assert first.mean == pytest.approx(np.mean(first.block_means))
    assert second.ratio.estimate == pytest.approx(first.mean / second.mean)
    assert second.ratio.low <= second.ratio.estimate <= second.ratio.high
    assert second.lost == np.mean(np.array(first.block_means) > np.array(second.block_means))


def test_deciding_policies_play_under_the_rules_that_are_asked_for():
    chosen = compare_policies(JOBS, ["smallest_area", "easy"], length=64, blocks=2, backfill="easy", commit=False)
    plain = compare_policies(JOBS, ["smallest_area", "easy"], length=64, blocks=2)
    assert chosen[0].block_means != plain[0].block_means and chosen[1].block_means == plain[1].block_means


def test_a_log_that_is_too_short_says_how_many_jobs_it_needs():
    with pytest.raises(WorkloadError, match="need a log of at least 20480 jobs"):
        compare_policies(JOBS, ["sjf", "easy"])
    with pytest.raises(UnknownNameError):
        compare_policies(JOBS, ["sjf", "easy"], split="later")
