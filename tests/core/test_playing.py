"""Whole episodes under a policy: every row to its end, and one until it is enough."""

import numpy as np
import pytest

from sysgym.core.engines import SimulatorEngine
from sysgym.core.errors import SettingError
from sysgym.core.playing import play_alone, play_rows_on_state
from sysgym.core.protocols import ArraySpec, Simulator


class Countdown(Simulator):
    """Ends when as many steps have been played as its seed says, at least one; action 1 counts twice."""

    num_actions, observation_spec = 2, ArraySpec((1,), np.float32, 0.0, 100.0)

    def reset(self, seed, episode, options=None):
        self.left, self.steps = max(1, seed + episode), 0

    def step(self, action):
        self.left, self.steps = self.left - 1 - action, self.steps + 1
        return 0.0, self.left <= 0, False

    def observe(self, observation, action_mask):
        observation[0], action_mask[:] = self.left, 1

    def state(self):
        return self.left


class Fast:
    def act_on_state(self, state):
        return 1


class Slow:
    seen = ()

    def act(self, observation, action_mask):
        self.seen = (*self.seen, float(observation[0]))
        return 0


def test_every_row_is_played_to_its_own_end():
    engine = SimulatorEngine(Countdown, 3)
    play_rows_on_state(engine, Fast(), np.array([4, 1, 9], np.uint64), np.zeros(3, np.int64))
    assert [simulator.steps for simulator in engine.simulators] == [2, 1, 5]


def test_one_episode_is_played_by_what_is_seen_and_may_be_left():
    engine, policy = SimulatorEngine(Countdown, 1), Slow()
    play_alone(engine, policy)
    assert policy.seen == (1.0,)
    play_alone(engine, policy, lambda: True)
    assert engine.simulators[0].steps == 0


def test_what_is_no_action_is_refused():
    policy = Fast()
    policy.act_on_state = lambda state: 2
    with pytest.raises(SettingError, match="the policy's action"):
        play_alone(SimulatorEngine(Countdown, 1), policy)
