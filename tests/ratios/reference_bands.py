"""Row of `make bench`: five new trainings of PPO on AdmissionQueue-v0 against the band of the study's twenty.

    python -m tests.ratios.reference_bands

The study is experiments/admissionqueue.toml. Too bad and too good are both faults; `bench.bands` tells them.
"""

import tomllib
from pathlib import Path

import numpy as np

from sysgym.agents import train
from sysgym.bench.bands import reference_band
from sysgym.bench.curves import NEW_RUNS
from sysgym.bench.evaluator import evaluate
from sysgym.bench.records import read_records

STUDY = Path(__file__).parents[2] / "experiments" / "admissionqueue.toml"
ENV, POLICY, FIRST_SEED = "sysgym/AdmissionQueue-v0", "PPO", 100


def band_rows(rows):
    """Mean reward of new trainings, their best and worst left out, beside the limits of the reference trainings."""
    study = tomllib.loads(STUDY.read_text())
    plan = next(policy["train"] for policy in study["policies"] if policy.get("name") == POLICY)
    records = read_records(STUDY.with_suffix(".results") / "records.jsonl")
    known = [r for r in records if r.policy.name == POLICY and r.environment.split == study["split"]]
    band = reference_band([np.mean(record.values) for record in known], NEW_RUNS)
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + NEW_RUNS):
        policy = train(ENV, plan["algorithm"], seed=seed, frames=plan["frames"], **plan["settings"])
        found.append(np.mean(evaluate(policy, ENV, {}, study["split"], study["scenarios"]).values))
    beside = f"{band.low:.4f} to {band.high:.4f} from {len(known)} trainings: {band.verdict(found)}"
    rows.append(
        ("AdmissionQueue, five trainings of PPO, mean reward", float(np.sort(found)[1:-1].mean()), None, beside)
    )


if __name__ == "__main__":
    measured = []
    band_rows(measured)
    for name, value, _, remark in measured:
        print(f"{name}: {value:.4f}; {remark}")
