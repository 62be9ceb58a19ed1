"""Rows of device placement: the compiled evaluator beside SimPy, and the contiguous programme."""

import os
import statistics
import time
from pathlib import Path

import numpy as np

from sysgym.placement import PLACETO, Cluster, Evaluator, build_graph, plan, read_graph, simulate
from sysgym.placement.exact import solve_contiguous
from sysgym.placement.execution import PLACETO_BANDWIDTH
from sysgym.placement.hybrid import plan_hybrid
from sysgym.placement.piper import read_piper
from sysgym.placement.torch_import import import_module
from sysgym.placement.torch_models import transformer

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data")
GOALS = {100: 100_000, 1_000: 10_000, 10_000: 1_000}


def placement_rows(rows, rate):
    """Evaluations of random placements on 4 devices, Placeto's event model, about 1.5 edges an operation."""
    for size, goal in GOALS.items():
        graph, cluster = _random_graph(size), Cluster.uniform(4, bandwidth=PLACETO_BANDWIDTH)
        evaluator, count = Evaluator(graph, cluster, PLACETO), 200_000 // size
        placements = np.random.default_rng(1).integers(0, 4, (count, size))
        compiled = rate(lambda e=evaluator, p=placements: e.makespans(p), count)
        simpy = rate(lambda g=graph, c=cluster, p=placements: simulate(g, c, p[0], PLACETO), 1, 3)
        beside = f"{compiled / simpy:.0f}x SimPy ({simpy:,.0f})"
        rows.append((f"placement, {size} operations, evaluations/s", compiled, goal, beside))
    path = DATA / "graphs/tarnawski/throughput/operator_bert_l12_training.json.gz"
    if path.exists():
        graph, seconds = read_graph(path), []
        solve_contiguous(graph, graph.cluster)
        for _ in range(3):
            began = time.perf_counter()
            solve_contiguous(graph, graph.cluster)
            seconds.append(time.perf_counter() - began)
        took = statistics.median(seconds)
        beside = f"{took:.2f} s a solution; the authors' C++: 16.4 s (measured elsewhere)"
        rows.append(("placement, exact contiguous, BERT-12 training, solutions/h", 3600 / took, 225, beside))
    planner_rows(rows, rate)


def planner_rows(rows, rate):
    """Importing a transformer of 24 layers, planning it, and Piper's programme on its branching graph."""
    module, inputs = transformer(24)
    imports = rate(lambda: import_module(module, inputs), 3600, 1)
    beside = f"{3600 / imports:.1f} s, {import_module(module, inputs).flops / 1e9:.2f} GFLOP"
    rows.append(("placement, import of a 24-layer transformer, imports/h", imports, 240, beside))
    plans = rate(lambda: plan(module, inputs, "4xA100"), 3600, 1)
    rows.append(("placement, plan of it on 4xA100, plans/h", plans, None, f"{3600 / plans:.1f} s, import included"))
    path = DATA / "graphs/piper/gnmt.json.gz"
    if path.exists():
        graph = read_piper(path)
        solved = rate(lambda: plan_hybrid(graph, 4, 1.2 * 2**30, 25 * 2**30, 256), 3600, 3)
        beside = f"{3600 / solved:.2f} s; the authors' program: 160-181 s (measured elsewhere)"
        rows.append(("placement, Piper on gnmt, 4 devices, plans/h", solved, 300, beside))


def _random_graph(size):
    generator = np.random.default_rng(0)
    edges = {(int(generator.integers(max(0, j - 50), j)), j) for j in range(1, size)}
    edges |= {(int(generator.integers(0, j)), int(j)) for j in generator.integers(1, size, size // 2)}
    cost, outputs = generator.integers(1, 1000, size), generator.integers(1, 7600 * 300, size)
    return build_graph({"gpu": cost.astype(float)}, sorted(edges), outputs.astype(float), time_unit="us")
