"""Both engines under FIFO and fair sharing beside the oracle: every job ends at the same millisecond."""

import numpy as np
import pytest

from sysgym.core.engines import allocate_slot
from sysgym.jobsched.dag.arrivals import ArrivalRules, DagJobs
from sysgym.jobsched.dag.engine import build_engine
from sysgym.jobsched.dag.generator import generated_profiles
from sysgym.jobsched.dag.model import FINISH, DagConfig
from sysgym.jobsched.dag.policies import HEURISTICS
from sysgym.workloads import read_dag_profiles
from tests.oracles.dag_oracle import Oracle


def ends(engine, rule, seed):
    """End of every job under a heuristic, ms."""
    built = build_engine(*engine)
    slot, on, policy = allocate_slot(built.observation_spec, 1, built.num_actions), np.ones(1, bool), HEURISTICS[rule]()
    built.reset(np.zeros(1, np.int64), np.array([seed], np.uint64), np.zeros(1, np.int64))
    while not slot.terminated[0]:
        built.step(np.array([policy.act_on_state(built.state(0))]), on, slot)
    return built.state(0).job[:, FINISH].tolist()


def compare(profiles, rule, seed, engine):
    choose = np.random.default_rng(seed)
    config = DagConfig(
        executors=int(choose.integers(2, 30)),
        moving_delay=int(choose.choice([0, 500, 2000])),
        inverted_levels=bool(choose.random() < 0.5),
        stages=512,
    )
    rules = ArrivalRules(jobs=5, initial_jobs=int(choose.integers(1, 4)), mean_gap=float(choose.choice([2.0, 30.0])))
    source = DagJobs(profiles, rules, "train", "test")
    settings = config.executors, config.moving_delay, config.inverted_levels, config.warm_up
    expected = Oracle(profiles, source.draw(seed, 0), rule, *settings).play()
    found = ends((config, source, 1, engine), rule, seed)
    assert found == [expected[job] for job in range(5)]


@pytest.mark.parametrize("rule", ["fifo", "fair"])
@pytest.mark.parametrize("seed", range(6))
def test_generated_jobs_end_when_the_oracle_says(rule, seed):
    profiles = [one for one in generated_profiles() if sum(stage.tasks for stage in one.stages) < 400]
    compare(profiles, rule, seed, "compiled")


@pytest.mark.parametrize("rule", ["fifo", "fair"])
def test_the_simulator_agrees_with_the_oracle(rule):
    profiles = [one for one in generated_profiles() if sum(stage.tasks for stage in one.stages) < 200]
    compare(profiles, rule, 7, "simpy")


@pytest.mark.parametrize("rule", ["fifo", "fair"])
def test_measured_jobs_end_when_the_oracle_says(rule, shared_data):
    profiles = read_dag_profiles(shared_data("traces/dag/tpch_spark_profiles.jsonl.gz"))
    small = [one for one in profiles if sum(stage.tasks for stage in one.stages) < 270]
    compare(small, rule, 3, "compiled")
