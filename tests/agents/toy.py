"""A masked toy environment behind the real adapters, whose best return is known.

A card between 0 and 4 is shown (one-hot) for each of `length` steps. Playing it pays 1, playing another pays 0, and
the actions above the card are masked, but for a card of 0 action 4 is also open. Episodes end after `length` steps:
by termination, or with `truncate` by truncation. `poison` puts NaN into the reward of the step with that number.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

from sysgym.core.protocols import ArraySpec
from sysgym.core.seeding import stream
from sysgym.envs.base import EngineEnv, EngineVectorEnv

CARDS = 5


class ToyEngine:
    num_actions = CARDS

    def __init__(self, num_episodes, length=10, truncate=False, poison=None, rows=False):
        self.num_episodes, self.length, self.truncate, self.poison = num_episodes, length, truncate, poison
        shape = (CARDS, 2) if rows else (CARDS,)
        self.rows = rows
        self.observation_spec = ArraySpec(shape, np.float32, 0.0, 1.0)
        self.cards = np.zeros((num_episodes, length + 1), dtype=np.int64)
        self.time = np.zeros(num_episodes, dtype=np.int64)
        self.steps = 0

    def reset(self, rows, seeds, episodes, options=None):
        for row, seed, episode in zip(rows, seeds, episodes, strict=True):
            self.cards[row] = stream(int(seed), "cards", int(episode)).integers(CARDS, size=self.length + 1)
            self.time[row] = 0

    def step(self, actions, active, slot):
        card = self.cards[np.arange(self.num_episodes), self.time]
        slot.rewards[active] = (actions == card)[active]
        self.steps += 1
        if self.poison == self.steps:
            slot.rewards[0] = np.nan
        self.time[active] += 1
        ended = self.time >= self.length
        slot.terminated[active] = ended[active] & (not self.truncate)
        slot.truncated[active] = ended[active] & self.truncate
        self.observe(active, slot)

    def observe(self, rows, slot):
        for row in np.flatnonzero(rows):
            card = self.cards[row, self.time[row]]
            slot.observations[row] = 0.0
            slot.observations[row, card] = [1.0, self.time[row] / self.length] if self.rows else 1.0
            slot.action_masks[row] = np.arange(CARDS) <= card
            slot.action_masks[row, CARDS - 1] |= card == 0

    def metrics(self, row):
        return {"length": float(self.length)}

    def snapshot(self):
        return {"cards": self.cards.copy(), "time": self.time.copy(), "steps": np.array(self.steps)}

    def restore(self, snapshot):
        self.cards[:], self.time[:], self.steps = snapshot["cards"], snapshot["time"], int(snapshot["steps"])


class ToyEnv(EngineEnv):
    def __init__(self, render_mode=None, **arguments):
        super().__init__(ToyEngine(1, **arguments), render_mode)


class ToyVectorEnv(EngineVectorEnv):
    def __init__(self, num_envs=1, **arguments):
        super().__init__(ToyEngine(num_envs, **arguments))


class CountingEnv(gym.Env):
    """Without masks; the observation counts the steps. Episode k (from 0) lasts k % 3 + 2 steps, truncated if odd."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(0.0, 1000.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2, start=5)
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.count = 0
        return np.array([100.0 * self.episode], dtype=np.float32), {}

    def step(self, action):
        assert action in (5, 6)
        self.count += 1
        ended, odd = self.count == self.episode % 3 + 2, self.episode % 2 == 1
        observation = np.array([100.0 * self.episode + self.count], dtype=np.float32)
        return observation, 1.0, ended and not odd, ended and odd, {}


class Failing(CountingEnv):
    """Raises in its third episode; with `local` an exception that cannot be pickled."""

    def __init__(self, local=False):
        super().__init__()
        self.local = local

    def step(self, action):
        class LocalError(Exception):
            pass

        if self.episode == 2:
            raise (LocalError("divided by zero") if self.local else ZeroDivisionError("the simulator divided by zero"))
        return super().step(action)


class Deadly(CountingEnv):
    """Kills its process whenever it has played `fatal` steps."""

    def __init__(self, fatal):
        super().__init__()
        self.fatal, self.steps = fatal, 0

    def step(self, action):
        self.steps += 1
        if self.steps == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Stuck(CountingEnv):
    """Hangs once in a worker process: in the first step for which there is no file `marker`."""

    def __init__(self, marker):
        super().__init__()
        self.marker = Path(marker)

    def step(self, action):
        if multiprocessing.parent_process() is not None and not self.marker.exists():
            self.marker.touch()
            while True:
                time.sleep(0.01)
        return super().step(action)


class Threads(CountingEnv):
    """Shows how many threads the libraries of its process may use."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([os.environ.get("OMP_NUM_THREADS", "99")], dtype=np.float32), {}


ENVIRONMENTS = {
    "toy/Counting-v0": CountingEnv,
    "toy/Card-v0": ToyEnv,
    "toy/Failing-v0": Failing,
    "toy/Deadly-v0": Deadly,
    "toy/Stuck-v0": Stuck,
    "toy/Threads-v0": Threads,
}


def register():
    for name in ("toy/Cards-v0", *ENVIRONMENTS):
        gym.registry.pop(name, None)
    gym.register("toy/Cards-v0", entry_point=ToyEnv, vector_entry_point=ToyVectorEnv)
    for name, kind in ENVIRONMENTS.items():
        gym.register(name, entry_point=kind)
