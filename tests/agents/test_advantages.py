"""GAE against its definition, the reference values of the engine's specification, and the known wrong answers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.agents.updates.advantages import decision_trace, generalized_advantages, next_values

REWARDS = np.array([[1.0], [0.0], [2.0], [-1.0], [0.5], [1.0]])
VALUES = np.array([[0.5], [0.4], [0.3], [0.2], [0.1], [0.6], [0.7]])
TERMINATED = np.array([[False], [False], [True], [False], [False], [False]])
TRUNCATED = np.array([[False], [False], [False], [False], [True], [False]])


def episode_flags_example(following):
    done = TERMINATED | TRUNCATED
    return generalized_advantages(REWARDS, VALUES, following, done, discount=0.99, trace_decay=0.95)[:, 0]


def test_reference_values():
    following = next_values(VALUES, TERMINATED, TRUNCATED, np.array([0.9]))
    advantages = episode_flags_example(following)
    assert advantages == pytest.approx([2.3028469, 1.49585, 1.7, 0.1131855, 1.291, 1.093], abs=1e-6)


def test_truncation_taken_for_termination_is_recognised():
    following = next_values(VALUES, TERMINATED | TRUNCATED, np.zeros_like(TRUNCATED), np.zeros(0))
    assert episode_flags_example(following)[3:5] == pytest.approx([-0.7248, 0.4])


def test_bootstrap_from_the_next_episode_is_recognised():
    following = next_values(VALUES, TERMINATED, np.zeros_like(TRUNCATED), np.zeros(0))
    assert episode_flags_example(following)[3:5] == pytest.approx([-0.166143, 0.994])


def test_termination_wins_over_truncation():
    both = np.array([[True]])
    assert next_values(np.array([[1.0], [2.0]]), both, both, np.zeros(0)) == 0.0


def test_final_values_belong_to_steps_in_row_major_order():
    truncated = np.array([[False, True, True], [True, False, False]])
    following = next_values(np.zeros((3, 3)), np.zeros_like(truncated), truncated, np.array([1.0, 2.0, 3.0]))
    assert following.tolist() == [[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]


def by_definition(rewards, values, following, done, discount, trace_decay):
    """A_s = sum over t from s to e of (gamma lambda)^(t - s) delta_t, e the first end at or after s; O(T^2)."""
    steps, rows = rewards.shape
    advantages = np.zeros((steps, rows))
    for n in range(rows):
        for s in range(steps):
            for t in range(s, steps):
                delta = rewards[t, n] + discount * following[t, n] - values[t, n]
                advantages[s, n] += (discount * trace_decay) ** (t - s) * delta
                if done[t, n]:
                    break
    return advantages


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 12),
    rows=st.integers(1, 3),
    discount=st.sampled_from([0.0, 0.9, 1.0]),
    trace_decay=st.sampled_from([0.0, 0.95, 1.0]),
)
def test_equals_the_definition(seed, steps, rows, discount, trace_decay):
    random = np.random.default_rng(seed)
    rewards, values = random.normal(size=(steps, rows)), random.normal(size=(steps + 1, rows))
    terminated, truncated = random.random((2, steps, rows)) < 0.2
    following = next_values(values, terminated, truncated, random.normal(size=int((truncated & ~terminated).sum())))
    done = terminated | truncated
    fast = generalized_advantages(rewards, values, following, done, discount=discount, trace_decay=trace_decay)
    assert np.allclose(fast, by_definition(rewards, values, following, done, discount, trace_decay), atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 12), discount=st.sampled_from([0.9, 1.0]))
def test_forced_states_count_as_part_of_the_decision_before(seed, steps, discount):
    random = np.random.default_rng(seed)
    rewards, values = random.normal(size=(steps, 1)), random.normal(size=(steps + 1, 1))
    decisions, done = random.random((steps + 1, 1)) < 0.5, np.zeros((steps, 1), dtype=bool)
    decisions[0] = decisions[-1] = True
    trace = decision_trace(decisions, 0.95)
    advantages = generalized_advantages(rewards, values, values[1:], done, discount=discount, trace_decay=trace)

    # the shorter chain: rewards up to the next decision in one step, discounted by the steps that it takes
    kept = np.flatnonzero(decisions[:, 0])
    later = 0.0
    for begin, end in reversed(list(itertools.pairwise(kept))):
        reward = sum(discount**k * rewards[begin + k, 0] for k in range(end - begin))
        skipped = discount ** int(end - begin)
        later = reward + skipped * values[end, 0] - values[begin, 0] + skipped * 0.95 * later
        assert advantages[begin, 0] == pytest.approx(later)


def test_without_discount_and_decay_the_return_is_the_sum_of_rewards():
    rewards, values, done = np.ones((4, 1)), np.array([[3.0], [1.0], [4.0], [1.0], [5.0]]), np.zeros((4, 1), bool)
    done[-1] = True
    following = next_values(values, done, np.zeros_like(done), np.zeros(0))
    advantages = generalized_advantages(rewards, values, following, done, discount=1.0, trace_decay=1.0)
    assert (advantages + values[:-1])[:, 0].tolist() == [4.0, 3.0, 2.0, 1.0]
