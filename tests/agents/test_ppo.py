"""The PPO losses against reference values, plain autograd and finite claims about their settings."""

import numpy as np
import pytest
import torch

from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.networks import build_network, masked_entropy, masked_log_probabilities
from sysgym.agents.ppo import PPO, PPOSettings, normalized, policy_loss, value_loss
from sysgym.agents.settings import make_settings
from sysgym.agents.updates.scaling import RewardScale
from sysgym.core.errors import SettingError, TrainingError, UnknownNameError
from tests.agents.slots import SPACES, filled_rollout

LOGITS = [[0.1, 0.2, -0.3], [1.0, 0.0, -1.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.4]]
ACTIONS = torch.tensor([0, 2, 1, 2])
OLD = torch.tensor([-1.2, -2.0, -0.9, -0.6], dtype=torch.float64)
ADVANTAGES = torch.tensor([1.0, -0.5, 2.0, -1.5], dtype=torch.float64)
VALUES = torch.tensor([0.3, -0.2, 0.8, 0.1], dtype=torch.float64)
OLD_VALUES = torch.tensor([0.1, -0.1, 0.5, 0.4], dtype=torch.float64)
RETURNS = torch.tensor([0.6, -0.4, 1.5, 0.2], dtype=torch.float64)


def test_reference_values():
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    masks = torch.ones(4, 3, dtype=torch.bool)
    log_all = masked_log_probabilities(logits, masks)
    log_ratio = log_all.gather(1, ACTIONS[:, None]).squeeze(1) - OLD
    ratio = log_ratio.exp()
    assert ratio.tolist() == pytest.approx([1.1962269, 0.665241, 1.2457407, 0.7784703], abs=1e-6)
    loss = policy_loss(ratio, ADVANTAGES, 0.2)
    assert loss.item() == pytest.approx(-0.4990567223662, abs=1e-10)
    # the reference was computed with an exact deviation, without the 1e-8
    assert policy_loss(ratio, normalized(ADVANTAGES), 0.2).item() == pytest.approx(-0.1603617942954, abs=1e-7)
    entropy = masked_entropy(log_all, masks).mean()
    assert entropy.item() == pytest.approx(1.0024330672377, abs=1e-10)
    value = value_loss(VALUES, OLD_VALUES, RETURNS, None)
    assert value.item() == pytest.approx(0.07875)
    assert value_loss(VALUES, OLD_VALUES, RETURNS, 0.2).item() == pytest.approx(0.0975)
    total = loss + 0.5 * value - 0.01 * entropy
    assert total.item() == pytest.approx(-0.4697060530386, abs=1e-10)
    total.backward()
    assert logits.grad[0].tolist() == pytest.approx([-0.1912564, 0.1192373, 0.0720192], abs=1e-6)
    # printed as .0362016517; plain numpy in float64 agrees with ours, and differs from the print in the 9th digit
    assert (ratio - 1 - log_ratio).mean().item() == pytest.approx(0.0362016517, abs=1e-8)
    assert ((ratio - 1).abs() > 0.2).float().mean().item() == 0.75


def learner(spaces, **settings):
    chosen = make_settings(PPOSettings, {"discount": 0.9, **settings})
    network = build_network(spaces, choose_architecture(spaces), seed=0)
    return PPO(network, chosen, 0)


