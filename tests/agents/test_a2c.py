"""A2C is PPO with one epoch and one minibatch, to the last bit of what both compute."""

import numpy as np
import pytest
import torch

from sysgym.agents.a2c import A2C, A2CSettings
from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.networks import build_network, masked_log_probabilities
from sysgym.agents.ppo import PPO, PPOSettings
from sysgym.core.errors import SettingError
from tests.agents.slots import SPACES, filled_rollout


def networks():
    return [build_network(SPACES, choose_architecture(SPACES), seed=0) for _ in range(2)]


def on_policy(network, rollout):
    """The slot as the network itself would have played it."""
    seen = torch.from_numpy(rollout.observations[:-1]).flatten(0, 1)
    masks = torch.from_numpy(rollout.masks[:-1]).flatten(0, 1).bool()
    log_all = masked_log_probabilities(network.policy_logits(seen), masks).detach()
    taken = log_all.gather(1, torch.from_numpy(rollout.actions).flatten()[:, None])
    rollout.log_probabilities[...] = taken.double().numpy().reshape(rollout.actions.shape)
    return rollout


@pytest.mark.parametrize("skip_forced", [True, False])
@pytest.mark.parametrize("truncation", ["bootstrap", "terminal"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_equals_ppo_with_one_epoch_and_one_minibatch(skip_forced, truncation, optimizer):
    first, second = networks()
    shared = {"skip_forced": skip_forced, "truncation": truncation, "optimizer": optimizer, "trace_decay": 0.8}
    a2c = A2C(first, A2CSettings(value_weight=0.5, **shared), 0)
    ppo = PPO(second, PPOSettings(value_weight=1.0, epochs=1, minibatches=1, normalize_advantages=False, **shared), 0)
    for step in range(3):
        rollout = on_policy(first, filled_rollout(seed=step))
        ours, theirs = a2c.update(rollout, 0.25), ppo.update(rollout, 0.25)
        assert ours["policy_gradient_norm"] == pytest.approx(theirs["policy_gradient_norm"], rel=1e-4)
        assert ours["value_gradient_norm"] == pytest.approx(theirs["value_gradient_norm"], rel=1e-4)
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.allclose(a, b, atol=3e-5 * (step + 1))


def test_the_gradient_of_a_masked_action_is_that_of_a_smaller_action_set():
    """Forbidding the last action everywhere is the same as not having it."""
    network, _ = networks()
    rollout = filled_rollout()
    rollout.masks[..., 3] = 0
    rollout.actions[...] = np.minimum(rollout.actions, 2)
    last = network.policy.layers[-1]
    before = last.weight[3].clone()
    A2C(network, A2CSettings(), 0).update(rollout, 0.0)
    assert torch.equal(last.weight[3], before)
    assert not last.weight.grad[3].any() and last.weight.grad[2].any()


def test_settings_are_checked():
    with pytest.raises(SettingError, match="optimizer is 'sgd'; it must be 'adam' or 'rmsprop'"):
        A2CSettings(optimizer="sgd")
    with pytest.raises(SettingError, match="value_weight"):
        A2CSettings(value_weight=-1.0)
