"""Simulator, kernel, memory, timelines: hand-checked figures, and both engines bit for bit."""

import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, SysgymError
from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import CHANNELS, LATENCIES, MULTICASTS, PLACETO, QUEUES, ExecutionRules
from sysgym.placement.generators import generate
from sysgym.placement.kernel import Evaluator
from sysgym.placement.metrics import critical_path, memory_peaks
from sysgym.placement.model import build_graph
from sysgym.placement.simulator import simulate
from sysgym.placement.timeline import chrome_trace, svg, write_timeline
from tests.placement.examples import example_a, random_graph, two_devices


def test_example_a_runs_as_worked_out_by_hand():
    trace = simulate(example_a(), two_devices(), [0, 0, 1, 0, 0], PLACETO)
    assert trace.start.tolist() == pytest.approx([0, 15.7, 20, 60, 75.7])
    assert trace.end.tolist() == pytest.approx([10, 35.7, 50, 70, 80.7])
    assert [(t.start, t.end) for t in trace.transfers()] == [(10, 20), (50, 60)]
    assert trace.makespan == pytest.approx(86.4)
    assert critical_path(trace) == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("rules", "split", "together", "best"), [(PLACETO, 86.4, 103.5, 77.8), (ExecutionRules(), 75, 75, 60)]
)
def test_example_a_over_all_placements(rules, split, together, best):
    evaluator = Evaluator(example_a(), two_devices(), rules)
    assert evaluator.makespan(np.array([0, 0, 1, 0, 0])) == pytest.approx(split)
    assert evaluator.makespan(np.zeros(5, dtype=int)) == pytest.approx(together)
    placements = np.array(list(itertools.product((0, 1), repeat=5)))
    makespans = evaluator.makespans(placements)
    assert makespans.min() == pytest.approx(best)
    assert placements[makespans.argmin()].tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("accounting", "peaks"), [("placeto", [114_000, 76_000]), ("physical", [190_000, 152_000]), ("static", [0, 0])]
)
def test_memory_peaks_of_example_a(accounting, peaks):
    found = memory_peaks(simulate(example_a(), two_devices(), [0, 0, 1, 0, 0], PLACETO), accounting)
    assert [peak.bytes for peak in found] == peaks
    assert [sum(size for _, size in peak.live) for peak in found] == peaks


def test_memory_counts_weights_and_temporaries():
    graph = build_graph({"gpu": [1.0, 1.0]}, [(0, 1)], [4.0, 0.0], persistent_bytes=[10, 20], temporary_bytes=[1, 2])
    peak = memory_peaks(simulate(graph, Cluster.uniform(1), [0, 0]))[0]
    assert (peak.bytes, peak.time) == (10 + 20 + 4 + 2, 1.0)
    assert peak.live[0] == ("1: weights", 20.0)


def _random_case(seed):
    generator = np.random.default_rng(seed)
    devices = int(generator.integers(1, 5))
    graph = random_graph(generator, int(generator.integers(2, 30)), ties=bool(seed % 3))
    channel = CHANNELS[generator.integers(len(CHANNELS))]
    ways = MULTICASTS if channel in ("egress", "none", "bus") else MULTICASTS[1:]
    rules = ExecutionRules(
        channel=channel,
        multicast=ways[generator.integers(len(ways))],
        dispatch=float(generator.integers(2)),
        hold=float(generator.integers(2)),
        latency=LATENCIES[generator.integers(2)],
        queue=QUEUES[generator.integers(3)],
        begin=float(generator.integers(2)),
        dispatch_after_zero=bool(generator.integers(2)),
    )
    bandwidth = generator.integers(1, 3, (devices, devices)).astype(float)
    latency = generator.integers(0, 2, (devices, devices)).astype(float)
    cluster = Cluster.uniform(devices, bandwidth=bandwidth, latency=latency)
    return graph, cluster, generator.integers(0, devices, len(graph)), rules


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_kernel_equals_simulator_bit_for_bit(seed):
    graph, cluster, assignment, rules = _random_case(seed)
    truth, fast = simulate(graph, cluster, assignment, rules), Evaluator(graph, cluster, rules).trace(assignment)
    assert truth.makespan == fast.makespan, rules
    for column in ("start", "end", "sent", "arrived"):
        assert np.array_equal(getattr(truth, column), getattr(fast, column), equal_nan=True), (column, rules)


