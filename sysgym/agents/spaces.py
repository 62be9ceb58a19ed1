"""What a policy sees and may do, as plain facts: the part of Gymnasium's spaces that a network depends on.

It stands apart from the networks because a checkpoint carries it, and because a policy that acts without torch
checks it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sysgym.core.errors import SettingError


@dataclass(frozen=True)
class Spaces:
    """The observation and action space of an environment.

    Attributes:
        shape: Shape of one observation; () for a category.
        dtype: Its numpy dtype, such as "float32".
        categories: Number of categories of a `Discrete` observation, 0 for a `Box`.
        num_actions: A, the size of the `Discrete` action space.
        first_action: The smallest action (`Discrete.start`), 0 in all but a few environments.
    """

    shape: tuple[int, ...]
    dtype: str
    categories: int
    num_actions: int
    first_action: int = 0

    @classmethod
    def of(cls, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Spaces:
        """The facts of two Gymnasium spaces.

        Raises:
            SettingError: The actions are not `Discrete`, or the observations neither a `Box` nor `Discrete`.
        """
        if not isinstance(action_space, spaces.Discrete):
            raise SettingError(f"the action space is {action_space}; agents need gymnasium.spaces.Discrete")
        actions = (int(action_space.n), int(action_space.start))
        if isinstance(observation_space, spaces.Discrete):
            if observation_space.start != 0:
                raise SettingError(f"the observation space is {observation_space}; its categories must start at 0")
            return cls((), "int64", int(observation_space.n), *actions)
        if isinstance(observation_space, spaces.Box):
            return cls(tuple(observation_space.shape), str(observation_space.dtype), 0, *actions)
        # The graph convention (a Dict of nodes, node_mask, edges, edge_mask, globals) gets its branch here.
        raise SettingError(
            f"the observation space is {observation_space}; agents take a Box or Discrete: "
            "wrap the environment in gymnasium.wrappers.FlattenObservation"
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Spaces:
        """The inverse of `dataclasses.asdict`; lists serve as tuples, as JSON has them."""
        return cls(**{**fields, "shape": tuple(fields["shape"])})

    @property
    def size(self) -> int:
        """Numbers in one observation after encoding: its categories, or the product of its shape."""
        return self.categories or int(np.prod(self.shape, dtype=np.int64))

    def encode(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Observations as the networks take them: float32, categories one-hot.

        Args:
            observations: Shape (..., *shape).

        Returns:
            Shape (..., *shape), or (..., categories).
        """
        if self.categories:
            one_hot: NDArray[np.float32] = np.eye(self.categories, dtype=np.float32)[observations]
            return one_hot
        return np.asarray(observations, dtype=np.float32)

    def __str__(self) -> str:
        seen = f"{self.categories} categories" if self.categories else f"{self.dtype}{list(self.shape)}"
        return f"observations {seen}, {self.num_actions} actions"


def largest_bound(observation_space: spaces.Space[Any]) -> float:
    """The largest number an observation may hold in absolute value; infinity where it is unbounded."""
    if not isinstance(observation_space, spaces.Box):
        return 1.0
    return float(max(np.max(np.abs(observation_space.low)), np.max(np.abs(observation_space.high))))
