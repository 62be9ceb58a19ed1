"""Windows, loads, users and flurries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, WorkloadError
from sysgym.workloads import Machine, Provenance, Workload, poisson_pareto, select
from sysgym.workloads.selection import in_window, without_flurries, without_users


def made(submit, user):
    columns = {
        "submit_time": submit,
        "run_time": np.ones(len(submit)),
        "processors": np.ones(len(submit)),
        "user": user,
    }
    return Workload.from_columns(columns, Machine(4, "caller"), Provenance("made", "generated"))


def test_a_window_and_a_load():
    workload = poisson_pareto(1000, 64, load=0.5, seed=2)
    part = select(workload, window=(100, 300), load=0.9)
    assert part.job_id.tolist() == list(range(101, 301)) and part.offered_load == pytest.approx(0.9, rel=1e-2)
    half = select(workload, arrival_factor=0.5)
    np.testing.assert_array_equal(half.submit_time, np.floor(workload.submit_time / 2))
    for window in ((5, 5), (-1, 3), (0, 1001)):
        with pytest.raises(SettingError, match="must lie within the 1000 jobs"):
            in_window(workload, *window)
    with pytest.raises(SettingError, match="give one of them"):
        select(workload, load=0.9, arrival_factor=2.0)
    with pytest.raises(SettingError, match="load is 0"):
        select(workload, load=0.0)
    with pytest.raises(WorkloadError, match="offered load of these jobs is nan"):
        made([5.0], [1]).with_load(0.5)


def test_users_are_left_out_and_counted():
    workload = made([0.0, 1, 2, 3], [7, 8, 7, -1])
    kept = without_users(workload, [7])
    assert kept.user.tolist() == [8, -1] and (kept.repairs[0].rule, kept.repairs[0].count) == ("drop_users", 2)
    with pytest.raises(SettingError, match="user 9 has no job in the log; the busiest are 7, 8"):
        without_users(workload, [9])
    with pytest.raises(WorkloadError, match="leaves no job"):
        without_users(workload, [7, 8, -1])


def test_a_flurry_goes_and_what_is_around_it_stays():
    submit = [0.0, 100, 101, 102, 103, 5000, 5001, 9000]
    workload = made(submit, [1, 1, 1, 2, 1, 1, 1, 1])
    kept = without_flurries(workload, 2, 60.0)
    assert kept.submit_time.tolist() == [0, 102, 5000, 5001, 9000]
    assert kept.repairs[0].count == 3
    assert without_flurries(workload, 4, 60.0) is workload
    assert without_flurries(made(submit, [-1] * 8), 1, 60.0).submit_time.tolist() == submit
    for wrong in ((0, 60.0), (2, 0.0)):
        with pytest.raises(SettingError):
            without_flurries(workload, *wrong)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), min_size=1, max_size=40), st.integers(1, 4))
def test_flurries_agree_with_their_definition(events, most):
    events.sort()
    submit, user = (np.array(column, dtype=float) for column in zip(*events, strict=True))
    workload = made(submit, user)
    flurry = np.zeros(len(events), dtype=bool)
    for start, who in events:
        inside = (submit >= start) & (submit < start + 10) & (user == who)
        if inside.sum() > most:
            flurry |= inside
    if flurry.all():
        with pytest.raises(WorkloadError):
            without_flurries(workload, most, 10.0)
    else:
        np.testing.assert_array_equal(without_flurries(workload, most, 10.0).submit_time, submit[~flurry])
