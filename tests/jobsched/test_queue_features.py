"""The observation `queue`: equal in both engines, inside its space, and a worked example."""

import math

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.jobsched.batch.queue_features import QUEUE_FEATURES, WEEK
from sysgym.workloads import poisson_pareto
from sysgym.workloads.workload import Machine, Provenance, Workload


@pytest.mark.parametrize("backfill", ["none", "easy"])
def test_both_engines_show_the_same_queue(backfill):
    log = poisson_pareto(jobs=300, processors=16, load=1.2, seed=3)
    arguments = {"workload": log, "observation": "queue", "sequence_length": 60, "backfill": backfill}
    simpy, compiled = (gym.make("sysgym/BatchSched-v0", engine=engine, **arguments) for engine in ("simpy", "compiled"))
    random = np.random.default_rng(0)
    (seen, info), (other, _) = simpy.reset(seed=4), compiled.reset(seed=4)
    ended = False
    while not ended:
        assert seen in simpy.observation_space and (seen == other).all()
        action = random.choice(np.flatnonzero(info["action_mask"]))
        seen, _, ended, _, info = simpy.step(action)
        other, _, _, _, _ = compiled.step(action)


def test_a_worked_example():
    columns = {
        "submit_time": [0, 0, 30],
        "run_time": [100, 50, 10],
        "requested_time": [200, 60, 20],
        "processors": [8, 4, 2],
    }
    log = Workload.from_columns(columns, Machine(10, "caller"), Provenance("made", "generated"))
    env = gym.make("sysgym/BatchSched-v0", workload=log, observation="queue", sequence_length=3, split="all")
    env.reset(seed=0)
    seen, _, _, _, _ = env.step(0)  # the first job starts; the second does not fit
    one = dict(zip(QUEUE_FEATURES, seen[0].tolist(), strict=True))

    def log_of(value, most=WEEK):
        return pytest.approx(math.log1p(value) / math.log1p(most), rel=1e-6)

    assert (seen[1:] == 0).all()
    assert one["a job waits here"] == 1 and one["can start now"] == 0 and one["wait, log"] == 0
    assert one["requested time, log"] == log_of(60)
    assert one["processors over the machine"] == pytest.approx(0.4)
    assert one["requested time x processors, log"] == log_of(240, WEEK * 10)
    assert one["time until it could start by requested ends, log"] == log_of(200)
    assert one["free processors over the machine"] == pytest.approx(0.2)
    assert one["waiting jobs, log"] == log_of(1, 1024)


def test_each_job_knows_when_enough_processors_are_requested_back():
    log = poisson_pareto(jobs=200, processors=16, load=1.3, seed=5)
    env = gym.make("sysgym/BatchSched-v0", workload=log, observation="queue", sequence_length=100, commit=False)
    seen, info = env.reset(seed=2)
    random, column = np.random.default_rng(1), QUEUE_FEATURES.index("time until it could start by requested ends, log")
    met, ended = set(), False
    while not ended:
        state = env.unwrapped.engine.state(0)
        ends = [state.start_time[job - state.first] + log.requested_time[job] - state.time for job in state.running]
        for place, job in enumerate(state.visible[state.visible >= 0]):
            free, until = state.free, 0.0
            for other, left in zip(state.running, ends, strict=True):
                if free >= log.processors[job]:
                    break
                free, until = free + log.processors[other], max(0.0, left)
            assert seen[place, column] == pytest.approx(math.log1p(until) / math.log1p(WEEK), rel=1e-6)
            met.add((free >= log.processors[job], until > 0))
        seen, _, ended, _, info = env.step(random.choice(np.flatnonzero(info["action_mask"])))
    assert {(True, True), (True, False)} <= met
