"""Which jobs an episode has: a window of consecutive jobs of one split of a workload.

A window is drawn uniformly from (seed, episode), or the split is cut into disjoint windows that are taken in turn,
which is what a paired test on a log wants. The machine is empty and the clock stands at the first submission.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sysgym.core.columns import read_only_columns
from sysgym.core.errors import SettingError, WorkloadError, require_known, require_options, require_range
from sysgym.core.events import EventLog
from sysgym.core.seeding import stream_key
from sysgym.jobsched.batch.model import job_columns
from sysgym.jobsched.metrics import schedule_summary, start_times
from sysgym.workloads.draws import integer
from sysgym.workloads.workload import SAMPLINGS, SPLITS, Workload


class JobSequences:
    """Windows of `length` consecutive jobs.

    Args:
        workload: The log or generated workload.
        length: Jobs in an episode, at least 1; None takes the whole split as its only window.
        split: One of `workloads.workload.SPLITS`.
        sampling: "uniform": a window of the split drawn from (seed, episode). "disjoint": window number seed +
            episode of the split cut into disjoint windows, modulo their number; a shorter rest is left out.

    Raises:
        WorkloadError: The split has fewer jobs than a window, or a job cannot be scheduled.
    """

    def __init__(
        self,
        workload: Workload,
        length: int | None = 256,
        split: str = "train",
        sampling: str = "uniform",
    ) -> None:
        require_known("split", split, SPLITS)
        require_known("sampling", sampling, SAMPLINGS)
        self.workload, self.jobs = workload, job_columns(workload)
        self.processors, self.split, self.sampling = workload.machine.processors, split, sampling
        self._begin, self._end = (round(share * len(workload)) for share in SPLITS[split])
        self.length = self._end - self._begin if length is None else length
        require_range("sequence_length", self.length, 1, whole=True)
        if self._end - self._begin < self.length:
            share = round(SPLITS[split][1] - SPLITS[split][0], 6)
            raise WorkloadError(
                f"{workload.provenance.source}: split {split!r} has {self._end - self._begin} of {len(workload)} jobs, "
                f"an episode needs {self.length}; bring a log of at least {int(np.ceil(self.length / share))} jobs or "
                f"lower sequence_length"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy may write to no job either; else numba would compile everything once more."""
        self.__dict__ |= state
        self.jobs = read_only_columns(self.jobs)

    @property
    def num_windows(self) -> int:
        """How many disjoint windows the split has."""
        return (self._end - self._begin) // self.length

    def start(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> int:
        """First job of an episode: `options["start"]` (a job of the workload), or as `sampling` says."""
        latest = self._end - self.length
        require_options(options, "start")
        if options and "start" in options:
            first = options["start"]
            require_range("start", first, whole=True)
            if not self._begin <= first <= latest:
                raise SettingError(f"start is {first}; split {self.split!r} has starts from {self._begin} to {latest}")
            return int(first)
        if self.sampling == "disjoint":
            return self._begin + (seed + episode) % self.num_windows * self.length
        return int(integer(stream_key(seed, "workload"), episode, 0, self._begin, latest))

    def metrics(self, events: EventLog, first: int) -> dict[str, float]:
        """Scores of a window from its event log; `unfinished` alone while jobs have not started."""
        window = slice(first, first + self.length)
        start = start_times(events, first, self.length)
        unfinished = int(np.isnan(start).sum())
        if unfinished:
            return {"unfinished": float(unfinished)}
        jobs = self.jobs
        return schedule_summary(
            jobs.submit_time[window], start, jobs.run_time[window], jobs.processors[window], self.processors
        )
