"""The slotted cluster of DeepRM: parameters, quirks and the columns of its state.

A cluster of R resources with `capacity` units each plans `horizon` time steps ahead. Jobs wait in `slots`, then in a
backlog; an action books the job of one slot at its earliest feasible start, or lets a time step pass. Mao, Alizadeh,
Menache, Kandula, "Resource Management with Deep Reinforcement Learning", HotNets 2016.

The public code of that paper departs from its text in nine places. Five are switches of `SlottedConfig`:
`mode="published"` turns all of them on, `mode="corrected"` none.

| quirk | published code | corrected |
|---|---|---|
| `linger` | a finished job next to another may stay one step longer, and cost 1/length | it leaves |
| `last_row` | the last row is never booked, a job as long as the horizon never fits | all rows are booked |
| `skip_first` | element 0 never arrives | it arrives at time 0 |
| `silent_loss` | dropped and never-booked jobs vanish from reward and scores | they are logged and keep costing |
| `floor_slowdown` | a job's slowdown is rounded down | true division |

The reasons: the running list is edited while it is scanned, so the job after a removed one is not looked at; offsets
end one row early; the element's index is advanced before it is read; and Python 2 divides integers.

Four are never reproduced. `test_on_train`: the flag for unseen jobsets is set under another name than is read, so the
test command evaluates the training sets; here splits are disjoint streams. `tetris_label`: the curve named Tetris is
the pure packer; here `packer`, `packer_sjf` and `tetris` are three policies. `shared_rng`: forked workers draw the
same numbers; here every stream is named. `global_rng`: building an environment reseeds the global generator, and
`step` resets by itself and returns the observation from before; here Gymnasium's semantics hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import counted
from sysgym.core.errors import SettingError, WorkloadError, require_bool, require_known, require_range
from sysgym.workloads.jobsets import JobsetSource

EPISODE_ENDS = ("all_done", "no_new_job")
QUIRKS = ("linger", "last_row", "skip_first", "silent_loss", "floor_slowdown")
MODES: Mapping[str, Mapping[str, bool]] = {
    "published": dict.fromkeys(QUIRKS, True),
    "corrected": dict.fromkeys(QUIRKS, False),
}
SCALARS = 7
"""Columns of the state that have no axis but that of the episodes."""
PUBLISHED_PALETTE = 39
"""Colours of the published image; the corrected one has as many as can ever be needed."""


@dataclass(frozen=True)
class SlottedConfig:
    """Parameters of the cluster and the episode; the defaults are DeepRM's, corrected.

    Attributes:
        resources: R.
        capacity: Units of each resource.
        horizon: H, time steps that are planned ahead; the longest job that can run.
        slots: M, jobs that can be chosen from.
        backlog: Jobs that can wait behind the slots; a multiple of `horizon`, for the image.
        largest_demand: Columns that a slot has in the image, per resource.
        since_cap: Where the time since the last arrival saturates, time steps.
        sequence_length: Most elements of a jobset.
        max_steps: Decisions after which an episode is truncated.
        max_time: Time steps after which it is truncated as well; 0 is never.
        episode_end: `all_done` (every job that arrived has left) or `no_new_job` (the sequence is over).
        linger: See the module, as for the switches that follow.
        last_row: See the module.
        skip_first: See the module.
        silent_loss: See the module.
        floor_slowdown: See the module; touches `mean_slowdown` alone.
        palette: Colours that jobs get when they are booked; 0 where no encoder asks for them.
    """

    resources: int = 2
    capacity: int = 10
    horizon: int = 20
    slots: int = 10
    backlog: int = 60
    largest_demand: int = 10
    since_cap: int = 10
    sequence_length: int = 50
    max_steps: int = 2000
    max_time: int = 0
    episode_end: str = "all_done"
    linger: bool = False
    last_row: bool = False
    skip_first: bool = False
    silent_loss: bool = False
    floor_slowdown: bool = False
    palette: int = 0

    def __post_init__(self) -> None:
        for name in ("resources", "capacity", "slots", "largest_demand", "since_cap", "sequence_length", "max_steps"):
            require_range(name, getattr(self, name), 1, whole=True)
        require_range("horizon", self.horizon, 2, whole=True)
        for name in ("backlog", "max_time", "palette"):
            require_range(name, getattr(self, name), 0, whole=True)
        for name in QUIRKS:
            require_bool(name, getattr(self, name))
        if self.backlog % self.horizon:
            raise SettingError(f"backlog is {self.backlog}; it must be a multiple of the horizon, {self.horizon}")
        require_known("episode_end", self.episode_end, EPISODE_ENDS)

    @classmethod
    def preset(cls, mode: str = "corrected", **settings: Any) -> SlottedConfig:
        """The parameters of a mode, with overrides; a quirk can be switched one by one, such as `linger=False`.

        Raises:
            UnknownNameError: The mode or a setting is unknown.
            SettingError: A value is out of range.
        """
        require_known("mode", mode, MODES)
        known = {field.name for field in fields(cls)}
        for name in settings:
            require_known("setting", name, known)
        return cls(**{**MODES[mode], **settings})

    @property
    def usable_rows(self) -> int:
        """Rows of the horizon in which jobs can be booked."""
        return self.horizon - int(self.last_row)

    @property
    def num_actions(self) -> int:
        """One action a slot, and void, the last."""
        return self.slots + 1

    def check_source(self, source: JobsetSource) -> None:
        """Refuse a source of jobs that this cluster could never hold.

        Raises:
            WorkloadError: Another number of resources, longer sequences, longer jobs or larger demands.
        """
        if source.resources != self.resources:
            raise WorkloadError(f"the jobs have {source.resources} resources, the cluster has {self.resources}")
        for what, value, name, limit in (
            ("sequences of", source.sequence_length, "sequence_length", self.sequence_length),
            ("jobs of length", source.longest, "horizon", self.horizon),
            ("demands of", source.largest_demand, "capacity", self.capacity),
            ("demands of", source.largest_demand, "largest_demand", self.largest_demand),
        ):
            if value > limit:
                raise WorkloadError(f"the workload has {what} {value}, {name} is {limit}; raise {name} or change it")


class SlottedState(NamedTuple):
    """State of one episode, or, with a leading axis of B on every column, of B episodes.

    Jobs are named by their element in the jobset; -1 is no job. The job columns are filled when a job arrives, so the
    state never tells what is still to come.
    """

    time: Any
    """int, time steps since the episode began."""
    element: Any
    """int, elements of the sequence that are over."""
    elements: Any
    """int, elements that the sequence has."""
    since: Any
    """int, time steps since the last arrival, saturated."""
    decisions: Any
    """int, actions so far."""
    free: Any
    """int64, (H, R): units that are free in each time step from now on."""
    slot_job: Any
    """int64, (M,): the job in each slot, or -1."""
    slot_length: Any
    """int64, (M,): its length, 0 for an empty slot."""
    slot_demand: Any
    """int64, (M, R): its demands."""
    backlog_job: Any
    """int64, (backlog,): the queue behind the slots; the first `backlog_count` are jobs, the head first."""
    backlog_count: Any
    """int."""
    running_job: Any
    """int64, (n,): booked or executing jobs in order of booking; the first `running_count`."""
    running_count: Any
    """int."""
    present: Any
    """int64, (H+1,): jobs of each length that cost now: running, in slots, in the backlog, or dropped (logged)."""
    job_length: Any
    """int64, (n,): time steps; 0 before a job has arrived."""
    job_demand: Any
    """int64, (n, R)."""
    job_enter: Any
    """int64, (n,): time of arrival, or -1."""
    job_start: Any
    """int64, (n,): time at which it is booked to start, or -1."""
    job_colour: Any
    """int64, (n,): its entry in the palette from the booking on, 1..P; 0 none yet, -1 if the palette was used up."""
    palette: Any
    """int64, (P,): the episode's order of colours."""


