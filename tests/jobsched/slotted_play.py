"""What the tests of the slotted cluster share: jobsets from tuples, engines by name, and whole episodes."""

import numpy as np

from sysgym.core.engines import SimulatorEngine, allocate_slot
from sysgym.jobsched.slotted.kernel import SlottedKernel
from sysgym.jobsched.slotted.model import SlottedConfig
from sysgym.jobsched.slotted.observation import encoder_of
from sysgym.jobsched.slotted.simulator import SlottedSimulator
from sysgym.workloads.jobsets import FixedJobsets, Jobset

ENGINES = ("simpy", "compiled")
NONE = (0, 0, 0)


def jobset(*elements):
    """A jobset of (length, demand 0, demand 1, ...) elements."""
    table = np.array(elements, dtype=np.int64)
    return Jobset(table[:, 0], table[:, 1:])


def config_for(source, mode="corrected", **settings):
    """A configuration whose sequences and resources are the source's."""
    sizes = {"sequence_length": source.sequence_length, "resources": source.resources}
    return SlottedConfig.preset(mode, **{**sizes, **settings})


class Episode:
    """One row of an engine of one episode, with what it last wrote."""

    def __init__(self, engine, config, source, observation="image", reward="slowdown"):
        encoder = encoder_of(observation)
        if engine == "compiled":
            self.engine = SlottedKernel(config, source, 1, encoder, reward)
        else:
            self.engine = SimulatorEngine(lambda: SlottedSimulator(config, source, encoder, reward), 1)
        self.slot = allocate_slot(self.engine.observation_spec, 1, self.engine.num_actions)
        self.on, self.total, self.decisions = np.ones(1, dtype=bool), 0.0, 0

    def reset(self, seed=0, episode=0):
        self.engine.reset(np.zeros(1, np.int64), np.array([seed], np.uint64), np.array([episode]), None)
        self.engine.observe(self.on, self.slot)
        self.slot.terminated[0] = self.slot.truncated[0] = False
        self.total, self.decisions = 0.0, 0
        return self

    def step(self, action):
        self.engine.step(np.array([action]), self.on, self.slot)
        self.total += self.slot.rewards[0]
        self.decisions += 1
        return float(self.slot.rewards[0])

    @property
    def image(self):
        return self.slot.observations[0]

    @property
    def mask(self):
        return self.slot.action_masks[0]

    @property
    def state(self):
        return self.engine.state(0)

    @property
    def ended(self):
        return bool(self.slot.terminated[0] or self.slot.truncated[0])

    def play(self, policy):
        """Play to the end; returns the scores."""
        while not self.ended:
            self.step(policy.act_on_state(self.state))
        return self.engine.metrics(0)

    def seen(self):
        """Everything a step writes, as bytes and numbers that compare exactly."""
        slot = self.slot
        flags = bool(slot.terminated[0]), bool(slot.truncated[0]), float(slot.rewards[0])
        return slot.observations.tobytes(), slot.action_masks.tobytes(), *flags


def episode_of(engine, jobs, mode="corrected", observation="image", reward="slowdown", **settings):
    """A reset episode on one jobset."""
    source = FixedJobsets([jobs])
    return Episode(engine, config_for(source, mode, **settings), source, observation, reward).reset()
