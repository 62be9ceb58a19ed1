"""Running scale of rewards.

Rewards enter the value network's target, so their size decides how fast it learns. They are divided by the running
root mean square of the discounted return that follows each step. Two departures from the common practice of dividing
by the standard deviation of a return accumulated *forwards* (Stable-Baselines3's VecNormalize, baselines): rewards
that come only at an episode's end would be underestimated by the square root of its length, and a return that hardly
varies, such as a sum of constant rewards, would be blown up. Scaling keeps the order of policies; clipping does not,
so it is off by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class RewardScale:
    """Mean square of the discounted returns seen so far.

    Attributes:
        discount: The learner's discount.
        count: Returns seen.
        mean_square: Their mean square.
    """

    discount: float
    count: float = 0.0
    mean_square: float = 0.0

    def update(self, rewards: NDArray[np.float64], done: NDArray[np.bool_]) -> None:
        """Take in a slot's rewards and ends, both (T, N); returns are cut at the slot's end."""
        later = np.zeros(rewards.shape[1])
        squares = 0.0
        for t in range(len(rewards) - 1, -1, -1):
            later = rewards[t] + self.discount * np.where(done[t], 0.0, later)
            squares += float(later @ later)
        total = self.count + rewards.size
        self.mean_square = (self.mean_square * self.count + squares) / total
        self.count = total

    @property
    def divisor(self) -> float:
        """What rewards are divided by; 1 before the first reward that is not 0."""
        return float(np.sqrt(self.mean_square)) or 1.0