class Sizes(NamedTuple):
    """The lengths of the state's axes."""

    episodes: int
    horizon: int
    resources: int
    slots: int
    backlog: int
    jobs: int
    palette: int


def sizes_of(config: SlottedConfig, num_episodes: int) -> Sizes:
    """The axes of the state of B episodes."""
    jobs = config.sequence_length
    return Sizes(num_episodes, config.horizon, config.resources, config.slots, config.backlog, jobs, config.palette)


def allocate_memory(sizes: Sizes) -> NDArray[np.int64]:
    """Zeroed memory of B states, which `state_columns` divides."""
    _, horizon, resources, slots, backlog, jobs, palette = sizes
    one = SCALARS + horizon * resources + slots * (2 + resources) + backlog + horizon + 1 + jobs * (5 + resources)
    return np.zeros(sizes.episodes * (one + palette), dtype=np.int64)


@counted
def state_columns(memory: NDArray[np.int64], sizes: Sizes) -> SlottedState:
    """The columns of B states, as contiguous views of one memory.

    A compiled function takes one array faster than twenty, so engines hand over the memory and divide it inside.
    """
    b, h, r, m = sizes.episodes, sizes.horizon, sizes.resources, sizes.slots
    n = sizes.jobs
    scalars = memory[: SCALARS * b].reshape((SCALARS, b))
    at = SCALARS * b
    free = memory[at : at + b * h * r].reshape((b, h, r))
    at += b * h * r
    slots = memory[at : at + 2 * b * m].reshape((2, b, m))
    at += 2 * b * m
    slot_demand = memory[at : at + b * m * r].reshape((b, m, r))
    at += b * m * r
    backlog = memory[at : at + b * sizes.backlog].reshape((b, sizes.backlog))
    at += b * sizes.backlog
    present = memory[at : at + b * (h + 1)].reshape((b, h + 1))
    at += b * (h + 1)
    jobs = memory[at : at + 5 * b * n].reshape((5, b, n))
    at += 5 * b * n
    job_demand = memory[at : at + b * n * r].reshape((b, n, r))
    at += b * n * r
    return SlottedState(
        time=scalars[0],
        element=scalars[1],
        elements=scalars[2],
        since=scalars[3],
        decisions=scalars[4],
        free=free,
        slot_job=slots[0],
        slot_length=slots[1],
        slot_demand=slot_demand,
        backlog_job=backlog,
        backlog_count=scalars[5],
        running_job=jobs[0],
        running_count=scalars[6],
        present=present,
        job_length=jobs[1],
        job_demand=job_demand,
        job_enter=jobs[2],
        job_start=jobs[3],
        job_colour=jobs[4],
        palette=memory[at:].reshape((b, sizes.palette)),
    )
