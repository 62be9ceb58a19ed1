"""Predictors side by side: blocks, replicates, errors."""

import numpy as np
import pytest

from sysgym.bench.predictions import compare_predictors
from sysgym.core.errors import SettingError, WorkloadError
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto


def test_rows_are_block_means_of_the_later_part():
    jobs = poisson_pareto(600, 32, load=0.95, seed=2)
    first, second = compare_predictors(jobs, ("requested", "perfect"), begin=0.5, blocks=10)
    slowdown = replay(jobs, "easy_sjbf", "per_event").bounded_slowdown()
    assert first.whole == slowdown.mean() and first.difference is None
    assert first.later == pytest.approx(slowdown[300:].mean())
    assert second.difference.low <= second.later - first.later <= second.difference.high
    assert 0 <= second.better_blocks <= 10


def test_replicates_leave_jobs_out():
    jobs = poisson_pareto(600, 32, load=0.95, seed=2)
    once, thrice = (compare_predictors(jobs, ("requested", "perfect"), replicates=n) for n in (1, 3))
    assert once[0].whole == thrice[0].whole and once[0].later != thrice[0].later
    assert np.isfinite(thrice[1].difference.estimate)


def test_ranges():
    jobs = poisson_pareto(30, 32, load=0.5, seed=2)
    with pytest.raises(WorkloadError, match="too few for 20 blocks"):
        compare_predictors(jobs)
    for wrong in ({"begin": 1.0}, {"blocks": 1}, {"replicates": 0}):
        with pytest.raises(SettingError):
            compare_predictors(jobs, **wrong)
