"""The state of the compiled machine: B episodes as flat arrays, and the rules as numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import zeroed
from sysgym.jobsched.batch.learning import FEATURES
from sysgym.jobsched.batch.model import DECIDED_BACKFILLS, Rules
from sysgym.jobsched.batch.prediction import CORRECTORS, PREDICTORS, Prediction
from sysgym.jobsched.batch.priorities import ORDERS
from sysgym.jobsched.batch.rewards import QueueReward

NO_JOB = -1
NO_BOUND = -np.inf
NO_BACKFILL, EASY, RLSCHEDULER, ACCASIM = range(len(DECIDED_BACKFILLS))


class Episodes(NamedTuple):
    """State of B episodes of N jobs each, row b for episode b.

    A job is named by its row in the workload; arrays about the jobs of an episode begin at its `first`. Rows of jobs
    are sorted: `waiting` by `key`, `candidates` by `candidate_key`, `running` by `planned_end`, `ending` by `real_end`,
    `expiring` (the running jobs that will outlive their plan) by `planned_end`. `bound` is the shadow that a blocked
    job keeps, where the backfilling has one; `memory` is what a predictor knows (`prediction.with_memory`).
    """

    time: NDArray[np.float64]
    free: NDArray[np.int64]
    first: NDArray[np.int64]
    arrived: NDArray[np.int64]
    committed: NDArray[np.int64]
    bound: NDArray[np.float64]
    earned: NDArray[np.float64]
    told: NDArray[np.float64]
    waiting: NDArray[np.int64]
    waiting_count: NDArray[np.int64]
    candidates: NDArray[np.int64]
    key: NDArray[np.float64]
    candidate_key: NDArray[np.float64]
    running: NDArray[np.int64]
    ending: NDArray[np.int64]
    running_count: NDArray[np.int64]
    expiring: NDArray[np.int64]
    expiring_count: NDArray[np.int64]
    corrections: NDArray[np.int64]
    start_time: NDArray[np.float64]
    planned_time: NDArray[np.float64]
    planned_end: NDArray[np.float64]
    real_end: NDArray[np.float64]
    memory: NDArray[np.float64]
    visible: NDArray[np.int64]
    event_time: NDArray[np.float64]
    event_kind: NDArray[np.int8]
    event_subject: NDArray[np.int64]
    event_amount: NDArray[np.float64]
    event_count: NDArray[np.int64]


class Flags(NamedTuple):
    """`Rules`, the prediction and the named reward as numbers, for compiled code."""

    order: int
    commit: bool
    backfill: int
    candidates: int
    own_candidates: bool
    per_event: bool
    pass_when_full: bool
    patience: float
    predictor: int
    corrector: int
    score: int
    final: bool
    accrued: bool


def flags_of(rules: Rules, reward: QueueReward, prediction: Prediction | None = None) -> Flags:
    """Rules, reward and prediction in the kernel's form."""
    prediction = prediction or Prediction()
    return Flags(
        order=ORDERS.index(rules.order),
        commit=rules.commit,
        backfill=DECIDED_BACKFILLS.index(rules.backfill),
        candidates=ORDERS.index(rules.candidates),
        own_candidates=rules.candidates != rules.order,
        per_event=rules.pass_rule == "per_event",
        pass_when_full=rules.pass_when_full,
        patience=float(rules.patience),
        predictor=PREDICTORS.index(prediction.predictor),
        corrector=CORRECTORS.index(prediction.corrector),
        score=reward.score,
        final=reward.final,
        accrued=reward.accrued,
    )


def allocate(episodes: int, length: int, window: int, memory: int = 0) -> Episodes:
    """Zeroed state of a number of episodes with `length` jobs each, and so many rows for a predictor."""
    of_jobs = (
        "waiting", "candidates", "key", "candidate_key", "running", "ending", "expiring", "corrections", "start_time",
        "planned_time", "planned_end", "real_end",
    )  # fmt: skip
    of_events = dict.fromkeys(("event_time", "event_kind", "event_subject", "event_amount"), 3 * length)
    return zeroed(
        Episodes, episodes, memory=(memory, FEATURES), visible=window, **dict.fromkeys(of_jobs, length), **of_events
    )
