"""The planner of all forms of parallelism: exhaustive search, other programmes, special cases on every public graph."""

import contextlib
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import GraphError, InfeasibleError, SettingError, UnknownNameError
from sysgym.placement.cluster import Cluster
from sysgym.placement.generators import SHAPES, generate
from sysgym.placement.graphs import read_graph
from sysgym.placement.labels import Stages
from sysgym.placement.layers import LayerGraph, Training, layers_of_graph, score_stage, stage_group
from sysgym.placement.parallel import FORMS, plan_parallel, score_plan
from sysgym.placement.sharding import DeviceGroup, ShardedLayer, shard_chain
from tests.placement.examples import GRAPHS


def _layers(generator, size, edges, unit=None):
    weights = generator.uniform(1, 60, size) * (generator.random(size) < 0.7)
    outputs = generator.uniform(1, 30, size)
    return LayerGraph(
        tuple(f"layer{i}" for i in range(size)), {"gpu": generator.uniform(1, 20, size)},
        {"gpu": generator.uniform(1, 30, size)}, weights, outputs, outputs + generator.uniform(0, 40, size),
        np.array(edges, dtype=np.int64).reshape(-1, 2), generator.random(size) < 0.8,
        np.arange(size) if unit is None else np.array(unit), tuple(range(1, size)), float(generator.uniform(1, 20)),
    )  # fmt: skip


def _exhaustive(layers, cluster, training, recompute=True):
    """Every cut, every group, every strategy, every unit recomputed or not."""
    size, devices, best = len(layers), len(cluster), math.inf
    for cuts in itertools.chain.from_iterable(itertools.combinations(range(1, size), k) for k in range(size)):
        spans = list(itertools.pairwise([0, *cuts, size]))
        for shares in itertools.product(range(1, devices + 1), repeat=len(spans)):
            if sum(shares) > devices:
                continue
            options, high = [], devices
            for place in range(len(spans) - 1, -1, -1):
                (begin, end), low = spans[place], high - shares[place]
                group, alive = (
                    stage_group(layers, cluster, low, high), min(training.micro_batches, len(spans) - place),
                )  # fmt: skip
                high = low
                costs = set()
                units = sorted(set(layers.unit[begin:end].tolist()))
                for chosen in itertools.product(*(layers.choices(each, shares[place]) for each in range(begin, end))):
                    for flags in itertools.product((False, True) if recompute else (False,), repeat=len(units)):
                        again = [flags[units.index(int(each))] for each in layers.unit[begin:end]]
                        cost = score_stage(layers, begin, end, group, chosen, again, alive, training)
                        if cost.memory_bytes <= group.memory and math.isfinite(cost.seconds):
                            costs.add((cost.seconds, cost.exposed))
                options.append([a for a in costs if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in costs)])
            for picked in itertools.product(*options):
                seconds = [each[0] for each in picked]
                step = sum(seconds) + (training.micro_batches - 1) * max(seconds) + max(each[1] for each in picked)
                best = min(best, step)
    return best


GRAPH_EDGES = {
    "chain": [(0, 1), (1, 2), (2, 3)], "diamond": [(0, 1), (0, 2), (1, 3), (2, 3)],
    "skip": [(0, 1), (1, 2), (0, 2), (2, 3), (0, 3)], "apart": [(0, 2), (1, 3)],
}  # fmt: skip


@pytest.mark.parametrize("shape", GRAPH_EDGES)
@pytest.mark.parametrize(("seed", "memory"), [(0, math.inf), (1, 420.0), (2, 300.0), (3, 220.0)])
def test_small_graphs_equal_exhaustive_search(shape, seed, memory):
    generator = np.random.default_rng(seed)
    layers = _layers(generator, 4, GRAPH_EDGES[shape], [0, 0, 1, 2] if seed == 3 else None)
    cluster = Cluster.uniform(3, memory_bytes=memory, bandwidth=np.array(4.0), latency=np.array(0.3))
    training = Training(4, 2.0)
    wanted = _exhaustive(layers, cluster, training)
    if wanted == math.inf:
        with pytest.raises(InfeasibleError, match="bytes"):
            plan_parallel(layers, cluster, training)
        return
    plan = plan_parallel(layers, cluster, training)
    assert plan.exact
    assert plan.seconds == pytest.approx(wanted, rel=1e-9)
    assert score_plan(layers, cluster, training, plan.stages) == pytest.approx(plan.seconds, rel=1e-12)
    assert plan.lower_bound <= plan.seconds


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(GRAPH_EDGES)))
def test_every_stage_of_the_search_has_its_definitions_cost(seed, shape):
    generator = np.random.default_rng(seed)
    layers, cluster = _layers(generator, 4, GRAPH_EDGES[shape]), Cluster.uniform(3, latency=np.array(0.1))
    group, training = stage_group(layers, cluster, 0, 2), Training(3, 2.0)
    search = Stages(layers, group, 2, training, True, 400.0, frozenset({"DP", "COL", "ROW", "REP", "eB", "eF", "eR"}))
    for begin, front in search.endings([0, 1, 2], 4).items():
        for ending in front:
            strategies, again = search.choice(begin, 4, ending)
            cost = score_stage(layers, begin, 4, group, strategies, again, 2, training)
            assert cost.seconds == pytest.approx(ending.seconds, rel=1e-9)
            assert cost.exposed == pytest.approx(ending.exposed, rel=1e-9, abs=1e-9)
            assert cost.memory_bytes <= 400.0 * (1 + 1e-12)


