"""Predicted run times: what a scheduler plans with instead of the users' requests.

A predictor says at a job's submission how long it will run, never more than was requested, and learns from a job when
that has ended, before the pass that follows. A job that outlives its prediction gets another by a corrector, which is
an event of its own, before all others of its instant and without a pass:

| predictor | prediction |
|---|---|
| `requested` | the request itself |
| `perfect` | the run time, which no scheduler knows; for comparison |
| `last_two` | mean of the user's last two ended jobs, rounded down; the request until there are two |
| `learned` | a regression over the user's history, learned as jobs end; see `learning` |

| corrector | new prediction |
|---|---|
| `reqtime` | the request |
| `tsafrir` | the last increment gives way to the next of 0, 1, 5, 15, 30 min, 1, 2, 5, 10, 20, 50, 100 h |
| `doubling` | twice the old one, even beyond the request |

A name is `predictor` or `predictor+corrector`; without one, `reqtime` corrects. Sources: Tsafrir, Etsion and Feitelson,
IEEE TPDS 18(6), 2007 (EASY++, last two, increments); Gaussier, Glesser, Reis and Trystram, SC 2015 (the others).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError, require_known
from sysgym.jobsched.batch import learning
from sysgym.jobsched.batch.model import Jobs

PREDICTORS = ("requested", "perfect", "last_two", "learned")
REQUESTED, PERFECT, LAST_TWO, LEARNED = range(len(PREDICTORS))
CORRECTORS = ("reqtime", "tsafrir", "doubling")
REQTIME, TSAFRIR, DOUBLING = range(len(CORRECTORS))

INCREMENTS = tuple(60.0 * minutes for minutes in (0, 1, 5, 15, 30, 60, 120, 300, 600, 1200, 3000, 6000))
"""Seconds that the corrector `tsafrir` adds to the first prediction, one after another."""

_WEIGHTS, _SQUARES, _FIRST_HISTORY = range(3)
"""Rows of a predictor's memory; histories and the features of the jobs follow."""


@dataclass(frozen=True)
class Prediction:
    """A predictor and what corrects it, by name; see the module."""

    predictor: str = "requested"
    corrector: str = "reqtime"

    def __post_init__(self) -> None:
        require_known("predictor", self.predictor, PREDICTORS)
        require_known("corrector", self.corrector, CORRECTORS)

    @classmethod
    def named(cls, name: str) -> Prediction:
        """The prediction that a name such as "last_two+tsafrir" means.

        Raises:
            UnknownNameError: There is no such predictor or corrector.
            SettingError: A corrector beside a predictor that is never below the run time.
        """
        predictor, plus, corrector = name.partition("+")
        prediction = cls(predictor, corrector if plus else "reqtime")
        if plus and not prediction.learns:
            raise SettingError(
                f"{predictor!r} is never too short, so nothing corrects it; leave {'+' + corrector!r} out"
            )
        return prediction

    @property
    def learns(self) -> bool:
        """Whether it is told of ended jobs, and may be wrong."""
        return PREDICTORS.index(self.predictor) >= LAST_TWO


class Predictor(Protocol):
    """A predictor of one's own, for `replay(predictor=...)`, which SimPy then plays.

    It may have an attribute `corrector` (a name, `reqtime` without one). Jobs are named by their row in the workload.
    """

    def predict(self, job: int, now: float) -> float:
        """Seconds that a job submitted now will run; more than was requested is cut to that."""
        ...

    def learn(self, job: int, now: float, run_time: float) -> None:
        """A job has ended after `run_time` seconds."""
        ...


def with_memory(jobs: Jobs, prediction: Prediction) -> tuple[Jobs, int]:
    """The jobs with their places in a predictor's memory, and its number of rows.

    A row has `learning.FEATURES` places. The first two hold weights; then come the histories of users, of alike jobs
    (same user, request and processors), and the features of each job. Jobs of unknown users share one history.
    """
    owner = np.unique(jobs.user, return_inverse=True)[1].astype(np.int64) + _FIRST_HISTORY
    rows = int(owner.max()) + 1
    alike = note = owner
    if prediction.predictor == "learned":
        same = np.stack([jobs.user.astype(np.float64), jobs.requested_time, jobs.processors.astype(np.float64)])
        alike = np.unique(same, axis=1, return_inverse=True)[1].astype(np.int64).ravel() + rows
        note = np.arange(len(owner)) + int(alike.max()) + 1
        rows = int(note.max()) + 1
    return jobs._replace(owner=read_only(owner), alike=read_only(alike), note=read_only(note)), rows


