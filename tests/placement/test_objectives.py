"""Max-load and latency: worked examples, published splits, violations."""

import itertools

import numpy as np
import pytest

from sysgym.core.errors import UnknownNameError
from sysgym.placement.cluster import Cluster
from sysgym.placement.contraction import contract
from sysgym.placement.graphs import read_graph, read_split
from sysgym.placement.model import CONTROL, build_graph
from sysgym.placement.objectives import device_loads, evaluate
from tests.placement.examples import GRAPHS, example_a, example_b, two_devices


def test_max_load_of_example_a():
    graph, cluster = example_a(), two_devices(cpus=1)
    assert evaluate(graph, cluster, [0, 0, 1, 0, 0]).loads.tolist() == pytest.approx([65, 50, 0])
    assert evaluate(graph, cluster, [0, 0, 0, 0, 2]).objective == pytest.approx(80)
    assert evaluate(graph, cluster, [2] * 5).objective == pytest.approx(300)
    values = {p: evaluate(graph, cluster, p).objective for p in itertools.product((0, 1), repeat=5)}
    assert min(values, key=values.get) == (0, 0, 1, 1, 1)
    assert values[0, 0, 1, 1, 1] == pytest.approx(60)


@pytest.mark.parametrize(
    ("assignment", "latency"),
    [((0, 0, 1, 0, 0), 125), ((0, 0, 1, 1, 1), 105), ((0,) * 5, 75), ((0, 0, 0, 0, 2), 100), ((2,) * 5, 220)],
)
def test_latency_of_example_a(assignment, latency):
    assert evaluate(example_a(), two_devices(cpus=1), assignment, "latency").objective == pytest.approx(latency)


def test_contiguity_costs_in_example_b():
    graph, cluster = example_b(), Cluster.uniform(2)
    assert evaluate(graph, cluster, [0, 0, 1, 1]).loads.tolist() == [7.25, 5.25]
    assert evaluate(graph, cluster, [0, 1, 1, 0]).loads.tolist() == [6.5, 6.5]


def test_serialised_pieces_wait_for_one_another():
    graph = build_graph({"gpu": [1.0, 5.0, 1.0, 1.0]}, [(0, 1), (2, 1), (0, 3), (1, 3)], host_transfer=np.zeros(4))
    cluster, placed = Cluster.uniform(2), [0, 1, 0, 0]
    assert evaluate(graph, cluster, placed, "latency").objective == pytest.approx(8)
    assert evaluate(graph, cluster, placed, "latency", serialise=True).objective == pytest.approx(8)
    apart = build_graph({"gpu": [2.0, 1.0, 4.0, 1.0]}, [(0, 1), (1, 3)], host_transfer=np.zeros(4))
    assert evaluate(apart, cluster, [0, 1, 0, 0], "latency").objective == pytest.approx(8)


def test_pieces_that_wait_for_one_another_are_a_deadlock():
    graph = build_graph({"gpu": [1.0] * 4}, [(0, 1), (2, 3)])
    found = evaluate(graph, Cluster.uniform(2), [0, 1, 1, 0], "latency")
    assert found.objective == np.inf
    assert [violation.kind for violation in found.violations] == ["deadlock"]


EXPERTS = [
    ("bert24_inference", "bert24_inference", 20.0840), ("bert24_training", "bert24_training", 49.4049),
    ("gnmt_inference", "gnmt_inference", 46.2085), ("gnmt_training", "gnmt_training", 137.154),
    ("resnet50_inference", "resnet50_inference", 43.9183), ("resnet50_training", "resnet50_inference", 112.108),
]  # fmt: skip


@pytest.mark.parametrize(("instance", "split", "value"), EXPERTS)
def test_expert_splits_have_their_max_load(shared_data, instance, split, value):
    graph = read_graph(shared_data(f"{GRAPHS}/throughput/layer_{instance}.json.gz"))
    placed = read_split(shared_data(f"{GRAPHS}/experts/{split}_expert.json"), graph, graph.cluster)
    assert evaluate(graph, graph.cluster, placed).objective == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "expert", "all_cpu"),
    [("bert24", 111.937, 924.06), ("gnmt", 293.403, 1824.35), ("resnet50", 1014.927, 1874.55)],
)
def test_expert_splits_have_their_latency(shared_data, model, expert, all_cpu):
    graph = read_graph(shared_data(f"{GRAPHS}/latency/layer_{model}_inference.json.gz"))
    cap = graph.cluster.memory[0]
    wider = Cluster.uniform(max(6, len(graph.cluster) - 8), "accelerator", cap, cpus=8)
    placed = read_split(shared_data(f"{GRAPHS}/experts/{model}_inference_expert.json"), graph, wider)
    found = evaluate(graph, wider, placed, "latency")
    assert found.objective == pytest.approx(expert, abs=1e-3)
    assert found.feasible == (model == "bert24")
    on_cpu = np.full(len(graph), len(wider) - 1)
    assert evaluate(graph, wider, on_cpu, "latency").objective == pytest.approx(all_cpu, abs=1e-2)


def test_violations_are_listed_with_their_reasons():
    graph = build_graph(
        {"gpu": [1.0, np.inf, 1.0], "cpu": [1.0] * 3}, [], persistent_bytes=[30, 0, 50], colour=[0, 1, 0]
    )
    found = evaluate(graph, Cluster.uniform(2, memory_bytes=40, cpus=1), [0, 0, 1])
    assert [violation.kind for violation in found.violations] == ["unsupported", "colocation", "memory"]
    assert found.violations[2].excess_bytes == 10
    assert not found.feasible
    assert evaluate(graph, Cluster.uniform(2, memory_bytes=80, cpus=1), [0, 2, 0]).feasible


def test_forward_and_backward_loads_can_be_told_apart():
    graph = build_graph(
        {"gpu": [1.0, 2, 3, 4]}, [(0, 1), (1, 2), (2, 3)], host_transfer=np.ones(4), is_backward=[0, 0, 1, 1]
    )
    cluster, placed = Cluster.uniform(2), np.array([0, 1, 1, 0])
    parts = [device_loads(graph, cluster, placed, graph.is_backward == side) for side in (False, True)]
    assert [part.tolist() for part in parts] == [[2, 3], [5, 4]]


@pytest.mark.parametrize(("objective", "value"), [("max_load", 3.0), ("latency", 5.0), ("makespan", 5.0)])
def test_an_edge_of_control_orders_and_moves_nothing(objective, value):
    cluster = Cluster.uniform(2)
    by_control, by_data = (build_graph({"gpu": [2.0, 3.0]}, [(0, output, 1)], [1.6e7, 0.0]) for output in (CONTROL, 0))
    assert evaluate(by_control, cluster, [0, 1], objective).objective == value
    assert evaluate(by_data, cluster, [0, 1], objective).objective > value
    assert [len(contract(graph, cluster).owner) for graph in (by_control, by_data)] == [0, 1]


def test_unknown_objectives_are_refused():
    with pytest.raises(UnknownNameError, match="objective"):
        evaluate(example_b(), Cluster.uniform(2), [0] * 4, "beauty")
