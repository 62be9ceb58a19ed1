"""An engine of simulators."""

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
