"""The workload itself: columns, splits, other machines, scaled arrivals; and the draws that generators share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError
from sysgym.workloads import SPLITS, Machine, Provenance, Workload, poisson_pareto


def make(**columns):
    sound = {"submit_time": [0, 1], "run_time": [2, 3], "processors": [1, 2]}
    return Workload.from_columns(sound | columns, Machine(4, "caller"), Provenance("test", "generated"))


def test_missing_columns_are_unknown():
    workload = make()
    assert workload.job_id.tolist() == [1, 2]
    assert workload.requested_time.tolist() == [2, 3]
    assert workload.user.tolist() == workload.requested_memory.tolist() == [-1, -1]


def test_faults_of_columns():
    with pytest.raises(UnknownNameError, match="'usr'; did you mean user"):
        make(usr=[1, 2])
    with pytest.raises(WorkloadError, match="submit_time decreases"):
        make(submit_time=[1, 0])
    with pytest.raises(WorkloadError, match="column user has"):
        make(user=[1])
    assert make(processors=np.array([1.0, 2.0])).processors.tolist() == [1, 2]
    with pytest.raises(WorkloadError, match=r"column processors holds 2\.5; it takes whole numbers"):
        make(processors=[1, 2.5])
    with pytest.raises(WorkloadError, match="column user holds nan"):
        make(user=np.array([1, np.nan]))
    with pytest.raises(WorkloadError, match="column job_id holds 1e\\+19"):
        make(job_id=np.array([1.0, 1e19]))
    for numberless in (["a", "b"], [None, 1], [[1], [2, 3]]):
        with pytest.raises(WorkloadError, match="column user holds no numbers of one kind"):
            make(user=numberless)


@given(st.integers(2, 400))
def test_splits_are_disjoint_in_time_and_complete(jobs):
    workload = poisson_pareto(jobs, 8)
    parts = [workload.split(name).job_id for name in ("train", "valid", "test")]
    np.testing.assert_array_equal(np.concatenate(parts), workload.job_id)
    assert len(workload.split("all")) == jobs
    assert abs(len(parts[0]) - 0.6 * jobs) <= 1


def test_unknown_split():
    with pytest.raises(UnknownNameError, match="'tets'; did you mean test"):
        poisson_pareto(10, 8).split("tets")
    assert set(SPLITS) == {"train", "valid", "test", "all"}


def test_another_machine():
    assert make().with_processors(2).machine == Machine(2, "caller")
    with pytest.raises(WorkloadError, match="job 2 needs 2 processors, the machine has 1"):
        make().with_processors(1)
    with pytest.raises(SettingError):
        make().with_processors(0)


def test_scaled_arrivals_scale_the_load():
    workload = poisson_pareto(2_000, 64, load=0.4, seed=2)
    assert workload.with_arrivals_scaled(0.5).offered_load == pytest.approx(0.8, rel=1e-3)
    for wrong in (0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="arrival factor"):
            workload.with_arrivals_scaled(wrong)


def test_sha256_sees_what_a_replay_depends_on():
    assert make().sha256() == make(user=[5, 6]).sha256()
    changed = [make(run_time=[2, 4]), make(requested_time=[2, 9]), make(processors=[2, 2]), make(job_id=[1, 9])]
    assert len({make().sha256(), make().with_processors(3).sha256(), *(other.sha256() for other in changed)}) == 6


def test_load_of_one_instant_is_undefined():
    assert np.isnan(make(submit_time=[0, 0]).offered_load)
