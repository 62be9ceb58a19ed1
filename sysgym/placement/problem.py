"""A placement problem as the solvers see it: groups to put on devices, a score, a clock.

The groups are the colour classes. A score is a pair (relative memory excess, objective), compared in that order, so
that what fits always beats what doesn't.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import require_known
from sysgym.core.seeding import stream
from sysgym.placement.cluster import Cluster
from sysgym.placement.contraction import contract, require_possible
from sysgym.placement.execution import ExecutionRules
from sysgym.placement.integer import solve_integer
from sysgym.placement.kernel import Evaluator
from sysgym.placement.model import OpGraph, topological_order
from sysgym.placement.objectives import OBJECTIVES, latency_arrays, single_latency
from sysgym.placement.search import anneal_load, anneal_whole, descend_load, new_moves, search_state

Score = tuple[float, float]
COLD = 1e-4
"""Last temperature of an annealing, relative to the mean work of a device."""
_CHUNK_SECONDS = 0.05


class Problem:
    """A graph, a cluster, an objective and a time limit.

    Args:
        graph: What is placed.
        cluster: On what.
        objective: "max_load", "latency" or "makespan".
        time_limit: Seconds from now on.
        seed: For all randomness.
        rules: How the graph runs, for "makespan".

    Raises:
        InfeasibleError: Something can't be placed at all.
        UnknownNameError: No such objective.
    """

    def __init__(
        self,
        graph: OpGraph,
        cluster: Cluster,
        objective: str,
        time_limit: float,
        seed: int,
        rules: ExecutionRules | None = None,
    ) -> None:
        require_known("objective", objective, OBJECTIVES)
        self.graph, self.cluster, self.objective, self.seed = graph, cluster, objective, seed
        self.began, self.time_limit = time.perf_counter(), time_limit
        self.contraction = contract(graph, cluster)
        require_possible(graph, self.contraction)
        self.evaluator, self.latency = Evaluator(graph, cluster, rules), latency_arrays(graph, cluster)
        self.generator, self.moves = stream(seed, "placement/search"), new_moves(len(self.contraction.size))
        self.order = self._group_order()
        self.work = float(self.contraction.cost.min(axis=1).sum())
        self._move_seconds = 0.0  # until the first moves have been timed

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.perf_counter() - self.began

    def left(self, share: float = 1.0) -> float:
        """Seconds until the given share of the time limit is spent."""
        return share * self.time_limit - self.seconds

    def _group_order(self) -> NDArray[np.int64]:
        """Groups by the first place of their operations in the topological order."""
        first = np.full(len(self.contraction.size), len(self.graph))
        order = topological_order(self.graph)
        np.minimum.at(first, self.graph.colour[order], np.arange(len(order)))
        return np.argsort(first, kind="stable").astype(np.int64)

    def group(self, assignment: NDArray[np.int64]) -> NDArray[np.int64]:
        """Device of each group, of an assignment of operations that keeps colours together."""
        device = np.zeros(len(self.contraction.size), dtype=np.int64)
        device[self.graph.colour] = assignment
        return device

    def spread(self, device: NDArray[np.int64]) -> NDArray[np.int64]:
        """Device of each operation, of an assignment of groups."""
        return device[self.graph.colour]

    def score(self, device: NDArray[np.int64]) -> Score:
        """Score of an assignment of groups."""
        c = self.contraction
        held = np.bincount(device, weights=c.size, minlength=len(c.memory))
        excess = float(
            (np.maximum(held - c.memory, 0.0)[held > c.memory] / np.maximum(c.memory, 1.0)[held > c.memory]).sum()
        )
        if self.objective == "max_load":
            state = search_state(c, device)
            return excess, float((state.compute + state.moved).max())
        if self.objective == "latency":
            return excess, float(single_latency(self.latency, self.spread(device), False))
        return excess, self.evaluator.makespan(self.spread(device))

    def descend(self, device: NDArray[np.int64]) -> NDArray[np.int64]:
        """Single moves until none lessens the largest load (or the memory excess), or the time is up."""
        state = search_state(self.contraction, device)
        moves = max(1, 200_000 // self.contraction.cost.size)
        while not descend_load(state, self.contraction, moves) and self.left() > 0:
            pass
        return state.device

    def fit(self, device: NDArray[np.int64]) -> NDArray[np.int64]:
        """The assignment itself if it fits, else one near it that exceeds memory less."""
        return device if self.score(device)[0] == 0 and np.isfinite(self.score(device)[1]) else self.descend(device)

    def anneal(
        self, device: NDArray[np.int64], hot: float, steps: int, deadline: float, best: Score
    ) -> tuple[Score, NDArray[np.int64] | None]:
        """Anneal from an assignment.

        Args:
            device: Where to begin.
            hot: First temperature, relative to the mean work of an accelerator (to the objective, for the others).
            steps: Moves.
            deadline: Share of the time limit at which to stop early.
            best: Score to beat.

        Returns:
            The best score that beats it and its assignment, else `best` and None.
        """
        unit = self.work / len(self.cluster.fast_devices) if self.objective == "max_load" else self.score(device)[1]
        unit = unit if np.isfinite(unit) and unit > 0 else 1.0
        state, current = search_state(self.contraction, device), device.copy()
        kept = np.full(len(device), -1, dtype=np.int64)
        value = best[1] if best[0] == 0 else np.inf
        done, cooling = 0, COLD / hot
        while done < steps and self.left(deadline) > 0:
            first_look = not self._move_seconds
            chunk = min(steps - done, 50 if first_look else max(20, int(_CHUNK_SECONDS / self._move_seconds)))
            first, last = (unit * hot * cooling ** (part / steps) for part in (done, done + chunk))
            began = time.perf_counter()
            if self.objective == "max_load":
                value = anneal_load(
                    state, self.contraction, self.moves, self.order, chunk, first, last, self.generator, kept, value
                )
            else:
                value = anneal_whole(
                    self.objective == "makespan", self.latency, self.evaluator.workspace, self.evaluator.program,
                    self.evaluator.flags, self.contraction, current, self.moves, self.order, chunk, first, last,
                    self.generator, kept, value,
                )  # fmt: skip
            done += chunk
            if done > chunk or first_look:
                self._move_seconds = max(1e-8, (time.perf_counter() - began) / chunk)
        return ((0.0, value), kept) if kept[0] >= 0 else (best, None)

    def lower_bound(self, seconds: float) -> float:
        """A value that no placement can beat, from relaxations that take at most about `seconds`."""
        least = self.contraction.cost.min(axis=1)
        share = float(least.sum()) / len(self.cluster)
        if self.objective == "max_load":
            sizable = self.contraction.cost.size * max(1, len(self.contraction.reader)) < 3e7
            relaxed = solve_integer(self.contraction, None, seconds, relax=True).bound if sizable else 0.0
            return max(share, relaxed * (1 - 1e-7))
        path = self._critical_path()
        return path if self.objective == "latency" else max(path, share)

    def _critical_path(self) -> float:
        """Longest way through the graph when every operation runs where it is fastest and nothing is moved."""
        least = self.graph.costs_on(self.cluster).min(axis=1)
        finish = least.copy()
        program = self.evaluator.program
        for node in topological_order(self.graph).tolist():
            children = program.consumer[program.edge_start[node] : program.edge_start[node + 1]]
            np.maximum.at(finish, children, finish[node] + least[children])
        return float(finish.max())
