"""What environments write into a slot: layout, masks, ends of episodes, numbers that are not finite."""

import gymnasium as gym
import numpy as np
import pytest

from sysgym.agents.acting.architecture import choose_architecture
from sysgym.agents.actor import Actor, Behaviour
from sysgym.agents.networks import build_network
from sysgym.agents.rollout import Rollout
from sysgym.agents.stepping.environments import CopiedEnvironments, NativeEnvironments, make_environments
from sysgym.core.errors import SettingError, TrainingError, UnknownNameError
from tests.agents import toy


def actor_of(env_id, num_envs, steps, seed=0, **arguments):
    environments = make_environments(env_id, num_envs, arguments)
    network = build_network(environments.spaces, choose_architecture(environments.spaces), seed=1)
    return Playing(environments, Behaviour(network), steps, seed)


class Playing(Actor):
    """An actor with one slot of its own."""

    def __init__(self, environments, behaviour, steps, seed):
        super().__init__(environments, behaviour, np.random.default_rng(seed), seed)
        self.rollout = Rollout.allocate(environments.spaces, steps, environments.num_envs)

    def collect(self):
        return super().collect(self.rollout)


def test_a_native_slot_equals_single_environments_played_by_hand():
    actor = actor_of("toy/Cards-v0", 3, 25, seed=4, length=10, truncate=True)
    assert isinstance(actor.environments, NativeEnvironments)
    rollout = actor.collect()
    finals = iter(np.concatenate(rollout.final_observations))
    expected_finals = {}
    for row in range(3):
        env = toy.ToyEnv(length=10, truncate=True)
        observation, info = env.reset(seed=4 + row)
        for t in range(25):
            assert np.array_equal(rollout.observations[t, row], observation)
            assert np.array_equal(rollout.masks[t, row], info["action_mask"])
            assert info["action_mask"][rollout.actions[t, row]]
            observation, reward, terminated, truncated, info = env.step(rollout.actions[t, row])
            assert (rollout.rewards[t, row], rollout.terminated[t, row], rollout.truncated[t, row]) == (
                reward,
                terminated,
                truncated,
            )
            if truncated:
                expected_finals[t, row] = observation
                observation, info = env.reset()
    assert len(expected_finals) == 6
    for place in sorted(expected_finals):
        assert np.array_equal(next(finals), expected_finals[place])


def test_the_next_slot_begins_where_the_last_one_ended():
    actor = actor_of("toy/Cards-v0", 2, 7, length=10)
    rollout = actor.collect()
    last, mask = rollout.observations[-1].copy(), rollout.masks[-1].copy()
    actor.collect()
    assert np.array_equal(rollout.observations[0], last)
    assert np.array_equal(rollout.masks[0], mask)


def test_terminated_episodes_keep_no_final_observation():
    rollout = actor_of("toy/Cards-v0", 2, 25, length=10, truncate=False).collect()
    assert rollout.terminated.sum() == 4
    assert rollout.final_observations == []


def test_other_environments_are_copied_with_their_final_observations():
    actor = actor_of("toy/Counting-v0", 2, 8)
    assert isinstance(actor.environments, CopiedEnvironments)
    rollout = actor.collect()
    # episodes of 2, 3, 4 steps; numbers are 100 a episode plus the step, and no step is lost to a reset
    assert rollout.observations[:, 0, 0].tolist() == [0, 1, 100, 101, 102, 200, 201, 202, 203]
    assert np.flatnonzero(rollout.terminated[:, 0]).tolist() == [1]
    assert np.flatnonzero(rollout.truncated[:, 0]).tolist() == [4]
    assert np.concatenate(rollout.final_observations).tolist() == [[103.0], [103.0]]
    assert (rollout.masks == 1).all()
    assert rollout.episode_returns == [2.0, 2.0, 3.0, 3.0]


def test_masks_are_found_in_info_or_in_a_method():
    taxi = actor_of("Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3", 3, 5)
    rollout = taxi.collect()
    assert 0 < rollout.masks.mean() < 1
    assert np.take_along_axis(rollout.masks[:-1], rollout.actions[..., None], axis=-1).all()
    gym.register("toy/Asked-v0", entry_point=Asked)
    rollout = actor_of("toy/Asked-v0", 2, 20).collect()
    assert (rollout.actions == 1).all()
    gym.registry.pop("toy/Asked-v0")


class Asked(toy.CountingEnv):
    def action_masks(self):
        return np.array([0, 1], dtype=np.int8)


def test_numbers_that_are_not_finite_are_refused_with_their_place():
    rollout = actor_of("toy/Cards-v0", 2, 5, poison=3).collect()
    with pytest.raises(TrainingError, match="the reward of environment 0 at step 2 of the rollout is not finite"):
        rollout.check_finite()
    rollout.rewards[...] = 0.0
    rollout.observations[4, 1, 2] = np.inf
    with pytest.raises(TrainingError, match="the observation of environment 1 at step 3"):
        rollout.check_finite()


def test_environments_that_cannot_be_made():
    with pytest.raises(UnknownNameError, match="did you mean CartPole-v1"):
        make_environments("CartPol-v1", 2, {})
    with pytest.raises(SettingError, match="lenght"):
        make_environments("toy/Cards-v0", 2, {"lenght": 3})
    with pytest.raises(SettingError, match="Discrete"):
        make_environments("Pendulum-v1", 2, {})
    with pytest.raises(SettingError, match="nowhere"):
        make_environments("nowhere:CartPole-v1", 2, {})
