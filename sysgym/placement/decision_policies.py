"""Heuristics for placing operation by operation: the constructions and METIS, played step by step, and simple rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sysgym.core.protocols import StatePolicy
from sysgym.core.random_policy import RandomPolicy
from sysgym.placement.cluster import Cluster
from sysgym.placement.contraction import contract
from sysgym.placement.decisions import NOWHERE, PlacementState
from sysgym.placement.instances import gathered
from sysgym.placement.metis import metis_partitions
from sysgym.placement.model import OpGraph
from sysgym.placement.policies import CONSTRUCTIONS


def single_metis(graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """One run of METIS over the accelerators, as a user would call it, int64 (n,)."""
    contraction = contract(graph, cluster)
    return next(metis_partitions(contraction, cluster.fast_devices))[contraction.group_of]


class FollowingPolicy(StatePolicy):
    """Plays a placement that was made beforehand; where memory forbids a device, the allowed one of the least load.

    Args:
        name: Name in tables.
        plan: Makes the placement of a graph on a cluster, a device for each operation.
    """

    def __init__(self, name: str, plan: Callable[[OpGraph, Cluster], NDArray[np.int64]]) -> None:
        self.name, self.plan = name, plan
        self._planned: tuple[OpGraph, NDArray[np.int64]] | None = None  # holds for its graph, in whatever episode

    def act_on_state(self, state: PlacementState) -> int:
        """The planned device of the current group."""
        if self._planned is None or self._planned[0] is not state.graph:
            placed = self.plan(state.graph, state.cluster)
            self._planned = state.graph, gathered(state.graph, state.cluster, state.group_of, state.cost, placed)
        device = int(self._planned[1][state.group])
        return device if state.allowed[device] else _least_loaded(state)


def _any_allowed(state: PlacementState, generator: np.random.Generator) -> int:
    return int(generator.choice(np.flatnonzero(state.allowed)))


class LeastLoadPolicy(StatePolicy):
    """The device whose load is least with the current group on it, transfers of the group left out."""

    name = "least_load"

    def act_on_state(self, state: PlacementState) -> int:
        """See the class."""
        return _least_loaded(state)


class StayPolicy(StatePolicy):
    """Leaves every group where it is; what is nowhere goes to the first device that is allowed."""

    name = "stay"

    def act_on_state(self, state: PlacementState) -> int:
        """See the class."""
        here = int(state.device[state.group])
        return here if here != NOWHERE and state.allowed[here] else int(state.allowed.argmax())


def _least_loaded(state: PlacementState) -> int:
    with_it = state.compute + state.moved + state.cost[state.group]
    return int(np.where(state.allowed, with_it, np.inf).argmin())


HEURISTICS: Mapping[str, Callable[..., StatePolicy]] = {
    "stay": StayPolicy,
    "random": partial(RandomPolicy, _any_allowed),
    "least_load": LeastLoadPolicy,
    "metis": lambda: FollowingPolicy("metis", single_metis),
    **{name: (lambda name=name, plan=plan: FollowingPolicy(name, plan)) for name, plan in CONSTRUCTIONS.items()},
}
"""The heuristics by name."""