def test_a_search_that_loses_labels_still_names_what_it_found(monkeypatch):
    monkeypatch.setattr("sysgym.placement.labels.LABELS", (2, 2))
    layers = layers_of_graph(generate("branches", 3, seed=1))
    cluster = Cluster.uniform(4, latency=np.array(1e-5), bandwidth=np.array(1e9))
    plan = plan_parallel(layers, cluster, Training(8))
    assert not plan.exact
    assert all(plan.seconds <= seconds * (1 + 1e-12) for seconds in plan.pure.values())


@pytest.mark.parametrize("seed", range(6))
def test_one_stage_of_one_micro_batch_is_the_overlapped_chain(seed):
    generator = np.random.default_rng(seed)
    layers = replace(_layers(generator, 6, [(i, i + 1) for i in range(5)]), splittable=np.ones(6, dtype=bool))
    cluster = Cluster.uniform(4, bandwidth=np.array(3.0), latency=np.array(0.5))
    chain = [
        ShardedLayer(name, *(float(column[i]) for column in (
            layers.forward["gpu"], layers.backward["gpu"], layers.weight_bytes, layers.output_bytes)))
        for i, name in enumerate(layers.names)
    ]  # fmt: skip
    wanted = shard_chain(chain, DeviceGroup(4, 0.5, 1 / 3.0), layers.input_bytes, "overlapped").seconds
    every = frozenset({"DP", "COL", "ROW", "REP", "eB", "eF", "eR", "eRP"})
    search = Stages(layers, stage_group(layers, cluster, 0, 4), 1, Training(1), False, math.inf, every)
    assert min(sum(each[:2]) for each in search.endings([0], 6)[0]) == pytest.approx(wanted, rel=1e-9)


def _not_worse_than_its_parts(layers, cluster, training):
    plan = plan_parallel(layers, cluster, training)
    assert set(plan.pure) == set(FORMS)
    for form, seconds in plan.pure.items():
        assert plan.seconds <= seconds * (1 + 1e-12), form
    assert plan.lower_bound <= plan.seconds
    assert plan.seconds == pytest.approx(score_plan(layers, cluster, training, plan.stages))
    assert [stage.begin for stage in plan.stages] == [0, *(stage.end for stage in plan.stages[:-1])]
    return plan


@pytest.mark.parametrize("shape", SHAPES)
def test_generated_graphs_are_never_worse_than_their_special_cases(shape):
    layers = layers_of_graph(generate(shape, 2, seed=2, training=shape == "cnn"))
    for memory in (math.inf, 1.1 * 4 * float(layers.weight_bytes.sum()) / 4):
        cluster = Cluster.uniform(4, memory_bytes=memory, latency=np.array(5e-6))
        try:
            _not_worse_than_its_parts(layers, cluster, Training(8))
        except InfeasibleError as error:
            assert memory < math.inf, error


@pytest.mark.parametrize("name", ["pipedream/vgg16.graph.txt", "tarnawski/throughput/layer_gnmt_training.json"])
def test_public_graphs_are_never_worse_than_their_special_cases(shared_data, name):
    graph = read_graph(shared_data(f"graphs/{name}.gz"))
    layers = layers_of_graph(graph, Cluster.uniform(4))
    _not_worse_than_its_parts(layers, Cluster.uniform(4, bandwidth=np.array(1.25e9)), Training(4))


def test_layers_of_graphs_keep_their_totals(shared_data):
    graph = read_graph(shared_data(f"{GRAPHS}/throughput/layer_bert24_training.json.gz"))
    layers = layers_of_graph(graph)
    total = layers.forward["accelerator"].sum() + layers.backward["accelerator"].sum()
    assert total == pytest.approx(graph.cost["accelerator"].sum() / 1e3)
    assert layers.weight_bytes.sum() == pytest.approx(graph.persistent_bytes.sum())
    assert (layers.edges[:, 0] < layers.edges[:, 1]).all()
    profile = layers_of_graph(read_graph(shared_data("graphs/pipedream/vgg16.graph.txt.gz")))
    assert profile.backward["gpu"].sum() > profile.forward["gpu"].sum() > 0


