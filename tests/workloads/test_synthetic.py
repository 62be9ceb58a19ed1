"""The generator: same seed, same jobs; load met; the distributions it promises; golden jobs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SettingError
from sysgym.workloads import poisson_pareto
from sysgym.workloads.synthetic import ROUND_ESTIMATES


def test_golden_jobs():
    workload = poisson_pareto(2_000, 256, load=0.9, seed=1)
    assert workload.sha256() == "518e1a3429b412e93c13a65e6d49362f5f63bd5131fe3b29bd7ec6f4f788b328"
    assert workload.user[:6].tolist() == [1, 3, 6, 1, 1, 6]


def test_the_seed_names_the_jobs():
    one, same, other = (poisson_pareto(500, 64, seed=seed) for seed in (1, 1, 2))
    assert one.sha256() == same.sha256() != other.sha256()


@pytest.mark.parametrize("load", [0.3, 0.9, 1.2])
@pytest.mark.parametrize("seed", range(4))
def test_offered_load_is_met(load, seed):
    assert poisson_pareto(3_000, 128, load=load, seed=seed).offered_load == pytest.approx(load, rel=0.001)


@settings(max_examples=40, deadline=None)
@given(
    jobs=st.integers(2, 300),
    processors=st.integers(1, 500),
    seed=st.integers(0, 2**40),
    tail=st.floats(0.2, 3),
    users=st.integers(1, 20),
)
def test_every_job_is_sound(jobs, processors, seed, tail, users):
    workload = poisson_pareto(jobs, processors, seed=seed, tail=tail, users=users, shortest=5, longest=5000)
    assert len(workload) == jobs and workload.submit_time[0] == 0
    assert ((workload.run_time >= 5) & (workload.run_time <= 5000)).all()
    assert (workload.run_time <= workload.requested_time).all()
    assert np.isin(workload.requested_time, ROUND_ESTIMATES).all()
    assert ((workload.processors >= 1) & (workload.processors <= max(1, processors // 2))).all()
    assert ((workload.user >= 1) & (workload.user <= users)).all()
    for column in (workload.submit_time, workload.run_time):
        np.testing.assert_array_equal(column, np.floor(column))


def test_distributions():
    workload = poisson_pareto(40_000, 256, seed=5)
    gaps = np.diff(workload.submit_time)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.03)
    low, high, tail = 30.0, 12 * 3600.0, 0.6
    for share in (0.1, 0.5, 0.9, 0.99):
        quantile = low * (1 - share * (1 - (low / high) ** tail)) ** (-1 / tail)
        assert (workload.run_time <= np.ceil(quantile)).mean() == pytest.approx(share, abs=0.01)
    powers = workload.processors & (workload.processors - 1) == 0
    assert (workload.processors == 1).mean() > 0.25 and 0.75 < powers.mean() < 0.95
    assert workload.processors.max() == 128
    counts = np.bincount(workload.user)
    assert counts[1] / counts[2] == pytest.approx(2, rel=0.1)
    assert (workload.requested_time > 2 * workload.run_time).mean() > 0.5


def test_numpys_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 the very thing that must not be used
    poisson_pareto(100, 16)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs": 1}, {"processors": 0}, {"load": 0}, {"load": float("nan")}, {"seed": -1}, {"tail": 0}, {"shortest": 0},
        {"shortest": 50, "longest": 40}, {"longest": 1e9}, {"serial_share": 1.1}, {"power_of_two_share": -0.1},
        {"largest_share": 0}, {"users": 0},
    ],
)  # fmt: skip
def test_arguments_out_of_range(wrong):
    with pytest.raises(SettingError):
        poisson_pareto(**wrong)
