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

from sysgym.agents.acting.parts import GraphShape, Part, graph_shape, pack, parts_of
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
        parts: Of an observation that is a Dict or a Tuple; inside the agents it is one packed row, see `parts`.
    """

    shape: tuple[int, ...]
    dtype: str
    categories: int
    num_actions: int
    first_action: int = 0
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Spaces:
        """The facts of two Gymnasium spaces.

        Raises:
            SettingError: The actions are not `Discrete`, or the observations are nothing that can be flattened.
        """
        if not isinstance(action_space, spaces.Discrete):
            raise SettingError(f"the action space is {action_space}; agents need gymnasium.spaces.Discrete")
        actions = (int(action_space.n), int(action_space.start))
        if isinstance(observation_space, spaces.Discrete):
            if observation_space.start != 0:
                raise SettingError(f"the observation space is {observation_space}; its categories must start at 0")
            return cls((), "int64", int(observation_space.n), *actions)
        if isinstance(observation_space, spaces.Box | spaces.MultiBinary):
            if not np.prod(observation_space.shape):
                raise SettingError(f"the observation space is {observation_space}; it must hold at least one number")
            return cls(tuple(observation_space.shape), str(observation_space.dtype), 0, *actions)
        if isinstance(observation_space, spaces.Dict | spaces.Tuple):
            parts = parts_of(observation_space)
            return cls((sum(part.size for part in parts),), "float32", 0, *actions, parts)
        raise SettingError(
            f"the observation space is {observation_space}; agents take a Box, Discrete, MultiBinary, or a "
            "Dict or Tuple of them"
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Spaces:
        """The inverse of `dataclasses.asdict`; lists serve as tuples, as JSON has them."""
        parts = tuple(Part.from_dict(part) for part in fields.get("parts", ()))
        return cls(**{**fields, "shape": tuple(fields["shape"]), "parts": parts})

    @property
    def graph(self) -> GraphShape | None:
        """Where the parts of the graph convention stand in a row; None for other observations."""
        return graph_shape(self.parts)

    def pack(self, observations: Any, leading: int = 0) -> NDArray[Any]:
        """Observations as slots hold them: arrays as they are, parts as rows.

        Args:
            observations: What an environment returned, or rows that are packed already.
            leading: How many dimensions come before those of one observation.
        """
        if self.parts and not isinstance(observations, np.ndarray):
            return pack(self.parts, observations, leading)
        return np.asarray(observations)

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
        graph = self.graph
        if graph is not None:
            seen = f"graphs of {graph.nodes} nodes with {graph.features} features and {graph.edges} edges"
        return f"observations {seen}, {self.num_actions} actions"


def largest_bound(observation_space: spaces.Space[Any]) -> float:
    """The largest number an observation may hold in absolute value; infinity where it is unbounded."""
    if not isinstance(observation_space, spaces.Box):
        return 1.0  # categories; the parts of graphs are scaled by their encoders, other Dicts as they come
    return float(max(np.max(np.abs(observation_space.low)), np.max(np.abs(observation_space.high))))
