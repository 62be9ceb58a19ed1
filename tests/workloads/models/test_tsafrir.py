"""Tsafrir's estimates: the published numbers of each step, and the properties of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, WorkloadError
from sysgym.workloads import lublin, poisson_pareto, with_tsafrir_estimates
from sysgym.workloads.models import tsafrir
from sysgym.workloads.models.variates import stream_of


def test_published_numbers():
    assert [tsafrir.distinct_estimates(n) for n in (0, 20, 200, 5_000, 28_481, 250_000, 10**7)] == [
        0, 10, 20, 59, 167, 565, 565,
    ]  # fmt: skip
    shares = tsafrir._head_shares()
    assert [round(shares[rank - 1], 3) for rank in (1, 2, 20)] == [21.733, 10.313, 0.866]
    assert sum(shares) == pytest.approx(89)


def test_head_times():
    day = tsafrir._head_times(24 * 3600)
    hours = [5 / 60, 1 / 6, 0.25, 1 / 3, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 18]
    assert day[0] == 86400 and set(np.array(hours) * 3600) <= set(day)
    assert sorted(set(day) - set(np.array(hours) * 3600) - {86400}) == [15 * 3600, 16 * 3600, 20 * 3600, 22 * 3600]
    for longest in (3600, 5400, 100_000.5, 10**6):
        times = tsafrir._head_times(longest)
        assert len(set(times)) == 20 and times[0] == longest == max(times) and times[1:] == sorted(times[1:])


@pytest.mark.parametrize("seed", range(20))
def test_popularity_ranks_are_a_permutation(seed):
    ranks = tsafrir._popularity_ranks(*stream_of(seed, "test", "ranks"))
    assert ranks[0] == 1 and sorted(ranks) == list(range(1, 21))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.floats(3600, 10**6), st.integers(0, 50))
def test_bins_hold_all_jobs(jobs, longest, seed):
    times, counts = tsafrir.estimate_bins(jobs, longest, *stream_of(seed, "test", "bins"))
    assert counts.sum() == jobs and counts.min() >= 0 and len(set(times.tolist())) == len(times)
    assert times.max() == longest and times.min() > 0


def test_estimates_of_a_log():
    workload = lublin(20_000, 128, seed=5)
    estimated = with_tsafrir_estimates(workload, seed=5)
    values, counts = np.unique(estimated.requested_time, return_counts=True)
    assert (estimated.requested_time >= workload.run_time).all()
    assert len(values) == tsafrir.distinct_estimates(20_000)
    assert abs(np.sort(counts)[-20:].sum() / 20_000 - 0.89) < 0.01
    assert values[counts.argmax()] == values.max() and values.max() % 3600 == 0
    times, wanted = tsafrir.estimate_bins(20_000, float(values.max()), *stream_of(5, "tsafrir", "estimates"))
    np.testing.assert_array_equal(np.repeat(values, counts), np.sort(np.repeat(times, wanted)))
    assert estimated.sha256() == with_tsafrir_estimates(workload, seed=5).sha256()
    assert "Estimates" in estimated.provenance.header and "Note" not in estimated.provenance.header


def test_runs_above_the_longest_are_cut_and_counted():
    workload = lublin(5_000, 128, seed=5)
    long = int((workload.run_time > 36_000).sum())
    estimated = with_tsafrir_estimates(workload, longest=36_000)
    assert estimated.run_time.max() == 36_000 and estimated.repairs[-1].count == long > 0
    assert (estimated.requested_time >= estimated.run_time).all()


def test_what_cannot_be():
    workload = poisson_pareto(1000, 64)
    with pytest.raises(SettingError, match="longest is 60; it must be at least 3600"):
        with_tsafrir_estimates(workload, longest=60)
    with pytest.raises(WorkloadError, match="give a larger longest"):
        tsafrir.tsafrir_estimates(np.full(1000, 3599.0), 3600)
    unknown = type(workload).from_columns(
        {"submit_time": [0.0], "run_time": [np.nan], "processors": [1]}, workload.machine, workload.provenance
    )
    with pytest.raises(WorkloadError, match="a job has no run time"):
        with_tsafrir_estimates(unknown)
