"""The best contiguous placement, exactly: a dynamic programme over ideals.

An ideal is a set of groups that holds all its predecessors; devices take the differences of a growing chain of ideals,
one after another. best[c][I] is the smallest largest load with which device counts c (how many of each type are used)
can take ideal I. For each ideal I the programme walks down the lattice of the ideals inside it, one removed group at
a time, and keeps the load of the difference up to date; branches whose compute alone exceeds a known solution are cut.

Contiguity is judged on the forward groups, backward operations follow. Tarnawski et al., NeurIPS 2020, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import InfeasibleError
from sysgym.core.seeding import stream
from sysgym.placement.cluster import Cluster
from sysgym.placement.contraction import Contraction, contract, forward_groups, require_possible, without_free_leaves
from sysgym.placement.model import OpGraph
from sysgym.placement.objectives import evaluate

_SLACK = 1.0 + 1e-9
ORDERS = 16
"""Topological orders that are tried for an upper bound."""


@dataclass(frozen=True)
class ContiguousPlacement:
    """What the programme found.

    Attributes:
        assignment: Device of each operation, shape (n,).
        objective: Its max-load, scored on the original operations.
        status: "optimal", or "linearised" where there were too many ideals for the exact programme.
        ideals: How many, the empty one included.
        pairs: How many pairs of ideals were looked at.
    """

    assignment: NDArray[np.int64]
    objective: float
    status: str
    ideals: int
    pairs: int


class Lattice(NamedTuple):
    """Ideals by number, smaller ones first: ideal i without `node[k]` is `below[k]`, for k from start[i] on."""

    start: NDArray[np.int64]
    node: NDArray[np.int64]
    below: NDArray[np.int64]


class DeviceTypes(NamedTuple):
    """T types of equal devices.

    `stride` turns counts of used devices into one number: state s uses (s // stride[t]) % (number[t] + 1) of type t.
    """

    first: NDArray[np.int64]
    number: NDArray[np.int64]
    stride: NDArray[np.int64]
    members: tuple[tuple[int, ...], ...]

    @property
    def states(self) -> int:
        """Number of states."""
        return int(np.prod(self.number + 1))


def device_types(cluster: Cluster) -> DeviceTypes:
    """Devices grouped by kind, model and memory."""
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for number, device in enumerate(cluster.devices):
        kinds.setdefault((device.kind, device.model, device.memory_bytes), []).append(number)
    members = tuple(tuple(numbers) for numbers in kinds.values())
    count = np.array([len(numbers) for numbers in members], dtype=np.int64)
    stride = np.concatenate([[1], np.cumprod(count[:-1] + 1)]).astype(np.int64)
    return DeviceTypes(np.array([numbers[0] for numbers in members], dtype=np.int64), count, stride, members)


def solve_contiguous(
    graph: OpGraph,
    cluster: Cluster,
    ideal_limit: int = 60_000,
    pair_limit: int = 10**9,
    seed: int = 0,
    orders: int = ORDERS,
) -> ContiguousPlacement:
    """The contiguous placement with the smallest max-load.

    O(p (d + s)) for p pairs of nested ideals, d producers a group and s states of device counts.

    Args:
        graph: What is placed.
        cluster: On what.
        ideal_limit: With more ideals than this, the best over some topological orders is returned instead.
        pair_limit: The same for nested pairs; some ten million take a second.
        seed: For those orders.
        orders: How many of them are tried.

    Raises:
        InfeasibleError: No contiguous placement fits; or nothing can, with the reason.
    """
    groups = without_free_leaves(graph, cluster, forward_groups(graph))
    contraction = contract(graph, cluster, groups.group_of)
    require_possible(graph, contraction)
    types = device_types(cluster)
    bound, assignment, pairs = _best_order(contraction, groups.edges, types, seed, orders)
    lattice = _ideals(len(contraction.size), groups.edges, ideal_limit)
    status, ideals = "linearised", len(contraction.size) + 1
    if lattice is not None:
        _, exact, looked = _programme(contraction, lattice, types, bound * _SLACK, pair_limit)
        if looked <= pair_limit:
            assignment, pairs = exact if exact is not None else assignment, looked
            status, ideals = "optimal", len(lattice.start) - 1
    if assignment is None:
        raise InfeasibleError(f"{graph.source}: no contiguous placement fits the memory of the cluster; "
                              "try method='auto', or larger devices")  # fmt: skip
    placed = assignment[groups.group_of]
    return ContiguousPlacement(placed, evaluate(graph, cluster, placed).objective, status, ideals, pairs)


def linearised(graph: OpGraph, cluster: Cluster, seed: int = 0, orders: int = ORDERS) -> NDArray[np.int64] | None:
    """The best placement over some topological orders, each cut optimally; None where none fits."""
    groups = without_free_leaves(graph, cluster, forward_groups(graph))
    contraction = contract(graph, cluster, groups.group_of)
    _, assignment, _ = _best_order(contraction, groups.edges, device_types(cluster), seed, orders)
    return None if assignment is None else assignment[groups.group_of]


def _best_order(
    contraction: Contraction, edges: NDArray[np.int64], types: DeviceTypes, seed: int, orders: int = ORDERS
) -> tuple[float, NDArray[np.int64] | None, int]:
    generator, best, kept, looked = stream(seed, "placement/orders"), np.inf, None, 0
    for number in range(orders):
        chain = _chain(_stack_order(len(contraction.size), edges, generator if number else None))
        for bound in [best * _SLACK] if np.isfinite(best) else _guesses(contraction):
            value, assignment, pairs = _programme(contraction, chain, types, bound)
            looked += pairs
            if assignment is not None:
                break
        if value < best:
            best, kept = value, assignment
    return best, kept, looked


def _guesses(contraction: Contraction) -> list[float]:
    """Bounds to try while none is known, each four times the one before, and at last none: a small one cuts most."""
    least = np.where(np.isfinite(contraction.cost), contraction.cost, np.inf).min(axis=1).sum()
    share = float(least) / contraction.cost.shape[1]
    return [1.5 * share, 6.0 * share, np.inf]


def _stack_order(count: int, edges: NDArray[np.int64], generator: np.random.Generator | None) -> list[int]:
    """A topological order, last in first out; a generator shuffles what becomes free together."""
    children: list[list[int]] = [[] for _ in range(count)]
    missing = np.bincount(edges[:, 1], minlength=count).tolist()
    for producer, consumer in edges.tolist():
        children[producer].append(consumer)
    stack = [node for node in range(count) if not missing[node]][::-1]
    if generator is not None:
        generator.shuffle(stack)
    order = []
    while stack:
        node = stack.pop()
        order.append(node)
        free = []
        for child in children[node]:
            missing[child] -= 1
            if not missing[child]:
                free.append(child)
        if generator is not None:
            generator.shuffle(free)
        stack += free
    return order


def _chain(order: list[int]) -> Lattice:
    count = len(order)
    start = np.concatenate([[0], np.arange(count + 1)]).astype(np.int64)
    return Lattice(start, np.array(order, dtype=np.int64), np.arange(count, dtype=np.int64))


def _ideals(count: int, edges: NDArray[np.int64], limit: int) -> Lattice | None:
    """All ideals and what lies directly below them; None above the limit. Sets are Python integers, a bit a group."""
    before, after = [0] * count, [0] * count
    for producer, consumer in edges.tolist():
        before[consumer] |= 1 << producer
        after[producer] |= 1 << consumer
    first = sum(1 << node for node in range(count) if not before[node])
    number, addable = {0: 0}, [first]
    members = [0]
    for ideal in members:
        candidates = addable[number[ideal]]
        for node in _bits(candidates):
            larger = ideal | 1 << node
            if larger not in number:
                if len(members) > limit:
                    return None
                number[larger] = len(members)
                members.append(larger)
                free = sum(1 << child for child in _bits(after[node]) if not before[child] & ~larger)
                addable.append(candidates & ~(1 << node) | free)
    covers = [
        [(node, number[ideal & ~(1 << node)]) for node in _bits(ideal) if not after[node] & ideal] for ideal in members
    ]
    start = np.concatenate([[0], np.cumsum([len(each) for each in covers])]).astype(np.int64)
    flat = np.array([pair for each in covers for pair in each], dtype=np.int64).reshape(-1, 2)
    return Lattice(start, np.ascontiguousarray(flat[:, 0]), np.ascontiguousarray(flat[:, 1]))


def _bits(number: int) -> list[int]:
    places = []
    while number:
        lowest = number & -number
        places.append(lowest.bit_length() - 1)
        number ^= lowest
    return places


def _programme(
    contraction: Contraction, lattice: Lattice, types: DeviceTypes, bound: float, pair_limit: int = 10**12
) -> tuple[float, NDArray[np.int64] | None, int]:
    """Smallest max-load over the lattice's chains, the device of each group, and the pairs looked at."""
    best, came_from, used, pairs = _fill(
        contraction, lattice, types.first, types.number, types.stride, types.states, bound, pair_limit
    )
    full = len(lattice.start) - 2
    state = int(best[:, full].argmin())
    value = float(best[state, full])
    if not np.isfinite(value):
        return value, None, pairs
    assignment = np.full(len(contraction.size), -1, dtype=np.int64)
    ideal, taken = full, [0] * len(types.first)
    while ideal:
        kind, below = int(used[state, ideal]), int(came_from[state, ideal])
        assignment[_difference(lattice, ideal, below, len(assignment))] = types.members[kind][taken[kind]]
        taken[kind] += 1
        state, ideal = state - int(types.stride[kind]), below
    return value, assignment, pairs


def _difference(lattice: Lattice, ideal: int, below: int, count: int) -> NDArray[np.int64]:
    """Groups in `ideal` that are not in the smaller ideal `below`."""

    def members(number: int) -> set[int]:
        nodes = set()
        while number:
            cover = int(lattice.start[number])
            nodes.add(int(lattice.node[cover]))
            number = int(lattice.below[cover])
        return nodes

    return np.array(sorted(members(ideal) - members(below)), dtype=np.int64)


@compiled
def _toggle(c: Contraction, group: int, inside: NDArray[Any], readers_in: NDArray[Any], adds: bool) -> float:
    """Put a group into the set or take it out; returns by how much the set's transfers change."""
    change = 0.0
    step = 1 if adds else -1
    for k in range(c.touch_start[group], c.touch_start[group + 1]):
        p = c.touch[k]
        total = c.reader_start[p + 1] - c.reader_start[p]
        before = readers_in[p] < total if inside[p] else readers_in[p] > 0
        if c.owner[p] == group:
            inside[p] = adds
        else:
            readers_in[p] += step
        after = readers_in[p] < total if inside[p] else readers_in[p] > 0
        if after and not before:
            change += c.price[p]
        elif before and not after:
            change -= c.price[p]
    return change


@compiled
def _fill(  # noqa: PLR0912, PLR0915  one walk over arrays that all its steps share
    c: Contraction, lattice: Lattice, first: NDArray[Any], count: NDArray[Any], stride: NDArray[Any], states: int,
    bound: float, pair_limit: int,
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int8], int]:  # fmt: skip
    """The tables of the programme: value, ideal below and type used, shape (states, ideals) each; pairs looked at."""
    ideals, kinds, producers = len(lattice.start) - 1, len(first), len(c.owner)
    best = np.full((states, ideals), np.inf)
    best[:, 0] = 0.0
    came_from = np.zeros((states, ideals), dtype=np.int32)
    used = np.zeros((states, ideals), dtype=np.int8)
    seen = np.full(ideals, -1, dtype=np.int64)
    inside = np.zeros(producers, dtype=np.bool_)
    readers_in = np.zeros(producers, dtype=np.int64)
    depth_limit = len(c.size) + 1
    at, position = np.empty(depth_limit, dtype=np.int64), np.empty(depth_limit, dtype=np.int64)
    added = np.empty(depth_limit, dtype=np.int64)
    compute, size, moved = np.zeros((depth_limit, kinds)), np.zeros(depth_limit), np.zeros(depth_limit)
    pairs = 0
    for ideal in range(1, ideals):
        if pairs > pair_limit:
            best[:, ideals - 1] = np.inf
            break
        depth = 0
        at[0], position[0] = ideal, lattice.start[ideal]
        while depth >= 0:
            here = at[depth]
            if position[depth] == lattice.start[here + 1]:
                if depth > 0:
                    _toggle(c, added[depth], inside, readers_in, False)
                depth -= 1
                continue
            k = position[depth]
            position[depth] = k + 1
            below, group = lattice.below[k], lattice.node[k]
            if seen[below] == ideal:
                continue
            seen[below] = ideal
            pairs += 1
            held = size[depth] + c.size[group]
            promising = False
            for t in range(kinds):
                compute[depth + 1, t] = compute[depth, t] + c.cost[group, first[t]]
                if compute[depth + 1, t] <= bound and held <= c.memory[first[t]]:
                    promising = True
            if not promising:
                continue
            depth += 1
            size[depth] = held
            moved[depth] = moved[depth - 1] + _toggle(c, group, inside, readers_in, True)
            at[depth], position[depth], added[depth] = below, lattice.start[below], group
            for t in range(kinds):
                load = compute[depth, t]
                if c.pays[first[t]]:
                    load += moved[depth]
                if load > bound or held > c.memory[first[t]]:
                    continue
                for state in range(states):
                    if (state // stride[t]) % (count[t] + 1) == 0:
                        continue
                    value = max(best[state - stride[t], below], load)
                    if value < best[state, ideal]:
                        best[state, ideal] = value
                        came_from[state, ideal] = below
                        used[state, ideal] = t
    return best, came_from, used, pairs
