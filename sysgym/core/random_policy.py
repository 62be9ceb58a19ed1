"""The policy that draws: a normalised score of 0 is what it earns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sysgym.core.protocols import StatePolicy
from sysgym.core.seeding import stream


class RandomPolicy(StatePolicy):
    """Uniform over the actions that a problem calls allowed.

    Args:
        draw: Chooses an action of a state with a generator.
        seed: Seed of its stream.
    """

    name = "random"

    def __init__(self, draw: Callable[[Any, np.random.Generator], int], seed: int = 0) -> None:
        self._draw, self._generator = draw, stream(seed, "policy")

    def reset(self) -> None:
        """Goes on with its stream, so that episodes differ."""

    def act_on_state(self, state: Any) -> int:
        """What `draw` chooses."""
        return self._draw(state, self._generator)
