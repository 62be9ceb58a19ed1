"""Piper's graphs: layers, each with variants by degree of tensor parallelism, plain and recomputing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import GraphError
from sysgym.placement.graphs import parse_json, read_text

_VARIANTS = ("vanilla", "activation recomp")


class LayerVariants(NamedTuple):
    """n layers with T tensor degrees and two variants each (plain, recomputing); infinite where absent.

    Attributes:
        seconds: Forward, backward and what the tensor group exchanges, for a micro-batch; shape (T, 2, n).
        weights: Bytes on each device.
        per_batch: Bytes for each micro-batch alive ("a").
        fixed: Bytes that stay ("b").
        edges: int64, shape (e, 2).
        enters: Bytes that an edge costs the stage of its consumer, shape (T, 2, e).
        leaves: Bytes that it costs the stage of its producer.
    """

    seconds: NDArray[np.float64]
    weights: NDArray[np.float64]
    per_batch: NDArray[np.float64]
    fixed: NDArray[np.float64]
    edges: NDArray[np.int64]
    enters: NDArray[np.float64]
    leaves: NDArray[np.float64]


@dataclass(frozen=True)
class PiperGraph:
    """A graph of Piper's format.

    Attributes:
        node_ids: Ids of the layers.
        names: Their names.
        degrees: Tensor degrees, ascending.
        variants: What each costs.
        source: The file.
    """

    node_ids: tuple[Any, ...]
    names: tuple[str, ...]
    degrees: tuple[int, ...]
    variants: LayerVariants
    source: str


def read_piper(path: str | Path) -> PiperGraph:
    """Read a graph with tensor-parallel variants.

    Raises:
        InputFileError: Not JSON.
        GraphError: A layer, an edge or a variant is missing what the format asks for.
    """
    content, source = parse_json(path, read_text(path)), Path(path).name
    try:
        return _graph(content, source)
    except (KeyError, TypeError, ValueError) as error:
        raise GraphError(f"{source}: not a graph of Piper's format: {type(error).__name__} {error}") from error


def _graph(content: dict[str, Any], source: str) -> PiperGraph:
    nodes, edges = content["nodes"], content["edges"]
    degrees = tuple(sorted({int(degree) for node in nodes for degree in node["TMPCs"]}))
    place_of = {node["id"]: place for place, node in enumerate(nodes)}
    pairs = np.array([[place_of[edge["sourceId"]], place_of[edge["destId"]]] for edge in edges], dtype=np.int64)
    table = {name: np.full((len(degrees), 2, len(nodes)), np.inf) for name in ("p", "w", "a", "b")}
    enters, leaves = (np.zeros((len(degrees), 2, len(edges))) for _ in range(2))
    for t, degree in enumerate(degrees):
        for place, node in enumerate(nodes):
            for variant in node["TMPCs"].get(str(degree), []):
                which = _VARIANTS.index(variant["id"])
                for name, key in zip(
                    "pwab", ("timePerSample", "parameterSize", "memoryUsageA", "memoryUsageB"), strict=True
                ):
                    table[name][t, which, place] = float(variant[key])
                for number, edge in enumerate(edges):
                    cost = float(edge["communicationCost"])
                    if edge["destId"] == node["id"]:
                        enters[t, which, number] = cost + float(variant["syncTimeFw"][str(edge["sourceId"])])
                    if edge["sourceId"] == node["id"]:
                        leaves[t, which, number] = cost + float(variant["syncTimeBw"][str(edge["destId"])])
    variants = LayerVariants(table["p"], table["w"], table["a"], table["b"], pairs.reshape(-1, 2), enters, leaves)
    names = tuple(str(node.get("name", node["id"])) for node in nodes)
    return PiperGraph(tuple(place_of), names, degrees, variants, source)
