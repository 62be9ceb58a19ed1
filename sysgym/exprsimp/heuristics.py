"""Heuristics of the environment: they read the state, which tells what every rewrite leads to.

The searches of `policies` are stronger; these are the floor that a learner should leave behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.exprsimp.episode import ExpressionState
from sysgym.exprsimp.lookahead import LookaheadPolicy


class StopPolicy(StatePolicy):
    """Stops at once: what is left is the normal form."""

    name = "stop"

    def act_on_state(self, state: ExpressionState) -> int:
        """Stop."""
        return state.stop


def _any_allowed(state: ExpressionState, generator: np.random.Generator) -> int:
    """Any allowed action, stopping included, all alike."""
    drawn = int(generator.integers(len(state.actions) + 1))
    return state.stop if drawn == len(state.actions) else int(state.actions[drawn])


class LeastPolicy(StatePolicy):
    """The rewrite that leads to the least expression.

    Args:
        name: Name in tables.
        by_length: Whether length counts first, else size does.
        climbs: Rewrites in a row that may go without an improvement of the best.
    """

    def __init__(self, name: str, by_length: bool = False, climbs: int = 0) -> None:
        self.name, self.by_length, self.climbs = name, by_length, climbs
        self.reset()

    def reset(self) -> None:
        """Forget the best."""
        self._best: tuple[int, int] | None = None
        self._climbed = 0

    def act_on_state(self, state: ExpressionState) -> int:
        """The least result; stop where none is left or enough were tried in vain."""
        now = (state.length, state.size) if self.by_length else (state.size, state.length)
        if self._best is None or now < self._best or not len(state.trace):
            self._best, self._climbed = now, 0
        if not len(state.actions):
            return state.stop
        keys = (state.sizes, state.lengths) if self.by_length else (state.lengths, state.sizes)
        place = int(np.lexsort((state.actions, *keys))[0])
        after = tuple(int(column[place]) for column in reversed(keys))
        if after >= self._best:
            self._climbed += 1
            if self._climbed > self.climbs:
                return state.stop
        return int(state.actions[place])


class FirstPolicy(StatePolicy):
    """Always the first allowed rewrite: the lowest term, the first rule of the table."""

    name = "first"

    def act_on_state(self, state: ExpressionState) -> int:
        """The first action; stop where there is none."""
        return int(state.actions[0]) if len(state.actions) else state.stop


HEURISTICS: Mapping[str, Callable[..., StatePolicy]] = {
    "stop": StopPolicy,
    "random": partial(RandomPolicy, _any_allowed),
    "first": FirstPolicy,
    "smallest": lambda: LeastPolicy("smallest"),
    "shortest": lambda: LeastPolicy("shortest", by_length=True),
    "climbing": lambda: LeastPolicy("climbing", climbs=4),
    "lookahead": LookaheadPolicy,
}
"""The heuristics by name."""
