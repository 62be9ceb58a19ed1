"""An engine of simulators."""

import copy
import pickle

import numpy as np
import pytest

from sysgym.core.engines import SimulatorEngine, allocate_slot
from sysgym.core.protocols import ArraySpec


class Breaking:
    """Breaks in the third step of the second episode of a seed."""

    num_actions, observation_spec = 2, ArraySpec((1,), np.float32, 0.0, 1.0)

    def reset(self, seed, episode, options=None):
        self.episode, self.steps = episode, 0

    def step(self, action):
        self.steps += 1
        if self.episode == 1 and self.steps == 3:
            raise ZeroDivisionError("no jobs")
        return 0.0, False, False

    def observe(self, observation, action_mask):
        action_mask[:] = 1


def test_an_exception_in_a_simulator_says_how_to_play_it_again():
    engine = SimulatorEngine(Breaking, 2)
    slot, both = allocate_slot(engine.observation_spec, 2, 2), np.ones(2, dtype=np.bool_)
    engine.reset(np.arange(2), np.array([5, 6], dtype=np.uint64), np.array([0, 1]), {"start": 3})
    engine.step(np.array([1, 0]), both, slot)
    engine.step(np.array([0, 1]), both, slot)
    with pytest.raises(ZeroDivisionError, match="no jobs") as caught:
        engine.step(np.array([1, 1]), both, slot)
    assert caught.value.__notes__ == [
        "simulator 1, seed 6, episode 1, options {'start': 3}, step 3; its actions: [0, 1, 1]"
    ]


class Walking:
    """Adds up its actions in a generator, which Python can neither copy nor pickle."""

    num_actions, observation_spec = 9, ArraySpec((1,), np.float32, 0.0, 1e3)

    def __init__(self, pace):
        self.pace = pace

    def reset(self, seed, episode, options=None):
        self.walk = self._walk(float(seed))
        next(self.walk)

    def _walk(self, place):
        while True:
            place += self.pace * (yield place)

    def step(self, action):
        return self.walk.send(action), False, False

    def observe(self, observation, action_mask):
        action_mask[:] = 1


@pytest.mark.parametrize("again", [copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_of_an_engine_goes_on_alike_and_alone(again):
    engine = SimulatorEngine(lambda: Walking(10.0), 2)
    slot, both = allocate_slot(engine.observation_spec, 2, 9), np.ones(2, dtype=np.bool_)
    engine.reset(np.arange(1), np.array([5], dtype=np.uint64), np.zeros(1, dtype=np.int64))
    engine.step(np.array([3, 0]), np.array([True, False]), slot)
    other = again(engine)  # its second episode has not begun
    engine.step(np.array([4, 0]), np.array([True, False]), slot)
    assert slot.rewards[0] == 75
    other.reset(np.array([1]), np.array([7], dtype=np.uint64), np.zeros(1, dtype=np.int64))
    other.step(np.array([1, 2]), both, slot)
    assert slot.rewards.tolist() == [45, 27]
