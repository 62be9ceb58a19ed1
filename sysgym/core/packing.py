"""Named observation arrays as one flat row of float32: how the graph convention travels.

A graph is seen as a Dict of `nodes`, `node_mask`, `edges`, `edge_mask` and `globals`. Slots, rollouts, shared memory
and checkpoints hold one array, so inside the house such an observation is one row, laid out as
`gymnasium.spaces.utils.flatten` lays out the Dict: its parts in the alphabetical order of their names, each row-major.
Whoever wants the parts gets views of the row. Indices are whole numbers in float32, exact up to 2^24.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError
from sysgym.core.protocols import ArraySpec, Observation, ObservationSpec

GRAPH_PARTS = ("edge_mask", "edges", "globals", "node_mask", "nodes")
"""The parts of the graph convention, in the order of the packed row."""
CHOICES_PART = "choices"
"""A part more, where each action has features of its own; it comes first in the row."""


def graph_spec(
    nodes: int,
    features: int,
    edges: int,
    context: int,
    low: float = -np.inf,
    high: float = np.inf,
    choices: tuple[int, int] | None = None,
) -> dict[str, ArraySpec]:
    """The graph convention, padded.

    Args:
        nodes: N, most nodes.
        features: Numbers that describe a node.
        edges: E, most edges.
        context: Numbers that describe the whole graph (`globals`).
        low: Smallest value of a feature or global.
        high: Largest value.
        choices: Actions, and numbers that describe each.

    Returns:
        `nodes` (N, features), `node_mask` (N,), `edges` (E, 2) of (from, to) as numbers of nodes, `edge_mask` (E,),
        `globals` (context,), and `choices`, if any. What a mask says is absent is 0.

    >>> {name: part.shape for name, part in graph_spec(3, 2, 4, 1).items()}
    {'edge_mask': (4,), 'edges': (4, 2), 'globals': (1,), 'node_mask': (3,), 'nodes': (3, 2)}
    """
    shapes: tuple[tuple[tuple[int, ...], float, float], ...] = (
        ((edges,), 0.0, 1.0),
        ((edges, 2), 0.0, float(nodes - 1)),
        ((context,), low, high),
        ((nodes,), 0.0, 1.0),
        ((nodes, features), low, high),
    )
    spec = {CHOICES_PART: ArraySpec(choices, np.float32, low, high)} if choices else {}
    return spec | {
        name: ArraySpec(shape, np.float32, least, most)
        for name, (shape, least, most) in zip(GRAPH_PARTS, shapes, strict=True)
    }


def packed_spec(spec: ObservationSpec) -> ArraySpec:
    """What a slot holds of an observation: itself, or the row that its parts are packed into.

    Raises:
        SettingError: A part is not float32.
    """
    if isinstance(spec, ArraySpec):
        return spec
    for name, part in spec.items():
        if part.dtype is not np.float32:
            raise SettingError(f"part {name!r} of an observation is {np.dtype(part.dtype)}; it must be float32")
    size = sum(int(np.prod(part.shape)) for part in spec.values())
    return ArraySpec((size,), np.float32, -np.inf, np.inf)


def unpacked(spec: ObservationSpec, rows: NDArray[Any]) -> Observation:
    """The parts of packed rows by name, as views.

    Args:
        spec: Of one observation.
        rows: Any leading dimensions, then the row.

    Returns:
        `rows` itself where an observation is one array.
    """
    if isinstance(spec, ArraySpec):
        return rows
    parts: dict[str, NDArray[Any]] = {}
    begin = 0
    for name in sorted(spec):
        shape = spec[name].shape
        size = int(np.prod(shape))
        parts[name] = rows[..., begin : begin + size].reshape(*rows.shape[:-1], *shape)
        begin += size
    return parts


def packed(spec: ObservationSpec, parts: Mapping[str, NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
    """One row from the parts of one observation; the inverse of `unpacked`."""
    if isinstance(spec, ArraySpec):
        return np.asarray(parts)
    assert isinstance(parts, Mapping)
    return np.concatenate([np.asarray(parts[name], dtype=np.float32).ravel() for name in sorted(spec)])
