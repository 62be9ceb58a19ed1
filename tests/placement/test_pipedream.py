"""PipeDream's optimiser: the published splits, exhaustive search, levels, fallbacks."""

import itertools

import numpy as np
import pytest

from sysgym.core.errors import InfeasibleError, SettingError
from sysgym.placement.graphs import read_graph
from sysgym.placement.model import build_graph
from sysgym.placement.pipedream import optimise_pipeline

SLOW = 1.25e9
ROWS = [  # profile, machines, replicas, seconds a stage, x one GPU, x data parallelism
    ("vgg16", 4, (3, 1), 0.176349166, 3.813656, 2.836372),
    ("vgg16", 16, (13, 2, 1), 0.054794891, 12.273681, 2.660861),
    ("alexnet", 4, (3, 1), 0.032460913, 2.628423, 5.174601),
    ("alexnet", 16, None, 0.015099494, 5.650587, 3.388073),
    ("resnet50", 4, (2, 2), 0.151992603, 2.917372, 1.132895),
    ("resnet50", 16, (8, 5, 3), 0.043847790, 10.112688, 1.069186),
    ("gnmt_large", 4, (1, 1, 1, 1), 0.137129, 3.795353, 5.809387),
    ("gnmt", 4, (1, 1, 1, 1), 0.025868, 3.456626, 18.8415),
    ("gnmt", 16, (1, 1, 1, 1, 1, 10, 1), 0.017125, 5.221372, 8.8124),
]


@pytest.fixture
def profile(shared_data):
    return lambda name: read_graph(shared_data(f"graphs/pipedream/{name}.graph.txt.gz"))


@pytest.mark.parametrize(("name", "machines", "replicas", "seconds", "speedup", "over_data"), ROWS)
def test_published_profiles_have_their_plans(profile, name, machines, replicas, seconds, speedup, over_data):
    plan = optimise_pipeline(profile(name), [(machines, SLOW)])
    assert plan.status == "optimal"
    assert plan.seconds == pytest.approx(seconds, abs=1e-9)
    assert plan.speedup == pytest.approx(speedup, abs=1e-6)
    assert plan.speedup_over_data_parallel == pytest.approx(over_data, rel=1e-5)
    if replicas is not None:
        assert tuple(stage.replicas for stage in plan.stages) == replicas


def test_vgg16_in_detail(profile):
    plan = optimise_pipeline(profile("vgg16"), [(4, SLOW)])
    assert [(s.first_state, s.last_state) for s in plan.stages] == [(0, 17), (17, 40)]
    assert [round(s.seconds, 6) for s in plan.stages] == [0.514238, 0.158297]
    assert plan.states == 40
    straight = optimise_pipeline(profile("vgg16"), [(4, SLOW)], straight=True)
    assert (straight.seconds, len(straight.stages)) == (pytest.approx(0.381063, abs=1e-9), 4)
    assert straight.speedup == pytest.approx(1.764892, abs=1e-6)
    assert straight.speedup_over_data_parallel == pytest.approx(1.312622, abs=1e-6)


@pytest.mark.parametrize(("machines", "speedup"), [(4, 3.854), (16, 14.436)])
def test_without_transfers_vgg16_looks_faster(profile, machines, speedup):
    plan = optimise_pipeline(profile("vgg16"), [(machines, SLOW)], transfers=False)
    assert plan.speedup == pytest.approx(speedup, abs=1e-3)


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_the_true_boundary_changes_nothing_on_chains(profile, name):
    plans = [optimise_pipeline(profile(name), [(4, SLOW)], true_boundary=true) for true in (False, True)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("name", "seconds", "speedup", "over_data"),
    [("vgg16", 0.067133997, 10.0178, 2.0172), ("alexnet", 0.015099494, 5.6506, 3.0841),
     ("resnet50", 0.043208469, 10.2623, 1.0406)],
)  # fmt: skip
def test_two_levels(profile, name, seconds, speedup, over_data):
    plan = optimise_pipeline(profile(name), [(4, 1e10), (4, SLOW)])
    assert plan.seconds == pytest.approx(seconds, abs=1e-9)
    assert plan.speedup == pytest.approx(speedup, rel=1e-5)
    assert plan.speedup_over_data_parallel == pytest.approx(over_data, rel=2e-4)


def test_profiles_that_hang_the_original_end_with_a_flag(profile):
    plan = optimise_pipeline(profile("gnmt_large"), [(4, 1e10), (4, SLOW)])
    assert plan.status == "linearised"
    assert plan.seconds > 0
    small = optimise_pipeline(profile("resnet50"), [(4, SLOW)], state_limit=100)
    assert small.status == "linearised"
    assert small.seconds >= 0.151992603 - 1e-9


def _chain(seed, size=5):
    generator = np.random.default_rng(seed)
    return build_graph(
        {"gpu": generator.uniform(1, 9, size)}, [(i, i + 1) for i in range(size - 1)],
        generator.uniform(0, 9, size), persistent_bytes=generator.uniform(0, 9, size), time_unit="s",
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_chains_equal_exhaustive_search(seed):
    graph, machines, bandwidth = _chain(seed), 3, 2.0
    size, outputs = len(graph), graph.outputs_total
    best = np.inf
    for cuts in itertools.product((False, True), repeat=size - 1):
        borders = [0, *[i + 1 for i, cut in enumerate(cuts) if cut], size]
        for shares in itertools.product(range(1, machines + 1), repeat=len(borders) - 1):
            if sum(shares) != machines:
                continue
            worst = 0.0
            for place, (low, high, r) in enumerate(zip(borders, borders[1:], shares, strict=False)):
                weights = 4 * (r - 1) / r * graph.persistent_bytes[low:high].sum() / bandwidth
                worst = max(worst, (graph.cost["gpu"][low:high].sum() + weights) / r)
                if place:
                    worst = max(worst, 2 * outputs[low - 1] / (bandwidth * r))
                    if high < size:
                        worst = max(worst, 2 * outputs[high - 1] / (bandwidth * r))
            best = min(best, worst)
    plan = optimise_pipeline(graph, [(machines, bandwidth)])
    assert plan.seconds == pytest.approx(best)
    assert sum(stage.replicas for stage in plan.stages) == machines
    assert [node for stage in plan.stages for node in stage.node_ids] == list(graph.node_ids)


def test_memory_forbids_stages_and_whole_plans():
    graph = _chain(1)
    free, held = optimise_pipeline(graph, [(3, 2.0)]), float((graph.persistent_bytes + graph.outputs_total).max())
    tight = optimise_pipeline(graph, [(3, 2.0)], memory_bytes=4 * held)
    assert tight.seconds >= free.seconds
    with pytest.raises(InfeasibleError, match="no plan"):
        optimise_pipeline(graph, [(3, 2.0)], straight=True, memory_bytes=-1.0)


def test_wrong_levels_are_refused():
    for levels in ([], [(0, 1.0)], [(2, 0.0)], [(2, float("nan"))]):
        with pytest.raises(SettingError):
            optimise_pipeline(_chain(0), levels)
