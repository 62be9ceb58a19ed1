"""What a training run has done so far, how much it may do, and what it tells its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sysgym.agents.telemetry.stages import Span

RECENT_EPISODES = 100
"""Episodes that the reported mean return looks back on."""
CURVE_POINTS = 100
"""Most points of a training curve, spread evenly over the budget."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an update.

    Attributes:
        share: Share of the budget that is spent, 0 to 1.
        update: Updates so far.
        frames: Environment steps so far.
        seconds: Time spent so far, earlier runs included.
        frames_per_second: Of this run.
        episodes: Episodes that have ended.
        mean_return: Mean return of the last 100 of them (unscaled, undiscounted), or None before the first.
        lag: Updates between the weights that played the slot and those that it improved.
        waiting: Seconds that the learner waited for the slot (in `sync`: that playing it took).
        learning: Seconds that it learned from it.
        metrics: The learner's, by name.
        slot_frames: Environment steps of the slot.
        stages: Nanoseconds of this update by stage, see `stages`.
        spans: When who did what in this update.
        lags: How many slots were 0, 1, 2 updates old so far.
        total_stages: Nanoseconds of the whole run by stage.
    """

    share: float
    update: int
    frames: int
    seconds: float
    frames_per_second: float
    episodes: int
    mean_return: float | None
    lag: int
    waiting: float
    learning: float
    metrics: Mapping[str, float]
    slot_frames: int = 0
    stages: Mapping[str, int] = field(default_factory=dict)
    spans: Sequence[Span] = ()
    lags: Sequence[int] = ()
    total_stages: Mapping[str, int] = field(default_factory=dict)


@dataclass
class History:
    """Counters of a run; they go on where a resumed run goes on.

    Attributes:
        update: Updates.
        frames: Environment steps.
        seconds: Time spent.
        episodes: Episodes that have ended.
        recent_returns: Returns of the last ones.
        curve: Points of `frames`, `seconds`, `mean_return`.
        lags: How many slots were 0, 1, 2 updates old when they were learned from.
        stages: Nanoseconds by stage, see `stages`.
    """

    update: int = 0
    frames: int = 0
    seconds: float = 0.0
    episodes: int = 0
    recent_returns: list[float] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)

    def add(self, frames: int, episode_returns: Sequence[float], lag: int = 0) -> None:
        """Count one update, the frames it learned from, the episodes that ended in them, and how old they were."""
        self.lags += [0] * (lag + 1 - len(self.lags))
        self.lags[lag] += 1
        self.update += 1
        self.frames += frames
        self.episodes += len(episode_returns)
        self.recent_returns = [*self.recent_returns, *episode_returns][-RECENT_EPISODES:]

    def count_stages(self, stages: Mapping[str, int]) -> None:
        """Add what an update took."""
        for name, spent in stages.items():
            self.stages[name] = self.stages.get(name, 0) + spent

    def extend_curve(self, share: float, share_before: float) -> None:
        """Add a point when the budget's share passes the next of `CURVE_POINTS` marks."""
        if int(share * CURVE_POINTS) > int(share_before * CURVE_POINTS):
            point = {"frames": self.frames, "seconds": round(self.seconds, 3), "mean_return": self.mean_return}
            self.curve.append(point)

    @property
    def mean_return(self) -> float | None:
        """Mean of the recent returns, or None before the first episode has ended."""
        return sum(self.recent_returns) / len(self.recent_returns) if self.recent_returns else None


@dataclass(frozen=True)
class Budget:
    """How long a run may go on; None does not bound it.

    Attributes:
        frames: Environment steps, earlier runs included.
        seconds: Time, earlier runs included.
    """

    frames: int | None
    seconds: float | None

    def share(self, history: History) -> float:
        """Share of the budget that is spent, by frames or by time, whichever is further; at most 1."""
        by_frames = history.frames / self.frames if self.frames is not None else 0.0
        by_seconds = history.seconds / self.seconds if self.seconds is not None else 0.0
        return min(1.0, max(by_frames, by_seconds))
