"""The searches: greedy, beam, annealing and random walks over rewriting rules, each followed by proved exchanges.

All of them minimise (size, length), return the best expression they met, and end by their own counts; a time limit only
ends them earlier, so without one the same input gives the same answer on every machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sysgym.core.seeding import stream
from sysgym.exprsimp.equalities import swept
from sysgym.exprsimp.workbench import ArenaFull, Move, State, Workbench

_ROOM = 512


@dataclass
class Search:
    """What one search may spend.

    Attributes:
        time_limit: Seconds, or None.
        seed: Of the searches that draw.
        width: States a beam keeps.
        layers: Rewrites that a beam may follow one after another without getting better.
        successors: States of a layer that are normalised and compared.
        walks: Steps of an annealing or a random walk.
        budget: Linear programs a proof may take.
        clock: Where seconds are read.
        tried: Rewrites that were made on trial, each with its normal form.
    """

    time_limit: float | None = None
    seed: int = 0
    width: int = 4
    layers: int = 2
    successors: int = 48
    walks: int = 200
    budget: int = 60
    clock: Callable[[], float] = time.perf_counter
    deadline: float = field(init=False)
    tried: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.deadline = math.inf if self.time_limit is None else self.clock() + self.time_limit

    def over(self) -> bool:
        """Whether the time is up."""
        return self.deadline < math.inf and self.clock() > self.deadline

    def swept(self, bench: Workbench, state: State) -> State:
        """Normal form and proved exchanges."""
        state = bench.normalised(state)
        return swept(bench, state, self.budget, self.over)


def greedy(bench: Workbench, search: Search) -> State:
    """Down rules from the leaves up, then exchanges of equal terms, until neither finds anything."""
    start = State(bench.start)
    try:
        return search.swept(bench, start)
    except ArenaFull:
        return start


def beam(bench: Workbench, search: Search) -> State:
    """From the greedy result, all rules at all terms; the best few states of a layer make the next one."""
    best = greedy(bench, search)
    try:
        improved = True
        while improved and not search.over():
            improved = False
            for state in _layers(bench, search, best):
                if bench.cost(state.root) < bench.cost(best.root):
                    best, improved = search.swept(bench, state), True
                    break
    except ArenaFull:
        pass
    return best


def _layers(bench: Workbench, search: Search, start: State) -> list[State]:
    """The best states that `layers` rewrites lead to, best first; ends at the first that is better than the start."""
    seen = {start.root}
    front, met = [start], []
    for _ in range(search.layers):
        found: dict[int, State] = {}
        for state in front:
            applications = bench.applications(state.root, _ROOM, steepest=2)
            applications.sort(key=lambda application: bench.cost(application[2])[0] - bench.cost(application[0])[0])
            for term, variant, result in applications[: search.successors]:
                if search.over():
                    break
                search.tried += 1
                made = bench.normalised(bench.exchanged(state, Move(term, result, variant)))
                if made.root not in seen:
                    seen.add(made.root)
                    found[made.root] = made
        front = sorted(found.values(), key=lambda state: bench.cost(state.root))[: search.width]
        met += front
        if not front or bench.cost(front[0].root) < bench.cost(start.root):
            break
    return sorted(met, key=lambda state: bench.cost(state.root))


def anneal(bench: Workbench, search: Search) -> State:
    """Simulated annealing over all rules; the size decides, at a temperature that falls from 2 nodes to 0.1."""
    return _walk(bench, search, "anneal", lambda step: 2.0 * (0.05 ** (step / max(1, search.walks))))


def random(bench: Workbench, search: Search) -> State:
    """Rules drawn at random, whatever they do; the best expression met is kept."""
    return _walk(bench, search, "random", lambda step: math.inf)


def _walk(bench: Workbench, search: Search, name: str, temperature: Callable[[int], float]) -> State:
    generator = stream(search.seed, f"simplify/{name}")
    state = best = State(bench.start)
    most = 4 * bench.cost(bench.start)[0] + 64
    try:
        for step in range(search.walks):
            applications = bench.applications(state.root, _ROOM, steepest=2)
            if not applications or search.over():
                break
            term, variant, result = applications[int(generator.integers(len(applications)))]
            search.tried += 1
            made = bench.exchanged(state, Move(term, result, variant))
            growth = bench.cost(made.root)[0] - bench.cost(state.root)[0]
            if bench.cost(made.root)[0] <= most and _accepted(generator, growth, temperature(step)):
                state = made
            if bench.cost(state.root) < bench.cost(best.root):
                best = state
        return search.swept(bench, best)
    except ArenaFull:
        return best


def _accepted(generator: np.random.Generator, growth: int, temperature: float) -> bool:
    return growth <= 0 or math.isinf(temperature) or generator.random() < math.exp(-growth / temperature)


SEARCHES: dict[str, Callable[[Workbench, Search], State]] = {
    "greedy": greedy, "beam": beam, "anneal": anneal, "random": random,
}  # fmt: skip
