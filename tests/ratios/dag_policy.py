"""The learned priority of DagSched beside the heuristics on unseen arrivals, its training, and the tuning of alpha.

python -m tests.ratios.dag_policy                       # tables: generated kinds, and TPC-H where the data are
python -m tests.ratios.dag_policy --tune                # weighted fair sharing on training arrivals
python -m tests.ratios.dag_policy --train small FILE    # or decima: 50 executors; FILE is a checkpoint
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import checkpoint, load
from sysgym.agents.architecture import Architecture
from sysgym.agents.spaces import Spaces
from sysgym.jobsched.dag.arrivals import ArrivalRules, jobs_of
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.observation import ROW_FEATURES
from sysgym.jobsched.dag.policies import HEURISTICS, WeightedFairPolicy
from sysgym.jobsched.dag.search import HIDDEN, Arena, Setting, first_weights, search_priority
from sysgym.jobsched.dag.tuning import played, tune_alpha

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data")
PROFILES = DATA / "traces/dag/tpch_spark_profiles.jsonl.gz"
WEIGHTS = Path(__file__).parents[2] / "experiments" / "dagsched.weights"
PLACES = {
    "generated, 10 executors, gap 75 s": ("small", "generated", 10, 20, 75.0, 64),
    "TPC-H, 10 executors, gap 75 s": ("small", str(PROFILES), 10, 20, 75.0, 64),
    "TPC-H, 10 executors, gap 60 s": ("small", str(PROFILES), 10, 20, 60.0, 96),
    "TPC-H, 10 executors, gap 100 s": ("small", str(PROFILES), 10, 20, 100.0, 64),
    "TPC-H, 50 executors, gap 25 s": ("decima", str(PROFILES), 50, 60, 25.0, 256),
}


def setting(workload, executors, jobs, gap, stages, split):
    """A cluster and where its jobs come from."""
    return Setting(DagConfig(executors=executors, stages=stages), jobs_of(workload, ArrivalRules(jobs, 1, gap), split))


def saved(weights, kind, path):
    """Write a perceptron as the checkpoint of a `rows` network; its value network is not used and 0."""
    executors, stages = (50, 256) if kind == "decima" else (10, 64)
    environment = {"observation": "rows"}
    if kind == "decima":
        environment |= {"executors": 50, "jobs": 60, "mean_gap": 25, "stages": 256}
    env = gym.make("sysgym/DagSched-v0", **environment)
    spaces, architecture = (
        Spaces.of(env.observation_space, env.action_space),
        Architecture("rows", (HIDDEN,), "relu", False),
    )
    bias, last = HIDDEN * ROW_FEATURES, HIDDEN * (ROW_FEATURES + 1)
    tensors = {
        "policy.layers.0.weight": weights[:bias].reshape(HIDDEN, ROW_FEATURES),
        "policy.layers.0.bias": weights[bias:last],
        "policy.layers.1.weight": weights[last : last + HIDDEN].reshape(1, HIDDEN),
        "policy.layers.1.bias": weights[last + HIDDEN :],
        "value.rows.layers.0.weight": np.zeros((HIDDEN, ROW_FEATURES)),
        "value.rows.layers.0.bias": np.zeros(HIDDEN),
        "value.pooled.layers.0.weight": np.zeros((HIDDEN, 2 * HIDDEN)),
        "value.pooled.layers.0.bias": np.zeros(HIDDEN),
        "value.pooled.layers.1.weight": np.zeros((1, HIDDEN)),
        "value.pooled.layers.1.bias": np.zeros(1),
    }
    facts = {
        "env_id": "sysgym/DagSched-v0", "environment": environment, "algorithm": "evolution", "settings": {},
        "spaces": checkpoint.plain(dataclasses.asdict(spaces)),
        "architecture": checkpoint.plain(dataclasses.asdict(architecture)), "seed": 0, "frames": 0, "curve": [],
        "versions": {},
    }  # fmt: skip
    named = {f"weights/{name}": array.astype(np.float32) for name, array in tensors.items()}
    checkpoint.write(path, checkpoint.Checkpoint(facts, named))
    assert (executors, stages) == (env.unwrapped.config.executors, env.unwrapped.config.stages)


def weights_of(path):
    """The perceptron in a checkpoint, as `search` has it."""
    policy = load(path)
    names = ("0.weight", "0.bias", "1.weight", "1.bias")
    return np.concatenate([policy._weights[f"policy.layers.{name}"].ravel() for name in names]).astype(np.float64)


def train(kind, path, generations):
    """Search on training arrivals, save every ten generations."""
    places = [(workload, *rest) for one, workload, *rest in PLACES.values() if one == kind][:2]
    settings = [setting(w, e, 24 if e > 10 else 14, gap, min(stages, 128), "train") for w, e, _, gap, stages in places]
    begin = time.process_time()

    def tell(generation, ratio, weights):
        if generation % 10 == 9:
            saved(weights, kind, path)
            print(f"generation {generation + 1}: {ratio:.4f}, {time.process_time() - begin:.0f} s of processor time")

    wide = kind == "decima"
    parameters = {"pairs": 16, "sigma": 0.1 if wide else 0.15, "learning_rate": 0.06, "episodes": 1 if wide else 2}
    search_priority(settings, first_weights(wide), generations, tell=tell, **parameters)


def compare(episodes, only):
    """Mean completion times on the test split beside the bound; the agent less tuned weighted fair, paired."""
    generator = np.random.default_rng(0)
    for title, (kind, workload, executors, jobs, gap, stages) in PLACES.items():
        if workload != "generated" and not PROFILES.exists():
            continue
        if only not in title:
            continue
        seeds = range(episodes)
        held, tuning = (setting(workload, executors, jobs, gap, stages, split) for split in ("test", "train"))
        alpha, _ = tune_alpha(tuning.config, tuning.jobs, range(10 if executors == 10 else 4))
        policies = {name: HEURISTICS[name]() for name in ("fifo", "fair", "shortest_work")}
        policies[f"weighted_fair {alpha:g}"] = tuned = WeightedFairPolicy(alpha)
        print(f"\n{title}: {len(seeds)} episodes of {jobs} jobs")
        for name, policy in policies.items():
            scores = played(held.config, held.jobs, policy, seeds)
            times = np.array([one["mean_completion_time"] for one in scores])
            bound = np.mean([one["over_bound"] for one in scores])
            oldest = np.mean([one["max_age"] for one in scores])
            print(f"  {name:24} {times.mean():8.1f} s  {bound:6.2f} x bound  oldest {oldest:7.1f} s")
            if policy is tuned:
                reference = times
        arena, weights = Arena(held), weights_of(WEIGHTS / f"{kind}.safetensors")
        times = np.array([arena.play(weights, seed) for seed in seeds])
        bound = np.mean(times / np.array([one["lower_bound"] for one in scores]))
        change = times / reference
        means = [generator.choice(change, len(change)).mean() - 1 for _ in range(2000)]
        low, high = np.percentile(means, [2.5, 97.5])
        text = f"{bound:6.2f} x bound  {change.mean() - 1:+.1%} [{low:+.1%}, {high:+.1%}]"
        print(f"  {'learned priority':24} {times.mean():8.1f} s  {text}", flush=True)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--train", nargs=2, metavar=("KIND", "FILE"))
    parser.add_argument("--generations", type=int, default=150)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--only", default="", help="part of the titles of those settings that are compared")
    given = parser.parse_args()
    if given.tune:
        for title, (_, workload, *rest) in PLACES.items():
            one = setting(workload, *rest, "train")
            alpha, found = tune_alpha(one.config, one.jobs, range(20 if rest[0] == 10 else 4))
            print(title, "alpha", alpha, {key: round(value, 1) for key, value in found.items()})
    elif given.train:
        train(*given.train, given.generations)
    else:
        compare(given.episodes, given.only)


if __name__ == "__main__":
    main()
