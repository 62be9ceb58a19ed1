"""What a policy earns for its decisions on a batch machine.

A named reward is minus the mean score of the episode's jobs, paid out as they start ("bounded_slowdown"), all at the
end ("final_bounded_slowdown", as RLScheduler has it), or as the scores grow while jobs wait
("accrued_bounded_slowdown"). The return is the same; what a discount makes of it is not: who pays at the start gains by
putting off what has waited long. A function of (state before, action,
state after) may stand in its place; numba-compiled ones run with the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_known
from sysgym.jobsched.batch.model import Jobs, QueueState
from sysgym.jobsched.metrics import SLOWDOWN_THRESHOLD

RewardFunction = Callable[[QueueState, int, QueueState], float]

SCORES = ("bounded_slowdown", "wait_time", "turnaround_time", "slowdown")
REWARDS = (*SCORES, *(f"{paid}_{score}" for paid in ("final", "accrued") for score in SCORES))


@compiled
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
        accrued: Whether scores are paid as they grow.
        function: Takes the place of the named reward.
    """

    score: int = 0
    final: bool = False
    accrued: bool = False
    function: RewardFunction | None = None

    @classmethod
    def named(cls, reward: str | RewardFunction) -> QueueReward:
        """The reward of a name in `REWARDS`, or of a function."""
        if callable(reward):
            return cls(function=reward)
        require_known("reward", reward, REWARDS)
        score = SCORES.index(reward.removeprefix("final_").removeprefix("accrued_"))
        return cls(score, reward.startswith("final_"), reward.startswith("accrued_"))

    def of_waiting(self, waiting: Sequence[int], now: float, jobs: Jobs, total: float) -> float:
        """`total`, and the scores that waiting jobs would have if they started now."""
        for job in waiting:
            total += job_score(self.score, now - jobs.submit_time[job], jobs.run_time[job])
        return total

    def of_starts(self, started: Sequence[tuple[int, float]], jobs: Jobs) -> float:
        """Summed score of (job, start time) pairs, in the order in which they started."""
        total = 0.0
        for job, start in started:
            total += job_score(self.score, start - jobs.submit_time[job], jobs.run_time[job])
        return total
