"""An imported module as layers: where its graph may be cut, and what each layer costs.

A layer is a run of operations of one call of a module; a run with several matrix products over weights of their own
is one layer each. A stage can begin where a submodule begins that is called once, because that is where
torch.distributed.pipelining can split. Of these cuts, "clean" ones also suit accelerate, whose hooks move the inputs of
modules and nothing else: no operation that a divided module does itself reads from both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.placement.layers import LayerGraph
from sysgym.placement.model import OpGraph, build_graph
from sysgym.placement.module_graph import COUNTED, FREE, ImportedModel

_OVER_FEATURES = ("softmax", "layer_norm", "group_norm", "rms_norm", "mean", "sum", "amax", "argmax", "sort", "topk",
                  "cumsum", "any", "all", "var", "prod", "max", "min")  # fmt: skip
"""Parts of the names of operators that need all features of a sample at once."""


@dataclass(frozen=True)
class ModuleLayers:
    """Layers of a module.

    Attributes:
        layers: For the planner; its cuts are the clean ones, unless they are fewer than wanted.
        layer_of: Layer of each operation, shape (operations,).
        begins: Path of the outermost module that begins at each cut.
        clean: Cuts at which accelerate's hooks suffice.
        mixing: For each other cut, the operation that reads from both sides.
        home: Layer that holds each parameter: the first that reads it, or -1.
    """

    layers: LayerGraph
    layer_of: NDArray[np.int64]
    begins: Mapping[int, str]
    clean: tuple[int, ...]
    mixing: Mapping[int, str]
    home: Mapping[str, int]


def module_layers(
    model: ImportedModel, seconds: Mapping[str, NDArray[np.float64]], *, training: bool, wanted_cuts: int,
    copies: bool = True,
) -> ModuleLayers:  # fmt: skip
    """Group the operations of a module into layers.

    Args:
        model: The module.
        seconds: Of each operation's forward, by model or kind of device.
        training: Whether there is a backward pass, which is taken to cost twice the forward.
        wanted_cuts: With fewer clean cuts than this, stages may begin at every submodule that is called once.
        copies: Whether a weight that several layers read is held by each of them.
    """
    origins, weights = _origins(model)
    layer_of = _runs(model, weights)
    count = int(layer_of[-1]) + 1
    begins, mixing = _cuts(model, layer_of, origins)
    clean = tuple(cut for cut in begins if cut not in mixing)
    cuts = clean if len(clean) >= wanted_cuts else tuple(begins)
    home = {name: int(layer_of[min(model.readers[name])]) if name in model.readers else -1
            for name in model.parameter_bytes}  # fmt: skip
    held = np.zeros(count)
    for name, size in model.parameter_bytes.items():
        places = {int(layer_of[each]) for each in model.readers.get(name, ())} or {0}
        for layer in places if copies else {min(places)}:
            held[layer] += size
    edges, outputs = _edges(model, layer_of, origins, count)
    stash = np.bincount(layer_of, weights=[each.output_bytes for each in model.operations], minlength=count)
    forward: dict[str, NDArray[np.float64]] = {
        kind: np.bincount(layer_of, weights=column, minlength=count).astype(np.float64)
        for kind, column in seconds.items()
    }
    twice = 2.0 if training else 0.0
    names = _names(model, layer_of, count)
    unit = np.searchsorted(np.array(cuts, dtype=np.int64), np.arange(count), side="right")
    layers = LayerGraph(
        names, forward, {kind: twice * column for kind, column in forward.items()}, held, outputs,
        stash.astype(np.float64), edges, _splittable(model, layer_of, weights, count), unit.astype(np.int64), cuts,
        float(model.input_bytes), model.source,
    )  # fmt: skip
    return ModuleLayers(layers, layer_of, begins, clean, mixing, home)


def operation_graph(model: ImportedModel, seconds: Mapping[str, NDArray[np.float64]]) -> OpGraph:
    """The operations as a graph for `solve`: seconds become milliseconds; operations that share a weight, a colour."""
    colour = list(range(len(model.operations)))

    def root(place: int) -> int:
        while colour[place] != place:
            place = colour[place]
        return place

    weight = np.zeros(len(model.operations))
    for name, readers in model.readers.items():
        first = min(readers)
        weight[first] += model.parameter_bytes[name]
        for reader in readers:
            a, b = sorted((root(first), root(reader)))
            colour[b] = a
    edges = [(producer, place) for place, each in enumerate(model.operations) for producer in each.inputs]
    return build_graph(
        {kind: 1e3 * column for kind, column in seconds.items()}, edges,
        [float(each.output_bytes) for each in model.operations],
        node_ids=[each.name for each in model.operations], names=tuple(each.name for each in model.operations),
        colour=[root(place) for place in range(len(colour))], persistent_bytes=weight,
        module_path=tuple(each.modules[-1] if each.modules else "" for each in model.operations), source=model.source,
    )  # fmt: skip


def _origins(model: ImportedModel) -> tuple[list[tuple[int, ...]], list[tuple[str, ...]]]:
    """For each operation: which operations made what it reads, through views; and the weights, likewise."""
    made: list[tuple[int, ...]] = []
    origins: list[tuple[int, ...]] = []
    weights: list[tuple[str, ...]] = []
    carried: list[tuple[str, ...]] = []
    for place, each in enumerate(model.operations):
        read = tuple(sorted({origin for producer in each.inputs for origin in made[producer]}))
        names = tuple(dict.fromkeys([*each.parameters, *(name for p in each.inputs for name in carried[p])]))
        origins.append(read)
        weights.append(names)
        free = each.pricing == FREE
        made.append(read if free else (place,))
        carried.append(names if free else ())
    return origins, weights


def _runs(model: ImportedModel, weights: list[tuple[str, ...]]) -> NDArray[np.int64]:
    """Layer of each operation."""
    calls = [each.modules for each in model.operations]
    products = [each.pricing == COUNTED and bool(weights[place]) for place, each in enumerate(model.operations)]
    recurrent = _recurrent(model, weights, products)
    layer_of, layer, full = np.zeros(len(calls), dtype=np.int64), 0, False
    for place in range(len(calls)):
        another = place > 0 and calls[place] != calls[place - 1]
        begins = products[place] and full and calls[place][-1] not in recurrent
        if another or begins:
            layer, full = layer + 1, False
        full |= products[place]
        layer_of[place] = layer
    return layer_of


def _recurrent(model: ImportedModel, weights: list[tuple[str, ...]], products: list[bool]) -> set[str]:
    """Calls in which several products read the same weight: their products can't be told apart as layers."""
    seen: set[tuple[str, str]] = set()
    found: set[str] = set()
    for place, each in enumerate(model.operations):
        for name in weights[place] if products[place] else ():
            key = each.modules[-1], name
            if key in seen:
                found.add(each.modules[-1])
            seen.add(key)
    return found


