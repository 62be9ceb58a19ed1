"""JobSched-v0: the rule's search, the mark of a search that knows all arrivals, the published recipe's speed.

python -m tests.ratios.deeprm tune            # the cross-entropy method for `gated_linear`, half a minute
python -m tests.ratios.deeprm anneal          # ratios to SJF on the test jobsets of experiments/deeprm_best.toml
python -m tests.ratios.deeprm                 # rows of `make bench`
"""

import resource
import statistics
import sys
import time
import tomllib
from pathlib import Path

import numpy as np

from sysgym.agents import Training
from sysgym.bench.evaluator import evaluate
from sysgym.jobsched.rewriting.solve import solve
from sysgym.jobsched.slotted.tuning import tune_gated
from sysgym.workloads.jobsets import JobsetGenerator

STUDY = Path(__file__).parents[2] / "experiments" / "deeprm_published.toml"


def tune(rate=1.0, rounds=20):
    """Weights for `gated.WEIGHTS`."""
    begun = time.process_time()
    found = tune_gated(JobsetGenerator(rate), rounds=rounds)
    print(f"rate {rate}: {found.frames:,} decisions, {time.process_time() - begun:.0f} s of processor time")
    print([round(float(weight), 3) for weight in found.weights])


def anneal(jobsets=100, evaluations=2000):
    """Annealing of placement orders with all arrivals known and no limit of ten slots, against SJF, paired."""
    for rate in (0.7, 1.0):
        played = evaluate("sjf", "sysgym/JobSched-v0", {"arrival_rate": rate}, "test", jobsets).metrics
        ours, theirs = [], []
        for number, scores in enumerate(played):
            jobset = JobsetGenerator(rate, split="test").jobset(number)
            solved = solve(jobset, "anneal", evaluations=evaluations)
            ours.append(solved.mean_slowdown * jobset.num_jobs)
            theirs.append(scores["mean_slowdown"] * scores["jobs"])
            assert jobset.num_jobs == scores["jobs"]
        drawn = np.random.default_rng(0).integers(0, jobsets, (5000, jobsets))
        ratios = np.array(ours)[drawn].sum(axis=1) / np.array(theirs)[drawn].sum(axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        print(f"rate {rate}: {sum(ours) / sum(theirs):.3f} [{low:.3f}, {high:.3f}] on {jobsets} jobsets")


def published(chunks=11):
    """Processor seconds of an iteration of the published recipe (100 jobsets, 20 episodes each), and peak memory."""
    study = tomllib.loads(STUDY.read_text())
    settings = study["policies"][-1]["train"]["settings"]
    environment = study["environments"][0]["arguments"]
    seconds, before = [], time.process_time()
    for progress in Training(
        "sysgym/JobSched-v0", "reinforce", frames=10**9, environment=environment, **settings
    ).run():  # fmt: skip
        now = time.process_time()
        seconds.append(now - before)
        before = now
        if progress.update == chunks:
            break
    return 10 * statistics.median(seconds[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def deeprm_rows(rows):
    """For `make bench`."""
    seconds, memory = published()
    rows.append(("DeepRM's REINFORCE, 100 jobsets x 20 episodes, iterations/s", 1 / seconds, 0.1, f"{memory:.2f} GB"))


if __name__ == "__main__":
    print_rows = []
    {"tune": tune, "anneal": anneal}.get(" ".join(sys.argv[1:2]), lambda: deeprm_rows(print_rows))()
    for row in print_rows:
        print(row)
