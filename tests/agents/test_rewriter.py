"""The rewriter: its network in torch and numpy, sparse log-probabilities, imitation, runs that repeat."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import train
from sysgym.agents.networks import masked_log_probabilities
from sysgym.agents.rewriter import RewriterSettings, Teacher, imitation_loss, lesson_of, part_of, scored
from sysgym.agents.term_network import Packed, TermNetwork
from sysgym.agents.training import Training
from sysgym.core.errors import SettingError
from sysgym.core.term_network import TermFunction, pack, term_shapes

ENV = "sysgym/ExprSimplify-v0"
SMALL = {"count": 30, "max_nodes": 64}


def played(steps=6, num_envs=5):
    """Observations (T, N, ...), masks and random allowed actions."""
    envs = gym.make_vec(ENV, num_envs=num_envs, max_nodes=128, count=30).unwrapped
    choose = np.random.default_rng(0)
    seen, info = envs.reset(seed=0)
    observations, masks, actions = [], [], []
    for _ in range(steps):
        observations.append(seen.copy())
        masks.append(info["action_mask"].copy())
        actions.append(np.array([choose.choice(np.flatnonzero(mask)) for mask in masks[-1]]))
        seen, *_, info = envs.step(actions[-1])
    return np.stack(observations), np.stack(masks), np.stack(actions)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TermNetwork(128, 8, 3, 106, 1.0)


def test_torch_and_numpy_give_the_same_logits(network):
    observations, *_ = played()
    flat = observations.reshape(-1, *observations.shape[2:])
    function = TermFunction({name: value.detach().numpy() for name, value in network.named_parameters()})
    expected = network(torch.from_numpy(flat)).detach().numpy()
    assert np.allclose(function(flat), expected, atol=1e-4) and np.abs(expected).max() > 0.1
    one = function(flat[3:4])
    assert np.allclose(one, expected[3:4], atol=1e-4)  # nothing depends on who stands beside it
    assert {name: tuple(value.shape) for name, value in network.named_parameters()} == term_shapes(8, 3, 106)


def test_the_order_of_operands_matters_and_that_of_rows_does_not(network):
    env = gym.make(ENV, normalise=True).unwrapped
    texts = ("v0 / (v1 + 2) < v2", "(v1 + 2) / v0 < v2")
    tables = [env.reset(options={"expression": text})[0] for text in texts]
    first, second = (network(torch.from_numpy(table[None]))[0, -1].item() for table in tables)
    assert first != second
    table = tables[0]
    swapped = table.copy()
    swapped[[0, 1]] = table[[1, 0]]
    operands = swapped[:-1, 1:4]
    operands[...] = np.select([operands == 1, operands == 2], [2, 1], operands)
    assert network(torch.from_numpy(swapped[None]))[0, -1].item() == pytest.approx(first, abs=1e-5)


def test_sparse_log_probabilities_are_those_of_the_dense_mask(network):
    observations, masks, actions = played()
    chosen = np.arange(3, actions.size)
    lesson = lesson_of(observations, masks, actions, chosen)
    log_all, taken = scored(network, lesson)
    flat, allowed = (array.reshape(-1, *array.shape[2:])[chosen] for array in (observations, masks))
    dense = masked_log_probabilities(network(torch.from_numpy(flat)), torch.from_numpy(allowed).bool())
    expected = dense[torch.from_numpy(allowed).bool()]
    assert torch.allclose(log_all, expected, atol=1e-5)
    wanted = dense.gather(1, torch.from_numpy(actions.ravel()[chosen, None])).squeeze(1)
    assert torch.allclose(log_all[taken], wanted, atol=1e-5)
    part, taken_there = scored(network, part_of(lesson, 4, 9))
    assert torch.allclose(part[taken_there], wanted[4:9], atol=1e-5)
    assert Packed.of(pack(flat)).root.shape == (len(chosen),)


def test_imitation_comes_near_to_its_teacher():
    arguments = {"num_envs": 16, "environment": SMALL, "hidden": [16, 16], "frames": 16, "seed": 1}
    settings = {"lesson_steps": 8, "repetitions": 4, "imitation_rate": 1e-2, "episodes_per_workload": 4}
    teacher = Teacher(ENV, SMALL, RewriterSettings(**settings), 5)
    lesson = teacher.lesson()
    trained = [Training(ENV, "rewriter", lessons=lessons, **arguments, **settings) for lessons in (0, 6)]
    losses = [imitation_loss(training.network, lesson).item() for training in trained]
    assert losses[1] < 0.8 * losses[0]


def test_a_run_repeats_and_its_policy_plays_without_torch(tmp_path):
    settings = {"lessons": 2, "lesson_steps": 4, "episodes_per_workload": 4, "rollout_steps": 6, "hidden": [8, 8]}
    arguments = {"frames": 200, "num_envs": 8, "environment": SMALL, **settings}
    policies = [train(ENV, "rewriter", **arguments) for _ in range(2)]
    assert policies[0].weights_sha256() == policies[1].weights_sha256()
    env = gym.make(ENV, **SMALL)
    observation, info = env.reset(seed=0)
    action = policies[0].act(observation, info["action_mask"])
    assert info["action_mask"][action]
    chances = policies[0].probabilities(observation[None], info["action_mask"][None])
    assert chances[0, info["action_mask"] == 0].sum() == 0 and chances.sum() == pytest.approx(1)
    assert any("policy.round0" in name for name in policies[0]._weights)


def test_other_networks_learn_over_dense_masks():
    arguments = {"num_envs": 8, "environment": {"count": 20, "max_nodes": 20}, "hidden": [8], "frames": 60}
    settings = {"lesson_steps": 4, "episodes_per_workload": 4, "network": "flat", "rollout_steps": 4}
    lesson = Teacher(ENV, arguments["environment"], RewriterSettings(**settings), 5).lesson()
    trained = [Training(ENV, "rewriter", lessons=lessons, **arguments, **settings) for lessons in (0, 4)]
    losses = [imitation_loss(training.network, lesson).item() for training in trained]
    assert losses[1] < losses[0]
    with pytest.raises(SettingError, match="one width"):
        train(ENV, "rewriter", frames=64, hidden=[8, 16], environment=SMALL)
    with pytest.raises(SettingError, match="imitation comes before"):
        train(ENV, "rewriter", frames=64, normalize_observations=True, environment=SMALL)
    with pytest.raises(SettingError, match="needs int32 tables"):
        train("CartPole-v1", "ppo", frames=64, network="terms")
