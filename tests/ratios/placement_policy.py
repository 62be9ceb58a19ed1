"""`python -m tests.ratios.placement_policy [WEIGHTS]`: the learned placement policy on the shared graphs.

None of these graphs was trained on. Gaps are to the best known largest loads of specs/placement.md, section 13. Beside
the policy stand m-ETF, one run of METIS, and the best of as many random placements as the policy may try, of all
operations and of the coarsened graph. `--train FILE` trains anew with the settings of the shipped weights.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import load, train
from sysgym.core.errors import InfeasibleError
from sysgym.placement import evaluate, read_graph, solve
from sysgym.placement.decision_policies import single_metis
from sysgym.placement.instances import make_instance
from sysgym.placement.refine import place_by_policy

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data")
BEST_KNOWN = {
    "layer_bert24_inference": 17.7147, "layer_bert24_training": 39.7895, "layer_gnmt_inference": 31.6873,
    "layer_gnmt_training": 88.4622, "layer_resnet50_inference": 33.4350, "layer_resnet50_training": 78.6318,
    "operator_bert_l3_inference": 21.9084, "operator_bert_l3_training": 54.2074,
    "operator_bert_l12_inference": 130.0381, "operator_bert_l12_training": 373.5975,
    "operator_resnet50_inference": 124.3488, "operator_resnet50_training": 255.194,
}  # fmt: skip
ENVIRONMENT = {
    "workload": "generated", "passes": 2, "groups": 40, "operations": 64, "initial": "nowhere",
    "reward": "log_decrease",
}  # fmt: skip
SETTINGS = {
    "num_envs": 32, "rollout_steps": 128, "minibatches": 8, "epochs": 3, "learning_rate": 1.2e-3, "discount": 1.0,
    "trace_decay": 0.95, "entropy_weight": 0.004, "hidden": (32, 32, 32),
}  # fmt: skip
FRAMES = 400_000


def random_search(instance, evaluations, seed=0):
    """The least largest load of so many uniform placements of groups that fit."""
    generator, least = np.random.default_rng(seed), np.inf
    cost = instance.contraction.cost
    for _ in range(evaluations):
        draws = np.where(np.isfinite(cost), generator.random(cost.shape), -1.0)
        scored = evaluate(instance.graph, instance.cluster, instance.spread(draws.argmax(axis=1)))
        least = min(least, scored.objective if scored.feasible else np.inf)
    return least


def rows(policy, evaluations=100, seeds=(0,)):
    """A dict of gaps for each shared graph; those that draw are means over the seeds."""
    for name, best in BEST_KNOWN.items():
        graph = read_graph(DATA / f"graphs/tarnawski/throughput/{name}.json.gz")
        cluster, began = graph.cluster, time.process_time()
        refined = [place_by_policy(graph, cluster, policy, evaluations=evaluations, seed=seed) for seed in seeds]
        spent = (time.process_time() - began) / len(seeds)
        try:
            m_etf = solve(graph, cluster, method="m_etf", time_limit=60).objective
        except InfeasibleError:
            m_etf = np.inf
        metis = evaluate(graph, cluster, single_metis(graph, cluster))
        whole, coarse = (make_instance(graph, cluster, groups) for groups in (10_000, 40))
        found = {
            "zero_shot": refined[0].history[0][1],
            "refined": float(np.mean([each.score[1] for each in refined])),
            "m_etf": m_etf,
            "metis": metis.objective if metis.feasible else np.inf,
            "random": float(np.mean([random_search(whole, evaluations, seed) for seed in seeds])),
            "random_coarse": float(np.mean([random_search(coarse, evaluations, seed) for seed in seeds])),
        }
        gaps = {method: value / best - 1 for method, value in found.items()}
        yield {"graph": name, "best_known": best, **gaps, "cpu_seconds": spent}


def main():
    """Print a line for every graph, and the means; with --output, write them as JSON lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", nargs="?", default="placement")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.train:
        train("sysgym/Placement-v0", frames=FRAMES, environment=ENVIRONMENT, output=chosen.train, **SETTINGS)
        chosen.weights = str(chosen.train)
    found = []
    for row in rows(load(chosen.weights)):
        found.append(row)
        print(f"{row['graph']:32}", " ".join(f"{k} {v:+7.2%}" for k, v in row.items() if isinstance(v, float)
                                              and k not in ("best_known", "cpu_seconds")),
              f"{row['cpu_seconds']:.1f} s", flush=True)  # fmt: skip
    for method in ("zero_shot", "refined", "m_etf", "metis", "random", "random_coarse"):
        gaps = [row[method] for row in found]
        print(f"{method:14} mean gap {np.mean(gaps):8.2%}  median {np.median(gaps):8.2%}")
    for rival in ("m_etf", "metis"):
        better = sum(row["zero_shot"] < row[rival] for row in found)
        print(f"zero-shot better than {rival} on {better} of {len(found)}")
    if chosen.output:
        chosen.output.write_text("".join(json.dumps(row) + "\n" for row in found))


if __name__ == "__main__":
    main()