@uncounted
def reset_memory(memory: NDArray[np.float64]) -> None:
    """Forget everything."""
    if len(memory) > 0:
        memory[:] = 0.0
        learning.begin_weights(memory[_WEIGHTS])


@uncounted
def predicted(predictor: int, jobs: Jobs, job: int, memory: NDArray[np.float64]) -> float:
    """Planned time of a job that is submitted now; `predictor` is an index of `PREDICTORS`."""
    requested: float = jobs.requested_time[job]
    if predictor < LAST_TWO:
        return requested
    own = memory[jobs.owner[job]]
    two: float = learning.mean_of_two(own, requested)
    if predictor == LAST_TWO:
        return two
    alike, features, now = memory[jobs.alike[job]], memory[jobs.note[job]], jobs.submit_time[job]
    learning.describe(features, own, alike, requested, jobs.processors[job], now)
    learning.note_submission(own, now)
    planned: float = learning.planned_seconds(memory[_WEIGHTS], features, requested)
    return planned


@uncounted
def remember_start(predictor: int, jobs: Jobs, job: int, memory: NDArray[np.float64]) -> None:
    """Note that a job has started."""
    if predictor == LEARNED:
        memory[jobs.owner[job], learning.RUNNING] += 1.0
        memory[jobs.alike[job], learning.RUNNING] += 1.0


@uncounted
def remember_end(predictor: int, jobs: Jobs, job: int, now: float, memory: NDArray[np.float64]) -> None:
    """Learn from a job that has ended."""
    if predictor < LAST_TWO:
        return
    run, requested = jobs.run_time[job], jobs.requested_time[job]
    if predictor == LEARNED:
        features, size = memory[jobs.note[job]], jobs.processors[job]
        learning.learn_from(memory[_WEIGHTS], memory[_SQUARES], features, run, requested, size)
        learning.note_end(memory[jobs.alike[job]], run, requested, now)
    learning.note_end(memory[jobs.owner[job]], run, requested, now)


@uncounted
def corrected(corrector: int, planned: float, requested: float, corrections: int) -> float:
    """Planned time of a job that has outlived `planned`, after so many corrections; see the module."""
    if corrector == DOUBLING:
        return 2.0 * planned
    if corrector == TSAFRIR and corrections + 1 < len(INCREMENTS):
        return min(requested, planned - INCREMENTS[corrections] + INCREMENTS[corrections + 1])
    return requested


class Forecast:
    """Predictions for one episode of the simulator: the named predictors' compiled functions, or a user's own object.

    Args:
        prediction: The named predictor and corrector.
        jobs: Columns of the workload.
        own: A predictor that takes the named one's place.
    """

    def __init__(self, prediction: Prediction, jobs: Jobs, own: Predictor | None = None) -> None:
        self._own = own
        self._predictor = PREDICTORS.index(prediction.predictor)
        self._corrector = CORRECTORS.index(prediction.corrector)
        self._jobs, rows = with_memory(jobs, prediction)
        self._memory = np.zeros((rows, learning.FEATURES))
        reset_memory(self._memory)

    def predict(self, job: int, now: float) -> float:
        """Planned time of a job that is submitted now.

        Raises:
            SettingError: A predictor of one's own says something that is no time.
        """
        if self._own is None:
            return float(predicted(self._predictor, self._jobs, job, self._memory))
        answer = self._own.predict(job, now)
        if not (isinstance(answer, int | float | np.number) and 0 < answer < math.inf):
            raise SettingError(f"the predictor says {answer!r} for job {job}; it must be finite and above 0 seconds")
        return min(float(answer), float(self._jobs.requested_time[job]))

    def start(self, job: int) -> None:
        """A job has started."""
        if self._own is None:
            remember_start(self._predictor, self._jobs, job, self._memory)

    def learn(self, job: int, now: float, run_time: float) -> None:
        """A job has ended."""
        if self._own is None:
            remember_end(self._predictor, self._jobs, job, now, self._memory)
        else:
            self._own.learn(job, now, run_time)

    def correct(self, planned: float, requested: float, corrections: int) -> float:
        """Planned time of a job that has outlived `planned`, after so many corrections."""
        return float(corrected(self._corrector, planned, requested, corrections))
