"""What a policy earns for its decisions on a batch machine.

A named reward is minus the mean score of the episode's jobs, paid out as they start ("bounded_slowdown") or all at the
end ("final_bounded_slowdown", as RLScheduler has it); the return is the same. A function of (state before, action,
state after) may stand in its place; numba-compiled ones run with the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numba import njit

from sysgym.core.errors import UnknownNameError
from sysgym.jobsched.batch.model import Jobs, QueueState
from sysgym.jobsched.metrics import SLOWDOWN_THRESHOLD

RewardFunction = Callable[[QueueState, int, QueueState], float]

SCORES = ("bounded_slowdown", "wait_time", "turnaround_time", "slowdown")
REWARDS = (*SCORES, *(f"final_{score}" for score in SCORES))


@njit(cache=True, nogil=True)
def job_score(score: int, wait: float, run_time: float) -> float:
    """Score of one job; `score` is an index of `SCORES`, times are in seconds."""
    if score == 0:
        return max(1.0, (wait + run_time) / max(run_time, SLOWDOWN_THRESHOLD))
    if score == 1:
        return wait
    if score == 2:
        return wait + run_time
    return (wait + run_time) / run_time


@dataclass(frozen=True)
class QueueReward:
    """A named reward, or a function.

    Attributes:
        score: Index of `SCORES`.
        final: Whether everything is paid at the end of the episode.
        function: Takes the place of the named reward.
    """

    score: int = 0
    final: bool = False
    function: RewardFunction | None = None

    @classmethod
    def named(cls, reward: str | RewardFunction) -> QueueReward:
        """The reward of a name in `REWARDS`, or of a function."""
        if callable(reward):
            return cls(function=reward)
        if reward not in REWARDS:
            raise UnknownNameError("reward", reward, REWARDS)
        return cls(SCORES.index(reward.removeprefix("final_")), reward.startswith("final_"))

    def of_starts(self, started: Sequence[tuple[int, float]], jobs: Jobs) -> float:
        """Summed score of (job, start time) pairs, in the order in which they started."""
        total = 0.0
        for job, start in started:
            total += job_score(self.score, start - jobs.submit_time[job], jobs.run_time[job])
        return total
