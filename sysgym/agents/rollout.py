"""Slots of experience: memory that an actor fills and a learner reads.

A slot holds T steps of N environments in memory that is allocated once and written in place: step t of an
environment writes its observations and masks into row t + 1 and its rewards and flags into row t. Only the last
observations of truncated episodes are kept beside it, compactly, because the next episode's first observation has
taken their place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.acting.spaces import Spaces
from sysgym.core.errors import TrainingError
from sysgym.core.protocols import Slot

BORDERED = ("observations", "masks")
ARRAYS = (*BORDERED, "actions", "log_probabilities", "rewards", "terminated", "truncated")
"""Fields with a row a step; those that are bordered have one more, where the slot ends."""


@dataclass
class Rollout:
    """T steps of N environments.

    Attributes:
        observations: (T + 1, N, *shape); row 0 is where the slot begins.
        masks: int8, (T + 1, N, A).
        actions: int64, (T, N).
        log_probabilities: float64, (T, N), of the actions under the policy that took them.
        rewards: float64, (T, N).
        terminated: bool, (T, N).
        truncated: bool, (T, N).
        final_observations: Last observations of the episodes that were truncated and not terminated, one array a
            step that had any, in the order of (t, n).
        episode_returns: Returns (unscaled, undiscounted) of the episodes that ended in the slot.
        version: Of the weights that played all of it.
        spent: Nanoseconds that its actors spent, by `telemetry` stage.
        played: When each actor began and ended its part, nanoseconds of `time.perf_counter_ns`.
    """

    observations: NDArray[Any]
    masks: NDArray[np.int8]
    actions: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observations: list[NDArray[Any]] = field(default_factory=list)
    episode_returns: list[float] = field(default_factory=list)
    version: int = 0
    spent: dict[str, int] = field(default_factory=dict)
    played: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def allocate(cls, spaces: Spaces, steps: int, num_envs: int) -> Rollout:
        """Zeroed memory for a slot."""
        return cls(
            np.zeros((steps + 1, num_envs, *spaces.shape), dtype=spaces.dtype),
            np.zeros((steps + 1, num_envs, spaces.num_actions), dtype=np.int8),
            np.zeros((steps, num_envs), dtype=np.int64),
            np.zeros((steps, num_envs)),
            np.zeros((steps, num_envs)),
            np.zeros((steps, num_envs), dtype=np.bool_),
            np.zeros((steps, num_envs), dtype=np.bool_),
        )

    def step_slot(self, t: int) -> Slot:
        """Views of the memory that step t writes."""
        return Slot(self.observations[t + 1], self.masks[t + 1], self.rewards[t], self.terminated[t], self.truncated[t])

    def begin(self, version: int) -> None:
        """Forget what was gathered beside the arrays."""
        self.final_observations, self.episode_returns, self.version = [], [], version
        self.spent, self.played = dict.fromkeys(("environment", "inference"), 0), []

    def end(self, begun: int, ended: int) -> None:
        """Note when an actor has played it; what is neither inference nor environment was handing over."""
        self.played = [(begun, ended)]
        self.spent["hand_over"] = max(0, ended - begun - sum(self.spent.values()))

    def first(self, steps: int) -> Rollout:
        """The first steps, as views."""
        arrays = {name: getattr(self, name)[: steps + (name in BORDERED)] for name in ARRAYS}
        return dataclasses.replace(self, **arrays)

    def part(self, rows: slice) -> Rollout:
        """The memory of some environments, as views, for an actor to fill."""
        return dataclasses.replace(
            self, **{name: getattr(self, name)[:, rows] for name in ARRAYS}, final_observations=[], episode_returns=[]
        )

    def joined(self, rows: Sequence[slice], parts: Sequence[Rollout]) -> Rollout:
        """What actors have filled, in one: a single one's part as it is, or the slot with what lies beside its arrays.

        Args:
            rows: Which rows each part has.
            parts: From `part` of this slot, filled; their order decides, not that of their arrival.
        """
        if len(parts) == 1:
            return parts[0]
        columns = np.nonzero(self.truncated & ~self.terminated)[1]
        final = np.zeros((len(columns), *self.observations.shape[2:]), dtype=self.observations.dtype)
        for chosen, part in zip(rows, parts, strict=True):
            if part.final_observations:
                final[(chosen.start <= columns) & (columns < chosen.stop)] = np.concatenate(part.final_observations)
        self.final_observations = [final] if len(final) else []
        self.episode_returns = [value for part in parts for value in part.episode_returns]
        self.version = min(part.version for part in parts)
        self.spent = {name: sum(part.spent.get(name, 0) for part in parts) for name in parts[0].spent}
        self.played = [span for part in parts for span in part.played]
        return self

    def columns(self, chosen: NDArray[np.int64]) -> Rollout:
        """Some of the environments, copied; `chosen` rises."""
        cut = self.truncated & ~self.terminated
        kept = np.isin(np.nonzero(cut)[1], chosen)
        final = np.concatenate(self.final_observations)[kept] if self.final_observations else None
        part: dict[str, Any] = {name: np.ascontiguousarray(getattr(self, name)[:, chosen]) for name in ARRAYS}
        part["final_observations"] = [] if final is None else [final]
        return dataclasses.replace(self, **part, episode_returns=[])

    @property
    def done(self) -> NDArray[np.bool_]:
        """Whether the step ended an episode, (T, N)."""
        return self.terminated | self.truncated

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Whether a step belongs to the first episode of its row, (T, N)."""
        ended = np.logical_or.accumulate(self.done, axis=0)
        return ~np.vstack([np.zeros_like(ended[:1]), ended[:-1]])

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """Whether a state allows more than one action, (T + 1, N)."""
        several: NDArray[np.bool_] = np.count_nonzero(self.masks, axis=-1) > 1
        return several

    @property
    def num_frames(self) -> int:
        """T x N."""
        return int(self.actions.size)

    def check_finite(self) -> None:
        """Refuse numbers that no learner can use.

        Raises:
            TrainingError: A reward or observation is NaN or infinite; the message says where.
        """
        for name, array in {"reward": self.rewards, "observation": self.observations[1:]}.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                step, row, *_ = np.argwhere(~np.isfinite(array))[0]
                raise TrainingError(f"the {name} of environment {row} at step {step} of the rollout is not finite")
        if any(not np.isfinite(final).all() for final in self.final_observations):
            raise TrainingError("the last observation of a truncated episode is not finite")
