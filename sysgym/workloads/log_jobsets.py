"""Jobsets from a log: what is left of a production log in a slotted cluster, and how much was lost on the way.

The slotted cluster knows one arrival a time step, lengths in whole steps up to its horizon, and a few units of
capacity. A log has none of these limits, so it is bent: times are rounded up to slots, demands up to units, over-long
jobs fall to a named rule, and of several jobs in one slot all but the first arrive later. `LogDistortion` counts all of
it; a log whose distortion is large is better served by the batch machine, `sysgym.jobsched.batch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import WorkloadError, require_known, require_range
from sysgym.core.seeding import stream_key
from sysgym.workloads.draws import integer
from sysgym.workloads.jobsets import Jobset, copy_jobset, jobset_number
from sysgym.workloads.workload import SAMPLINGS, Workload

TOO_LONG_RULES = ("drop", "clip")
"""Leave jobs out that are longer than the cluster can run, or cut them to that length."""


@dataclass(frozen=True)
class LogDistortion:
    """What a log lost when it became jobsets.

    Attributes:
        jobs: Jobs of the log.
        too_long: Jobs longer than the longest allowed.
        too_long_rule: What happened to them, a name in `TOO_LONG_RULES`.
        delayed: Jobs that arrive in a later slot than the log says, because theirs was taken.
        largest_delay: The longest such delay, seconds.
        work_ratio: Work after rounding (units x slots) over the same jobs' work in the log; 1 is no distortion.
        windows: Windows with at least one job, which are the jobsets.
    """

    jobs: int
    too_long: int
    too_long_rule: str
    delayed: int
    largest_delay: float
    work_ratio: float
    windows: int

    def __str__(self) -> str:
        verb = {"drop": "left out", "clip": "cut"}[self.too_long_rule]
        return (
            f"{self.jobs} jobs: {self.too_long} too long and {verb}, {self.delayed} delayed by up to "
            f"{self.largest_delay:g} s, work x {self.work_ratio:.2f} after rounding; {self.windows} windows"
        )


class LogJobsets:
    """Disjoint windows of a log as jobsets.

    Args:
        workload: The log, or the split of it that may be seen.
        slot_seconds: Length of a time step.
        sequence_length: Elements of a window.
        capacity: Units of each resource; the whole machine.
        longest: Longest job that the cluster can run, time steps.
        too_long: What happens to longer ones, a name in `TOO_LONG_RULES`.
        sampling: "uniform": an episode's window is drawn from (seed, episode). "disjoint": it is window number seed +
            episode, modulo their number.

    Raises:
        SettingError: `slot_seconds` is not above 0, or a count below 1.
        WorkloadError: Run times are missing, a job is larger than the machine, or no job is left.

    Memory is a second resource where the log knows it for every job; the machine is then taken to have the largest
    requested memory per processor behind every processor.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        slot_seconds: float = 600.0,
        sequence_length: int = 50,
        capacity: int = 10,
        longest: int = 20,
        too_long: str = "drop",
        sampling: str = "uniform",
    ) -> None:
        require_range("slot_seconds", slot_seconds, 0, open_low=True)
        for name, value in (("sequence_length", sequence_length), ("capacity", capacity), ("longest", longest)):
            require_range(name, value, 1, whole=True)
        require_known("too_long rule", too_long, TOO_LONG_RULES)
        require_known("sampling", sampling, SAMPLINGS)
        self.sampling = sampling
        _check(workload)
        self.workload, self.sequence_length, self.slot_seconds = workload, sequence_length, slot_seconds
        exact = workload.run_time / slot_seconds
        length = np.maximum(1, np.ceil(exact)).astype(np.int64)
        kept = (length <= longest) | (too_long == "clip")
        if not kept.any():
            raise WorkloadError(
                f"every job is longer than {longest} slots of {slot_seconds:g} s; raise slot_seconds or use clip"
            )
        length = np.minimum(length, longest)[kept]
        units = _units(workload, capacity)[kept]
        demand = np.clip(np.ceil(units), 1, capacity).astype(np.int64)
        wanted = np.floor((workload.submit_time[kept] - workload.submit_time[kept][0]) / slot_seconds).astype(np.int64)
        slot = _one_a_slot(wanted)
        self._windows = _cut(slot, length, demand, sequence_length)
        self.resources = int(demand.shape[1])
        self.longest, self.largest_demand = int(length.max()), int(demand.max())
        true_work = float((np.minimum(exact[kept], longest) * units[:, 0]).sum())
        self.distortion = LogDistortion(
            jobs=len(workload),
            too_long=int((np.ceil(exact) > longest).sum()),
            too_long_rule=too_long,
            delayed=int((slot > wanted).sum()),
            largest_delay=float((slot - wanted).max() * slot_seconds),
            work_ratio=float((length * demand[:, 0]).sum()) / true_work if true_work > 0 else np.inf,
            windows=len(self._windows),
        )

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: int) -> Jobset:
        return self._windows[number]

    def fill(
        self,
        seed: int,
        episode: int,
        options: Mapping[str, Any] | None,
        length: NDArray[np.int64],
        demand: NDArray[np.int64],
    ) -> int:
        """See `JobsetSource.fill`; `options["jobset"]` is the number of a window, in order of time."""
        if options:
            number = jobset_number(episode, options) % len(self)
        elif self.sampling == "disjoint":
            number = (seed + episode) % len(self)
        else:
            number = integer(stream_key(seed, "workload/window"), episode, 0, 0, len(self) - 1)
        return copy_jobset(self._windows[number], length, demand)


def _check(workload: Workload) -> None:
    if not len(workload) or not np.isfinite(workload.run_time).all():
        raise WorkloadError("jobsets need a log with at least one job and a run time for every job")
    if not workload.machine.is_known:
        raise WorkloadError("the log doesn't tell the size of the machine; give it with processors=...")
    if (workload.processors > workload.machine.processors).any():
        raise WorkloadError(
            f"a job needs {workload.processors.max()} processors, the machine has {workload.machine.processors}; "
            "read the log with that machine size so that cleaning drops it"
        )


def _units(workload: Workload, capacity: int) -> NDArray[np.float64]:
    """Units of the machine that each job takes, of processors and, where it is known for all, memory; (n, 1 or 2).

    The division comes last, so that whole units are whole: 14 / 100 * 50 is a little more than 7.
    """
    wanted, machine = workload.processors * float(capacity), workload.machine.processors
    memory = workload.requested_memory
    if not (memory > 0).all():
        return (wanted / machine)[:, None]
    return np.stack([wanted / machine, wanted * memory / (machine * memory.max())], axis=1)


def _one_a_slot(wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first slots from the wanted ones on, in order, with at most one job each."""
    places = np.arange(len(wanted))
    slots: NDArray[np.int64] = np.maximum.accumulate(wanted - places) + places
    return slots


def _cut(
    slot: NDArray[np.int64], length: NDArray[np.int64], demand: NDArray[np.int64], sequence_length: int
) -> tuple[Jobset, ...]:
    """The windows that hold a job, in order of time."""
    windows, starts = np.unique(slot // sequence_length, return_index=True)
    jobsets = []
    for window, rows in zip(windows, np.split(np.arange(len(slot)), starts[1:]), strict=True):
        element = slot[rows] - window * sequence_length
        lengths = np.zeros(sequence_length, dtype=np.int64)
        demands = np.zeros((sequence_length, demand.shape[1]), dtype=np.int64)
        lengths[element], demands[element] = length[rows], demand[rows]
        jobsets.append(Jobset(lengths, demands))
    return tuple(jobsets)
