"""Filling a cluster as decisions: engines and replay agree, the mask is right, and given logs are checked."""

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError
from sysgym.core.events import EventKind
from sysgym.core.row_network import RowNetwork
from sysgym.jobsched.gpu.filling.model import draw_task, filling_of, task_key
from sysgym.jobsched.gpu.instances import cluster_of, jobs_of
from sysgym.jobsched.gpu.kernel import run_compiled
from sysgym.jobsched.gpu.model import Rules
from sysgym.workloads import gpu_cluster

SMALL = {"nodes": 8, "ratio": 1.5, "cluster_seed": 3}


def play(env, policy, seed):
    """An episode to its end; its log and metrics."""
    _, info = env.reset(seed=seed)
    ended = False
    while not ended:
        _, _, ended, _, info = env.step(policy.act_on_state(env.state))
    return env.events, info["metrics"]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_exact_fgd_places_where_the_replay_of_the_same_tasks_does(engine):
    workload, table = gpu_cluster(2_000, 8, 3)
    env = gym.make("sysgym/GpuSched-v0", engine=engine, split="all", **SMALL).unwrapped
    events, metrics = play(env, env.heuristics["fgd_exact"](), seed=5)
    filling = filling_of(split="all", **SMALL)
    rows = [draw_task(task_key(5, "all"), 0, step, len(workload)) for step in range(filling.tasks)]
    cluster = cluster_of(table)
    jobs = jobs_of(workload, table, cluster)
    taken = type(jobs)(*(column[rows] for column in jobs))
    taken = taken._replace(submit=np.arange(len(rows), dtype=np.float64), run=np.full(len(rows), np.inf))
    replayed, _, samples = run_compiled(cluster, taken, filling.typical, Rules("fgd", "loss", "exact"))
    assert list(events) == list(replayed)
    assert metrics["allocation_rate"] == samples.allocated[-1] / filling.capacity
    assert metrics["lost"] == len(events.of(EventKind.DROP)) > 0


def test_the_return_is_the_allocation_rate_and_masked_nodes_mean_the_first_with_room():
    env, twin = (gym.make("sysgym/GpuSched-v0", **SMALL).unwrapped for _ in range(2))
    (observation, info), _ = env.reset(seed=1), twin.reset(seed=1)
    earned, ended, masked = 0.0, False, 0
    while not ended:
        assert np.array_equal(observation[:, 0], info["action_mask"]) and (observation >= 0).all()
        first = int(info["action_mask"].argmax())
        wrong = int(info["action_mask"].argmin())
        masked += info["action_mask"][wrong] == 0
        observation, reward, ended, _, info = env.step(wrong if info["action_mask"][wrong] == 0 else first)
        assert np.array_equal(observation, twin.step(first)[0])
        earned += reward
    assert masked > 0 and earned == pytest.approx(info["metrics"]["allocation_rate"])


def test_row_networks_are_played_as_an_agent_plays_them():
    env = gym.make("sysgym/GpuSched-v0", **SMALL)
    weights = np.random.default_rng(0).normal(size=(2, 13)).astype(np.float32)
    networks, episodes = RowNetwork(weights, np.array([12, 1]), False), np.array([0, 1])
    missed, decisions = env.unwrapped.engine.play_rows(networks, np.array([4, 4], dtype=np.uint64), episodes)
    played = 0
    for member, episode in np.ndindex(2, 2):
        observation, info = env.reset(seed=4 if episode == 0 else None)
        ended, earned = False, -1.0
        while not ended:
            scores = observation @ weights[member, :12]
            action = int(np.where(info["action_mask"] == 1, scores, -np.inf).argmax())
            observation, reward, ended, _, info = env.step(action)
            earned, played = earned + reward, played + 1
        assert missed[member, episode] == pytest.approx(earned)
    assert decisions == played


def test_splits_share_no_job_and_settings_are_checked():
    workload, nodes = gpu_cluster(100, 4)
    sizes = [len(filling_of(workload, nodes, split=split).jobs) for split in ("train", "valid", "test", "all")]
    assert sizes == [60, 20, 20, 100]
    with pytest.raises(UnknownNameError, match="split"):
        filling_of(split="night")
    for wrong in ({"ratio": 0}, {"nodes": 0}, {"nodes": 2.5}, {"workload": "pods.csv"}):
        with pytest.raises(SettingError):
            filling_of(**wrong)
    with pytest.raises(WorkloadError, match="gang of"):
        filling_of(None, "1x1")
    given = filling_of(workload, nodes)
    assert given.instance().facts["nodes"] == 4
    assert filling_of(given).instance() == given.instance()
    assert filling_of(given, split="test").workload is workload and filling_of(given, 8).instance().facts["nodes"] == 8
