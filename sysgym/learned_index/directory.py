"""A static B+-tree without pointers over sorted separators: which of many parts holds a query.

Node i of a layer has `BLOCK` separators at i * BLOCK and the children i * FANOUT ... i * FANOUT + BLOCK in the layer
below; separator s is the smallest key of child s + 1. A step counts the separators below the query in two vector
instructions, without a branch. Used over blocks of keys it is the S+-tree, over segments or pivots a root that no
outlier can spoil (Khuong and Morin, Array Layouts for Comparison-Based Searching, 2017; Slotin, Algorithms for Modern
Hardware, "S+ trees").

Free places hold the largest number. They are never below a query, so a real key of that value is no special case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.learned_index.machine import BLOCK, count_below, prefetch

FANOUT = BLOCK + 1
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)


def aligned(count: int, dtype: np.dtype[np.void] | type[np.generic]) -> NDArray[np.generic]:
    """An uninitialised array that begins on a cache line."""
    kind = np.dtype(dtype)
    memory = np.empty(count * kind.itemsize + 64, dtype=np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + count * kind.itemsize].view(kind)


def build_directory(parts: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Layers over parts that begin at the given mapped keys, root first.

    Args:
        parts: Smallest mapped key of each part, sorted; the first is never looked at.

    Returns:
        The separators of all layers, and where each layer begins; both empty for a single part.
    """
    layers: list[NDArray[np.uint64]] = []
    stride, count = 1, len(parts)
    while count > 1:
        nodes = -(-count // FANOUT)
        children = np.arange(nodes * FANOUT).reshape(nodes, FANOUT)[:, 1:].ravel() * stride
        layer = np.full(len(children), _LARGEST)
        inside = children < len(parts)
        layer[inside] = parts[children[inside]]
        layers.append(layer)
        stride, count = stride * FANOUT, nodes
    layers.reverse()
    tree = aligned(sum(len(layer) for layer in layers), np.uint64)
    if layers:
        np.concatenate(layers, out=tree)
    ends = np.cumsum([0] + [len(layer) for layer in layers])
    return tree, ends[:-1].astype(np.int64)


@uncounted
def descend_one(tree: NDArray[np.uint64], layers: NDArray[np.int64], query: np.uint64) -> int:
    """The part in which the first key that is not below the query lies, or at whose end it would lie."""
    node = 0
    for layer in range(len(layers)):
        node = node * FANOUT + count_below(tree, layers[layer] + node * BLOCK, query)
    return node


@uncounted
def descend_group(
    tree: NDArray[np.uint64],
    layers: NDArray[np.int64],
    queries: NDArray[np.uint64],
    step: np.uint64,
    nodes: NDArray[np.int64],
) -> None:
    """`descend_one` for a group of queries, a layer at a time; the parts are written to `nodes`."""
    for j in range(len(queries)):
        nodes[j] = 0
    for layer in range(len(layers)):
        here = layers[layer]
        if layer + 1 < len(layers):
            below = layers[layer + 1]
            for j in range(len(queries)):
                node = nodes[j] * FANOUT + count_below(tree, here + nodes[j] * BLOCK, queries[j] + step)
                nodes[j] = node
                prefetch(tree, below + node * BLOCK)
                prefetch(tree, below + node * BLOCK + BLOCK // 2)
        else:
            for j in range(len(queries)):
                nodes[j] = nodes[j] * FANOUT + count_below(tree, here + nodes[j] * BLOCK, queries[j] + step)
