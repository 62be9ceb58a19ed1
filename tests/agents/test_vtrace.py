"""V-trace against its definition, published test vectors, and its identities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.networks import build_network
from sysgym.agents.updates.advantages import generalized_advantages, next_values
from sysgym.agents.vtrace import VTrace, VTraceSettings, vtrace
from sysgym.core.errors import SettingError
from tests.agents.slots import SPACES, filled_rollout


def test_reference_values_of_one_sequence():
    x = np.arange(5.0)[:, None]
    following = np.vstack([x[1:], [[1.0]]])
    targets, advantages = vtrace(
        np.exp(5 * (x / 5 - 0.5)),
        x,
        x,
        following,
        np.zeros((5, 1), dtype=bool),
        discount=0.9,
        rho_clip=3.7,
        policy_rho_clip=2.2,
    )
    assert targets[:, 0] == pytest.approx([0.2001819, 2.7096824, 8.5136279, 11.9323966, 7.33], abs=1e-6)
    assert advantages[:, 0] == pytest.approx([0.2001819, 1.7096824, 6.5136279, 10.8766142, 1.98], abs=1e-6)


def test_reference_values_of_five_sequences():
    x = np.arange(25.0).reshape(5, 5)
    bootstrap = np.arange(1.0, 6.0)
    targets, advantages = vtrace(
        np.exp(5 * (x / 25 - 0.5)),
        x,
        x / 5,
        np.vstack([x[1:] / 5, bootstrap]),
        np.zeros((5, 5), dtype=bool),
        discount=0.9 / bootstrap,
        rho_clip=3.7,
        policy_rho_clip=2.2,
    )
    assert targets.sum() == pytest.approx(930.4175441565707, abs=1e-6)
    assert advantages.sum() == pytest.approx(824.1821154565844, abs=1e-6)
    assert targets[2] == pytest.approx([53.2502314, 29.4722133, 27.5451455, 29.0371903, 31.8611548], abs=1e-6)
    assert advantages[3] == pytest.approx([118.5051388, 88.9283264, 78.001, 69.30495, 64.79132], abs=1e-6)


def test_reference_values_with_a_termination_and_a_truncation():
    rewards = np.array([1, 0, 2, -1, 0.5, 1])[:, None]
    values = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.6, 0.7])[:, None]
    terminated, truncated = np.zeros((2, 6, 1), dtype=bool)
    terminated[2] = truncated[4] = True
    following = next_values(values, terminated, truncated, np.array([0.9]))
    ratios = np.array([0.5, 2, 1, 1.5, 0.8, 1.2])[:, None]
    targets, advantages = vtrace(ratios, rewards, values, following, terminated | truncated, discount=0.99)
    assert targets[:, 0] == pytest.approx([1.7301, 1.98, 2, 0.121472, 1.1328, 1.693], abs=1e-6)
    assert advantages[:, 0] == pytest.approx([1.2301, 1.58, 1.7, -0.078528, 1.0328, 1.093], abs=1e-6)


def by_definition(ratios, rewards, values, following, done, discount, rho_clip, policy_rho_clip, trace_decay):
    """vs_s = V_s + sum_t gamma^(t - s) (prod_{i < t} c_i) delta_t, one sequence, O(T^2)."""
    count = len(rewards)
    targets, advantages = [], []
    for s in range(count):
        end = next((t for t in range(s, count) if done[t]), count - 1)
        total, product = values[s], 1.0
        for t in range(s, end + 1):
            total += (
                discount ** (t - s)
                * product
                * min(rho_clip, ratios[t])
                * (rewards[t] + discount * following[t] - values[t])
            )
            product *= trace_decay * min(1.0, ratios[t])
        targets.append(total)
    for s in range(count):
        ahead = following[s] if done[s] or s == count - 1 else targets[s + 1]
        advantages.append(min(policy_rho_clip, ratios[s]) * (rewards[s] + discount * ahead - values[s]))
    return targets, advantages


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 12),
    discount=st.sampled_from([0.0, 0.9, 1.0]),
    clips=st.tuples(st.floats(0.1, 4.0), st.floats(0.1, 4.0), st.floats(0.0, 1.0)),
)
def test_equals_its_definition(seed, steps, discount, clips):
    random = np.random.default_rng(seed)
    rewards, values = random.normal(size=(steps, 3)), random.normal(size=(steps + 1, 3))
    terminated, truncated = random.random((2, steps, 3)) < 0.2
    following = next_values(values, terminated, truncated, random.normal(size=(truncated & ~terminated).sum()))
    ratios, done = np.exp(random.normal(size=(steps, 3))), terminated | truncated
    names = dict(zip(("rho_clip", "policy_rho_clip", "trace_decay"), clips, strict=True))
    targets, advantages = vtrace(ratios, rewards, values, following, done, discount=discount, **names)
    for n in range(3):
        columns = (array[:, n] for array in (ratios, rewards, values, following, done))
        expected = by_definition(*columns, discount, *clips)
        assert targets[:, n] == pytest.approx(expected[0], abs=1e-10)
        assert advantages[:, n] == pytest.approx(expected[1], abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_on_policy_it_is_the_generalised_advantage_of_lambda_one(seed):
    random = np.random.default_rng(seed)
    rewards, values = random.normal(size=(9, 2)), random.normal(size=(10, 2))
    terminated, truncated = random.random((2, 9, 2)) < 0.2
    following = next_values(values, terminated, truncated, random.normal(size=(truncated & ~terminated).sum()))
    done = terminated | truncated
    targets, advantages = vtrace(np.ones((9, 2)), rewards, values, following, done, discount=0.97)
    expected = generalized_advantages(rewards, values, following, done, discount=0.97, trace_decay=1.0)
    assert advantages == pytest.approx(expected, abs=1e-10)
    assert targets - values[:-1] == pytest.approx(expected, abs=1e-10)


def test_one_step_equals_plain_autograd():
    learner = VTrace(
        build_network(SPACES, choose_architecture(SPACES), seed=0),
        VTraceSettings(minibatches=1, scale_rewards=False, skip_forced=False, discount=0.9),
        0,
    )
    plain = build_network(SPACES, choose_architecture(SPACES), seed=0)
    rollout = filled_rollout()
    learner.update(rollout, 0.5)

    seen = torch.from_numpy(rollout.observations)
    masks = torch.from_numpy(rollout.masks[:-1])
    policy = torch.distributions.Categorical(
        logits=plain.policy_logits(seen[:-1].flatten(0, 1)) + (masks.flatten(0, 1) - 1.0) * 1e9
    )
    log_taken = policy.log_prob(torch.from_numpy(rollout.actions).flatten()).reshape(6, 4)
    values = plain.values(seen.flatten(0, 1)).reshape(7, 4)
    with torch.no_grad():
        final = plain.values(torch.from_numpy(rollout.final_observations[0])).double().numpy()
    numbers = values.detach().double().numpy()
    following = next_values(numbers, rollout.terminated, rollout.truncated, final)
    targets, advantages = np.zeros((2, 6, 4))
    ratios = np.exp(log_taken.detach().double().numpy() - np.log(0.3))
    for n in range(4):
        columns = (array[:, n] for array in (ratios, rollout.rewards, numbers, following, rollout.done))
        targets[:, n], advantages[:, n] = by_definition(*columns, 0.9, 1.0, 1.0, 1.0)
    loss = -(log_taken * torch.from_numpy(advantages)).mean()
    loss = loss + 0.25 * ((values[:-1] - torch.from_numpy(targets)) ** 2).mean() - 0.005 * policy.entropy().mean()
    loss.backward()
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    torch.nn.utils.clip_grad_norm_(plain.policy.parameters(), 0.5)
    torch.nn.utils.clip_grad_norm_(plain.value.parameters(), 0.5)
    optimizer.step()
    for ours, theirs in zip(learner.network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_parts_of_the_environments_keep_their_final_observations():
    rollout = filled_rollout()
    rollout.truncated[4, 3] = rollout.truncated[2, 3] = True
    rollout.final_observations[:] = [np.full((2, 3), [[1.0], [2.0]]), np.full((1, 3), 3.0)]
    part = rollout.columns(np.array([0, 3]))
    assert np.array_equal(part.rewards, rollout.rewards[:, [0, 3]])
    assert np.concatenate(part.final_observations)[:, 0].tolist() == [2.0, 3.0]
    assert len(np.concatenate(rollout.columns(np.array([0, 2])).final_observations)) == 0


def test_settings_are_checked():
    with pytest.raises(SettingError, match="rho_clip"):
        VTraceSettings(rho_clip=0.0)
