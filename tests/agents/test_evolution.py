"""Evolution strategies against reference values, and the members against networks perturbed by hand."""

import numpy as np
import pytest
import torch

from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.actor import Weights
from sysgym.agents.evolution import (
    Evolution,
    EvolutionSettings,
    centred_ranks,
    evolution_gradient,
    noise,
    policy_weights,
)
from sysgym.agents.networks import build_network
from sysgym.core.errors import SettingError
from tests.agents.slots import SPACES, filled_rollout

RETURNS = np.array([[10.0, 12.0], [500.0, 500.0], [30.0, 7.0], [500.0, 20.0]])
EPS = np.array([[1, 0], [0, 1], [-1, 0.5], [0.5, -1]], dtype=np.float32)


def test_reference_values():
    ranks = centred_ranks(RETURNS)
    assert ranks[:, 0] - ranks[:, 1] == pytest.approx(np.array([-1, 0, 4, 3]) / 7)
    ranks = centred_ranks(RETURNS, "positional")
    assert ranks[:, 0] - ranks[:, 1] == pytest.approx(np.array([-1, -1, 4, 4]) / 7)
    assert evolution_gradient(RETURNS, EPS) == pytest.approx([-0.0625, -0.0178571], abs=1e-6)
    assert evolution_gradient(RETURNS, EPS, "positional") == pytest.approx([-0.0535714, -0.0535714], abs=1e-6)


def test_equal_returns_teach_nothing():
    assert not evolution_gradient(np.full((5, 2), 3.0), noise(0, 0, 5, 7)).any()
    assert centred_ranks(RETURNS).sum() == pytest.approx(0.0)


def test_on_a_quadratic_the_gradient_points_uphill():
    """Returns -|x - a|^2 around x = 0: the direction of a, within the noise of 4,000 pairs."""
    target, eps = np.array([3.0, -1.0, 2.0]), noise(1, 0, 4000, 3).astype(np.float64)
    returns = np.stack([-((sign * 0.1 * eps - target) ** 2).sum(axis=1) for sign in (1, -1)], axis=1)
    gradient = evolution_gradient(returns, eps.astype(np.float32))
    cosine = gradient @ target / np.linalg.norm(gradient) / np.linalg.norm(target)
    assert cosine > 0.99


def test_noise_depends_on_seed_update_and_pair_alone():
    whole = noise(5, 2, 6, 9)
    assert np.array_equal(whole[:3], noise(5, 2, 3, 9))
    for other in (noise(6, 2, 6, 9), noise(5, 3, 6, 9)):
        assert not np.equal(whole, other).any()


@pytest.mark.parametrize("spaces", [SPACES, Spaces((4, 2), "float32", 0, 5), Spaces((), "int64", 6, 2)])
def test_every_row_plays_with_the_weights_of_its_member(spaces):
    network = build_network(spaces, choose_architecture(spaces), seed=0)
    learner = Evolution(network, EvolutionSettings(sigma=0.3), 4)
    behaviour = learner.behaviour()
    behaviour.load(Weights.of(network, 7))
    seen = np.random.default_rng(0).integers(0, 6, size=(6, *spaces.shape)).astype(spaces.dtype)
    logits = behaviour.logits(seen)
    named = policy_weights(network)
    eps = torch.from_numpy(noise(4, 7, 3, sum(weight.numel() for weight in named.values())))
    before = [weight.detach().clone() for weight in named.values()]
    for row in range(6):
        with torch.no_grad():
            vector = torch.nn.utils.parameters_to_vector(before) + (0.3 if row % 2 == 0 else -0.3) * eps[row // 2]
            torch.nn.utils.vector_to_parameters(vector, named.values())
            assert np.allclose(network.policy_logits(torch.from_numpy(seen[row : row + 1]))[0], logits[row], atol=1e-5)


def test_an_update_ascends_and_counts_first_episodes_only():
    network = build_network(SPACES, choose_architecture(SPACES), seed=0)
    learner = Evolution(network, EvolutionSettings(optimizer="rmsprop", weight_decay=0.01), 3)
    rollout = filled_rollout()
    rollout.version = 5
    named = policy_weights(network)
    before = torch.nn.utils.parameters_to_vector(named.values()).detach().clone()
    value_before = [weight.clone() for weight in network.value.parameters()]
    learner.update(rollout, 0.0)
    rollout.rewards[3:, 1] = rollout.rewards[4:, 2] = 0.0  # after the truncation, and after the termination
    returns = rollout.rewards.sum(axis=0).reshape(2, 2)
    gradient = evolution_gradient(returns, noise(3, 5, 2, len(before)))
    found = torch.cat([weight.grad.flatten() for weight in named.values()])
    assert torch.allclose(found, 0.01 * before - torch.from_numpy(gradient).float(), atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(value_before, network.value.parameters(), strict=True))


def test_settings_are_checked():
    for name, value in {"sigma": 0.0, "weight_decay": -1.0, "ranks": "none"}.items():
        with pytest.raises(SettingError, match=name):
            EvolutionSettings(**{name: value})
    with pytest.raises(SettingError, match="num_envs is 7; it must be even"):
        EvolutionSettings().rows_per_workload(7)
