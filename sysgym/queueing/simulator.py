"""The readable truth: the queue on SimPy, one time unit a step.

A customer comes each step and waits for the decision; then the servers look at their random numbers and let go of whom
they have served. To change the dynamics, override one of `next_customer`, `carry_out`, `release` or `is_over`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.errors import require_options
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Observation, Simulator
from sysgym.queueing.metrics import queue_metrics
from sysgym.queueing.model import (
    ACCEPT,
    IDLE,
    QueueConfig,
    QueueState,
    customer_key,
    draw_ending,
    draw_priority,
    draw_release,
)
from sysgym.queueing.observation import spec_of, write_view

Reward = Callable[[QueueState, int, QueueState], float]


class QueueSimulator(Simulator):
    """One episode of admission control.

    Args:
        config: Parameters.
        split: Which customers come.
        reward: Takes the place of the priority that is paid: a function of (state before, action, state after).
    """

    def __init__(self, config: QueueConfig, split: str = "train", reward: Reward | None = None) -> None:
        self.config, self.split, self.reward = config, split, reward
        self.num_actions, self.observation_spec = 2, spec_of(config)
        self._priorities = read_only(np.asarray(config.priorities, dtype=np.float64))
        customer_key(0, split)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`."""
        require_options(options)
        self._key, self._episode = customer_key(seed, self.split), episode
        self.busy = [IDLE] * self.config.servers
        self.steps, self.paid = 0, 0.0
        self.log = EventRecorder()
        self.clock = simpy.Environment()
        self.clock.process(self._play())
        self._run_to_decision()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Accept or reject the head; accepting without a free server is rejecting."""
        before = self.state()
        self.decision.succeed(action)
        self._run_to_decision()
        reward = self.paid if self.reward is None else float(self.reward(before, action, self.state()))
        return reward, False, self.is_over()

    def observe(self, observation: Observation, action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        assert isinstance(observation, np.ndarray)
        write_view(self.busy.count(IDLE), self.head, self.config.servers, observation, action_mask)

    def state(self) -> QueueState:
        """See `Simulator.state`."""
        busy = read_only(np.array(self.busy, dtype=np.int64))
        priorities, free = read_only(self._priorities), self.busy.count(IDLE)
        return QueueState(self.steps, free, self.head, busy, priorities, self.config.free_probability)

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return queue_metrics(self.events(), self.steps, self.config)

    def _run_to_decision(self) -> None:
        """Let SimPy work until the next customer waits for a decision."""
        self.asking = False
        while not self.asking:
            self.clock.step()

    def _play(self) -> Generator[simpy.Event, int, None]:
        """The life of the queue: a customer comes, is decided on, and the servers work for one time unit."""
        while True:
            self.next_customer()
            self.decision, self.asking = self.clock.event(), True
            action = yield self.decision
            self.carry_out(action)
            yield self.clock.timeout(1)
            self.release()
            self.steps += 1

    def next_customer(self) -> None:
        """Draw the priority of the customer who is now at the head."""
        servers, priorities = self.config.servers, len(self.config.priorities)
        self.head = draw_priority(self._key, self._episode, self.steps, servers, priorities)
        self.log.append(self.clock.now, EventKind.SUBMIT, self.steps, self._priorities[self.head])

    def carry_out(self, action: int) -> None:
        """Take the head on, if that was chosen and a server is free, or turn him away."""
        priority = float(self._priorities[self.head])
        accepted = action == ACCEPT and IDLE in self.busy
        self.paid = priority if accepted else 0.0
        self.log.append(self.clock.now, EventKind.START if accepted else EventKind.DROP, self.steps, priority)
        if accepted:
            self.busy[self.busy.index(IDLE)] = self.steps

    def release(self) -> None:
        """Free every busy server whose number of this step is below p."""
        for server, customer in enumerate(self.busy):
            drawn = draw_release(self._key, self._episode, self.steps, self.config.servers, server)
            if customer != IDLE and drawn < self.config.free_probability:
                self.log.append(self.clock.now, EventKind.FINISH, customer, 1.0)
                self.busy[server] = IDLE

    def is_over(self) -> bool:
        """Whether the episode is truncated after the last step."""
        if self.config.horizon == "fixed":
            return self.steps >= self.config.max_steps
        drawn = draw_ending(self._key, self._episode, self.steps - 1, self.config.servers)
        return drawn < 1.0 / self.config.max_steps
