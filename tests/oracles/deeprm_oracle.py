"""A slow, literal DeepRM (Mao, Alizadeh, Menache, Kandula, HotNets 2016): the judge of the project's fast ones.

It is written from the description of the published environment alone and shares no line with the package. Free
capacity is counted anew from the list of booked jobs whenever it is asked for; only the image canvases are kept from
step to step, because there the order of booking decides which cells a job takes.

Where the description leaves a choice, this file reads it as follows.

- One number, ``max_steps``, stands for both published caps (time and decisions). Time never runs faster than
  decisions, so the episode is truncated after ``max_steps`` decisions. An episode that ends in that very decision is
  terminated and not truncated.
- The end is tested before the step's arrival, so an episode that has ended admits nobody.
- With ``silent_loss`` off a dropped job costs 1/length from the step in which it is dropped, but does not keep the
  episode from ending.
- With ``skip_first`` off element 0 enters at reset, and the index still counts 0 there: element i enters at time i.
- ``image`` is binary except for its last column, which keeps steps-since-arrival / 10.
- The widest demand a slot can show is the capacity.
- The palette is unbounded here (colour = smallest positive number on neither canvas), so no run can exhaust it.
- For the heuristics "fits now" means that the action would book at offset 0. This excludes, in published mode, a job
  as long as the horizon, which no published action can book.
- ``sjf_hold`` takes "steps since the last arrival" from the saturating counter of the observation, and "no short job
  in a slot" from all slots, whether or not the short job fits.
- Slowdowns are listed in order of entry, over booked jobs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_JOB = 15
SATURATION = 10


@dataclass(eq=False)
class Job:
    """One job; ``start`` and ``finish`` are None until it is booked."""

    length: int
    demand: list[int]
    enter: int
    start: int | None = None
    finish: int | None = None


@dataclass
class State:
    """Everything that changes during an episode."""

    time: int = 0
    index: int = 0
    since: int = 0
    decisions: int = 0
    over: bool = False
    running: list[Job] = field(default_factory=list)
    slots: list[Job | None] = field(default_factory=list)
    backlog: list[Job] = field(default_factory=list)
    dropped: list[Job] = field(default_factory=list)
    entered: list[Job] = field(default_factory=list)
    canvas: list[list[list[int]]] = field(default_factory=list)


class DeepRMOracle:
    """DeepRM over one given jobset; an element of length 0 brings no job.

    Args:
        lengths: Job length per element, shape (N,), 0 for "no job".
        demands: Demand per element and resource, shape (N, resources).
        mode: "published" switches all four quirks on, "corrected" all four off.
        slots: Visible job slots M; action M is void.
        resources: Number of resources.
        capacity: Units of each resource, also the widest demand.
        horizon: Rows of the look-ahead.
        backlog: Places in the backlog, a multiple of the horizon.
        episode_end: "all_done" or "no_new_job".
        max_steps: Decisions after which the episode is truncated.
        linger: Overrides the mode: the running list is edited while it is scanned.
        last_row: Overrides the mode: the last row of the horizon is never used.
        skip_first: Overrides the mode: element 0 never arrives.
        silent_loss: Overrides the mode: dropped jobs cost nothing.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[Any],
        demands: Sequence[Sequence[int]] | NDArray[Any],
        *,
        mode: str = "corrected",
        slots: int = 10,
        resources: int = 2,
        capacity: int = 10,
        horizon: int = 20,
        backlog: int = 60,
        episode_end: str = "all_done",
        max_steps: int = 2000,
        linger: bool | None = None,
        last_row: bool | None = None,
        skip_first: bool | None = None,
        silent_loss: bool | None = None,
    ) -> None:
        assert mode in {"published", "corrected"}
        assert episode_end in {"all_done", "no_new_job"}
        assert backlog % horizon == 0
        published = mode == "published"
        self.linger = published if linger is None else linger
        self.last_row = published if last_row is None else last_row
        self.skip_first = published if skip_first is None else skip_first
        self.silent_loss = published if silent_loss is None else silent_loss
        self.lengths = [int(length) for length in lengths]
        self.demands = [[int(units) for units in demand] for demand in demands]
        self.slots, self.resources, self.capacity = slots, resources, capacity
        self.horizon, self.backlog = horizon, backlog
        self.episode_end, self.max_steps = episode_end, max_steps
        self.reset()

    # The course of an episode

    def reset(self) -> None:
        """Empty the system, set the clock to 0, and let element 0 enter unless it is skipped."""
        self.state = State(slots=[None] * self.slots)
        self.state.canvas = [[[0] * self.capacity for _ in range(self.horizon)] for _ in range(self.resources)]
        if not self.skip_first and len(self.lengths) > 0:
            self._admit(0)

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Book the job in slot ``action``, or let one time step pass; give (reward, terminated, truncated)."""
        state = self.state
        assert not state.over, "the episode is over"
        assert 0 <= action <= self.slots
        state.decisions += 1
        job = state.slots[action] if action < self.slots else None
        offset = None if job is None else self.first_offset(job)
        if job is not None and offset is not None:
            self._book(action, job, offset)
            reward, terminated = 0.0, False
        else:
            reward, terminated = self._pass_time()
        truncated = not terminated and state.decisions >= self.max_steps
        state.over = terminated or truncated
        return reward, terminated, truncated

    def first_offset(self, job: Job) -> int | None:
        """Smallest offset at which the job's whole window fits, or None."""
        last = self.horizon - job.length - (1 if self.last_row else 0)
        for offset in range(last + 1):
            if self._window_fits(job, offset):
                return offset
        return None

    def free(self, row: int, resource: int) -> int:
        """Free units of a resource at time now + row, counted from the booked jobs."""
        moment = self.state.time + row
        used = 0
        for job in self.state.running:
            if job.start <= moment < job.finish:
                used += job.demand[resource]
        return self.capacity - used

    def _window_fits(self, job: Job, offset: int) -> bool:
        for row in range(offset, offset + job.length):
            for resource in range(self.resources):
                if self.free(row, resource) < job.demand[resource]:
                    return False
        return True

    def _book(self, slot: int, job: Job, offset: int) -> None:
        state = self.state
        job.start = state.time + offset
        job.finish = job.start + job.length
        state.running.append(job)
        self._draw(job, offset)
        state.slots[slot] = state.backlog.pop(0) if state.backlog else None

    def _pass_time(self) -> tuple[float, bool]:
        state = self.state
        state.time += 1
        self._remove_finished()
        for resource in range(self.resources):
            state.canvas[resource] = [*state.canvas[resource][1:], [0] * self.capacity]
        state.since = min(state.since + 1, SATURATION)
        state.index += 1
        ended = self._has_ended()
        if not ended and state.index < len(self.lengths):
            self._admit(state.index)
        return self._reward(), ended

    def _remove_finished(self) -> None:
        running = self.state.running
        if not self.linger:
            self.state.running = [job for job in running if job.finish > self.state.time]
            return
        place = 0
        while place < len(running):
            if running[place].finish <= self.state.time:
                running.pop(place)  # the next element slides into this place and is passed over
            place += 1

    def _has_ended(self) -> bool:
        state = self.state
        if state.index < len(self.lengths):
            return False
        if self.episode_end == "no_new_job":
            return True
        return not state.running and not state.backlog and all(job is None for job in state.slots)

    def _admit(self, index: int) -> None:
        state = self.state
        if self.lengths[index] == 0:
            return
        job = Job(self.lengths[index], self.demands[index], state.time)
        state.entered.append(job)
        state.since = 0
        for slot in range(self.slots):
            if state.slots[slot] is None:
                state.slots[slot] = job
                return
        if len(state.backlog) < self.backlog:
            state.backlog.append(job)
        else:
            state.dropped.append(job)

    def _reward(self) -> float:
        state = self.state
        present = [*state.running, *(job for job in state.slots if job is not None), *state.backlog]
        if not self.silent_loss:
            present += state.dropped
        return -sum(1 / job.length for job in present)

    def _draw(self, job: Job, offset: int) -> None:
        canvas = self.state.canvas
        colours = {cell for picture in canvas for row in picture for cell in row}
        colour = 1
        while colour in colours:
            colour += 1
        for resource in range(self.resources):
            for row in range(offset, offset + job.length):
                for _ in range(job.demand[resource]):
                    canvas[resource][row][canvas[resource][row].index(0)] = colour

    # What an agent sees

    def image(self) -> NDArray[np.float32]:
        """The observation image, shape (horizon, W), 0 or 1, the last column steps-since-arrival / 10."""
        block = self.capacity + self.slots * self.capacity
        backlog_columns = self.backlog // self.horizon
        picture = np.zeros((self.horizon, self.resources * block + backlog_columns + 1), dtype=np.float32)
        for resource in range(self.resources):
            left = resource * block
            for row in range(self.horizon):
                for column in range(self.capacity):
                    if self.state.canvas[resource][row][column] > 0:
                        picture[row, left + column] = 1
            for slot, job in enumerate(self.state.slots):
                if job is None:
                    continue
                for row in range(min(job.length, self.horizon)):
                    for column in range(job.demand[resource]):
                        picture[row, left + self.capacity + slot * self.capacity + column] = 1
        for place in range(len(self.state.backlog)):
            picture[place // backlog_columns, self.resources * block + place % backlog_columns] = 1
        for row in range(self.horizon):
            picture[row, -1] = self.state.since / SATURATION
        return picture

    def compact(self) -> NDArray[np.float32]:
        """The compact observation, shape ((resources + 1) * (horizon + slots) + 1,)."""
        state = self.state
        entries = [sum(job.finish - state.time > row for job in state.running) for row in range(self.horizon)]
        for resource in range(self.resources):
            entries += [self.free(row, resource) for row in range(self.horizon)]
        for job in state.slots:
            entries += [0] * (1 + self.resources) if job is None else [job.length, *job.demand]
        entries.append(len(state.backlog))
        return np.array(entries, dtype=np.float32)

    def mask(self) -> NDArray[np.int8]:
        """1 where a slot is occupied and some offset fits, and for void; shape (slots + 1,)."""
        legal = [job is not None and self.first_offset(job) is not None for job in self.state.slots]
        return np.array([*legal, True], dtype=np.int8)

    # What is measured

    def slowdowns(self) -> list[float]:
        """(finish - enter) / length of every booked job, in order of entry."""
        return [(job.finish - job.enter) / job.length for job in self.state.entered if job.finish is not None]

    def floored_slowdowns(self) -> list[int]:
        """The same by integer division, as the published code computes it."""
        return [(job.finish - job.enter) // job.length for job in self.state.entered if job.finish is not None]

    # Heuristics: each gives an action

    def sjf(self) -> int:
        """Shortest job that fits now."""
        return self._best(lambda job: 1 / job.length)

    def packer(self) -> int:
        """Job that fits now whose demand is best aligned with what is free now."""
        return self._best(self._alignment)

    def packer_sjf(self, knob: float) -> int:
        """The published, unnormalised mix of both."""
        return self._best(lambda job: knob * self._alignment(job) + (1 - knob) * (1 / job.length))

    def sjf_hold(self) -> int:
        """SJF that holds back a job longer than 3 while short ones are present or expected."""
        short_present = any(job is not None and job.length <= 3 for job in self.state.slots)
        quiet = self.state.since >= 5 or len(self.state.backlog) > 0
        long_may_start = not short_present and quiet
        return self._best(lambda job: 1 / job.length if job.length <= 3 or long_may_start else 0.0)

    def _best(self, score: Callable[[Job], float]) -> int:
        best_slot, best_score = self.slots, 0.0
        for slot, job in enumerate(self.state.slots):
            if job is not None and self.first_offset(job) == 0 and score(job) > best_score:
                best_slot, best_score = slot, score(job)
        return best_slot

    def _alignment(self, job: Job) -> int:
        return sum(self.free(0, resource) * job.demand[resource] for resource in range(self.resources))


def legacy_jobsets(
    seed: int, count: int, arrival_rate: float, sequence_length: int, *, resources: int = 2, capacity: int = 10
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Jobsets in the public code's order of draws from NumPy's legacy generator.

    Returns:
        Lengths, shape (count, sequence_length), 0 for "no job", and demands, shape (count, sequence_length, resources).
    """
    random = np.random.RandomState(seed)
    elements = count * sequence_length
    lengths = np.zeros(elements, dtype=np.int64)
    demands = np.zeros((elements, resources), dtype=np.int64)
    for element in range(elements):
        if random.rand() < arrival_rate:
            if random.rand() < 0.8:
                lengths[element] = random.randint(1, LONGEST_JOB // 5 + 1)
            else:
                lengths[element] = random.randint(LONGEST_JOB * 2 // 3, LONGEST_JOB + 1)
            dominant = random.randint(0, resources)
            for resource in range(resources):
                if resource == dominant:
                    demands[element, resource] = random.randint(capacity // 2, capacity + 1)
                else:
                    demands[element, resource] = random.randint(1, capacity // 5 + 1)
    return lengths.reshape(count, sequence_length), demands.reshape(count, sequence_length, resources)
