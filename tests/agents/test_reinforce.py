"""REINFORCE against exact enumeration of a tiny decision process, and its baselines against reference values."""

import itertools

import numpy as np
import pytest
import torch

from sysgym.agents import Training
from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.algorithms import ALGORITHMS
from sysgym.agents.networks import build_network
from sysgym.agents.reinforce import Reinforce, ReinforceSettings, baselines, returns_to_go
from sysgym.core.errors import SettingError
from tests.agents.slots import SPACES, filled_rollout


def padded(episodes):
    rewards, alive = np.zeros((2, max(map(len, episodes)), len(episodes)))
    for n, episode in enumerate(episodes):
        rewards[: len(episode), n], alive[: len(episode), n] = episode, 1
    return rewards, alive.astype(bool)


def test_reference_values():
    rewards, alive = padded([(-1, -2, -1), (-3, -1), (-2, -2, -2, -1)])
    returns = returns_to_go(rewards, alive, 1.0)
    deeprm = baselines(returns, alive, "deeprm", 3)
    assert deeprm[:, 0] == pytest.approx([-5, -3, -4 / 3, -1 / 3])
    assert (deeprm == deeprm[:, :1]).all()
    assert baselines(returns, alive, "alive", 3)[:, 0] == pytest.approx([-5, -3, -2, -1])
    advantages = returns - baselines(returns, alive, "leave_one_out", 3)
    assert advantages[:3, 0] == pytest.approx([1.5, 0, 0.5])
    assert advantages[:2, 1] == pytest.approx([1.5, 3])
    assert advantages[:, 2] == pytest.approx([-3, -3, -2.5, -1])


def test_groups_do_not_mix_and_returns_are_discounted_sums():
    random = np.random.default_rng(0)
    rewards, alive = padded([random.normal(size=size) for size in (3, 5, 2, 4)])
    returns = returns_to_go(rewards, alive, 0.9)
    for t, n in zip(*np.nonzero(alive), strict=True):
        assert returns[t, n] == pytest.approx(sum(0.9 ** (s - t) * rewards[s, n] for s in range(t, len(rewards))))
    for kind in ("leave_one_out", "deeprm", "alive"):
        both = baselines(returns, alive, kind, 2)
        assert both[:, :2] == pytest.approx(baselines(returns[:, :2], alive[:, :2], kind, 2))
        assert both[:, 2:] == pytest.approx(baselines(returns[:, 2:], alive[:, 2:], kind, 2))


LOGITS = np.array([[0.1, -0.2], [0.3, 0.0]])
REWARDS = np.array([[1.0, 0.0], [0.0, 2.0]])
EXACT = np.array([[0.31725068, -0.31725068], [-0.20806213, 0.20806213]])


def expected_gradient(kind):
    """Expectation of (3), per episode, for two episodes of two steps: start in 0, next state = action."""
    policy = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    total, value = np.zeros((2, 2)), 0.0
    for first, second, third, fourth in itertools.product(range(2), repeat=4):
        actions = np.array([[first, third], [second, fourth]])
        states = np.array([[0, 0], actions[0]])
        chance = policy[states, actions].prod()
        returns = returns_to_go(REWARDS[states, actions], np.ones((2, 2), dtype=bool), 1.0)
        value += chance * returns[0].mean()
        advantages = returns - (baselines(returns, np.ones((2, 2), dtype=bool), kind, 2) if kind else 0.0)
        for t, n in itertools.product(range(2), repeat=2):
            state = states[t, n]
            total[state] += chance * (np.eye(2)[actions[t, n]] - policy[state]) * advantages[t, n] / 2
    assert value == pytest.approx(1.2666250649277624, abs=1e-12)
    return total


def test_leave_one_out_has_exactly_the_policy_gradient_as_its_expectation():
    exact = expected_gradient(None)
    assert exact == pytest.approx(EXACT, abs=1e-8)
    assert expected_gradient("leave_one_out") == pytest.approx(exact, abs=1e-12)
    assert expected_gradient("deeprm") == pytest.approx(exact / 2, abs=1e-12)


