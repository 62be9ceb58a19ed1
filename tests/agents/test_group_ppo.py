"""PPO by groups: its first step is REINFORCE's, its later ones are clipped, workloads count by ratios, and it learns."""

import numpy as np
import pytest
import torch

from sysgym import agents
from sysgym.agents.algorithms import ALGORITHMS
from sysgym.agents.architecture import choose_architecture
from sysgym.agents.networks import build_network, masked_log_probabilities
from sysgym.agents.reinforce import sizes
from sysgym.agents.settings import make_settings
from sysgym.core.errors import SettingError
from tests.agents.slots import SPACES, filled_rollout


def learner(algorithm, **settings):
    found = ALGORITHMS[algorithm]
    network = build_network(SPACES, choose_architecture(SPACES), seed=0)
    return found.learner("torch")(network, make_settings(found.settings, {"episodes_per_workload": 2} | settings), 0)


def played_by(network, steps=8, rows=8):
    """A slot whose log-probabilities are those of this network."""
    rollout = filled_rollout(SPACES, steps, rows)
    logits = network.policy_logits(torch.from_numpy(rollout.observations[:-1]).flatten(0, 1))
    masks = torch.from_numpy(rollout.masks[:-1]).flatten(0, 1).bool()
    log_all = masked_log_probabilities(logits, masks).detach().numpy().reshape(steps, rows, -1)
    rollout.log_probabilities[...] = np.take_along_axis(log_all, rollout.actions[..., None], 2)[..., 0]
    return rollout


def test_where_nothing_has_moved_yet_its_gradient_is_that_of_reinforce():
    same = {"learning_rate": 1e-3, "max_gradient_norm": 1e9}
    one, other = learner("group_ppo", epochs=1, minibatches=1, **same), learner("reinforce", **same)
    rollout = played_by(one.network)
    for learned in (one, other):
        learned.update(rollout, 0.0)
    for ours, theirs in zip(one.network.policy.parameters(), other.network.policy.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6) and ours.grad.abs().sum() > 0


def test_the_clip_keeps_a_slot_that_is_learned_from_often_near_its_policy():
    told = {}
    for clip in (0.05, 10.0):
        learned = learner("group_ppo", epochs=30, clip=clip, entropy_weight=0.0, learning_rate=1e-2)
        told[clip] = learned.update(played_by(learned.network), 0.0)["approximate_kl"]
    assert told[0.05] < 0.1 * told[10.0]


def test_a_workload_counts_by_the_ratio_of_its_returns():
    returns = np.array([[-8.0, -4.0, 0.0, 0.0, 1.0, -3.0], [-1.0, 0.0, 9.0, 9.0, 0.0, 0.0]])
    assert sizes(returns, 2).tolist() == [6.0, 6.0, 1.0, 1.0, 2.0, 2.0]
    found = []
    for factor in (1.0, 1000.0):  # of the first two workloads of four
        learned = learner("group_ppo", relative=True, epochs=1, minibatches=1, max_gradient_norm=1e9)
        rollout = played_by(learned.network)
        rollout.rewards[:, :4] *= factor
        learned.update(rollout, 0.0)
        found.append(torch.cat([weight.grad.ravel() for weight in learned.network.policy.parameters()]))
    assert torch.allclose(found[0], found[1], atol=1e-5)


def test_it_learns():
    policy = agents.train("toy/Cards-v0", "group_ppo", frames=8192, num_envs=16, episodes_per_workload=4, seed=1)
    curve = [point["mean_return"] for point in policy.curve if point["mean_return"] is not None]
    assert curve[-1] > curve[0] + 1.0


def test_settings_are_checked():
    with pytest.raises(SettingError, match="every minibatch makes a step"):
        learner("group_ppo", slots_per_step=2)
    with pytest.raises(SettingError, match="clip"):
        learner("group_ppo", clip=0.0)
