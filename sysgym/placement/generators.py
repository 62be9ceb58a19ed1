"""Seeded graphs of familiar shapes: chains, branches, transformers, convolutional and recurrent networks.

Costs are drawn around the shape's own proportions, so that instances differ but look like the real ones: a projection
costs more than an addition, early convolutions hold large activations and late ones large weights. Times are
microseconds on a GPU; a CPU takes `CPU_SLOWDOWN` times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import require_known, require_range
from sysgym.core.seeding import stream
from sysgym.placement.model import OpGraph, build_graph

CPU_SLOWDOWN = 10.0


class _Sketch:
    """A graph while it is drawn: operations with relative cost, output and weight."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.output: list[float] = []
        self.weight: list[float] = []
        self.names: list[str] = []
        self.edges: list[tuple[int, int]] = []

    def add(self, name: str, cost: float, output: float, weight: float, *producers: int) -> int:
        place = len(self.cost)
        self.cost.append(cost)
        self.output.append(output)
        self.weight.append(weight)
        self.names.append(f"{name}{place}")
        self.edges += [(producer, place) for producer in dict.fromkeys(producers)]
        return place


def generate(shape: str, size: int = 8, seed: int = 0, *, training: bool = False) -> OpGraph:
    """Generate a graph.

    Args:
        shape: "chain", "branches", "transformer", "cnn" or "rnn".
        size: Operations of a chain, layers of the others, steps of an RNN.
        seed: Same seed, same graph.
        training: Whether to append the mirrored backward pass, coloured as its forward operations.

    Raises:
        UnknownNameError: No such shape.

    >>> len(generate("chain", 5, seed=1)), len(generate("chain", 5, seed=1, training=True))
    (5, 10)
    """
    require_known("graph shape", shape, SHAPES)
    require_range("size", size, 1)
    sketch = _Sketch()
    generator = stream(seed, f"graph/{shape}")
    SHAPES[shape](sketch, int(size), generator)
    count = len(sketch.cost)
    spread = [generator.lognormal(0.0, 0.3, count) for _ in range(3)]
    cost = np.round(np.array(sketch.cost) * spread[0], 3)
    output = np.round(np.array(sketch.output) * spread[1])
    weight = np.round(np.array(sketch.weight) * spread[2])
    source = f"{shape}-{size}-seed{seed}" + ("-training" if training else "")
    return _graph(cost, output, weight, sketch, training, source)


def _graph(
    cost: NDArray[np.float64],
    output: NDArray[np.float64],
    weight: NDArray[np.float64],
    sketch: _Sketch,
    training: bool,
    source: str,
) -> OpGraph:
    count, edges, names = len(cost), list(sketch.edges), list(sketch.names)
    colour, backward = list(range(count)), np.zeros(count, dtype=bool)
    if training:
        edges += [(count + consumer, count + producer) for producer, consumer in sketch.edges]
        edges += [(node, count + node) for node in range(count)]
        cost, output = np.concatenate([cost, np.round(2 * cost, 3)]), np.concatenate([output, output])
        weight = np.concatenate([weight, weight])
        names += [f"{name}_backward" for name in names]
        colour, backward = colour * 2, np.repeat([False, True], count)
    return build_graph(
        {"gpu": cost, "cpu": cost * CPU_SLOWDOWN},
        edges,
        output,
        persistent_bytes=weight,
        is_backward=backward,
        colour=colour,
        names=tuple(names),
        time_unit="us",
        source=source,
    )


def _chain(sketch: _Sketch, size: int, generator: np.random.Generator) -> None:
    for place in range(size):
        sketch.add("op", 100.0, 1e6, 4e6, *([place - 1] if place else []))


def _branches(sketch: _Sketch, size: int, generator: np.random.Generator) -> None:
    """Layers of 2 to 4 parallel branches of 1 to 3 operations, joined again, as in Inception or NASNet."""
    last = sketch.add("stem", 50.0, 2e6, 1e5)
    for _ in range(size):
        ends = []
        for _ in range(int(generator.integers(2, 5))):
            end = last
            for _ in range(int(generator.integers(1, 4))):
                end = sketch.add("conv", 80.0, 1e6, 2e6, end)
            ends.append(end)
        last = sketch.add("concat", 5.0, 2e6, 0.0, *ends)


def _transformer(sketch: _Sketch, size: int, generator: np.random.Generator) -> None:
    last = sketch.add("embedding", 20.0, 3e6, 9e7)
    for _ in range(size):
        norm = sketch.add("norm", 8.0, 3e6, 6e3, last)
        query, key, value = (sketch.add(name, 40.0, 3e6, 2.4e6, norm) for name in ("query", "key", "value"))
        scores = sketch.add("scores", 30.0, 1.2e7, 0.0, query, key)
        mixed = sketch.add("mix", 30.0, 3e6, 0.0, sketch.add("softmax", 12.0, 1.2e7, 0.0, scores), value)
        joined = sketch.add("add", 6.0, 3e6, 0.0, sketch.add("project", 40.0, 3e6, 2.4e6, mixed), last)
        wide = sketch.add("up", 160.0, 1.2e7, 9.4e6, sketch.add("norm", 8.0, 3e6, 6e3, joined))
        down = sketch.add("down", 160.0, 3e6, 9.4e6, sketch.add("gelu", 15.0, 1.2e7, 0.0, wide))
        last = sketch.add("add", 6.0, 3e6, 0.0, down, joined)
    sketch.add("head", 600.0, 2e8, 9e7, sketch.add("norm", 8.0, 3e6, 6e3, last))


def _cnn(sketch: _Sketch, size: int, generator: np.random.Generator) -> None:
    """Residual blocks whose activations halve and whose weights double every quarter of the depth."""
    last = sketch.add("stem", 150.0, 1.2e7, 4e4)
    for layer in range(size):
        stage = 4 * layer // size
        activation, weight = 1.2e7 / 2**stage, 1.5e5 * 4**stage
        inner = sketch.add("relu", 10.0, activation, 0.0, sketch.add("conv", 120.0, activation, weight, last))
        outer = sketch.add("conv", 120.0, activation, weight, inner)
        begins = layer and stage != 4 * (layer - 1) // size
        skip = sketch.add("shortcut", 30.0, activation, weight / 4, last) if begins else last
        last = sketch.add("add", 10.0, activation, 0.0, outer, skip)
    sketch.add("head", 20.0, 1.3e5, 8e6, sketch.add("pool", 5.0, 2.6e5, 0.0, last))


def _rnn(sketch: _Sketch, size: int, generator: np.random.Generator) -> None:
    """Four stacked recurrent layers over `size` steps: cell (layer, step) waits for both its neighbours."""
    above: list[int] = [sketch.add("input", 5.0, 2e5, 0.0) for _ in range(size)]
    for layer in range(4):
        row: list[int] = []
        for step in range(size):
            before = row[-1:]
            row.append(sketch.add(f"cell{layer}_", 90.0, 2e5, 8e6 / size, above[step], *before))
        above = row
    sketch.add("head", 60.0, 2e6, 1e7, *above)


SHAPES: Mapping[str, Callable[[_Sketch, int, np.random.Generator], None]] = {
    "chain": _chain,
    "branches": _branches,
    "transformer": _transformer,
    "cnn": _cnn,
    "rnn": _rnn,
}
"""Shapes by name."""
