"""Which graph an episode places, and on what: instances, and the sources that they are drawn from.

An instance is settled by (seed, episode) alone, so both engines, single and vector environments and every policy of a
comparison meet the same ones. `GeneratedGraphs` draws shapes, sizes, clusters and the price of moving data over the
ranges of real graphs; `GivenGraphs` deals out a user's own; `MixedGraphs` does both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import GraphError, InputFileError, SettingError, require_known
from sysgym.core.seeding import stream
from sysgym.placement.cluster import Cluster
from sysgym.placement.coarsening import coarse_groups, ideal_share
from sysgym.placement.contraction import Contraction, contract, require_possible
from sysgym.placement.generators import SHAPES, generate
from sysgym.placement.graphs import read_graph
from sysgym.placement.model import OpGraph, topological_order
from sysgym.workloads.workload import SPLITS

MOST_DEVICES = 8
"""Devices that an instance may have."""
MOST_GROUPS = 64
"""Groups that an instance may have unless told otherwise; larger graphs are coarsened to so many."""

_SIZES = {"chain": (8, 80), "branches": (2, 12), "transformer": (1, 8), "cnn": (4, 32), "rnn": (4, 20)}
_REMEMBERED = 64


@dataclass(frozen=True)
class Instance:
    """A graph on a cluster as it is placed group by group.

    Attributes:
        graph: With all its operations.
        cluster: At most `MOST_DEVICES` devices.
        contraction: Its groups: colours, merged where there were too many.
        order: Groups in the order of decisions, by the first of their operations in the topological order, (G,).
        share: What a device computes where all are balanced and nothing moves, in the graph's time unit.
    """

    graph: OpGraph
    cluster: Cluster
    contraction: Contraction
    order: NDArray[np.int64]
    share: float

    def spread(self, device: NDArray[np.int64]) -> NDArray[np.int64]:
        """Device of each operation, from the device of each group."""
        return device[self.contraction.group_of]

    def gathered(self, assignment: NDArray[np.int64]) -> NDArray[np.int64]:
        """Device of each group, from that of each operation: where most of its work is."""
        return gathered(self.graph, self.cluster, self.contraction.group_of, self.contraction.cost, assignment)


def gathered(
    graph: OpGraph,
    cluster: Cluster,
    group_of: NDArray[np.int64],
    cost: NDArray[np.float64],
    assignment: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Device of each group, (G,), from that of each operation: where most of its work is and it can run."""
    weight = np.zeros(cost.shape)
    work = graph.costs_on(cluster).min(axis=1)
    np.add.at(weight, (group_of, assignment), work + 1e-9 * max(float(work.max()), 1e-300))
    weight[~np.isfinite(cost)] = -1.0
    device: NDArray[np.int64] = weight.argmax(axis=1).astype(np.int64)
    return device


def make_instance(graph: OpGraph, cluster: Cluster, groups: int = MOST_GROUPS, **coarsening: Any) -> Instance:
    """The instance of a graph.

    Args:
        graph: The graph.
        cluster: On what.
        groups: Most groups.
        **coarsening: Other arguments of `coarse_groups`.

    Raises:
        SettingError: The cluster has more than `MOST_DEVICES` devices.
        InfeasibleError: A group can be placed nowhere, or all together are too large.
    """
    if len(cluster) > MOST_DEVICES:
        raise SettingError(f"the cluster has {len(cluster)} devices; Placement-v0 takes at most {MOST_DEVICES}")
    contraction = contract(graph, cluster, coarse_groups(graph, cluster, groups, **coarsening))
    require_possible(graph, contraction)
    first, order = np.full(len(contraction.size), len(graph)), topological_order(graph)
    np.minimum.at(first, contraction.group_of[order], np.arange(len(order)))
    return Instance(
        graph, cluster, contraction, np.argsort(first, kind="stable").astype(np.int64), ideal_share(contraction)
    )


class GraphSource(Protocol):
    """Where instances come from."""

    def draw(self, seed: int, episode: int) -> Instance:
        """The instance of an episode; the same for the same arguments."""


