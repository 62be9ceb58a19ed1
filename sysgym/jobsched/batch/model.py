"""Jobs, rules and states of a machine that schedules rigid jobs from one queue.

Processors form one pool; a job takes a fixed number of them, runs once and is never stopped. A scheduler plans with
the *requested* time, execution uses the *run* time. What a scheduling pass does is fixed by `Rules`:

1. While jobs wait, one is chosen (by the queue's order, or by a policy). If it fits it starts, and the next is chosen.
2. The first that doesn't fit blocks. With EASY backfilling it gets a reservation: the *shadow* is the first instant at
   which requested ends free enough processors, the *extra* processors are those left over then. Every other waiting
   job is looked at once, and starts if it fits now and either ends by the shadow or takes only extra processors.
3. With `commit` the blocked job stays chosen until it starts; without, the next pass chooses afresh.

`pass_rule` "batch" handles all completions, then all arrivals of an instant, and then makes one pass. "per_event"
makes a pass after every single submission and completion, submissions first, as the simulator pyss does. A running job
whose requested end has come counts as free in a pass, even when its completion is still to be handled.

Sources: Mu'alem and Feitelson, IEEE TPDS 12(6), 2001 (EASY); Zhang et al., SC 2020 (scheduling as decisions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import read_only
from sysgym.core.errors import UnknownNameError, WorkloadError, require_bool
from sysgym.workloads.workload import Workload

ORDERS = ("submitted", "shortest")
BACKFILLS = ("none", "easy")
PASS_RULES = ("batch", "per_event")


@dataclass(frozen=True)
class Rules:
    """What a scheduling pass does; see the module.

    Attributes:
        order: Order of the queue, whose head is chosen where no policy decides: "submitted", or "shortest" for
            (requested time, submission).
        commit: Whether a chosen job that doesn't fit stays chosen until it starts.
        backfill: "none" or "easy".
        candidates: Order in which backfilling looks at the other jobs: "submitted" or "shortest".
        pass_rule: "batch" or "per_event".
    """

    order: str = "submitted"
    commit: bool = True
    backfill: str = "none"
    candidates: str = "submitted"
    pass_rule: str = "batch"

    def __post_init__(self) -> None:
        require_bool("commit", self.commit)
        for kind, value, known in (
            ("queue order", self.order, ORDERS),
            ("backfill", self.backfill, BACKFILLS),
            ("candidate order", self.candidates, ORDERS),
            ("pass_rule", self.pass_rule, PASS_RULES),
        ):
            if value not in known:
                raise UnknownNameError(kind, value, known)


class Jobs(NamedTuple):
    """The columns of a workload that a simulation reads, and two that it derives; no policy sees them.

    All of shape (n,); `rank` is the place of each job in the queue's order and `candidate_rank` in the order of
    backfilling, both without ties.
    """

    submit_time: NDArray[np.float64]
    run_time: NDArray[np.float64]
    requested_time: NDArray[np.float64]
    processors: NDArray[np.int64]
    user: NDArray[np.int64]
    rank: NDArray[np.int64]
    candidate_rank: NDArray[np.int64]


class KnownJobs(NamedTuple):
    """What a scheduler knows of the jobs that have been submitted, by their row in the workload.

    The columns end with the last submission, and run times are not among them: what is still to come can't be read.
    """

    submit_time: NDArray[np.float64]
    requested_time: NDArray[np.float64]
    processors: NDArray[np.int64]
    user: NDArray[np.int64]


class QueueState(NamedTuple):
    """One episode's state, the same names in both engines; read-only.

    Attributes:
        time: Now, seconds.
        free: Processors that a job chosen now can take.
        waiting: int64, shape (queue length,): rows of the waiting jobs in the workload, in the queue's order.
        visible: int64, shape (window,): the waiting jobs that the actions stand for, -1 beyond them.
        running: int64, shape (running jobs,): rows of the running jobs, by requested end.
        first: Row of the episode's first job in the workload.
        start_time: float64, shape (episode length,): start of job `first + i`; NaN before.
        jobs: What is known of the jobs submitted so far.
    """

    time: float
    free: int
    waiting: NDArray[np.int64]
    visible: NDArray[np.int64]
    running: NDArray[np.int64]
    first: int
    start_time: NDArray[np.float64]
    jobs: KnownJobs


def job_columns(workload: Workload, rules: Rules) -> Jobs:
    """The columns that a simulation of this workload under these rules reads.

    Raises:
        WorkloadError: A job has no run time, no requested time, one below its run time, or needs more processors
            than the machine has.
    """
    _check(workload)
    return Jobs(
        workload.submit_time,
        workload.run_time,
        workload.requested_time,
        workload.processors,
        workload.user,
        read_only(_ranks(workload, rules.order)),
        read_only(_ranks(workload, rules.candidates)),
    )


def known_jobs(jobs: Jobs, arrived: int) -> KnownJobs:
    """What is known once the jobs before row `arrived` have been submitted, as views."""
    return KnownJobs(
        jobs.submit_time[:arrived], jobs.requested_time[:arrived], jobs.processors[:arrived], jobs.user[:arrived]
    )


def _ranks(workload: Workload, order: str) -> NDArray[np.int64]:
    count = len(workload)
    ranks = np.arange(count, dtype=np.int64)
    if order == "shortest":
        ranks[np.argsort(workload.requested_time, kind="stable")] = np.arange(count)
    return ranks


def _check(workload: Workload) -> None:
    remedy = "read the log with clean='default', which mends or drops such jobs"
    faults = (
        (~((workload.run_time > 0) & np.isfinite(workload.run_time)), "has no run time above 0", remedy),
        (~np.isfinite(workload.requested_time), "has no requested time", remedy),
        (workload.requested_time < workload.run_time, "runs longer than it requested", remedy),
        (workload.processors < 1, "needs no processors", remedy),
        (workload.processors > workload.machine.processors, "needs more processors than the machine has", remedy),
    )
    source, format = workload.provenance.source, workload.provenance.format
    if not len(workload):
        raise WorkloadError(f"{source}: there is no job to schedule")
    unknown = int(np.isnan(workload.run_time).sum())
    if unknown:
        which = "no run times" if unknown == len(workload) else f"no run time for {unknown} of {len(workload)} jobs"
        raise WorkloadError(
            f"{source}: the log (format {format!r}) has {which}; keep the jobs that have one with "
            "workload.with_run_times(), or take another log"
        )
    if not workload.machine.is_known:
        raise WorkloadError(f"{source}: the log doesn't tell the size of the machine; give it with processors=...")
    for wrong, what, advice in faults:
        if wrong.any():
            job = int(np.flatnonzero(wrong)[0])
            raise WorkloadError(
                f"{workload.provenance.source}: job {workload.job_id[job]}{_line(workload, job)} {what} "
                f"({int(wrong.sum())} such jobs); {advice}"
            )


def _line(workload: Workload, job: int) -> str:
    line = int(workload.source_line[job])
    return f" (line {line})" if line > 0 else ""
