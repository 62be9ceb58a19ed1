"""Decisions on a batch machine: nobody waits longer than the patience, and costs can be paid as jobs wait."""

import numpy as np
import pytest

from sysgym.bench.replays import replay_policies
from sysgym.core.engines import allocate_slot
from sysgym.core.errors import SettingError
from sysgym.jobsched import replay
from sysgym.jobsched.batch.engine import build_engine
from sysgym.jobsched.batch.model import Rules
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.workloads import Machine, Provenance, Workload


def workload(rows, processors):
    submit, run, size = zip(*rows, strict=True)
    columns = {"submit_time": submit, "run_time": run, "processors": size, "requested_time": run}
    return Workload.from_columns(columns, Machine(processors, "caller"), Provenance("test", "generated"))


@pytest.fixture
def stream_of_small_jobs():
    """A wide job between small ones that keep half of the machine busy for a thousand seconds."""
    return workload([(0, 15, 1), (1, 20, 2), *((float(t), 15, 1) for t in range(2, 1000, 10))], 2)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_wide_job_starves_unless_there_is_patience(stream_of_small_jobs, engine):
    waits = [
        replay(stream_of_small_jobs, HEURISTICS["smallest"](), engine=engine, backfill="easy", commit=False, **rule)
        for rule in ({}, {"patience": 100.0})
    ]
    starving, bounded = (schedule.wait_time for schedule in waits)
    assert starving[1] > 900 and 100 < bounded[1] <= 100 + 10 + 15  # until the next event, until what runs has ended
    assert not (bounded[2:10] - starving[2:10]).any()  # until then nothing changes


def test_patience_is_for_those_who_decide_and_reaches_the_row(stream_of_small_jobs):
    with pytest.raises(SettingError, match="it goes with a policy that decides, not with 'easy'"):
        replay(stream_of_small_jobs, "easy", patience=5.0)
    with pytest.raises(SettingError, match="patience"):
        Rules(patience=-1.0)
    row = next(replay_policies(stream_of_small_jobs, ["smallest"], backfill="easy", patience=60.0)).row
    assert row["patience"] == 60.0
    assert "patience" not in next(replay_policies(stream_of_small_jobs, ["smallest"])).row


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_costs_are_paid_as_jobs_wait(engine):
    sequences = JobSequences(workload([(0, 100, 1), (0, 10, 1), (50, 10, 1)], 1), None, "all")
    played = build_engine(sequences, Rules(commit=False), 1, engine, reward="accrued_bounded_slowdown")
    slot, one = allocate_slot(played.observation_spec, 1, played.num_actions), np.zeros(1, dtype=np.int64)
    for _ in range(2):  # the second episode begins with nothing paid
        played.reset(one, one.astype(np.uint64), one)
        slot.terminated[0], paid = False, []
        while not slot.terminated[0]:
            played.step(one, np.ones(1, dtype=np.bool_), slot)
            paid.append(-3 * slot.rewards[0])
        # at 0 the first starts and the second counts; at 50, 100 and 110 who waits has waited on
        assert paid == pytest.approx([2, 6 - 1 + 1, 11 - 6 + 6 - 1, 0, 7 - 6, 0])
        assert sum(paid) == pytest.approx(3 * played.metrics(0)["mean_bounded_slowdown"])
