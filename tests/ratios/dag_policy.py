"""The learned schedulers of DagSched beside the heuristics on unseen arrivals, and the tuning of alpha.

python -m tests.ratios.dag_policy                       # tables: generated kinds, and TPC-H where the data are
python -m tests.ratios.dag_policy --tune                # weighted fair sharing on training arrivals

`sysgym run experiments/dagsched.toml` trains what is compared here.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from sysgym.agents import load
from sysgym.core.engines import allocate_slot
from sysgym.jobsched.dag.arrivals import ArrivalRules, jobs_of
from sysgym.jobsched.dag.kernel import DagKernel
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.observation import View
from sysgym.jobsched.dag.policies import HEURISTICS, WeightedFairPolicy
from sysgym.jobsched.dag.tuning import played, tune_alpha

DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data")
PROFILES = DATA / "traces/dag/tpch_spark_profiles.jsonl.gz"
RESULTS = Path(__file__).parents[2] / "experiments" / "dagsched.results"
SMALL, LARGE = "10 executors", "50 executors"
# workload, executors, jobs, gap, stages, horizon
PLACES = {
    "generated, 10 executors, gap 75 s": ("generated", 10, 20, 75.0, 64, "all_done"),
    "TPC-H, 10 executors, gap 75 s": (str(PROFILES), 10, 20, 75.0, 64, "all_done"),
    "TPC-H, 10 executors, gap 60 s": (str(PROFILES), 10, 20, 60.0, 64, "all_done"),
    "TPC-H, 10 executors, gap 100 s": (str(PROFILES), 10, 20, 100.0, 64, "all_done"),
    "TPC-H, 10 executors, gap 75 s, random horizon": (str(PROFILES), 10, 20, 75.0, 64, "random"),
    "TPC-H, 50 executors, gap 25 s": (str(PROFILES), 50, 60, 25.0, 256, "all_done"),
    "TPC-H, 50 executors, gap 20 s": (str(PROFILES), 50, 60, 20.0, 256, "all_done"),
}


def setting(split, workload, executors, jobs, gap, stages, horizon):
    """A cluster and where its jobs come from; a random horizon has a mean of half an hour."""
    rules = ArrivalRules(jobs, 1, gap, horizon, 1800.0)
    return DagConfig(executors=executors, stages=stages), jobs_of(workload, rules, split)


def learned(config, jobs, policy, seeds):
    """As `tuning.played`, of a policy that sees the observation `choices`."""
    count = len(seeds)
    engine = DagKernel(config, jobs, count, View("choices", config), "completion")
    slot, on = allocate_slot(engine.observation_spec, count, engine.num_actions), np.ones(count, dtype=np.bool_)
    engine.reset(np.arange(count), np.array(seeds, dtype=np.uint64), np.zeros(count, dtype=np.int64))
    engine.observe(on, slot)
    while on.any():
        rows = np.flatnonzero(on)
        actions = np.zeros(count, dtype=np.int64)
        actions[rows] = policy.act_batch(slot.observations[rows], slot.action_masks[rows])
        engine.step(actions, on, slot)
        on &= ~(slot.terminated | slot.truncated)
    return [engine.metrics(row) for row in range(count)]


def checkpoints():
    """The trained policies by the name that the study gives them."""
    records = [json.loads(line) for line in (RESULTS / "records.jsonl").read_text().splitlines()]
    files = {one["policy"]["name"]: one["evidence"]["checkpoint"] for one in records if one["evidence"]["checkpoint"]}
    kept = {name: RESULTS / "weights" / Path(file).name for name, file in files.items()}
    return {name: file if file.exists() else RESULTS / files[name] for name, file in kept.items()}


def compare(episodes, only):
    """Mean completion times on the test split beside the bound; all less tuned weighted fair, paired."""
    generator, trained = np.random.default_rng(0), checkpoints()
    for title, place in PLACES.items():
        if (place[0] != "generated" and not PROFILES.exists()) or only not in title:
            continue
        wide = place[1] > 10
        seeds = range(episodes // 4 if wide else episodes)
        held, tuning = setting("test", *place), setting("train", *place)
        alpha, _ = tune_alpha(*tuning, range(4 if wide else 10))
        policies = {f"weighted_fair {alpha:g}": WeightedFairPolicy(alpha)}
        policies |= {name: HEURISTICS[name]() for name in ("random", "fifo", "fair", "shortest_work", "critical_path")}
        scores = {name: played(*held, policy, seeds) for name, policy in policies.items()}
        size = LARGE if wide else SMALL
        scores |= {name: learned(*held, load(file), seeds) for name, file in trained.items() if size in name}
        print(f"\n{title}: {len(seeds)} episodes of {place[2]} jobs")
        reference = np.array([one["mean_completion_time"] for one in next(iter(scores.values()))])
        for name, found in scores.items():
            times, bound, oldest = (
                np.array([one[metric] for one in found]) for metric in ("mean_completion_time", "over_bound", "max_age")
            )
            change = times / reference - 1.0
            low, high = np.percentile([generator.choice(change, len(change)).mean() for _ in range(2000)], [2.5, 97.5])
            text = f"{times.mean():8.1f} s  {bound.mean():6.2f} x bound  oldest {oldest.mean():7.1f} s"
            print(f"  {name:32} {text}  {change.mean():+.1%} [{low:+.1%}, {high:+.1%}]", flush=True)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--only", default="", help="part of the titles of those settings that are compared")
    given = parser.parse_args()
    if not given.tune:
        compare(given.episodes, given.only)
        return
    for title, place in PLACES.items():
        if given.only in title:
            alpha, found = tune_alpha(*setting("train", *place), range(4 if place[1] > 10 else 20))
            print(title, "alpha", alpha, {key: round(value, 1) for key, value in found.items()})


if __name__ == "__main__":
    main()
