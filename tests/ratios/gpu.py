"""GPU clusters: `python -m tests.ratios.gpu` measures the rates that docs/gpu.md shows; rows for `make bench`.

The table: openb's pods in inflated arrivals (1.3 times the GPUs) on openb's GPU nodes, as Weng et al. (USENIX ATC 2023)
have it; a generated cluster where the public lists are not at hand. The authors' figures are the means of their ten
stored runs (experiments/analysis/expected_results of hkust-adsl/kubernetes-scheduler-simulator, openb_pod_list_default
at 130 % of arrived demand).
"""

import os
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
from scipy.stats import t as student

import sysgym  # noqa: F401  registers the ids
from sysgym.jobsched.gpu.inflation import fill
from sysgym.jobsched.gpu.metrics import capacity_milli, fragmentation_rate
from sysgym.jobsched.gpu.model import POLICIES, SCORES
from sysgym.jobsched.gpu.replay import replay_gpu
from sysgym.workloads import gpu_cluster, read_nodes, read_trace

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data")
PUBLISHED = {
    "random": 87.47,
    "dot_product": 90.85,
    "clustering": 91.88,
    "packing": 92.00,
    "best_fit": 93.08,
    "fgd": 95.39,
}
ARRIVED = (0.8, 1.0)


def openb(data=DATA):
    """Pods and GPU nodes of the public lists, or generated ones, and what they are."""
    folder = data / "traces/csv"
    nodes = folder / "alibaba_gpu_v2023_openb_node_list_gpu_node.csv.gz"
    if not nodes.exists():
        return *gpu_cluster(8_152, 1_213, seed=0), "generated"
    pods = read_trace(folder / "alibaba_gpu_v2023_openb_pod_list_default.csv.gz")
    return pods, read_nodes(nodes), "openb"


def filled(pods, nodes, policy, scores, seed):
    """Allocation rate in the end, and fragmentation rates when so much had arrived."""
    schedule = fill(pods, nodes, policy, scores=scores, seed=seed)
    arrived = schedule.arrived_milli() / capacity_milli(schedule.cluster)
    rate = fragmentation_rate(schedule.cluster, schedule.samples)
    places = [min(int(np.searchsorted(arrived, share)), len(rate) - 1) for share in ARRIVED]
    return [100 * schedule.summary()["last_allocation_rate"], *(100 * rate[places])]


def interval(values):
    """Mean and half the width of Student's 95 % interval."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(half)


def main(seeds):
    """Measure and print the table."""
    pods, nodes, name = openb()
    print(f"{name}: {len(pods)} pods on {len(nodes)} nodes with {nodes.gpus.sum()} GPUs, {seeds} seeds")
    print("| policy | scores | allocation rate, % | published | fragmentation at 80 % / 100 % arrived, % of free |")
    print("|---|---|---|---|---|")
    found = {}
    for scores in SCORES:
        for policy in POLICIES:
            if scores == "exact" and policy in {"first_fit", "random"}:
                continue
            runs = np.array([filled(pods, nodes, policy, scores, seed) for seed in range(seeds)])
            found[policy, scores] = runs[:, 0]
            (rate, half), *fragments = (interval(column) for column in runs.T)
            shown = " / ".join(f"{value:.1f}" for value, _ in fragments)
            published = PUBLISHED.get(policy, "") if scores == "rounded" and name == "openb" else ""
            print(f"| `{policy}` | {scores} | {rate:.2f} ± {half:.2f} | {published} | {shown} |", flush=True)
    for first, second in (("fgd", "best_fit"), ("fgd", "first_fit")):
        gain, half = interval(found[first, "rounded"] - found[second, "rounded"])
        print(f"{first} minus {second}, rounded, same arrivals: {gain:+.2f} ± {half:.2f}")


def gpu_rows(rows, stepping, data=DATA):
    """The whole list with its own times under each policy, goal 5 s; steps of GpuSched-v0."""
    envs = gym.make_vec("sysgym/GpuSched-v0", num_envs=64)
    rows.append(("GpuSched, make_vec 64, 24 nodes, decisions/s", stepping(envs, 300, 64), None, ""))
    pods, nodes, name = openb(data)
    for policy in POLICIES:
        replay_gpu(pods, nodes, policy)
        begin = time.perf_counter()
        replay_gpu(pods, nodes, policy)
        seconds = time.perf_counter() - begin
        rows.append((f"{name}'s {len(pods)} pods under {policy}, pods/s", len(pods) / seconds, len(pods) / 5,
                     f"{seconds:.2f} s, goal 5 s"))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
