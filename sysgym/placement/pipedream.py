"""PipeDream's optimiser: stages of layers, each replicated, over one or more levels of bandwidth.

States are the ideals of the layer graph. A stage between two nested states on r replicas takes (T + 4 (r - 1)/r W/B)/r
seconds for its compute T and weights W at bandwidth B; a plan is as slow as its slowest stage or boundary, and the best
is found by dynamic programming over the last stage. At a second level the best time of a stage on one group of
machines takes the place of its compute time. Narayanan et al., SOSP 2019, section 3.1; figures agree with the authors'
public program where that ends. Here a branching profile can't hang it: with more states than `state_limit`, or more
work than a minute's, the states of one topological order are used instead, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import InfeasibleError, SettingError, require_range
from sysgym.placement.model import UNITS_PER_SECOND, OpGraph, topological_order

_WORK_LIMIT = 1.5e10
"""Inner steps that take about a minute."""
_LEVEL_STATES = 700
"""States up to which a plan of several levels is exact: it needs every pair of them."""


@dataclass(frozen=True)
class PipelineStage:
    """One stage of a plan.

    Attributes:
        node_ids: Its layers.
        replicas: How many machines (groups of machines, on a plan of several levels) run it side by side.
        seconds: Time of a minibatch on one machine, without what replication costs and gains.
        first_state: State before it.
        last_state: State after it; states count from 0, the empty one.
    """

    node_ids: tuple[Any, ...]
    replicas: int
    seconds: float
    first_state: int
    last_state: int


@dataclass(frozen=True)
class PipelinePlan:
    """What the optimiser found.

    Attributes:
        stages: In order of execution; those of the outermost level.
        seconds: Time a minibatch, of the slowest stage or boundary.
        speedup: Over one machine.
        speedup_over_data_parallel: Over all machines in plain data parallelism.
        states: Number of states.
        status: "optimal", or "linearised" where there were too many states.
    """

    stages: tuple[PipelineStage, ...]
    seconds: float
    speedup: float
    speedup_over_data_parallel: float
    states: int
    status: str


@dataclass(frozen=True)
class _States:
    """Ideals, the empty one first: members as bits, cumulative seconds and bytes, bytes that cross the boundary."""

    nodes: tuple[int, ...]
    members: tuple[int, ...]
    seconds: NDArray[np.float64]
    weights: NDArray[np.float64]
    activations: NDArray[np.float64]
    boundary: NDArray[np.float64]


def optimise_pipeline(
    graph: OpGraph,
    levels: Sequence[tuple[int, float]],
    *,
    straight: bool = False,
    transfers: bool = True,
    memory_bytes: float = float("inf"),
    true_boundary: bool = False,
    state_limit: int = 20_000,
) -> PipelinePlan:
    """Split a layer graph into replicated stages.

    Args:
        graph: Layers with costs on "gpu", activations and parameter bytes, such as a profile of PipeDream's.
        levels: (machines, bandwidth in bytes/s) from the innermost outwards.
        straight: One machine a stage, no replication.
        transfers: Whether boundaries count; PipeDream's own default leaves them out.
        memory_bytes: Cap for stashed activations and weights, or infinite.
        true_boundary: Count as boundary only what is read behind it; PipeDream counts some branches twice.
        state_limit: With more states than this, those of one topological order are used.

    Raises:
        SettingError: No level, or one without machines or bandwidth.
        InfeasibleError: No plan uses all machines within the memory.
    """
    if not levels:
        raise SettingError("levels is empty; give at least one (machines, bandwidth)")
    for machines, bandwidth in levels:
        require_range("machines of a level", machines, 1)
        require_range("bandwidth of a level", bandwidth, 0.0, open_low=True)
    states, status = _states(graph, [machines for machines, _ in levels], state_limit, true_boundary, straight)
    compute, inner = np.empty((0, 0)), 1
    total = baseline = float(states.seconds[-1])
    for place, (machines, bandwidth) in enumerate(levels):
        final = place == len(levels) - 1
        best, split, replicas = _plan(
            states, compute, machines, bandwidth, inner, final, straight, transfers, memory_bytes
        )
        share = 4.0 * (machines - 1) / machines * float(states.weights[-1]) / (bandwidth * inner)
        baseline = (baseline + share) / machines
        if not final:
            compute, inner = np.ascontiguousarray(best[:, :, -1]), machines
    seconds = float(best[0, -1, -1])
    if not np.isfinite(seconds):
        raise InfeasibleError(f"{graph.source}: no plan uses all {levels[-1][0]} machines; use fewer, or more memory")
    stages = tuple(_stages(graph, states, compute, split, replicas))
    return PipelinePlan(stages, seconds, total / seconds, baseline / seconds, len(states.members) - 1, status)


def _kept_layers(graph: OpGraph) -> list[int]:
    """Layers without the sources that stand for inputs and the sinks that only unpack tuples."""
    has_input, has_output = set(graph.edges[:, 2].tolist()), set(graph.edges[:, 0].tolist())
    names = graph.names or ("",) * len(graph)
    return [
        node
        for node in range(len(graph))
        if not (node not in has_input and names[node].startswith("Input"))
        and not (node not in has_output and names[node].startswith("__getitem__"))
    ]


def _states(
    graph: OpGraph, machines: list[int], limit: int, true_boundary: bool, straight: bool
) -> tuple[_States, str]:
    kept = _kept_layers(graph)
    place_of = {node: place for place, node in enumerate(kept)}
    edges = [(place_of[a], place_of[b]) for a, _, b in graph.edges.tolist() if a in place_of and b in place_of]
    before, after = [0] * len(kept), [0] * len(kept)
    for a, b in edges:
        before[b] |= 1 << a
        after[a] |= 1 << b
    order = [place_of[node] for node in topological_order(graph).tolist() if node in place_of]
    if len(machines) > 1:
        limit = min(limit, _LEVEL_STATES)
    splits = max(machines) if straight else max(machines) ** 2 / 2
    limit = min(limit, int((_WORK_LIMIT / splits) ** 0.5 * 2))
    members, status = _ideals(order, before, after, limit), "optimal"
    if members is None:
        members, status = [0], "linearised"
        for node in order:
            members.append(members[-1] | 1 << node)
    cost = graph.costs_on_kind("gpu") / UNITS_PER_SECOND[graph.time_unit]
    columns = [
        np.array([column[node] for node in kept]) for column in (cost, graph.persistent_bytes, graph.outputs_total)
    ]
    ancestors = _ancestors(order, before)
    boundary = np.array([_boundary(ideal, before, after, ancestors, columns[2], true_boundary) for ideal in members])
    sums = [np.array([float(column[_bits(ideal)].sum()) for ideal in members]) for column in columns]
    return _States(tuple(kept), tuple(members), sums[0], sums[1], sums[2], boundary), status


def _ideals(order: list[int], before: list[int], after: list[int], limit: int) -> list[int] | None:
    """All ideals as bits, small ones first; None above the limit."""
    seen, members = {0}, [0]
    rank = {node: place for place, node in enumerate(order)}
    first = [node for node in order if not before[node]]
    addable = {0: first}
    for ideal in members:
        candidates = addable.pop(ideal)
        for node in candidates:
            larger = ideal | 1 << node
            if larger in seen:
                continue
            if len(members) > limit:
                return None
            seen.add(larger)
            members.append(larger)
            free = [child for child in _bits(after[node]) if not before[child] & ~larger]
            addable[larger] = sorted([each for each in candidates if each != node] + free, key=rank.__getitem__)
    return members


def _bits(number: int) -> list[int]:
    return [place for place in range(number.bit_length()) if number >> place & 1]


def _ancestors(order: list[int], before: list[int]) -> list[int]:
    ancestors = [0] * len(before)
    for node in order:
        for parent in _bits(before[node]):
            ancestors[node] |= ancestors[parent] | 1 << parent
    return ancestors


def _boundary(
    ideal: int, before: list[int], after: list[int], ancestors: list[int], sizes: NDArray[np.float64], true: bool
) -> float:
    """Bytes that cross the border of an ideal, as PipeDream counts them, or those that are truly read behind it."""
    inside = _bits(ideal)
    if true:
        return float(sum(sizes[node] for node in inside if after[node] & ~ideal))
    crossing = 0
    for node in inside:
        if after[node] & ideal:
            continue
        crossing |= 1 << node
        known = ancestors[node] | 1 << node
        for parent in _bits(ancestors[node]):
            if after[parent] & ~known:
                crossing |= 1 << parent
    return float(sizes[_bits(crossing)].sum())


def _plan(
    states: _States, compute: NDArray[np.float64], machines: int, bandwidth: float, inner: int, final: bool,
    straight: bool, transfers: bool, memory: float,
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:  # fmt: skip
    words = max(1, -(-states.members[-1].bit_length() // 63))
    mask = (1 << 63) - 1
    bits = np.array([[ideal >> 63 * word & mask for word in range(words)] for ideal in states.members], dtype=np.int64)
    return _fill(
        bits, states.seconds, compute, states.weights, states.activations, states.boundary, machines, float(bandwidth),
        inner, final, straight, transfers, float(memory),
    )  # fmt: skip


@compiled
def _stage_seconds(
    compute: NDArray[Any], seconds: NDArray[Any], weights: NDArray[Any], low: int, high: int, replicas: int, rate: float
) -> float:
    """Time of a stage between two states on some replicas, whose weights are exchanged at `rate` bytes/s."""
    work = compute[low, high] if len(compute) else max(0.0, seconds[high] - seconds[low])
    exchanged = 4.0 * (replicas - 1) * (weights[high] - weights[low]) / (rate * replicas)
    return float((work + exchanged) / replicas)


@compiled
def _fill(  # noqa: PLR0912  one table, filled in one walk
    bits: NDArray[Any], seconds: NDArray[Any], compute: NDArray[Any], weights: NDArray[Any], activations: NDArray[Any],
    boundary: NDArray[Any], machines: int, bandwidth: float, inner: int, final: bool, straight: bool, transfers: bool,
    memory: float,
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:  # fmt: skip
    """Best time from state i to state j on m + 1 machines, the state before the last stage, and its replicas."""
    count = len(seconds)
    rows = 1 if final else count
    best = np.full((rows, count, machines), np.inf)
    split = np.full((rows, count, machines), -1, dtype=np.int32)
    replicas = np.ones((rows, count, machines), dtype=np.int32)
    inside = np.empty(count, dtype=np.int64)
    for i in range(rows):
        for j in range(i + 1, count):
            nested = 0
            for k in range(i, j):
                holds = True
                for word in range(bits.shape[1]):
                    if bits[i, word] & ~bits[k, word] or bits[k, word] & ~bits[j, word]:
                        holds = False
                        break
                if holds:
                    inside[nested] = k
                    nested += 1
            if nested == 0 or inside[0] != i:
                continue
            for m in range(machines):
                if m == 0 or not straight:
                    stash = np.ceil((machines - m - 1) / (m + 1)) * (
                        activations[j] - activations[i] + weights[j] - weights[i]
                    )
                    if stash <= memory:
                        best[i, j, m] = _stage_seconds(compute, seconds, weights, i, j, m + 1, bandwidth * inner)
                        replicas[i, j, m] = m + 1
            for m in range(1, machines):
                for place in range(1, nested):
                    k = inside[place]
                    for r in range(1, 2 if straight else m + 1):
                        before = best[i, k, m - r]
                        if not before < best[i, j, m]:
                            continue
                        value = max(before, _stage_seconds(compute, seconds, weights, k, j, r, bandwidth))
                        if transfers:
                            value = max(value, 2.0 * boundary[k] / (bandwidth * r))
                            if j < count - 1:
                                value = max(value, 2.0 * boundary[j] / (bandwidth * r))
                        if value < best[i, j, m]:
                            held = activations[j] - activations[k] + weights[j] - weights[k]
                            if np.ceil((machines - m - 1) / r) * held <= memory:
                                best[i, j, m] = value
                                split[i, j, m] = k
                                replicas[i, j, m] = r
    return best, split, replicas


def _stages(
    graph: OpGraph, states: _States, compute: NDArray[np.float64], split: NDArray[np.int32], replicas: NDArray[np.int32]
) -> list[PipelineStage]:
    found: list[PipelineStage] = []
    high, left = len(states.members) - 1, split.shape[2] - 1
    while high > 0:
        low, share = max(0, int(split[0, high, left])), int(replicas[0, high, left])
        seconds = compute[low, high] if len(compute) else states.seconds[high] - states.seconds[low]
        layers = _bits(states.members[high] & ~states.members[low])
        ids = tuple(graph.node_ids[states.nodes[layer]] for layer in layers)
        found.append(PipelineStage(ids, share, float(seconds), low, high))
        high, left = low, left - share
    return found[::-1]
