"""The queue in motion: dynamics on given customers, both engines, simulated means beside exact ones."""

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.core.events import EventKind
from sysgym.queueing import simulator
from sysgym.queueing.exact import episode_mean_of, optimal_gain
from sysgym.queueing.model import QueueConfig

ENV = "sysgym/AdmissionQueue-v0"


def play(env, policy, seed=0):
    _, info = env.reset(seed=seed)
    total, truncated = 0.0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(policy.act_on_state(env.unwrapped.state))
        assert not terminated
        total += reward
    return total, info


@pytest.mark.parametrize(
    ("name", "total", "accepted"), [("accept_all", 2321, 596), ("at_least_4", 2864, 482), ("optimal", 2882, 516)]
)
def test_the_dynamics_on_the_reference_customers(monkeypatch, name, total, accepted):
    """Customers and releases of numpy's default_rng(0), as the reference sheet has them."""
    rng = np.random.default_rng(0)
    heads, releases = rng.integers(0, 4, 1000), rng.random((1000, 10))
    heads = np.append(heads, 0)
    monkeypatch.setattr(simulator, "draw_priority", lambda key, episode, step, servers, n: int(heads[step]))
    monkeypatch.setattr(simulator, "draw_release", lambda key, episode, step, servers, server: releases[step, server])
    env = gym.make(ENV, engine="simpy")
    earned, _ = play(env, env.unwrapped.heuristics[name]())
    assert earned == total and len(env.unwrapped.events.of(EventKind.START)) == accepted
    came = env.unwrapped.events.of(EventKind.SUBMIT).amount[:12]
    assert came.tolist() == [8, 4, 4, 2, 2, 1, 1, 1, 1, 8, 4, 8]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("config", [QueueConfig(2, 0.3), QueueConfig(15, 0.06, (1.0, 2.0, 3.0, 4.0, 50.0))])
def test_the_optimal_policy_is_that_of_the_queue_at_hand(config, engine):
    _, accept = optimal_gain(config)
    assert accept.shape != optimal_gain()[1].shape
    arguments = {"servers": config.servers, "free_probability": config.free_probability}
    env = gym.make(ENV, engine=engine, priorities=config.priorities, **arguments).unwrapped
    policy = env.heuristics["optimal"]()
    env.reset(seed=3)
    for _ in range(200):
        action = policy.act_on_state(env.state)
        assert action == accept[env.state.free, env.state.head]
        env.step(action)


def test_simulated_means_lie_beside_the_exact_ones():
    envs = gym.make_vec(ENV, num_envs=400, split="test")
    _, accept = optimal_gain()
    _, _info = envs.reset(seed=0)
    state = envs.unwrapped.engine
    total = np.zeros(400)
    for _ in range(1000):
        actions = np.array([accept[s.free, s.head] for s in map(state.state, range(400))], dtype=np.int64)
        total += envs.step(actions)[1]
    mean, error = total.mean() / 1000, 2.93 / np.sqrt(400 * 1000)
    assert abs(mean - episode_mean_of(accept, 1000)) < 4 * error


@pytest.mark.parametrize("horizon", ["fixed", "geometric"])
def test_engines_agree_over_other_queues_and_horizons(horizon):
    choose = np.random.default_rng(3)
    arguments = {"servers": 3, "free_probability": 0.3, "priorities": (0.5, 3.0), "max_steps": 20, "horizon": horizon}
    envs = [gym.make(ENV, engine=engine, **arguments).unwrapped for engine in ("simpy", "compiled")]
    lengths = []
    for seed in range(40):
        for env in envs:
            env.reset(seed=seed)
        ended, steps = False, 0
        while not ended:
            action = int(choose.integers(2))
            first, second = (env.step(action) for env in envs)
            assert first[0].tobytes() == second[0].tobytes() and first[1:4] == second[1:4]
            assert np.array_equal(envs[0].state.busy, envs[1].state.busy)
            ended, steps = first[3], steps + 1
        assert envs[0].events.sha256() == envs[1].events.sha256()
        lengths.append(steps)
    assert set(lengths) == {20} if horizon == "fixed" else len(set(lengths)) > 10


def test_the_log_has_room_for_a_long_episode():
    env = gym.make(ENV, max_steps=2, horizon="geometric").unwrapped
    for seed in range(60):
        env.reset(seed=seed)
        ended = False
        while not ended:
            ended = env.step(1)[3]
        submits = env.events.of(EventKind.SUBMIT).subject
        assert submits.tolist() == list(range(len(submits)))


def test_metrics_come_from_the_log():
    env = gym.make(ENV).unwrapped
    total, info = play(env, env.heuristics["at_least_2"](), seed=4)
    assert info["metrics"]["mean_reward"] == total / 1000 and info["metrics"]["steps"] == 1000
    assert info["metrics"]["accepted_1"] == 0.0 and 0.3 < info["metrics"]["accepted_8"] <= 1.0


def test_a_reward_of_ones_own_runs_on_simpy():
    env = gym.make(ENV, reward=lambda before, action, after: float(after.free - before.free)).unwrapped
    env.reset(seed=0)
    assert type(env.engine).__name__ == "SimulatorEngine" and env.step(1)[1] in (-1.0, 0.0)
    with pytest.raises(SettingError, match="compiled"):
        gym.make(ENV, engine="compiled", reward=lambda before, action, after: 0.0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"servers": 0}, SettingError),
        ({"free_probability": 1.5}, SettingError),
        ({"free_probability": float("nan")}, SettingError),
        ({"priorities": ()}, SettingError),
        ({"max_steps": 0}, SettingError),
        ({"horizon": "fixd"}, UnknownNameError),
        ({"split": "tset"}, UnknownNameError),
        ({"reward": "priorty"}, UnknownNameError),
        ({"server": 3}, UnknownNameError),
    ],
)
def test_wrong_arguments_are_named(arguments, error):
    with pytest.raises(error):
        gym.make(ENV, **arguments)
