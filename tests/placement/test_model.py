"""Graphs: their assignments and costs, and what they refuse."""

import pytest

from sysgym.core.errors import GraphError, SettingError
from sysgym.placement.cluster import Cluster
from sysgym.placement.model import build_graph


def test_assignments_are_checked():
    graph, cluster = build_graph({"gpu": [1.0, 2.0]}, [(0, 1)]), Cluster.uniform(2)
    for wrong in ([0], [0, 2], [0, -1], [0.0, 1.0], [[0, 1]]):
        with pytest.raises(SettingError):
            graph.assignment_of(wrong, cluster)


def test_devices_without_costs_are_named():
    graph = build_graph({"gpu": [1.0]}, [])
    with pytest.raises(GraphError, match="cpu0"):
        graph.costs_on(Cluster.uniform(1, cpus=1))


def test_a_models_own_costs_win_over_its_kind():
    graph = build_graph({"gpu": [1.0], "A100": [0.5]}, [])
    assert graph.costs_on(Cluster.parse("A100+V100")).tolist() == [[0.5, 1.0]]
