"""The readable truth of the slotted cluster: one episode on a SimPy clock.

Booked jobs start and finish as events of the clock. What is free, who waits and what a step costs are computed from
the jobs themselves at every decision, where the kernel keeps them up to date; so the two can only agree if both are
right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray
from simpy.events import EventPriority

from sysgym.core.columns import read_only
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Observation, Simulator
from sysgym.core.seeding import stream_key
from sysgym.jobsched.slotted.metrics import slotted_metrics
from sysgym.jobsched.slotted.model import SlottedConfig, SlottedState
from sysgym.jobsched.slotted.observation import BuiltinEncoder, Encoder, shuffle_palette, write_mask
from sysgym.jobsched.slotted.rewards import Reward, reward_code, step_cost
from sysgym.jobsched.slotted.slot_features import choice_features, write_foreseen
from sysgym.workloads.jobsets import Jobset, JobsetSource, jobset_of


class Phase(IntEnum):
    """The order of what happens at the same instant; within a phase, jobs come in the order of their booking."""

    FINISH = 2
    START = 3
    DECISION = 4


class Moment(simpy.Event):
    """An event that the clock reaches after a delay, in its phase of that instant."""

    def __init__(self, clock: simpy.Environment, delay: int, phase: Phase, happen: Callable[[Any], None] | None = None):
        super().__init__(clock)
        self._ok, self._value = True, None
        if happen is not None:
            self.callbacks.append(happen)
        clock.schedule(self, EventPriority(phase), delay)


class SlottedSimulator(Simulator):
    """One episode of the slotted cluster.

    Args:
        config: Parameters of the cluster.
        source: Where the arrivals come from.
        encoder: A built-in encoder or any object with its protocol.
        reward: A name, or a function (before, action, after) of row states.
    """

    def __init__(
        self,
        config: SlottedConfig,
        source: JobsetSource,
        encoder: BuiltinEncoder | Encoder,
        reward: Reward = "slowdown",
    ) -> None:
        config.check_source(source)
        self.config, self.source, self.encoder, self.reward = config, source, encoder, reward
        self.num_actions = config.num_actions
        self.observation_spec = encoder.spec(config)
        self._reward_code = reward_code(reward)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`; `options["jobset"]` chooses the number of the jobset."""
        jobs, config = self.config.sequence_length, self.config
        self.jobset: Jobset = jobset_of(self.source, seed, episode, options)
        self._clock, self._log = simpy.Environment(), EventRecorder()
        self._element = self._since = self._decisions = 0
        self._slots: list[int] = [-1] * config.slots
        self._backlog: deque[int] = deque()
        self._running: list[int] = []
        self._dropped: list[int] = []
        self._length = np.zeros(jobs, dtype=np.int64)
        self._demand = np.zeros((jobs, config.resources), dtype=np.int64)
        self._enter, self._start = np.full(jobs, -1, dtype=np.int64), np.full(jobs, -1, dtype=np.int64)
        self._colour = np.zeros(jobs, dtype=np.int64)
        self._palette = np.zeros(config.palette, dtype=np.int64)
        if config.palette:
            shuffle_palette(stream_key(seed, "palette"), episode, self._palette)
        if not config.skip_first:
            self._arrive()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """See `Simulator.step`."""
        before = self.state() if callable(self.reward) else None
        self._decisions += 1
        offset = self._earliest_offset(self._slots[action]) if action < self.config.slots else -1
        if offset >= 0:
            self._book(action, offset)
            terminated, reward = False, 0.0
        else:
            terminated = self._pass_time()
            reward = -step_cost(self._reward_code, self._present())
        truncated = not terminated and (self._decisions >= self.config.max_steps or self._is_late())
        if callable(self.reward):
            reward = float(self.reward(before, action, self.state()))
        return reward, terminated, truncated

    def observe(self, observation: Observation, action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        state = self.state()
        assert isinstance(observation, np.ndarray)
        self.encoder.encode(state, self.config, observation)
        if isinstance(self.encoder, BuiltinEncoder) and self.encoder.foresees:
            columns, layout = (
                observation[-1, choice_features(self.config.resources) :],
                self.encoder.layout(self.config),
            )
            write_foreseen(state, self.jobset.length, self.jobset.demand, columns, layout)
        write_mask(state.free, state.slot_length, state.slot_demand, self.config.usable_rows, action_mask)

    def state(self) -> SlottedState:
        """See `Simulator.state`: a snapshot that later steps leave as it is."""
        slots = np.array(self._slots, dtype=np.int64)
        occupied = slots >= 0
        return SlottedState(
            time=self.time,
            element=self._element,
            elements=len(self.jobset),
            since=self._since,
            decisions=self._decisions,
            free=read_only(self._free()),
            slot_job=read_only(slots),
            slot_length=read_only(np.where(occupied, self._length[slots], 0)),
            slot_demand=read_only(np.where(occupied[:, None], self._demand[slots], 0)),
            backlog_job=read_only(_padded(self._backlog, self.config.backlog)),
            backlog_count=len(self._backlog),
            running_job=read_only(_padded(self._running, self.config.sequence_length)),
            running_count=len(self._running),
            present=read_only(self._present()),
            job_length=read_only(self._length.copy()),
            job_demand=read_only(self._demand.copy()),
            job_enter=read_only(self._enter.copy()),
            job_start=read_only(self._start.copy()),
            job_colour=read_only(self._colour.copy()),
            palette=read_only(self._palette.copy()),
        )

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self._log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return slotted_metrics(self.events(), self.jobset, self.time, self.config)

    @property
    def time(self) -> int:
        """Time steps since the episode began."""
        return int(self._clock.now)

    def _free(self) -> NDArray[np.int64]:
        """Units that no booked job takes, (H, R), from now on."""
        free = np.full((self.config.horizon, self.config.resources), self.config.capacity, dtype=np.int64)
        for job in self._running:
            first = self._start[job] - self.time
            free[max(0, first) : max(0, first + self._length[job])] -= self._demand[job]
        return free

    def _present(self) -> NDArray[np.int64]:
        """Jobs that cost now, by length, (H+1,)."""
        waiting = [job for job in self._slots if job >= 0]
        jobs = [*self._running, *waiting, *self._backlog, *self._dropped]
        return np.bincount(self._length[jobs], minlength=self.config.horizon + 1)

    def _earliest_offset(self, job: int) -> int:
        """The first row from which the job fits for its whole length, or -1."""
        if job < 0:
            return -1
        length = int(self._length[job])
        fits = (self._free() >= self._demand[job]).all(axis=1)
        for offset in range(self.config.usable_rows - length + 1):
            if fits[offset : offset + length].all():
                return offset
        return -1

    def _book(self, slot: int, offset: int) -> None:
        """Book the job of a slot; the head of the backlog takes its place."""
        job = self._slots[slot]
        finish = offset + int(self._length[job])
        self._colour[job] = self._unused_colour()
        self._start[job] = self.time + offset
        self._running.append(job)
        self._log.append(self.time, EventKind.BOOK, job, self.time + offset)
        size = int(self._demand[job].sum())
        if offset == 0:
            self._log.append(self.time, EventKind.START, job, size)
        else:
            Moment(self._clock, offset, Phase.START, lambda _: self._happen(EventKind.START, job, size))
        Moment(self._clock, finish, Phase.FINISH, lambda _: self._happen(EventKind.FINISH, job, size))
        self._slots[slot] = self._backlog.popleft() if self._backlog else -1

    def _happen(self, kind: EventKind, job: int, size: int) -> None:
        self._log.append(self.time, kind, job, size)

    def _pass_time(self) -> bool:
        """Let one time step pass, in the order of the paper's code; returns whether the episode is over."""
        self._clock.run(until=Moment(self._clock, 1, Phase.DECISION))
        self._leave()
        self._since = min(self._since + 1, self.config.since_cap)
        self._element += 1
        over = self._is_over()
        if not over and not self._is_late():
            self._arrive()
        return over

    def _leave(self) -> None:
        """Finished jobs leave the running list; the quirk `linger` edits the list while it is scanned."""
        finished = [job for job in self._running if self._start[job] + self._length[job] <= self.time]
        if not self.config.linger:
            self._running = [job for job in self._running if job not in finished]
            return
        for job in self._running:
            if job in finished:
                self._running.remove(job)  # the published mistake: the next job is skipped

    def _is_over(self) -> bool:
        if self._element < len(self.jobset):
            return False
        idle = not self._running and not self._backlog and max(self._slots) < 0
        return idle or self.config.episode_end == "no_new_job"

    def _is_late(self) -> bool:
        return 0 < self.config.max_time < self.time

    def _arrive(self) -> None:
        """The present element's job, if it is one, enters the first empty slot, else the backlog, else is dropped."""
        job = self._element
        if job >= len(self.jobset) or self.jobset.length[job] == 0:
            return
        self._length[job], self._demand[job] = self.jobset.length[job], self.jobset.demand[job]
        self._enter[job], self._since = self.time, 0
        has_slot, has_backlog = -1 in self._slots, len(self._backlog) < self.config.backlog
        lost = not has_slot and not has_backlog
        if lost and self.config.silent_loss:
            return
        self._log.append(self.time, EventKind.SUBMIT, job, int(self._length[job]))
        if has_slot:
            self._slots[self._slots.index(-1)] = job
        elif has_backlog:
            self._backlog.append(job)
        else:
            self._dropped.append(job)
            self._log.append(self.time, EventKind.DROP, job, int(self._length[job]))

    def _unused_colour(self) -> int:
        """The first entry of the palette that no visible job has; -1 if there is none, 0 without a palette."""
        visible = {int(self._colour[job]) for job in self._running if self._start[job] + self._length[job] > self.time}
        unused = (int(colour) for colour in self._palette if int(colour) not in visible)
        return next(unused, -1 if self.config.palette else 0)


def _padded(jobs: list[int] | deque[int], size: int) -> NDArray[np.int64]:
    column = np.full(size, -1, dtype=np.int64)
    column[: len(jobs)] = jobs
    return column
