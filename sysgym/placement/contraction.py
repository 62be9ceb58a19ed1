"""Graphs contracted for the searches: groups of operations that share a device, and what they send to one another.

A search moves groups, the objectives score operations. What the max-load objective needs of a graph is kept exactly:
each group's cost on each device and its size, and for each producer its price (transfer time) and which other groups
read it. Producers of one group that the same groups read are merged, their prices add up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sysgym.core.errors import InfeasibleError
from sysgym.placement.cluster import Cluster
from sysgym.placement.model import OpGraph


class Contraction(NamedTuple):
    """G groups and P merged producers on D devices.

    Attributes:
        group_of: Group of each operation, shape (n,).
        cost: Shape (G, D); infinite where unsupported.
        size: Bytes that stay, shape (G,).
        owner: Group of each producer, shape (P,).
        price: Its transfer time, shape (P,).
        reader_start: Readers of producer p are reader[reader_start[p] : reader_start[p + 1]].
        reader: Groups that read, none of them the owner.
        touch_start: Producers that group g owns or reads are touch[touch_start[g] : touch_start[g + 1]].
        touch: Producers.
        pays: Which devices pay for transfers, shape (D,).
        memory: Caps in bytes, shape (D,).
    """

    group_of: NDArray[np.int64]
    cost: NDArray[np.float64]
    size: NDArray[np.float64]
    owner: NDArray[np.int64]
    price: NDArray[np.float64]
    reader_start: NDArray[np.int64]
    reader: NDArray[np.int64]
    touch_start: NDArray[np.int64]
    touch: NDArray[np.int64]
    pays: NDArray[np.bool_]
    memory: NDArray[np.float64]


def contract(graph: OpGraph, cluster: Cluster, group_of: NDArray[np.int64] | None = None) -> Contraction:
    """Contract a graph.

    Args:
        graph: The graph.
        cluster: Devices.
        group_of: Group of each operation, numbered 0, 1, ...; the colours when left out.
    """
    groups = graph.colour if group_of is None else group_of
    count = int(groups.max()) + 1
    cost = np.zeros((count, len(cluster)))
    np.add.at(cost, groups, graph.costs_on(cluster))
    size = np.bincount(groups, weights=graph.persistent_bytes, minlength=count).astype(np.float64)
    owner, price, readers = _merged_producers(graph, cluster, groups)
    starts = np.concatenate([[0], np.cumsum([len(each) for each in readers])]).astype(np.int64)
    flat = np.array([group for each in readers for group in each], dtype=np.int64)
    producers = np.concatenate([np.arange(len(owner)), np.repeat(np.arange(len(owner)), np.diff(starts))])
    touching = np.concatenate([owner, flat])
    order = np.lexsort((producers, touching))
    return Contraction(
        group_of=groups,
        cost=cost,
        size=size,
        owner=owner,
        price=price,
        reader_start=starts,
        reader=flat,
        touch_start=np.searchsorted(touching[order], np.arange(count + 1)).astype(np.int64),
        touch=producers[order].astype(np.int64),
        pays=cluster.pays_transfers,
        memory=cluster.memory,
    )


def _merged_producers(
    graph: OpGraph, cluster: Cluster, groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[tuple[int, ...]]]:
    transfer = graph.transfer_times(cluster)
    read_by: dict[int, set[int]] = {}
    moved = graph.edges[graph.carries]
    for producer, consumer in zip(moved[:, 0].tolist(), groups[moved[:, 2]].tolist(), strict=True):
        if transfer[producer] > 0 and groups[producer] != consumer:
            read_by.setdefault(producer, set()).add(consumer)
    merged: dict[tuple[int, tuple[int, ...]], float] = {}
    for producer, readers in sorted(read_by.items()):
        key = int(groups[producer]), tuple(sorted(readers))
        merged[key] = merged.get(key, 0.0) + float(transfer[producer])
    owner = np.array([owner for owner, _ in merged], dtype=np.int64)
    return owner, np.array(list(merged.values()), dtype=np.float64), [readers for _, readers in merged]


class ForwardGroups(NamedTuple):
    """Groups whose forward parts form a directed acyclic graph.

    Attributes:
        group_of: Group of each operation, shape (n,).
        edges: Forward edges between groups, shape (k, 2), without duplicates.
    """

    group_of: NDArray[np.int64]
    edges: NDArray[np.int64]


def forward_groups(graph: OpGraph) -> ForwardGroups:
    """Colours whose forward operations are fused where they form a cycle.

    A colour of backward operations alone takes part through mirrored edges: the backward edge a -> b then stands for
    the forward edge b -> a.
    """
    colours = int(graph.colour.max()) + 1
    has_forward = np.bincount(graph.colour, weights=~graph.is_backward, minlength=colours) > 0
    producer, consumer = graph.edges[:, 0], graph.edges[:, 2]
    ends = np.column_stack([graph.colour[producer], graph.colour[consumer]])
    forward = ~graph.is_backward[producer] & ~graph.is_backward[consumer]
    mirrored = graph.is_backward[producer] & graph.is_backward[consumer]
    mirrored &= ~has_forward[ends[:, 0]] | ~has_forward[ends[:, 1]]
    edges = np.concatenate([ends[forward], ends[mirrored][:, ::-1]])
    links = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(colours, colours))
    _, fused = connected_components(links.tocsr(), directed=True, connection="strong")
    numbers: dict[int, int] = {}
    group_of_colour = np.array([numbers.setdefault(part, len(numbers)) for part in fused.tolist()], dtype=np.int64)
    between = group_of_colour[edges]
    between = np.unique(between[between[:, 0] != between[:, 1]], axis=0)
    return ForwardGroups(group_of_colour[graph.colour], between.reshape(-1, 2))


def without_free_leaves(graph: OpGraph, cluster: Cluster, groups: ForwardGroups) -> ForwardGroups:
    """Merge groups that cost nothing and have one neighbour in all into that neighbour.

    Nothing is lost: moving such a group to its neighbour's device removes a transfer and changes no load otherwise.
    Groups that weigh something are merged only where every device could hold the whole graph.
    """
    costs, parent = graph.costs_on(cluster).max(axis=1), np.arange(int(groups.group_of.max()) + 1)
    if graph.persistent_bytes.sum() > cluster.memory.min():
        costs = costs + graph.persistent_bytes
    free = np.bincount(groups.group_of, weights=costs, minlength=len(parent)) == 0
    neighbours: list[set[int]] = [set() for _ in parent]
    ends = groups.group_of[graph.edges[:, [0, 2]]]
    for a, b in np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0).tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    leaves = [group for group in np.flatnonzero(free).tolist() if len(neighbours[group]) == 1]
    while leaves:
        group = leaves.pop()
        if len(neighbours[group]) != 1:
            continue
        onto = neighbours[group].pop()
        neighbours[onto].discard(group)
        parent[group] = onto
        if free[onto] and len(neighbours[onto]) == 1:
            leaves.append(onto)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    numbers: dict[int, int] = {}
    renamed = np.array([numbers.setdefault(root, len(numbers)) for root in parent.tolist()], dtype=np.int64)
    edges = renamed[groups.edges]
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0).reshape(-1, 2)
    return ForwardGroups(renamed[groups.group_of], edges)


def require_possible(graph: OpGraph, contraction: Contraction) -> None:
    """Refuse what no placement can satisfy.

    Raises:
        InfeasibleError: A group fits on no device, with the bytes that are missing, or all together are too large.
    """
    supported = np.isfinite(contraction.cost)
    for group in np.flatnonzero(~supported.any(axis=1)).tolist():
        node = int(np.flatnonzero(contraction.group_of == group)[0])
        raise InfeasibleError(f"{graph.source}: the class of node {graph.node_ids[node]!r} is supported on no device "
                              "of the cluster; add a device of another kind")  # fmt: skip
    roomiest = np.where(supported, contraction.memory, -np.inf).max(axis=1)
    lacking = contraction.size - roomiest
    if (lacking > 0).any():
        group = int(np.argmax(lacking))
        node = int(np.flatnonzero(contraction.group_of == group)[0])
        raise InfeasibleError(f"{graph.source}: the class of node {graph.node_ids[node]!r} holds "
                              f"{contraction.size[group]:,.0f} bytes, {lacking[group]:,.0f} more than any device that "
                              "supports it; use a larger device")  # fmt: skip
    total = float(contraction.size.sum())
    excess = total - contraction.memory.sum()
    if excess > 0:
        raise InfeasibleError(f"{graph.source}: the graph holds {total:,.0f} bytes, {excess:,.0f} more than the whole "
                              "cluster; add devices")  # fmt: skip