def test_uneven_devices_are_as_slow_as_the_slowest_of_a_group():
    layers = _layers(np.random.default_rng(0), 4, GRAPH_EDGES["chain"])
    layers = replace(layers, forward={"gpu": layers.forward["gpu"], "cpu": 10 * layers.forward["gpu"]},
                     backward={"gpu": layers.backward["gpu"], "cpu": 10 * layers.backward["gpu"]})  # fmt: skip
    cluster, training = Cluster.uniform(2, cpus=1), Training(4, 2.0)
    assert plan_parallel(layers, cluster, training).seconds == pytest.approx(_exhaustive(layers, cluster, training))


@pytest.mark.parametrize("shape", GRAPH_EDGES)
@pytest.mark.parametrize("memory", [260.0, 180.0])
def test_inference_equals_exhaustive_search(shape, memory):
    layers = _layers(np.random.default_rng(5), 4, GRAPH_EDGES[shape])
    cluster = Cluster.uniform(3, memory_bytes=memory, bandwidth=np.array(4.0), latency=np.array(0.3))
    training = Training(4, backward=False)
    wanted = _exhaustive(layers, cluster, training, recompute=False)
    found = math.inf
    with contextlib.suppress(InfeasibleError):
        found = plan_parallel(layers, cluster, training).seconds
    assert found == pytest.approx(wanted, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_inference_holds_what_is_still_read_or_sent(seed):
    """Against a walk over the layers of one device's stage that counts tensors one by one."""
    generator = np.random.default_rng(seed)
    edges = [(i, j) for j in range(7) for i in range(j) if generator.random() < 0.4]
    layers = _layers(generator, 7, edges)
    begin, end = sorted(generator.choice(8, 2, replace=False).tolist())
    ends = {i: [j for a, j in edges if a == i] or [7] for i in range(7)}
    entering = [i for i in range(begin) if any(begin <= j < end for j in ends[i])]
    fed = sum(not layers.producers[j] for j in range(begin, end))
    most = 0.0
    for layer in range(begin, end):
        made = [t for t in range(begin, layer) if max(ends[t]) >= layer]
        made += [t for t in entering if layer <= max(ends[t]) < end]
        most = max(most, layers.stash_bytes[layer] + layers.output_bytes[made].sum())
    wanted = (
        most + layers.weight_bytes[begin:end].sum() + layers.output_bytes[entering].sum() + fed * layers.input_bytes
    )
    group = stage_group(layers, Cluster.uniform(2), 0, 1)
    plain = [layers.choices(each, 1)[0] for each in range(begin, end)]
    cost = score_stage(layers, begin, end, group, plain, [False] * len(plain), 1, Training(backward=False))
    assert cost.memory_bytes == pytest.approx(wanted)


def test_inference_has_no_backward_and_keeps_no_activations():
    layers = layers_of_graph(generate("transformer", 2), training=False)
    plan = plan_parallel(layers, Cluster.uniform(3), Training(8, backward=False))
    assert all(stage.exposed == 0 and stage.forward == stage.seconds for stage in plan.stages)
    assert plan.seconds <= 8 * sum(layers.forward["gpu"])


def test_throughput_is_an_objective_of_its_own():
    layers, cluster = layers_of_graph(generate("transformer", 3, seed=1)), Cluster.uniform(4)
    step = plan_parallel(layers, cluster, Training(2))
    rate = plan_parallel(layers, cluster, Training(2), objective="max_stage")
    values = [
        max(stage.seconds for stage in plan.stages) + max(stage.exposed for stage in plan.stages) / 2
        for plan in (rate, step)
    ]
    assert rate.value == pytest.approx(values[0])
    assert values[0] <= values[1] * (1 + 1e-9)


def test_wrong_words_and_graphs_are_refused():
    layers, cluster = layers_of_graph(generate("chain", 3)), Cluster.uniform(2)
    with pytest.raises(UnknownNameError, match="objective"):
        plan_parallel(layers, cluster, objective="beauty")
    with pytest.raises(UnknownNameError, match="form of parallelism"):
        plan_parallel(layers, cluster, forms=("expert",))
    with pytest.raises(SettingError, match="forms is empty"):
        plan_parallel(layers, cluster, forms=())
    with pytest.raises(SettingError, match="micro_batches"):
        plan_parallel(layers, cluster, Training(0))
    with pytest.raises(GraphError, match="backwards"):
        replace(layers, edges=np.array([[2, 1]]))
    with pytest.raises(InfeasibleError, match=r"layer '.*' needs [\d,]+ bytes on a device, [\d,]+ more"):
        plan_parallel(layers, Cluster.uniform(2, memory_bytes=10.0))