@pytest.mark.parametrize("normalizer", ["per_step", "per_episode"])
@pytest.mark.parametrize("baseline", ["leave_one_out", "deeprm", "alive"])
def test_one_step_equals_plain_autograd(normalizer, baseline):
    learner = Reinforce(
        build_network(SPACES, choose_architecture(SPACES), seed=0),
        ReinforceSettings(
            normalizer=normalizer, baseline=baseline, episodes_per_workload=2, standardize=False, discount=0.9
        ),
        0,
    )
    plain = build_network(SPACES, choose_architecture(SPACES), seed=0)
    rollout = filled_rollout()
    learner.update(rollout, 0.0)
    loss, entropies, steps, last = 0.0, [], 0, {1: 2, 2: 3}
    returns = {n: [sum(0.9 ** (s - t) * rollout.rewards[s, n] for s in range(t, last.get(n, 5) + 1)) for t in range(6)]
               for n in range(4)}  # fmt: skip
    for n in range(4):
        peer = n ^ 1
        for t in range(last.get(n, 5) + 1):
            steps += 1
            other = returns[peer][t] if t <= last.get(peer, 5) else 0.0
            if baseline == "leave_one_out":
                base = other
            elif baseline == "deeprm":
                base = (returns[n][t] + other) / 2
            else:
                base = (returns[n][t] + other) / (2 if t <= last.get(peer, 5) else 1)
            mask = torch.from_numpy(rollout.masks[t, n]).float()
            logits = plain.policy_logits(torch.from_numpy(rollout.observations[t, n : n + 1]))[0] + (mask - 1) * 1e9
            policy = torch.distributions.Categorical(logits=logits)
            loss = loss - policy.log_prob(torch.tensor(rollout.actions[t, n])) * (returns[n][t] - base)
            if mask.sum() > 1:
                entropies.append(policy.entropy())
    loss = loss / (steps if normalizer == "per_step" else 4) - 0.01 * torch.stack(entropies).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.policy.parameters(), 0.5)
    for ours, theirs in zip(learner.network.policy.parameters(), plain.policy.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_settings_are_checked():
    for name, value in {"baseline": "mean", "normalizer": "per_day", "episodes_per_workload": 1}.items():
        with pytest.raises(SettingError, match=name):
            ReinforceSettings(**{name: value})
    with pytest.raises(SettingError, match="num_envs is 20; it must be a multiple of episodes_per_workload, 16"):
        ReinforceSettings().rows_per_workload(20)


@pytest.mark.parametrize("kind", ["torch", "native"])
def test_gradients_of_several_slots_make_one_step(kind):
    def learner(**settings):
        network = build_network(SPACES, choose_architecture(SPACES, "flat", (4,)), seed=1)
        settings = ReinforceSettings(episodes_per_workload=2, standardize=False, max_gradient_norm=1e9, **settings)
        return ALGORITHMS["reinforce"].learner(kind)(network, settings, 0)

    first, second = filled_rollout(seed=1), filled_rollout(seed=2)
    both = learner(slots_per_step=2)
    before = flat(both)
    both.update(first, 0.0)
    assert np.array_equal(flat(both), before)  # it waits for the second
    resumed = learner(slots_per_step=2)
    resumed.restore(*both.state())
    both.update(second, 0.0)
    resumed.update(second, 0.0)
    assert not np.array_equal(flat(both), before)
    assert np.array_equal(flat(both), flat(resumed))
    whole = learner(slots_per_step=2)  # the order of the slots doesn't matter to a sum
    whole.update(second, 0.0)
    whole.update(first, 0.0)
    assert flat(whole) == pytest.approx(flat(both), abs=1e-6)


def flat(learner):
    return np.concatenate([p.detach().numpy().ravel().copy() for p in learner.network.parts()["policy"]])


def played_workloads(**settings):
    """Seeds of the episodes of three slots."""
    training = Training(
        "sysgym/JobSched-v0", "reinforce", num_envs=4, frames=10**6, episodes_per_workload=2, rollout_steps=5,
        environment={"observation": "compact"}, **settings,
    )  # fmt: skip
    seen, run = [], training.run()
    environments = training.pipeline.players[0].actor.environments
    reset = environments.reset
    environments.reset = lambda seeds, *memory: (seen.append(seeds.tolist()), reset(seeds, *memory))
    rollouts = [next(run) for _ in range(3)]
    run.close()
    assert len(rollouts) == 3
    return seen, training


def test_workloads_are_gone_through_again():
    seen, _ = played_workloads(workloads=3)
    assert all(a == b for a, b in (row[:2] for row in seen))
    order = [seeds[place] for seeds in seen for place in (0, 2)]
    assert order[:3] == order[3:6] and len(set(order)) == 3
    fresh, _ = played_workloads()
    assert len({seed for seeds in fresh for seed in seeds}) == 6


def test_without_masks_every_action_is_learned_and_played():
    _, training = played_workloads(masked=False, network="flat", hidden=(4,))
    assert training.pipeline.players[0].actor.behaviour.masked is False
    policy = training.policy()
    forbidden = np.zeros((200, 11), dtype=np.int8)
    forbidden[:, 10] = 1
    actions = policy.sampled(0).act_batch(np.zeros((200, 91), dtype=np.float32), forbidden)
    assert len(set(actions.tolist())) > 5
