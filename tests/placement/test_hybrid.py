"""Piper's programme, sharding of chains, collectives: published values, worked examples, exhaustive search."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import GraphError, InfeasibleError, SettingError, UnknownNameError
from sysgym.placement.collectives import (
    REDUCTIONS,
    all_reduce,
    asynchronous_throughput,
    ring_bytes_per_worker,
    stale_synchronous,
    synchronous_step,
)
from sysgym.placement.graphs import read_graph
from sysgym.placement.hybrid import plan_hybrid
from sysgym.placement.piper import LayerVariants, PiperGraph, read_piper
from sysgym.placement.sharding import STRATEGIES, DeviceGroup, ShardedLayer, shard_chain, step_seconds

GIB = 2.0**30
PIPER = [  # devices, memory GiB, micro-batches, bandwidth GiB/s, seconds, restrictions
    (8, 80, 1920, 25, 0.122007269, {}),
    (8, 80, 1920, 25, 0.150607795, {"tensor_degrees": [2], "pipeline": False}),
    (8, 80, 1920, 25, 0.30398, {"tensor_degrees": [8], "pipeline": False}),
    (8, 80, 1920, 25, 0.16451575, {"data_parallel": False, "tensor_degrees": [1]}),
    (8, 80, 8, 25, 0.162583467, {}),
    (8, 80, 8, 25, 0.217432644, {"tensor_degrees": [1], "pipeline": False}),
    (8, 80, 8, 1, 0.30398, {}),
    (8, 16, 1920, 25, 0.147259747, {}),
    (8, 16, 1920, 25, 0.16451575, {"data_parallel": False}),
    (8, 16, 1920, 25, 0.148621191, {"recompute": "none"}),
    (8, 16, 1920, 25, 0.173096531, {"recompute": "all"}),
    (8, 8, 1920, 25, 0.16585575, {}),
    (8, 8, 1920, 25, 0.2597525, {"recompute": "none"}),
    (16, 8, 1920, 25, 0.082962217, {}),
    (16, 8, 1920, 1, 0.152722809, {}),
    (32, 80, 1920, 25, 0.0308440482, {}),
    (32, 80, 1920, 1, 0.0414532052, {}),
    (32, 80, 64, 25, 0.0394839098, {}),
    (32, 80, 32, 25, 0.0434533215, {}),
    (32, 80, 32, 1, 0.141947837, {}),
    (32, 80, 8, 25, 0.0724481888, {}),
    (32, 8, 1920, 25, 0.0415154504, {}),
    (32, 8, 1920, 25, 0.07390625, {"data_parallel": False}),
    (32, 8, 1920, 25, 0.0566194733, {"recompute": "none"}),
    (32, 8, 1920, 25, 0.0505404602, {"recompute": "all"}),
    (32, 8, 512, 25, 0.041657111, {}),
    (32, 8, 1920, 2.5, 0.0764346856, {}),
    (32, 8, 1920, 100, 0.0379618059, {}),
    (32, 2, 1920, 25, 0.0665495, {}),
    (64, 8, 1920, 25, 0.0202005503, {}),
    (64, 2, 1920, 25, 0.0320300812, {}),
]


@pytest.fixture
def bert(shared_data):
    return read_piper(shared_data("graphs/piper/bert32a100.json.gz"))


@pytest.mark.parametrize(("devices", "memory", "batches", "bandwidth", "seconds", "restrictions"), PIPER)
def test_bert_has_the_published_programs_values(bert, devices, memory, batches, bandwidth, seconds, restrictions):
    plan = plan_hybrid(bert, devices, memory * GIB, bandwidth * GIB, batches, **restrictions)
    assert plan.seconds == pytest.approx(seconds, rel=1e-8)
    assert sum(stage.data_degree * stage.tensor_degree for stage in plan.stages) <= devices
    assert all(stage.memory_bytes <= memory * GIB and batches % stage.data_degree == 0 for stage in plan.stages)
    assert sorted(node for stage in plan.stages for node in stage.node_ids) == sorted(bert.node_ids)


@pytest.mark.parametrize(
    ("devices", "memory", "seconds"),
    [(2, 2.5, 263.354289), (2, 3.5, 260.226823), (4, 1.2, 137.130992), (4, 2.5, 131.677341), (4, 80, 130.113735)],
)
def test_gnmt_has_the_published_programs_values(shared_data, devices, memory, seconds):
    graph = read_piper(shared_data("graphs/piper/gnmt.json.gz"))
    plan = plan_hybrid(graph, devices, memory * GIB, 25 * GIB, 256)
    assert plan.seconds == pytest.approx(seconds, rel=1e-6)
    assert plan.sets == 17_914


def test_bert_has_43_sets_and_needs_more_than_two_gigabytes_on_8_devices(bert):
    assert plan_hybrid(bert, 8, 80 * GIB, 25 * GIB, 8).sets == 43
    for memory in (2, 1):
        with pytest.raises(InfeasibleError, match="no plan fits"):
            plan_hybrid(bert, 8, memory * GIB, 25 * GIB, 1920)


def _random_chain(seed, size=4):
    """A chain whose recomputing variants all save memory at the same rate, where the greedy switch is exact."""
    generator = np.random.default_rng(seed)
    plain = generator.uniform(1, 9, size)
    seconds = np.full((2, 2, size), np.inf)
    seconds[0, 0], seconds[0, 1] = plain, plain + 1
    seconds[1, 0] = plain * 0.6
    per_batch, fixed, weights = (np.zeros((2, 2, size)) for _ in range(3))
    per_batch[:, 0], fixed[:], weights[0], weights[1] = 4.0, 1.0, generator.uniform(0, 9, size), 1.0
    per_batch[:, 1] = 1.0
    edges = np.array([[i, i + 1] for i in range(size - 1)])
    border = np.broadcast_to(generator.uniform(0, 2, size - 1), (2, 2, size - 1)).copy()
    variants = LayerVariants(seconds, weights, per_batch, fixed, edges, border, border)
    return PiperGraph(tuple(range(size)), ("layer",) * size, (1, 2), variants, "chain")


def _exhaustive(graph, devices, memory, bandwidth, batches):
    v, size, best = graph.variants, len(graph.node_ids), math.inf
    for cuts in itertools.product((False, True), repeat=size - 1):
        borders = [0, *[i + 1 for i, cut in enumerate(cuts) if cut], size]
        spans = list(itertools.pairwise(borders))
        options = [(d, t) for d in range(1, devices + 1) for t in range(2) if batches % d == 0]
        for shares in itertools.product(options, repeat=len(spans)):
            if sum(d * graph.degrees[t] for d, t in shares) > devices or sum(d for d, _ in shares) > batches:
                continue
            worst = 0.0
            for place, ((low, high), (d, t)) in enumerate(zip(spans, shares, strict=True)):
                alive = -(-sum(each for each, _ in shares[place:]) // d)
                time = math.inf
                for picked in itertools.product((0, 1), repeat=high - low):
                    rows = [(t, which, node) for which, node in zip(picked, range(low, high), strict=True)]
                    if sum(v.per_batch[row] * alive + v.fixed[row] for row in rows) <= memory:
                        border = (v.enters[t, 0, low - 1] if low else 0) + (
                            v.leaves[t, 0, high - 1] if high < size else 0
                        )
                        spent = (sum(v.seconds[row] for row in rows) + 2 * border / bandwidth) / d
                        spent += 4 * (d - 1) / d * sum(v.weights[row] for row in rows) / (batches * bandwidth)
                        time = min(time, spent)
                worst = max(worst, time)
            best = min(best, worst)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_small_chains_equal_exhaustive_search_and_beat_their_special_cases(seed):
    graph, setting = _random_chain(seed), (4, 14.0 + 4 * seed, 3.0, 4)
    plan = plan_hybrid(graph, *setting)
    assert plan.seconds == pytest.approx(_exhaustive(graph, *setting))
    special = [{"data_parallel": False}, {"tensor_degrees": [1]}, {"pipeline": False}, {"recompute": "none"}]
    for restrictions in special:
        try:
            assert plan.seconds <= plan_hybrid(graph, *setting, **restrictions).seconds * (1 + 1e-12)
        except InfeasibleError:
            continue


def test_hybrid_refuses_what_it_cannot_read_or_do(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text('{"maxDevices": 2, "nodes": [{"id": 0}], "edges": []}')
    with pytest.raises(GraphError, match="TMPCs"):
        read_piper(path)
    graph = _random_chain(0)
    with pytest.raises(SettingError, match="tensor degrees"):
        plan_hybrid(graph, 2, 99.0, 1.0, 4, tensor_degrees=[3])
    with pytest.raises(SettingError, match="set_limit"):
        plan_hybrid(graph, 2, 99.0, 1.0, 4, set_limit=2)
    with pytest.raises(UnknownNameError, match="recompute"):
        plan_hybrid(graph, 2, 99.0, 1.0, 4, recompute="some")
    with pytest.raises(SettingError, match="devices"):
        plan_hybrid(graph, 0, 99.0, 1.0, 4)


PAIR = DeviceGroup(2, 1.0, 1.0)
CHAIN = [
    ShardedLayer("conv", 14, 26, 4, 16), ShardedLayer("fc1", 6, 12, 60, 8), ShardedLayer("fc2", 2, 6, 40, 4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("strategies", "seconds"),
    [("DP DP DP", 143), ("DP COL ROW", 63), ("DP REP REP", 64), ("DP ROW ROW", 65), ("DP ROW REP", 66),
     ("DP COL COL", 71), ("COL ROW COL", 90), ("REP REP REP", 102)],
)  # fmt: skip
def test_the_worked_chain(strategies, seconds):
    assert step_seconds(CHAIN, PAIR, 64, strategies.split()) == seconds


def test_the_worked_chains_optima():
    assert shard_chain(CHAIN, PAIR, 64).strategies == ("DP", "COL", "ROW")
    cheap = [CHAIN[0], ShardedLayer("fc1", 4, 8, 60, 8), CHAIN[2]]
    plan = shard_chain(cheap, PAIR, 16)
    assert (plan.seconds, plan.strategies) == (55, ("COL", "ROW", "ROW"))
    assert step_seconds(cheap, PAIR, 16, ["DP", "COL", "ROW"]) == 60
    assert step_seconds(cheap, PAIR, 16, ["DP"] * 3) == 140


@pytest.mark.parametrize(("buckets", "seconds"), [(None, 124), ([0, 0, 0], 139), ([1, 0, 0], 128)])
def test_the_worked_overlap(buckets, seconds):
    assert step_seconds(CHAIN, PAIR, 64, ["DP"] * 3, "overlapped", buckets) == seconds


def test_small_gradients_hide_behind_the_backward_pass():
    light = [
        ShardedLayer(layer.name, layer.forward, layer.backward, weight, layer.output_bytes)
        for layer, weight in zip(CHAIN, (4, 6, 4), strict=True)
    ]
    assert step_seconds(light, PAIR, 64, ["DP"] * 3) == 53
    assert step_seconds(light, PAIR, 64, ["DP"] * 3, "overlapped") == 39
    assert step_seconds(light, PAIR, 64, ["DP"] * 3, "overlapped", [0, 0, 0]) == 49


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["serial", "overlapped"]))
def test_chains_equal_brute_force(seed, objective):
    generator = np.random.default_rng(seed)
    layers = [
        ShardedLayer(str(i), *generator.uniform(0, 20, 2), weight, generator.uniform(1, 60))
        for i, weight in enumerate(generator.uniform(1, 60, 5) * (generator.random(5) < 0.7))
    ]
    group = DeviceGroup(int(generator.integers(1, 5)), float(generator.uniform(0, 2)), float(generator.uniform(0, 1)))
    names = [[n for n in STRATEGIES if n.startswith("e") == (layer.weight_bytes == 0)] for layer in layers]
    brute = min(step_seconds(layers, group, 30.0, plan, objective) for plan in itertools.product(*names))
    plan = shard_chain(layers, group, 30.0, objective)
    assert plan.seconds == pytest.approx(brute)
    assert step_seconds(layers, group, 30.0, plan.strategies, objective) == pytest.approx(plan.seconds)


WEIRD = [  # profile, batch factor, devices, bytes/s, all data parallel, best: serial and overlapped; layers at the end
    ("vgg16", 1, 4, 1.25e9, (0.832730, 0.723209), (0.248232, 0.177149), ("ROW REP REP", "ROW ROW DP")),
    ("vgg16", 1, 8, 1e10, (0.182037, 0.127277), (0.096662, 0.084926), ("ROW COL ROW", "ROW DP DP")),
    ("vgg16", 8, 8, 1.25e9, (1.448457, 1.010372), (0.822061, 0.714226), ("ROW REP REP", "ROW DP DP")),
    ("vgg16", 8, 8, 1e10, (0.770505, 0.672606), (0.692862, 0.672606), ("ROW COL ROW", "DP DP DP")),
    ("alexnet", 1, 4, 1.25e9, (0.314854, 0.304843), (0.045042, 0.037655), ("ROW REP REP", "ROW REP REP")),
    ("alexnet", 1, 8, 1e10, (0.053996, 0.048990), (0.014878, 0.012636), ("ROW COL ROW", "ROW ROW DP")),
    ("alexnet", 8, 8, 1.25e9, (0.428046, 0.388000), (0.195027, 0.181047), ("ROW REP REP", "ROW REP REP")),
    ("alexnet", 8, 8, 1e10, (0.128652, 0.088606), (0.102509, 0.088606), ("ROW COL ROW", "DP DP DP")),
]


@pytest.mark.parametrize(("name", "factor", "devices", "bandwidth", "data", "best", "ends"), WEIRD)
def test_one_weird_trick_on_public_profiles(shared_data, name, factor, devices, bandwidth, data, best, ends):
    graph = read_graph(shared_data(f"graphs/pipedream/{name}.graph.txt.gz"))
    order = sorted(range(len(graph)), key=lambda node: int(graph.node_ids[node].removeprefix("node")))
    source = next(node for node in order if graph.names[node].startswith("Input"))
    order = [node for node in order if not graph.names[node].startswith(("Input", "Size"))]
    size, back = graph.outputs_total * factor, graph.backward_part * factor / 1e3
    whole = graph.cost["gpu"] * factor / 1e3
    layers = [
        ShardedLayer(graph.names[n], whole[n] - back[n], back[n], graph.persistent_bytes[n], size[n]) for n in order
    ]
    group = DeviceGroup(devices, 5e-6, 1 / bandwidth)
    plain = ["DP" if layer.weight_bytes else "eB" for layer in layers]
    for place, objective in enumerate(("serial", "overlapped")):
        assert step_seconds(layers, group, size[source], plain, objective) == pytest.approx(data[place], abs=1e-6)
        plan = shard_chain(layers, group, size[source], objective)
        assert plan.seconds == pytest.approx(best[place], abs=1e-6)
        weighty = [s for s, layer in zip(plan.strategies, layers, strict=True) if layer.weight_bytes]
        assert " ".join(weighty[-3:]) == ends[place]
        assert set(weighty[:-3]) == {"DP"}


def test_sharding_refuses_wrong_words():
    with pytest.raises(UnknownNameError, match="objective"):
        shard_chain(CHAIN, PAIR, 64, "beauty")
    with pytest.raises(SettingError, match="empty"):
        shard_chain([], PAIR, 64)
    with pytest.raises(SettingError, match="devices"):
        DeviceGroup(0, 1.0, 1.0)


@pytest.mark.parametrize(("workers", "share"), [(2, 1.0), (4, 1.5), (8, 1.75), (16, 1.875), (64, 1.96875)])
def test_bytes_of_a_ring(workers, share):
    assert ring_bytes_per_worker(workers, 1.0) == share


def test_reductions_have_their_closed_forms():
    n, alpha, bandwidth = 8e6, 5e-6, 1e9
    forms = {
        "ring": 14 * alpha + 14 / 8 * n / bandwidth, "tree": 6 * (alpha + n / bandwidth),
        "recursive_doubling": 3 * (alpha + n / bandwidth), "halving_doubling": 6 * alpha + 14 / 8 * n / bandwidth,
        "parameter_server": 2 * alpha + 8 * n / bandwidth,
    }  # fmt: skip
    for method, seconds in forms.items():
        assert all_reduce(method, 8, n, alpha, bandwidth) == pytest.approx(seconds, rel=1e-12)
        assert all_reduce(method, 1, n, alpha, bandwidth) == 0
    assert set(forms) == set(REDUCTIONS)
    halved = all_reduce("parameter_server", 8, n, 0.0, bandwidth, servers=4, half_duplex=True)
    assert halved == pytest.approx(2 * 8 * n / (4 * bandwidth))
    border = 8.8 * alpha * bandwidth
    for size, ring_wins in ((border * 0.99, False), (border * 1.01, True)):
        times = [all_reduce(method, 8, size, alpha, bandwidth) for method in ("ring", "recursive_doubling")]
        assert (times[0] < times[1]) == ring_wins
    with pytest.raises(SettingError, match="power of 2"):
        all_reduce("recursive_doubling", 6, 1.0)
    with pytest.raises(UnknownNameError):
        all_reduce("pigeons", 2, 1.0)


def test_stragglers_and_staleness():
    seconds = np.random.default_rng(0).exponential(1.0, (4000, 10))
    for dropped, mean in ((0, 2.9290), (1, 1.9290), (2, 1.4290), (5, 0.6456)):
        assert synchronous_step(seconds, dropped).mean() == pytest.approx(mean, rel=0.03)
    ended = stale_synchronous(seconds[:200], 0)
    assert ended[-1].max() == pytest.approx(synchronous_step(seconds[:200]).sum())
    makespans = [stale_synchronous(seconds[:200], staleness)[-1].max() for staleness in (0, 1, 3, 10)]
    assert makespans == sorted(makespans, reverse=True)
    for staleness in (0, 2):
        ended = stale_synchronous(seconds[:50], staleness)
        starts = ended - seconds[:50]
        for step in range(staleness + 1, 50):
            assert starts[step].min() >= ended[step - 1 - staleness].max() - 1e-9
    assert asynchronous_throughput(np.array([1.0, 2.0, 4.0])) == 1.75
