"""A learned policy as a solver: one descent gives a placement, more descents refine it on that graph.

The policy is whatever answers batches of observations of Placement-v0 (`core.protocols.BatchPolicy`), such as
`sysgym.agents.load` returns; this room knows no agents. A descent is multilevel (Karypis and Kumar, 1998): the policy
places a coarse graph from nothing, then passes over finer and finer ones, each coarsened within the devices of the
placement so far, so that it starts where the last level ended. An evaluation scores one placement, the last. The first
evaluation is greedy, four descents, each from the end of the one before. Every other is a single descent, greedy or
drawn in turn, along a drawn coarsening, from nothing or from the best placement so far.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import allocate_slot
from sysgym.core.errors import SettingError, require_range
from sysgym.core.packing import unpacked
from sysgym.core.protocols import BatchPolicy
from sysgym.core.seeding import stream, stream_key
from sysgym.placement.cluster import Cluster
from sysgym.placement.coarsening import EVENNESS, LARGEST_SHARE
from sysgym.placement.decision_kernel import PlacementKernel
from sysgym.placement.decisions import PlacementConfig
from sysgym.placement.execution import ExecutionRules
from sysgym.placement.instances import GivenGraphs, make_instance
from sysgym.placement.model import OpGraph
from sysgym.placement.observation import GraphView

OPERATIONS = 64
"""Groups that the policy's observation has room for."""
FINER = (24, 32, 40, 48, 64, 96, 128)
"""Groups of the levels behind the first; they and the first were chosen on generated graphs."""


class Coarsening(NamedTuple):
    """How the first level is coarsened; see `coarse_groups`."""

    groups: int
    largest_share: float
    evenness: float


GREEDY = (
    Coarsening(8, 0.8, 0.05),
    Coarsening(16, 0.4, 0.05),
    Coarsening(24, 0.4, 10.0),
    Coarsening(32, LARGEST_SHARE, EVENNESS),
)
"""First levels of the descents that make the greedy placement, one behind the other."""

FRESH = 8
"""Descents from nothing before the best is gone on from."""

Score = tuple[float, float]


@dataclass(frozen=True)
class Refinement:
    """What a policy found.

    Attributes:
        assignment: Device of each operation, int64 (n,), of the best evaluation.
        score: (memory excess relative to the caps, objective), compared in that order.
        history: Best score after each evaluation.
    """

    assignment: NDArray[np.int64]
    score: Score
    history: tuple[Score, ...]


def place_by_policy(
    graph: OpGraph,
    cluster: Cluster,
    policy: BatchPolicy,
    objective: str = "max_load",
    evaluations: int = 100,
    seed: int = 0,
    rules: ExecutionRules | None = None,
    seconds: float | None = None,
) -> Refinement:
    """Place a graph by a learned policy.

    Args:
        graph: What is placed.
        cluster: On what, at most 8 devices.
        policy: Acts on the observations of Placement-v0 with `operations=64`. If it has `sampled(seed)`, that draws.
        objective: "max_load", "latency" or "makespan".
        evaluations: Placements that are scored, 1 for the greedy one alone (zero-shot).
        seed: Of what is drawn.
        rules: How the graph runs, for "makespan".
        seconds: After which no further descent begins.

    Raises:
        SettingError: More than 8 devices, or no policy.
        InfeasibleError: Something can be placed nowhere.
    """
    require_range("evaluations", evaluations, 1, whole=True)
    if not hasattr(policy, "act_batch"):
        raise SettingError(f"policy is {policy!r}; it must have act_batch, as what sysgym.agents.load returns")
    began, generator = time.perf_counter(), stream(seed, "refine")
    descent = _Descent(graph, cluster, objective, rules)
    best, assignment = descent.run(policy, GREEDY[0], None)
    for coarsening in GREEDY[1:]:
        best, assignment = descent.run(policy, coarsening, assignment)
    history = [best]
    while len(history) < evaluations and (seconds is None or time.perf_counter() - began < seconds):
        drawing: Any = policy
        if len(history) % 2 and hasattr(policy, "sampled"):
            drawing = policy.sampled(stream_key(seed, f"refine/{len(history)}") % 2**31)
        fresh = len(history) % 3 == 0 or len(history) < FRESH
        found, placed = descent.run(drawing, drawn_coarsening(generator), None if fresh else assignment)
        if found < best:
            best, assignment = found, placed
        history.append(best)
    return Refinement(assignment, best, tuple(history))


def drawn_coarsening(generator: np.random.Generator) -> Coarsening:
    """One that makes more or fewer, more or less even groups."""
    groups = int(np.exp(generator.uniform(np.log(16), np.log(64))))
    return Coarsening(groups, float(generator.uniform(0.1, 0.5)), float(np.exp(generator.uniform(-9.0, 2.3))))


class _Descent:
    """Descents of one graph."""

    def __init__(self, graph: OpGraph, cluster: Cluster, objective: str, rules: ExecutionRules | None) -> None:
        self.graph, self.cluster, self.objective, self.rules = graph, cluster, objective, rules
        self.colours = int(graph.colour.max()) + 1

    def run(
        self, policy: Any, coarsening: Coarsening, start: NDArray[np.int64] | None
    ) -> tuple[Score, NDArray[np.int64]]:
        """One descent, from a placement or from nothing; its last placement and the score of that."""
        score, placed = self._pass(policy, coarsening, start)
        for groups in FINER:
            if coarsening.groups < self.colours and groups > coarsening.groups:
                score, placed = self._pass(policy, Coarsening(groups, LARGEST_SHARE, EVENNESS), placed)
        return score, placed

    def _pass(
        self, policy: Any, coarsening: Coarsening, start: NDArray[np.int64] | None
    ) -> tuple[Score, NDArray[np.int64]]:
        """One level: two passes from nothing, as the policy was trained, or one from a placement."""
        instance = make_instance(self.graph, self.cluster, **coarsening._asdict(), within=start)
        config = PlacementConfig(self.objective, passes=2 if start is None else 1, rules=self.rules)
        engine = PlacementKernel(GivenGraphs([instance]), config, GraphView(OPERATIONS), 1)
        slot, every = allocate_slot(engine.observation_spec, 1, engine.num_actions), np.ones(1, dtype=np.bool_)
        zero = np.zeros(1, dtype=np.int64)
        engine.reset(zero, zero.astype(np.uint64), zero, None if start is None else {"assignment": start})
        engine.observe(every, slot)
        if hasattr(policy, "begin"):
            policy.begin(every, zero)
        while not slot.terminated[0]:
            actions = policy.act_batch(unpacked(engine.observation_spec, slot.observations), slot.action_masks)
            engine.step(np.asarray(actions, dtype=np.int64), every, slot)
        state = engine.state(0)
        over = np.maximum(state.held - self.cluster.memory, 0.0) / np.maximum(self.cluster.memory, 1.0)
        excess = float(over.sum())
        return (excess, float(state.objective) - instance.share * excess), instance.spread(state.device.copy())
