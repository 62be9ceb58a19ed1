"""The readable truth: a task comes each time unit, on SimPy, and asks for a node."""

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
from sysgym.jobsched.gpu.filling.metrics import filling_metrics
from sysgym.jobsched.gpu.filling.model import Filling, FillState, Seen, chosen_node, draw_task, look, task_key
from sysgym.jobsched.gpu.filling.observation import largest_memory, spec_of, write_view
from sysgym.jobsched.gpu.placement import Nodes, change

Reward = Callable[[FillState, int, FillState], float]


class FillSimulator(Simulator):
    """One episode of filling.

    Args:
        filling: Log and cluster.
        reward: Takes the place of the task's share of the GPUs: a function of (state before, action, state after).
    """

    def __init__(self, filling: Filling, reward: Reward | None = None) -> None:
        self.filling, self.num_actions, self.reward = filling, len(filling.nodes.table), reward
        self.observation_spec, self._memory = spec_of(filling), largest_memory(filling)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`."""
        require_options(options)
        self._key, self._episode = task_key(seed, self.filling.split), episode
        self.nodes = Nodes._make(part.copy() for part in self.filling.nodes)
        count = self.num_actions
        self.seen = Seen(np.zeros(count, dtype=np.int8), np.zeros(count), np.zeros(count, dtype=np.int64))
        self.steps, self.job, self.asking = 0, 0, False
        self.log = EventRecorder()
        self.clock = simpy.Environment()
        self.clock.process(self._play())
        self._run_to_decision()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Put the task on a node; the first with room stands for one that has none."""
        milli, before = self._milli(), None if self.reward is None else self.state()
        self.decision.succeed(action)
        self._run_to_decision()
        earned = milli / self.filling.capacity
        if self.reward is not None and before is not None:
            earned = float(self.reward(before, action, self.state()))
        return earned, not self.asking, False

    def _play(self) -> Generator[simpy.Event, int, None]:
        """The life of the cluster: tasks come, find room or don't, and are put on nodes."""
        filling = self.filling
        while self.steps < filling.tasks:
            self.job = draw_task(self._key, self._episode, self.steps, len(filling.jobs))
            self.log.append(self.clock.now, EventKind.SUBMIT, self.steps, self._milli())
            if look(self.nodes, filling.jobs, filling.typical, self.job, self.seen) == 0:
                self.log.append(self.clock.now, EventKind.DROP, self.steps, self._milli())
            else:
                self.decision, self.asking = self.clock.event(), True
                self._place((yield self.decision))
            yield self.clock.timeout(1)
            self.steps += 1

    def _place(self, action: int) -> None:
        node = chosen_node(self.seen, action)
        change(self.nodes, self.filling.jobs, self.job, node, self.seen.bits[node], 1)
        self.log.append(self.clock.now, EventKind.PLACE, self.steps, node)
        self.log.append(self.clock.now, EventKind.START, self.steps, self._milli())

    def _run_to_decision(self) -> None:
        """Let SimPy work until a task waits for a decision, or none is left."""
        self.asking = False
        while not self.asking and self.clock.peek() < np.inf:
            self.clock.step()

    def _milli(self) -> int:
        job = self.filling.jobs[self.job]
        return int(job.gpus * job.share)

    def observe(self, observation: Observation, action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        assert isinstance(observation, np.ndarray)
        gone = self.steps / self.filling.tasks
        write_view(self.nodes, self.filling.jobs, self.job, self.seen, self._memory, gone, observation, action_mask)

    def state(self) -> FillState:
        """See `Simulator.state`."""
        return state_of(self.filling, self.nodes, self.seen, self.steps, self.job)

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return filling_metrics(self.events(), self.filling.capacity)


def state_of(filling: Filling, nodes: Nodes, seen: Seen, step: int, job: int) -> FillState:
    """The state of an episode as columns, copied."""
    task, table = filling.jobs[job], nodes.table
    asked = [int(task[name]) for name in ("cpu", "memory", "gpus", "share")]
    columns = [table[name] for name in ("gpus", "kind", "free_cpu", "free_memory")]
    arrays = [*columns, nodes.free_gpu, nodes.largest, seen.fits, seen.increase]
    return FillState._make([step, filling.tasks, *asked, *(read_only(np.array(array)) for array in arrays)])