class GivenGraphs:
    """Graphs that a user has; episode k of seed s places number (s + k) modulo their count.

    Args:
        instances: At least one.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        if not instances:
            raise SettingError("0 graphs were given; Placement-v0 needs at least 1")
        self.instances = tuple(instances)

    def draw(self, seed: int, episode: int) -> Instance:
        """See `GraphSource.draw`."""
        return self.instances[(seed + episode) % len(self.instances)]


class GeneratedGraphs:
    """Seeded graphs of the five shapes, forward or with their backward pass.

    Drawn for each: shape and size; how much costs and outputs scatter; what moving all outputs once would cost beside
    the computation (a hundredth to sixty times an equal share, log-uniform); two to six accelerators, mostly a CPU
    beside them; and memory, none too little, for every second graph.

    Args:
        split: "train", "valid", "test" or "all": streams that share nothing.
        cluster: The one that all graphs are placed on; None draws.
        groups: See `make_instance`.

    Raises:
        UnknownNameError: No such split.
    """

    def __init__(self, split: str = "train", cluster: Cluster | None = None, groups: int = MOST_GROUPS) -> None:
        require_known("split", split, SPLITS)
        self.split, self.cluster, self.groups = split, cluster, groups
        self._remembered = lru_cache(_REMEMBERED)(self._draw)

    def __reduce__(self) -> tuple[type[GeneratedGraphs], tuple[str, Cluster | None, int]]:
        """A cache is not copied."""
        return GeneratedGraphs, (self.split, self.cluster, self.groups)

    def draw(self, seed: int, episode: int) -> Instance:
        """See `GraphSource.draw`."""
        return self._remembered(seed, episode)

    def _draw(self, seed: int, episode: int) -> Instance:
        generator = stream(seed, f"placement/{self.split}", episode)
        shape = list(SHAPES)[int(generator.integers(len(SHAPES)))]
        low, high = _SIZES[shape]
        size = int(np.exp(generator.uniform(np.log(low), np.log(high + 1))))
        graph = generate(shape, size, int(generator.integers(2**31)), training=bool(generator.random() < 0.4))
        graph = _scattered(graph, generator)
        if self.cluster is not None:
            return make_instance(graph, self.cluster, self.groups)
        return make_instance(graph, drawn_cluster(graph, generator), self.groups)


class MixedGraphs:
    """Every second instance from each of two sources.

    Args:
        first: A source.
        second: A source.
    """

    def __init__(self, first: GraphSource, second: GraphSource) -> None:
        self.sources = first, second

    def draw(self, seed: int, episode: int) -> Instance:
        """See `GraphSource.draw`."""
        return self.sources[(seed + episode) % 2].draw(seed // 2, episode)


class ClusteredGraphs:
    """Given graphs, each on a cluster drawn for every episode anew.

    Args:
        graphs: At least one.
        groups: See `make_instance`.
        split: Of the clusters' stream.
    """

    def __init__(self, graphs: Sequence[OpGraph], groups: int = MOST_GROUPS, split: str = "train") -> None:
        self.graphs, self.groups, self.split = tuple(graphs), groups, split
        self._remembered = lru_cache(_REMEMBERED)(self._draw)

    def __reduce__(self) -> tuple[type[ClusteredGraphs], tuple[tuple[OpGraph, ...], int, str]]:
        """A cache is not copied."""
        return ClusteredGraphs, (self.graphs, self.groups, self.split)

    def draw(self, seed: int, episode: int) -> Instance:
        """See `GraphSource.draw`."""
        return self._remembered(seed, episode)

    def _draw(self, seed: int, episode: int) -> Instance:
        generator = stream(seed, f"placement/clusters/{self.split}", episode)
        graph = self.graphs[int(generator.integers(len(self.graphs)))]
        return make_instance(graph, drawn_cluster(graph, generator), self.groups)


def drawn_cluster(graph: OpGraph, generator: np.random.Generator) -> Cluster:
    """Two to six accelerators, perhaps a CPU, and links that make the graph's transfers cheap or dear."""
    fast = int(generator.integers(2, 7))
    with_cpu = "cpu" in graph.cost and generator.random() < 0.7
    kind = next(kind for kind in graph.cost if kind != "cpu")
    work = float(np.where(np.isfinite(graph.cost[kind]), graph.cost[kind], 0.0).sum())
    memory = float(graph.persistent_bytes.sum()) / fast * generator.uniform(1.3, 5.0)
    memory = max(memory, 2.0 * _largest_colour(graph)) if generator.random() < 0.5 else np.inf
    dearness = float(np.exp(generator.uniform(np.log(0.01), np.log(60.0))))
    cluster = Cluster.uniform(fast, "gpu", memory, cpus=int(with_cpu))
    moved = float(graph.transfer_times(cluster).sum())
    if graph.host_transfer is not None or moved <= 0 or work <= 0:
        return cluster
    speed = cluster.host_bandwidth * moved / (dearness * work / fast)
    return dataclasses.replace(cluster, host_bandwidth=speed, bandwidth=np.array(speed))