def _cuts(
    model: ImportedModel, layer_of: NDArray[np.int64], origins: list[tuple[int, ...]]
) -> tuple[dict[int, str], dict[int, str]]:
    """Where stages may begin and with which module; and which operation makes a cut unclean."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    repeated: set[str] = set()
    for place, each in enumerate(model.operations):
        for call in each.modules:
            first.setdefault(call, place)
            last[call] = place
            if "@" in call:
                repeated.add(call.partition("@")[0])
        if any("@" in call for call in each.modules):
            repeated.update(call.partition("@")[0] for call in each.modules)
    repeated.discard("")
    begins: dict[int, str] = {}
    for call, place in sorted(first.items(), key=lambda item: (item[1], item[0].count("."), len(item[0]))):
        layer = int(layer_of[place])
        starts = place == 0 or layer_of[place - 1] != layer
        if call and call not in repeated and "@" not in call and starts and layer > 0:
            begins.setdefault(layer, call)
    begins = dict(sorted(begins.items()))
    mixing: dict[int, str] = {}
    for place, each in enumerate(model.operations):
        sources = [*origins[place], *([place] if each.parameters else [])]
        if each.pricing == FREE or not sources:
            continue
        owner = each.modules[-1] if each.modules else ""
        low, high = layer_of[min(sources)], layer_of[max(sources)]
        for cut in begins:
            if layer_of[first[owner]] < cut and low < cut <= high:
                mixing.setdefault(cut, f"{each.operator} of {owner or 'the model itself'}")
    return begins, mixing


def _edges(
    model: ImportedModel, layer_of: NDArray[np.int64], origins: list[tuple[int, ...]], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Edges between layers, and the bytes of each layer that others read or the model returns."""
    pairs: set[tuple[int, int]] = set()
    leaving: set[int] = set()
    for place in range(len(model.operations)):
        for origin in origins[place]:
            a, b = int(layer_of[origin]), int(layer_of[place])
            if a != b:
                pairs.add((a, b))
                leaving.add(origin)
        if place in model.outputs:
            leaving.update(origins[place] if model.operations[place].pricing == FREE else (place,))
    outputs = np.zeros(count)
    for origin in leaving:
        outputs[layer_of[origin]] += model.operations[origin].output_bytes
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2), outputs


def _names(model: ImportedModel, layer_of: NDArray[np.int64], count: int) -> tuple[str, ...]:
    names: list[str] = []
    seen: dict[str, int] = {}
    for layer in range(count):
        each = model.operations[int(np.searchsorted(layer_of, layer))]
        name = each.modules[-1] if each.modules else ""
        seen[name] = seen.get(name, 0) + 1
        names.append(f"{name or model.source}#{seen[name]}" if seen[name] > 1 else name or model.source)
    return tuple(names)


def _splittable(
    model: ImportedModel, layer_of: NDArray[np.int64], weights: list[tuple[str, ...]], count: int
) -> NDArray[np.bool_]:
    """Layers whose features may be divided: one product over weights, or nothing that needs all features at once."""
    products, whole = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
    for place, each in enumerate(model.operations):
        layer, name = int(layer_of[place]), each.operator.rpartition(".")[2]
        if each.pricing == COUNTED and weights[place]:
            products[layer] += 1
        elif each.pricing not in (FREE, COUNTED) and any(part in name for part in _OVER_FEATURES):
            whole[layer] = True
    split: NDArray[np.bool_] = np.where(products > 0, products == 1, ~whole)
    return split
