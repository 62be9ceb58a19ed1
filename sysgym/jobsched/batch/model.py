"""Jobs, rules and states of a machine that schedules rigid jobs from one queue.

Processors form one pool; a job takes a fixed number of them, runs once and is never stopped. A scheduler plans with
the *requested* time, execution uses the *run* time. What a scheduling pass does is fixed by `Rules`:

1. While jobs wait, one is chosen (by the queue's order, or by a policy). If it fits it starts, and the next is chosen.
2. The first that doesn't fit blocks. With EASY backfilling it gets a reservation: the *shadow* is the first instant at
   which requested ends free enough processors, the *extra* processors are those left over then. Every other waiting
   job is looked at once, and starts if it fits now and either ends by the shadow or takes only extra processors.
3. With `commit` the blocked job stays chosen until it starts; without, the next pass chooses afresh.

Backfilling differs between programs, and so do published figures. Two rules of others can be asked for by name:

- "rlscheduler": the shadow is computed once, when the job blocks; others start if they fit and end strictly before it;
  there are no extra processors, and a job whose requested end has come holds its processors until it has completed.
  Completions of one instant go in the order of the program's own list.
- "accasim" (1.1.3): the shadow is computed once, and the blocked job is not tried again before it, even if processors
  free early; until it starts, whatever fits starts too, unchecked. With no event left the clock jumps to the shadow.

With `pass_when_full=False` a submission that finds too few free processors for its own job makes no pass, as in
predictsim's EASY (the simulator of the SC 2015 study). That matters only under predictions: a correction moves the
shadow and makes no pass itself, so what it lets in starts later.

With "conservative" backfilling every job is given a reservation when it is submitted; see `conservative`.

`pass_rule` "batch" handles all completions, then all arrivals of an instant, and then makes one pass. "per_event"
makes a pass after every single submission and completion, submissions first, as the simulator pyss does. A running job
whose requested end has come counts as free in a pass, even when its completion is still to be handled.

With a predictor (see `prediction`) predicted times stand wherever requested ones are planned with.

Sources: Mu'alem and Feitelson, IEEE TPDS 12(6), 2001 (EASY, conservative); Zhang et al., SC 2020 (scheduling as
decisions; its repository for "rlscheduler"); Galleguillos et al., Cluster Computing 23, 2020 (AccaSim).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.errors import SettingError, WorkloadError, require_bool, require_known, require_range
from sysgym.jobsched.batch.priorities import CHANGING, ORDERS
from sysgym.workloads.workload import Workload

DECIDED_BACKFILLS = ("none", "easy", "rlscheduler", "accasim")
"""Backfilling behind a job that a policy or an order has chosen."""
BACKFILLS = (*DECIDED_BACKFILLS, "conservative")
PASS_RULES = ("batch", "per_event")


@dataclass(frozen=True)
class Rules:
    """What a scheduling pass does; see the module.

    Attributes:
        order: Order of the queue, whose head is chosen where no policy decides: one of `priorities.ORDERS`.
        commit: Whether a chosen job that doesn't fit stays chosen until it starts.
        backfill: One of `BACKFILLS`.
        candidates: Order in which backfilling looks at the other jobs: one that doesn't change while jobs wait.
        pass_rule: "batch" or "per_event".
        pass_when_full: Whether a submission makes a pass, per event, where its job doesn't fit.
        patience: Seconds that a job may wait before it is chosen whatever a policy chooses, the oldest first.
    """

    order: str = "submitted"
    commit: bool = True
    backfill: str = "none"
    candidates: str = "submitted"
    pass_rule: str = "batch"
    pass_when_full: bool = True
    patience: float = math.inf

    def __post_init__(self) -> None:
        require_bool("commit", self.commit)
        require_bool("pass_when_full", self.pass_when_full)
        require_range("patience", self.patience, 0.0)
        require_known("queue order", self.order, ORDERS)
        require_known("backfill", self.backfill, BACKFILLS)
        require_known("candidate order", self.candidates, [order for order in ORDERS if order not in CHANGING])
        require_known("pass_rule", self.pass_rule, PASS_RULES)
        if self.backfill in {"rlscheduler", "accasim"} and not self.commit:
            raise SettingError(f"backfill={self.backfill!r} keeps one shadow for a blocked job; it needs commit=True")


def decided_rules(backfill: str, pass_rule: str, commit: bool = True, patience: float = math.inf) -> Rules:
    """The rules where a policy decides.

    Raises:
        UnknownNameError: There is no such backfilling behind a decision, or no such pass rule.
    """
    require_known("backfill", backfill, DECIDED_BACKFILLS)
    return Rules(commit=commit, backfill=backfill, pass_rule=pass_rule, patience=patience)


class Jobs(NamedTuple):
    """The columns of a workload that a simulation reads, all of shape (n,); no policy sees them.

    The last three are places in a predictor's memory, empty without one: the history of a job's user, that of the jobs
    which are alike, and its own features (`prediction.with_memory`).
    """

    submit_time: NDArray[np.float64]
    run_time: NDArray[np.float64]
    requested_time: NDArray[np.float64]
    processors: NDArray[np.int64]
    user: NDArray[np.int64]
    owner: NDArray[np.int64]
    alike: NDArray[np.int64]
    note: NDArray[np.int64]


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


def job_columns(workload: Workload) -> Jobs:
    """The columns that a simulation of this workload reads.

    Raises:
        WorkloadError: A job has no run time, no requested time, one below its run time, or needs more processors
            than the machine has.
    """
    _check(workload)
    columns = (
        workload.submit_time,
        workload.run_time,
        workload.requested_time,
        workload.processors,
        workload.user,
        *(np.empty(0, dtype=np.int64) for _ in range(3)),
    )
    # one layout for all, whatever window or scaling made them: another would be compiled for anew
    return Jobs(*(read_only(np.ascontiguousarray(column)) for column in columns))


def known_jobs(jobs: Jobs, arrived: int) -> KnownJobs:
    """What is known once the jobs before row `arrived` have been submitted, as views."""
    return KnownJobs(
        jobs.submit_time[:arrived], jobs.requested_time[:arrived], jobs.processors[:arrived], jobs.user[:arrived]
    )


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
            "workload.with_run_times() (--with-run-times), or take another log"
        )
    if not workload.machine.is_known:
        raise WorkloadError(
            f"{source}: the log doesn't tell the size of the machine; give it with processors=... (--processors)"
        )
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