def _largest_colour(graph: OpGraph) -> float:
    return float(np.bincount(graph.colour, weights=graph.persistent_bytes).max())


def _scattered(graph: OpGraph, generator: np.random.Generator) -> OpGraph:
    """Costs and outputs with heavier tails, and some operations that cost next to nothing, as exported graphs have."""
    count = len(graph)
    factor = generator.lognormal(0.0, float(generator.choice([0.0, 0.4, 0.8])), count)
    factor[generator.random(count) < float(generator.choice([0.0, 0.0, 0.3, 0.5]))] *= 0.02
    outputs = generator.lognormal(0.0, float(generator.choice([0.0, 0.6, 1.2])), len(graph.output_bytes))
    return dataclasses.replace(
        graph,
        cost={kind: column * factor for kind, column in graph.cost.items()},
        output_bytes=graph.output_bytes * outputs,
    )


def graphs_at(paths: Sequence[str | Path]) -> list[OpGraph]:
    """The graphs in files, and in all files of folders.

    Raises:
        InputFileError: A path is absent, or a folder holds no graph.
        GraphError: A file is no graph.
    """
    graphs: list[OpGraph] = []
    for path in map(Path, paths):
        files = sorted(path.rglob("*.gz")) + sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputFileError(path, "holds no graph (*.json, *.gz)")
        graphs += [read_graph(file) for file in files]
    return graphs


def source_of(
    workload: str | Path | GraphSource | Sequence[str | Path | OpGraph],
    cluster: Cluster | str | None,
    split: str,
    groups: int,
) -> GraphSource:
    """The source that an environment's arguments mean.

    Args:
        workload: "generated"; a source; or graphs, files and folders, "generated" among them for every second
            instance.
        cluster: For all graphs; a text such as "4xA100"; None takes the one that a graph's file names, or draws.
        split: Of what is generated.
        groups: See `make_instance`.

    Raises:
        SettingError: Something else.
        GraphError: A graph names no cluster and has no costs for one.
    """
    chosen = Cluster.parse(cluster) if isinstance(cluster, str) else cluster
    if hasattr(workload, "draw"):
        return workload
    items = [workload] if isinstance(workload, str | Path) or not isinstance(workload, Iterable) else list(workload)
    if not all(isinstance(item, str | Path | OpGraph) for item in items):
        raise SettingError(f"workload is {workload!r}; give 'generated', files, folders, OpGraphs, or a source of them")
    given = [item for item in items if isinstance(item, OpGraph)]
    given += graphs_at([item for item in items if isinstance(item, str | Path) and item != "generated"])
    generated = GeneratedGraphs(split, chosen, groups)
    if not given:
        return generated
    for graph in given:
        if not (chosen or graph.cluster or graph.cost.keys() - {"cpu"}):
            raise GraphError(f"{graph.source}: names no devices; give a cluster")
    # a graph with a cluster, its own or the given one, is one instance; another gets a cluster with every episode
    named = [(graph, chosen or graph.cluster) for graph in given]
    settled = [make_instance(graph, where, groups) for graph, where in named if where is not None]
    open_ones = [graph for graph, where in named if where is None]
    sources: list[GraphSource] = [GivenGraphs(settled)] if settled else []
    sources += [ClusteredGraphs(open_ones, groups, split)] if open_ones else []
    if "generated" in items:
        sources.append(generated)
    source = sources[0]
    for other in sources[1:]:
        source = MixedGraphs(source, other)
    return source
