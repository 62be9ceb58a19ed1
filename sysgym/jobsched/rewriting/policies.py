"""Heuristics of rewriting, over the state of one episode.

Several know an order that they want and build it from the front: each move takes the next job of that order to its
place. What is not allowed, as among published moves, is left to the first row that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.jobsched.rewriting.construction import order_of
from sysgym.jobsched.rewriting.dynamics import jobs_of, scratch_room
from sysgym.jobsched.rewriting.model import Instance, RewriteState
from sysgym.jobsched.rewriting.schedule import FRONT
from sysgym.jobsched.rewriting.search import best_move
from sysgym.jobsched.rewriting.solve import solve

TEACHER_EVALUATIONS = 3000
"""Of the search that `annealed` rebuilds."""


def instance_of(state: RewriteState) -> Instance:
    """The jobs of a state."""
    return Instance(state.arrival, state.length, state.demand, state.capacity)


def _front(state: RewriteState) -> int:
    return len(state.allowed) - 1


def _or_first(state: RewriteState, row: int) -> int:
    """A row, or the first allowed one in its place."""
    return row if state.allowed[row] else int(state.allowed.argmax())


class StopPolicy(StatePolicy):
    """Stops: the initial schedule stays."""

    name = "stop"

    def act_on_state(self, state: RewriteState) -> int:
        """See the class."""
        return _or_first(state, _front(state))


def _any_move(state: RewriteState, generator: np.random.Generator) -> int:
    """Any job and any place; it never stops while a job can be moved."""
    allowed = np.flatnonzero(state.allowed)
    if state.picked < 0 and len(allowed) > 1:
        allowed = allowed[:-1]
    return int(generator.choice(allowed))


class BuildingPolicy(StatePolicy):
    """Builds an order from the front, and stops when it stands.

    Args:
        name: What it is called.
        wanted: Gives the order of an instance.
        every: Whether jobs that stand in their place already are moved there too, one after another.
    """

    def __init__(self, name: str, wanted: Callable[[Instance], NDArray[np.int64]], every: bool = False) -> None:
        self.name, self.wanted, self.every = name, wanted, every
        self.reset()

    def reset(self) -> None:
        """Forget the order."""
        self._order: list[int] = []

    def act_on_state(self, state: RewriteState) -> int:
        """See the class."""
        if state.rewrites == 0 and state.picked < 0:
            self._order = self.wanted(instance_of(state)).tolist()
        if state.picked >= 0:
            at = self._order.index(state.picked)
            return _or_first(state, self._order[at - 1] if at else _front(state))
        built = state.rewrites if self.every else 0
        for now, wanted in list(zip(state.order.tolist(), self._order, strict=True))[built:]:
            if self.every or now != wanted:
                return _or_first(state, wanted)
        return _front(state)


class WorstFirstPolicy(StatePolicy):
    """Takes the job with the largest slowdown to the place of the first job that runs while it waits."""

    name = "worst_first"

    def act_on_state(self, state: RewriteState) -> int:
        """See the class."""
        if state.picked < 0:
            slowdown = (state.start + state.length - state.arrival) / state.length
            chosen = int(np.where(state.allowed[: len(slowdown)], slowdown, -np.inf).argmax())
            return chosen if slowdown[chosen] > 1 else _front(state)
        job, before = state.picked, _front(state)
        for other in state.order.tolist():
            waits_for = state.start[other] < state.start[job] and state.start[other] + state.length[other]
            if other != job and waits_for > state.arrival[job]:
                break
            before = other if other != job else before
        return _or_first(state, before)


class ClimbingPolicy(StatePolicy):
    """Tries every insertion and plays the best, until none is better: about 1,200 evaluations a move."""

    name = "climbing"

    def reset(self) -> None:
        """Forget the place that was found."""
        self._behind = FRONT

    def act_on_state(self, state: RewriteState) -> int:
        """See the class."""
        if state.picked >= 0:
            return _or_first(state, _front(state) if self._behind == FRONT else self._behind)
        if len(state.order) < 2:
            return _front(state)
        jobs = jobs_of(instance_of(state))
        least, job, self._behind = best_move(jobs, scratch_room(jobs), np.array(state.order))
        return _or_first(state, job) if least < state.slowdown else _front(state)


def annealed_order(instance: Instance) -> NDArray[np.int64]:
    """Jobs by their starts in what annealing finds."""
    return np.argsort(solve(instance, "anneal", evaluations=TEACHER_EVALUATIONS).start, kind="stable")


HEURISTICS: Mapping[str, Callable[..., StatePolicy]] = {
    "stop": StopPolicy,
    "random": partial(RandomPolicy, _any_move, again=True),
    "worst_first": WorstFirstPolicy,
    "climbing": ClimbingPolicy,
    "sjf_offline": lambda: BuildingPolicy("sjf_offline", lambda instance: order_of("sjf_offline", instance)),
    "earliest_finish": lambda: BuildingPolicy("earliest_finish", lambda jobs: order_of("earliest_finish", jobs)),
    "annealed": lambda: BuildingPolicy("annealed", annealed_order),
    "annealed_in_order": lambda: BuildingPolicy("annealed_in_order", annealed_order, every=True),
}
"""The heuristics by name."""
