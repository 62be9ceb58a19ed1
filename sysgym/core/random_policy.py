"""The policy that draws: a normalised score of 0 is what it earns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from sysgym.core.protocols import StatePolicy
from sysgym.core.seeding import stream


class RandomPolicy(StatePolicy):
    """Uniform over the actions that a problem calls allowed.

    Args:
        draw: Chooses an action of a state with a generator.
        seed: Seed of its stream.
        stream_name: Name of its stream.
        again: Whether every episode draws the same numbers; else the stream goes on, so that episodes differ.
    """

    name = "random"

    def __init__(
        self,
        draw: Callable[[Any, np.random.Generator], int],
        seed: int = 0,
        *,
        stream_name: str = "policy",
        again: bool = False,
    ) -> None:
        self._draw, self._again = draw, again
        self._begin = partial(stream, seed, stream_name)
        self._generator = self._begin()

    def reset(self) -> None:
        """Begin the stream anew, if it is to be drawn again."""
        if self._again:
            self._generator = self._begin()

    def act_on_state(self, state: Any) -> int:
        """What `draw` chooses."""
        return self._draw(state, self._generator)
