"""The optimisers of both learners against torch and against DeepRM's formula, over a thousand steps."""

import numpy as np
import pytest
import torch

from sysgym import agents
from sysgym.agents.a2c import A2CSettings
from sysgym.agents.native.kernels import adam_step, norm, rmsprop_step, tree_sum
from sysgym.agents.updates.optimizers import make_optimizer

RECIPES = {
    "adam": {"learning_rate": 2e-3, "optimizer_epsilon": 1e-5},
    "rmsprop": {"learning_rate": 7e-4, "optimizer_epsilon": 1e-5, "optimizer_decay": 0.99},
    "rmsprop_inside": {"learning_rate": 1e-3, "optimizer_epsilon": 1e-9, "optimizer_decay": 0.9},
}
STEPS, SIZE = 1000, 37


def gradients():
    random = np.random.default_rng(5)
    return (random.normal(size=(STEPS, SIZE)) * np.logspace(-3, 1, SIZE)).astype(np.float32)


def through_torch(optimizer, weights):
    for gradient in gradients():
        weights.grad = torch.from_numpy(gradient)
        optimizer.step()
    return weights.detach().numpy()


def natively(kind):
    weights, mean, square = np.zeros((3, SIZE), dtype=np.float32)
    recipe = RECIPES[kind]
    for step, gradient in enumerate(gradients(), 1):
        if kind == "adam":
            adam_step(weights, gradient, mean, square, step, recipe["learning_rate"], recipe["optimizer_epsilon"])
        else:
            rates = (recipe["learning_rate"], recipe["optimizer_decay"], recipe["optimizer_epsilon"])
            rmsprop_step(weights, gradient, square, *rates, kind == "rmsprop_inside")
    return weights


@pytest.mark.parametrize("kind", RECIPES)
def test_both_learners_take_the_steps_that_torch_takes(kind):
    recipe, plain = RECIPES[kind], torch.nn.Parameter(torch.zeros(SIZE))
    rate, epsilon, decay = recipe["learning_rate"], recipe["optimizer_epsilon"], recipe.get("optimizer_decay", 0.99)
    if kind == "adam":
        expected = through_torch(torch.optim.Adam([plain], rate, eps=epsilon), plain)
    elif kind == "rmsprop":
        expected = through_torch(torch.optim.RMSprop([plain], rate, alpha=decay, eps=epsilon), plain)
    else:
        square, expected = np.zeros((2, SIZE))  # DeepRM's pg_network.py, in float64
        for gradient in gradients().astype(np.float64):
            square = decay * square + (1 - decay) * gradient**2
            expected = expected - rate * gradient / np.sqrt(square + epsilon)
    ours = torch.nn.Parameter(torch.zeros(SIZE))
    settings = A2CSettings(optimizer=kind, **recipe)
    assert through_torch(make_optimizer([ours], settings), ours) == pytest.approx(expected, abs=1e-6)
    assert natively(kind) == pytest.approx(expected, abs=1e-6)


def test_a_large_epsilon_inside_the_root_is_another_algorithm():
    """IMPALA's 0.1: inside it slows small gradients by their size over 0.3, beside it by their size over 0.1."""
    steps = []
    for inside in (True, False):
        weights, square = np.zeros((2, 1), dtype=np.float32)
        rmsprop_step(weights, np.full(1, 1e-3, dtype=np.float32), square, 1.0, 0.99, 0.1, inside)
        steps.append(-float(weights[0]))
    assert steps == pytest.approx([1e-3 / np.sqrt(1e-8 + 0.1), 1e-3 / (1e-4 + 0.1)], rel=1e-5)


def test_sums_and_norms_are_those_of_numpy():
    parts = np.random.default_rng(0).normal(size=(7, 101)).astype(np.float32)
    expected = parts.astype(np.float64).sum(axis=0)
    pairs = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + parts[6])
    total = tree_sum(parts.copy())
    assert np.array_equal(total, pairs) and total == pytest.approx(expected, abs=1e-5)
    assert norm(total) == pytest.approx(np.linalg.norm(total.astype(np.float64)), rel=1e-12)


PUBLISHED = {
    "reinforce": {"optimizer": "rmsprop_inside", "optimizer_decay": 0.9, "optimizer_epsilon": 1e-9,
                  "learning_rate": 1e-3, "baseline": "deeprm", "episodes_per_workload": 20, "discount": 1.0,
                  "standardize": False, "entropy_weight": 0.0, "decay": False, "num_envs": 20},
    "a2c": {"rollout_steps": 5, "learning_rate": 7e-4, "optimizer": "rmsprop", "optimizer_epsilon": 1e-5,
            "entropy_weight": 0.0, "decay": False, "scale_rewards": False},
    "vtrace": {"rollout_steps": 100, "learning_rate": 4.8e-4, "optimizer": "rmsprop_inside", "optimizer_epsilon": 0.1,
               "entropy_weight": 0.00025, "minibatches": 1, "scale_rewards": False, "reward_clip": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_the_recipes_of_the_manual_can_be_followed(algorithm):
    policy = agents.train("toy/Cards-v0", algorithm, frames=1, **{"num_envs": 4, **PUBLISHED[algorithm]})
    assert policy.settings["optimizer"] == PUBLISHED[algorithm]["optimizer"]
    assert policy.settings["optimizer_epsilon"] == PUBLISHED[algorithm]["optimizer_epsilon"]
