"""Smaller graphs for those who decide operation by operation: groups that should share a device are merged.

As in multilevel partitioning (Karypis and Kumar, SIAM J. Sci. Comput. 20(1), 1998), pairs are matched by how much they
send to one another compared with what they compute, heaviest first, round after round, until few enough are left. No
merged group may compute more than a share of what one device should, nor hold more than a share of what one can, so
that a good placement of the coarse graph is one of the fine graph too. A move of the coarse graph moves a whole group.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.placement.cluster import Cluster
from sysgym.placement.contraction import Contraction, contract
from sysgym.placement.model import OpGraph

LARGEST_SHARE = 0.15
"""Most that a merged group computes, relative to an equal share of a device."""
LARGEST_MEMORY = 0.25
"""Most that a merged group holds, relative to the smallest device; widened to `WIDEST_MEMORY`."""
WIDEST_MEMORY = 0.6
EVENNESS = 1.5e-4
"""See `coarse_groups`."""
_WIDEST = 1e9


def ideal_share(contraction: Contraction) -> float:
    """What each device that pays for transfers would compute if all were balanced and nothing moved; above 0."""
    fast = int(contraction.pays.sum()) or len(contraction.pays)
    return max(float(contraction.cost.min(axis=1).sum()) / fast, 1e-300)


def coarse_groups(
    graph: OpGraph,
    cluster: Cluster,
    limit: int,
    largest_share: float = LARGEST_SHARE,
    evenness: float = EVENNESS,
    within: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Group of each operation, int64 (n,): the colours, merged until at most `limit` are left.

    Args:
        graph: The graph.
        cluster: Devices.
        limit: Most groups.
        largest_share: Most that a merged group computes, relative to an equal share of a device.
        evenness: What is added to a pair's work, relative to an equal share, before its traffic is divided by it: small
            merges small groups first, large looks at traffic alone.
        within: Device of each operation, (n,), of a placement that keeps colours together: only what shares a device
            is merged, so the coarse graph can hold that placement.

    Where the caps leave more, they are widened twofold at a time, and neighbours in the list are merged where nothing
    communicates any more. More than `limit` remain where memory forbids fewer. O(e log e) a round for e pairs that
    communicate.
    """
    contraction = contract(graph, cluster)
    merged = np.arange(len(contraction.size))
    apart = np.zeros(len(merged), dtype=np.int64)
    if within is not None:
        apart[graph.colour] = within
    widened = 1.0
    while len(np.unique(merged)) > limit and widened < _WIDEST:
        before = len(np.unique(merged))
        merged = _matched(contraction, merged, apart, limit, widened, largest_share, evenness)
        if len(np.unique(merged)) > 0.97 * before:
            widened *= 2.0
    numbers: dict[int, int] = {}
    renamed = np.array([numbers.setdefault(root, len(numbers)) for root in merged.tolist()], dtype=np.int64)
    groups: NDArray[np.int64] = renamed[graph.colour]
    return groups


def _matched(
    c: Contraction,
    merged: NDArray[np.int64],
    apart: NDArray[np.int64],
    limit: int,
    widened: float,
    largest_share: float,
    evenness: float,
) -> NDArray[np.int64]:
    """One round of matching; a merged group is named after one of its members."""
    groups, devices = c.cost.shape
    cost = np.zeros((groups, devices))
    np.add.at(cost, merged, c.cost)
    work, size = cost.min(axis=1), np.bincount(merged, weights=c.size, minlength=groups)
    share = ideal_share(c)
    most_work = largest_share * share * widened
    most_size = min(LARGEST_MEMORY * widened, WIDEST_MEMORY) * float(c.memory.min())
    pairs, price = _pairs(c, merged)
    if widened > 64:
        roots = np.unique(merged)
        pairs = np.concatenate([pairs, np.column_stack([roots[:-1], roots[1:]])])
        price = np.concatenate([price, np.zeros(len(roots) - 1)])
    allowed = apart[pairs[:, 0]] == apart[pairs[:, 1]]
    pairs, price = pairs[allowed], price[allowed]
    together = work[pairs[:, 0]] + work[pairs[:, 1]]
    order = np.argsort(-price / (together + evenness * share), kind="stable")
    left, taken, after = len(np.unique(merged)), np.zeros(groups, dtype=bool), np.arange(groups)
    for a, b in pairs[order].tolist():
        if left <= limit:
            break
        fits = work[a] + work[b] <= most_work and size[a] + size[b] <= most_size
        if fits and not (taken[a] or taken[b]) and np.isfinite(cost[a] + cost[b]).any():
            after[b], taken[a], taken[b], left = a, True, True, left - 1
    result: NDArray[np.int64] = after[merged]
    return result


def _pairs(c: Contraction, merged: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of merged groups that communicate, and the sum of what is read between them."""
    owner = merged[np.repeat(c.owner, np.diff(c.reader_start))]
    reader, price = merged[c.reader], np.repeat(c.price, np.diff(c.reader_start))
    apart = owner != reader
    ends = np.sort(np.column_stack([owner[apart], reader[apart]]), axis=1)
    pairs, inverse = np.unique(ends, axis=0, return_inverse=True)
    return pairs, np.bincount(inverse.ravel(), weights=price[apart], minlength=len(pairs)).astype(np.float64)
