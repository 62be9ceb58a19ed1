"""Instances that several tests share."""

import numpy as np

from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import PLACETO_BANDWIDTH
from sysgym.placement.model import build_graph

GRAPHS = "graphs/tarnawski"


def example_a():
    """The five-operation example of the specification: costs in us, CPU four times slower."""
    cost = np.array([10, 20, 30, 10, 5.0])
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]
    outputs = [7600.0 * time for time in (10, 5, 10, 10, 0)]
    return build_graph({"gpu": cost, "cpu": 4 * cost}, edges, outputs, time_unit="us")


def two_devices(cpus=0):
    return Cluster.uniform(2, bandwidth=PLACETO_BANDWIDTH, host_bandwidth=PLACETO_BANDWIDTH, cpus=cpus)


def example_b():
    """A chain whose best placement is not contiguous."""
    cost = {"gpu": [3.0, 4.0, 2.0, 3.0]}
    return build_graph(cost, [(0, 1), (1, 2), (2, 3)], host_transfer=np.full(4, 0.25))


HEFT_COSTS = [
    (14, 16, 9), (13, 19, 18), (11, 13, 19), (13, 8, 17), (12, 13, 10),
    (13, 16, 9), (7, 15, 11), (5, 11, 14), (18, 12, 20), (21, 7, 16),
]  # fmt: skip
HEFT_EDGES = {
    (1, 2): 18, (1, 3): 12, (1, 4): 9, (1, 5): 11, (1, 6): 14, (2, 8): 19, (2, 9): 16, (3, 7): 23,
    (4, 8): 27, (4, 9): 23, (5, 9): 13, (6, 8): 15, (7, 10): 17, (8, 10): 11, (9, 10): 13,
}  # fmt: skip


def example_c():
    """The classic ten-operation graph of HEFT, and its three devices; one output an edge."""
    outputs = [[float(size) for (u, _), size in HEFT_EDGES.items() if u == node] for node in range(1, 11)]
    seen = [0] * 11
    edges = []
    for u, v in HEFT_EDGES:
        edges.append((u - 1, seen[u], v - 1))
        seen[u] += 1
    from sysgym.placement.cluster import Device

    cost = {name: [row[d] for row in HEFT_COSTS] for d, name in enumerate(("A", "B", "C"))}
    graph = build_graph(cost, edges, outputs, node_ids=range(1, 11), time_unit="s")
    return graph, Cluster(tuple(Device(f"P{name}", "gpu", model=name) for name in "ABC"), bandwidth=1.0)


def random_graph(generator, size, kinds=("gpu",), ties=True):
    """A random graph whose small integer costs and sizes make events tie."""
    outputs = [generator.integers(0, 4, generator.integers(1, 3)).astype(float) for _ in range(size)]
    place = generator.permutation(size)
    edges = {
        (int(place[i]), int(generator.integers(-1, len(outputs[place[i]]))), int(place[j]))
        for i in range(size)
        for j in range(i + 1, size)
        if generator.random() < 3 / size
    }
    draw = generator.integers if ties else generator.uniform
    cost = {kind: np.asarray(draw(0, 4, size), dtype=float) for kind in kinds}
    return build_graph(cost, sorted(edges), outputs, time_unit="s")