@pytest.mark.parametrize("shape", ["transformer", "rnn"])
def test_kernel_equals_simulator_on_generated_training_graphs(shape):
    graph, cluster = generate(shape, 6, training=True), Cluster.uniform(3, cpus=1)
    evaluator = Evaluator(graph, cluster, PLACETO)
    placements = np.random.default_rng(0).integers(0, 4, (5, len(graph)))
    truth = [simulate(graph, cluster, placement, PLACETO).makespan for placement in placements]
    assert evaluator.makespans(placements).tolist() == truth


def test_kernel_equals_simulator_where_the_file_gives_transfer_times():
    graph = build_graph(
        {"gpu": [1.0, 1, 1], "cpu": [4.0, 4, 4]}, [(0, 1), (1, 2)], host_transfer=np.array([2.0, 3.0, 0.0])
    )
    cluster = Cluster.uniform(2, cpus=1)
    for assignment, makespan in (([0, 1, 1], 1 + 4 + 2), ([0, 2, 0], 1 + 2 + 4 + 3 + 1), ([2, 2, 2], 12)):
        assert simulate(graph, cluster, assignment).makespan == makespan
        assert Evaluator(graph, cluster).makespan(np.array(assignment)) == makespan


def _two_senders():
    """Two producers on devices 0 and 1 that end together, and two consumers each, on device 2."""
    graph = build_graph({"gpu": [1.0] * 4}, [(0, 2), (1, 3)], [4.0, 4.0, 0, 0], time_unit="s")
    return graph, np.array([0, 1, 2, 2])


@pytest.mark.parametrize(
    ("channel", "makespan"),
    [("egress", 7), ("pair", 7), ("none", 7), ("ingress", 10), ("both", 10), ("bus", 10), ("baechi", 10)],
)
def test_channels_queue_what_they_should(channel, makespan):
    graph, assignment = _two_senders()
    cluster = Cluster.uniform(3, bandwidth=1.0)
    assert simulate(graph, cluster, assignment, ExecutionRules(channel=channel)).makespan == makespan


@pytest.mark.parametrize(("multicast", "last"), [("tensor", 5), ("device", 9), ("edge", 13)])
def test_multicast_sends_once_per_tensor_device_or_edge(multicast, last):
    graph = build_graph({"gpu": [1.0, 0, 0, 0]}, [(0, 1), (0, 2), (0, 3)], [4.0, 0, 0, 0], time_unit="s")
    rules = ExecutionRules(multicast=multicast)
    assert simulate(graph, Cluster.uniform(3, bandwidth=1.0), [0, 1, 1, 2], rules).makespan == last


def test_latency_delays_or_holds():
    graph = build_graph({"gpu": [1.0, 1.0, 1.0]}, [(0, 1), (0, 2)], [4.0, 0, 0], time_unit="s")
    cluster = Cluster.uniform(3, bandwidth=1.0, latency=2.0)
    starts = {
        latency: simulate(graph, cluster, [0, 1, 2], ExecutionRules(multicast="device", latency=latency)).start.tolist()
        for latency in LATENCIES
    }
    assert starts == {"delay": [0, 7, 13], "hold": [0, 5, 11]}


def test_static_queues_choose_among_the_ready():
    graph = build_graph({"gpu": [1.0, 1.0, 1.0, 9.0]}, [(2, 3)], time_unit="s")
    first = {queue: simulate(graph, Cluster.uniform(1), [0] * 4, ExecutionRules(queue=queue)).start for queue in QUEUES}
    assert first["fifo"].tolist() == [0, 1, 2, 3]
    assert first["priority"].tolist() == [10, 11, 0, 1]


def test_rules_refuse_what_they_do_not_know():
    for wrong in ({"channel": "pigeon"}, {"multicast": "all"}, {"hold": -1.0}, {"dispatch": float("nan")}):
        with pytest.raises(SysgymError):
            ExecutionRules(**wrong)
    with pytest.raises(SettingError, match="no one target"):
        ExecutionRules(channel="pair", multicast="tensor")


def test_timelines_show_every_operation_and_transfer(tmp_path):
    trace = simulate(example_a(), two_devices(), [0, 0, 1, 0, 0], PLACETO)
    bars = [event for event in chrome_trace(trace)["traceEvents"] if event["ph"] == "X"]
    assert len(bars) == 5 + 2
    assert bars[2] == {"name": "2", "ph": "X", "pid": 1, "tid": 0, "ts": 20.0, "dur": 30.0}
    picture = ElementTree.fromstring(svg(trace))
    assert len(picture.findall("{*}rect")) == 2 + 5 + 2
    write_timeline(trace, tmp_path / "t.json")
    write_timeline(trace, tmp_path / "t.svg")
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert (tmp_path / "t.svg").read_text().startswith("<svg")
