"""Replays of a whole log by a policy that is not ours."""

import gymnasium as gym
import pytest

from sysgym.agents import train
from sysgym.agents.weights import shipped
from sysgym.bench.policies import resolve_policy
from sysgym.bench.replays import replay_policies
from sysgym.core.errors import CheckpointError, PolicyError, SettingError, UnknownNameError
from sysgym.workloads.synthetic import poisson_pareto

HEAD = """
import numpy as np
class Policy:
    def __init__(self, observation_space, action_space):
        pass
"""


@pytest.fixture(scope="module")
def jobs():
    return poisson_pareto(jobs=120, processors=16, load=1.2, seed=3)


@pytest.fixture
def rows(jobs, tmp_path):
    """Replay the jobs under FCFS and under a class with these methods; the two rows."""

    def replay(methods):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + methods)
        return [found.row for found in replay_policies(jobs, ["fcfs", str(path)])]

    return replay


@pytest.mark.parametrize(
    "methods",
    [
        "    def act(self, observation, action_mask): return 0\n",
        "    def act_on_state(self, state): return 0\n",
        "    def act_batch(self, observations, action_masks): return np.zeros(len(observations), dtype=int)\n",
        "    def begin(self, rows, seeds): self.rows = len(rows)\n"
        "    def act(self, observation, action_mask): return self.rows - 1\n",
    ],
)
def test_a_policy_is_asked_by_whatever_door_it_has(rows, methods):
    fcfs, mine = rows(methods)
    assert mine["mean_wait"] == fcfs["mean_wait"] and mine["policy"] == "mine"
    assert (mine["invalid_actions"], mine["backfill"]) == (0, "none") and "invalid_actions" not in fcfs


@pytest.mark.parametrize("reply", ["None", "float('nan')", "1.7", "-1", "10**30", "'0'"])
def test_what_is_no_action_is_the_head_of_the_queue_and_counted(rows, reply):
    fcfs, mine = rows(f"    def act(self, observation, action_mask): return {reply}\n")
    assert mine["mean_wait"] == fcfs["mean_wait"] and mine["invalid_actions"] == mine["jobs"] == 120


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("observation[:] = 0", r"ValueError: .*read-only \(mine.py, line 7\)"),
        ("action_mask[:] = 0", r"ValueError: .*read-only \(mine.py, line 7\)"),
        ("raise SystemExit", r"SystemExit \(mine.py, line 7\)"),
        ("return {}[0]", r"KeyError: 0 \(mine.py, line 7\)"),
    ],
)
def test_what_a_policy_raises_is_one_line(rows, body, message):
    with pytest.raises(PolicyError, match=message):
        rows(f"    def act(self, observation, action_mask):\n        {body}\n")


def test_what_a_policy_prints_is_no_result(rows, capfd):
    rows("    def act(self, observation, action_mask): print('deciding'); return 0\n")
    printed = capfd.readouterr()
    assert printed.out == "" and "deciding" in printed.err


def test_a_backfilling_that_is_asked_for_stands_behind_named_orders_that_have_none(jobs):
    rules = {"backfill": "easy", "commit": False}
    plain = [found.row for found in replay_policies(jobs, ["f1", "easy", "smallest_area"])]
    f1, easy, area = (found.row for found in replay_policies(jobs, ["f1", "easy", "smallest_area"], **rules))
    assert f1["mean_wait"] < plain[0]["mean_wait"] and (f1["backfill"], f1["commit"]) == ("easy", False)
    assert easy == plain[1] and "backfill" not in easy
    assert area["mean_wait"] < plain[2]["mean_wait"] and area["backfill"] == "easy"


def test_a_misspelt_scheduler_is_offered_the_nearest(jobs):
    with pytest.raises(UnknownNameError, match="did you mean easy"):
        list(replay_policies(jobs, ["eazy"]))


def test_a_trained_policy_sees_what_it_was_trained_on(tmp_path):
    log = poisson_pareto(jobs=120, processors=16, seed=2)
    for observation in ("features", "queue"):
        saved = tmp_path / f"{observation}.safetensors"
        arguments = {"workload": log, "observation": observation, "sequence_length": 20}
        train("sysgym/BatchSched-v0", frames=128, environment=arguments, output=saved, num_envs=4, rollout_steps=16)
        (found,) = replay_policies(log, [str(saved)])
        assert found.row["jobs"] == 120 and found.row["invalid_actions"] == 0


def test_the_learned_policy_comes_with_the_package_and_its_rules():
    jobs = poisson_pareto(400, 32, load=1.0, seed=3)
    learned, easy, held = (
        next(replay_policies(jobs, ["learned"], **rules)).row for rules in ({}, {"backfill": "none"}, {"commit": True})
    )
    assert (learned["policy"], learned["backfill"], learned["commit"]) == ("learned", "easy", False)
    assert (easy["backfill"], held["commit"]) == ("none", True)
    assert learned["mean_bounded_slowdown"] < next(replay_policies(jobs, ["easy"])).row["mean_bounded_slowdown"]


def test_only_some_environments_have_a_learned_policy_and_it_sees_its_own_observation():
    with pytest.raises(SettingError, match="no learned policy comes with sysgym/AdmissionQueue-v0"):
        resolve_policy("learned", gym.make("sysgym/AdmissionQueue-v0"))
    with pytest.raises(CheckpointError, match=r"sysgym/BatchSched-v0"):
        resolve_policy("learned", gym.make("sysgym/BatchSched-v0"))


def test_a_policy_of_another_environment_is_refused_by_its_id(jobs):
    with pytest.raises(CheckpointError, match=r"trained in sysgym/JobSched-v0, not in sysgym/BatchSched-v0"):
        list(replay_policies(jobs, [str(shipped("jobsched"))]))