def test_one_step_equals_plain_autograd():
    """The whole update with one epoch and one minibatch, against the formulas written out with torch alone."""
    ppo = learner(SPACES, epochs=1, minibatches=1, scale_rewards=False, decay=False)
    plain = build_network(SPACES, choose_architecture(SPACES), seed=0)
    rollout = filled_rollout(SPACES)
    metrics = ppo.update(rollout, 0.0)

    with torch.no_grad():
        values = plain.values(torch.from_numpy(rollout.observations).flatten(0, 1)).reshape(7, 4).double()
        final = plain.values(torch.from_numpy(rollout.final_observations[0])).double()
    later, advantages = torch.zeros(4, dtype=torch.float64), torch.zeros(6, 4, dtype=torch.float64)
    for t in reversed(range(6)):
        for n in range(4):
            following, keep = values[t + 1, n], 0.9 * 0.9
            if rollout.terminated[t, n]:
                following, keep = 0.0, 0.0
            elif rollout.truncated[t, n]:
                following, keep = final[0], 0.0
            elif rollout.masks[t + 1, n].sum() == 1:
                keep = 0.9
            delta = rollout.rewards[t, n] + 0.9 * following - values[t, n]
            later[n] = delta + keep * later[n]
        advantages[t] = later
    returns = (advantages + values[:-1]).flatten().float()
    advantages = advantages.flatten().float()

    seen = torch.from_numpy(rollout.observations[:-1]).flatten(0, 1)
    masks = torch.from_numpy(rollout.masks[:-1]).flatten(0, 1)
    several = masks.sum(-1) > 1  # a state with one allowed action teaches the policy nothing
    assert 0 < several.sum() < len(several)
    advantages = advantages[several]
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    policy = torch.distributions.Categorical(logits=(plain.policy_logits(seen) + (masks - 1.0) * 1e9)[several])
    ratio = (policy.log_prob(torch.from_numpy(rollout.actions).flatten()[several]) - np.log(0.3)).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
    loss = -surrogate + 0.25 * ((plain.values(seen) - returns) ** 2).mean() - 0.01 * policy.entropy().mean()
    optimizer = torch.optim.Adam(plain.parameters(), 2e-3)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.policy.parameters(), 0.5)
    torch.nn.utils.clip_grad_norm_(plain.value.parameters(), 0.5)
    optimizer.step()

    assert metrics["policy_loss"] == pytest.approx(-surrogate.item(), rel=1e-4, abs=1e-6)
    assert metrics["policy_gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    for ours, theirs in zip(ppo.network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_decay_and_budget():
    ppo = learner(SPACES)
    assert ppo.update(filled_rollout(SPACES), 0.75)["learning_rate"] == pytest.approx(0.5e-3)
    ppo = learner(SPACES, decay=False)
    assert ppo.update(filled_rollout(SPACES), 0.75)["learning_rate"] == pytest.approx(2e-3)


def test_target_kl_stops_after_an_epoch(monkeypatch):
    counts = {}
    for target in (None, 1e-9):
        ppo = learner(SPACES, target_kl=target, epochs=5, minibatches=2)
        steps = []
        original = ppo._descend
        monkeypatch.setattr(ppo, "_descend", lambda seen=steps, go=original, **losses: seen.append(1) or go(**losses))
        ppo.update(filled_rollout(SPACES), 0.0)
        counts[target] = len(steps)
    assert counts == {None: 10, 1e-9: 2}


def test_truncation_can_be_taken_for_termination():
    states = {}
    for truncation in ("bootstrap", "terminal"):
        ppo = learner(SPACES, truncation=truncation)
        rollout = filled_rollout(SPACES)
        values = np.arange(28.0).reshape(7, 4)
        states[truncation] = ppo._next_values(rollout, values)[2, 1]
    final = ppo._values(torch.from_numpy(rollout.final_observations[0]))
    assert states == {"bootstrap": final[0], "terminal": 0.0}


def test_a_gradient_that_is_not_finite_takes_no_step():
    ppo = learner(SPACES, scale_rewards=False, normalize_advantages=False, minibatches=1)
    before = [parameter.clone() for parameter in ppo.network.parameters()]
    rollout = filled_rollout(SPACES)
    rollout.rewards[0, 0] = 1e25
    with pytest.raises(TrainingError, match="gradient is not finite"):
        ppo.update(rollout, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, ppo.network.parameters(), strict=True))


def test_reward_scale_is_the_root_mean_square_of_returns():
    scale = RewardScale(0.5)
    assert scale.divisor == 1.0
    scale.update(np.array([[0.0], [0.0]]), np.array([[False], [False]]))
    assert scale.divisor == 1.0
    scale = RewardScale(0.5)
    scale.update(np.array([[1.0], [2.0], [4.0]]), np.array([[False], [True], [False]]))
    assert scale.mean_square == pytest.approx((2.0**2 + 2.0**2 + 4.0**2) / 3)
    scale.update(np.array([[6.0]]), np.array([[True]]))
    assert scale.mean_square == pytest.approx((4 + 4 + 16 + 36) / 4)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"learning_rat": 1}, UnknownNameError, "did you mean learning_rate"),
        ({"epochs": 2.5}, SettingError, "epochs is 2.5; it must be a whole number"),
        ({"epochs": True}, SettingError, "epochs is True"),
        ({"epochs": 0}, SettingError, "epochs is 0; it must be at least 1"),
        ({"learning_rate": 0}, SettingError, "above 0"),
        ({"learning_rate": float("nan")}, SettingError, "nan"),
        ({"discount": 1.5}, SettingError, "at most 1"),
        ({"trace_decay": -0.1}, SettingError, "trace_decay"),
        ({"truncation": "ignore"}, SettingError, "'bootstrap' or 'terminal'"),
        ({"hidden": [8, "x"]}, SettingError, "hidden"),
        ({"hidden": 8}, SettingError, "hidden is 8; it must be a list of whole numbers or None"),
        ({"decay": 1}, SettingError, "decay is 1; it must be True or False"),
    ],
)
def test_settings_are_checked(values, error, message):
    with pytest.raises(error, match=message):
        make_settings(PPOSettings, values)


def test_settings_convert_what_is_meant():
    settings = make_settings(PPOSettings, {"learning_rate": 1, "hidden": [8, 8], "target_kl": None})
    assert settings == PPOSettings(learning_rate=1.0, hidden=(8, 8))
    assert isinstance(settings.learning_rate, float)
