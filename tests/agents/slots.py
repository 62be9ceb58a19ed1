"""A slot of random numbers with masks, forced choices, a truncation and a termination in it."""

import numpy as np

from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.rollout import Rollout

SPACES = Spaces((3,), "float32", 0, 4)


def filled_rollout(spaces=SPACES, steps=6, rows=4, seed=0):
    random = np.random.default_rng(seed)
    rollout = Rollout.allocate(spaces, steps, rows)
    rollout.observations[...] = random.normal(size=rollout.observations.shape)
    rollout.masks[...] = 1
    rollout.masks[..., 0] = random.random(rollout.masks.shape[:2]) < 0.5
    forced = random.random(rollout.masks.shape[:2]) < 0.3
    rollout.masks[forced] = np.arange(spaces.num_actions) == 1
    rollout.actions[...] = np.where(forced[:-1], 1, random.integers(1, spaces.num_actions, size=(steps, rows)))
    rollout.log_probabilities[...] = np.log(0.3)
    rollout.rewards[...] = random.normal(size=(steps, rows))
    rollout.truncated[2, 1] = rollout.terminated[3, 2] = True
    rollout.final_observations.append(random.normal(size=(1, *spaces.shape)).astype(np.float32))
    return rollout
