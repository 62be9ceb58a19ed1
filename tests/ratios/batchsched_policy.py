"""The shipped queue policy: how it was searched for, and how it was chosen.

    python -m tests.ratios.batchsched_policy --train sysgym/agents/weights/batchsched.safetensors --seed 1
    python -m tests.ratios.batchsched_policy FILE...

It was searched for on generated jobs alone (Poisson arrivals, Pareto run times, load 0.9), so every log is new to it.
The second form plays checkpoints on windows of validation ranges (60 to 80 % of two logs, and a Lublin seed): mean and
geometric mean of bounded slowdown. Which seed and which training ground is shipped was decided there; test ranges are
the studies' business.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym.agents import checkpoint, load
from sysgym.agents.search import Search
from sysgym.core.files import filled

ENVIRONMENT = "sysgym/BatchSched-v0"
FOLDER = "${SYSGYM_DATA}/traces/swf"
SHARED: dict[str, Any] = {"observation": "queue", "commit": False}
GENERATED = {"model": "poisson_pareto", "jobs": 40_000, "processors": 128, "seed": 0, "load": 0.9}
VALIDATION: dict[str, dict[str, Any]] = {
    "KTH": {"workload": f"{FOLDER}/KTH-SP2-1996-raw.swf.gz", "clean": "sc15", "split": "valid"},
    "SDSC-SP2": {"workload": f"{FOLDER}/SDSC-SP2-sc15.swf.gz", "clean": "sc15", "split": "valid"},
    "Lublin": {"workload": {"model": "lublin", "jobs": 10_000, "processors": 256, "seed": 21}, "split": "all"},
}
START = (0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.2)
"""Minus the logarithm of the requested area, and a little of the slowdown that a job would have."""


def validate(files: list[str]) -> None:
    """Print mean and geometric mean of the validation windows, a column a file."""
    for name, arguments in VALIDATION.items():
        for rule in ("none", "easy"):
            where = {**filled(arguments), **SHARED, "backfill": rule, "sampling": "disjoint"}
            engine: Any = gym.make_vec(ENVIRONMENT, 1, **where).unwrapped.engine  # type: ignore[attr-defined]
            windows = np.arange(engine.sequences.num_windows)
            cells = []
            for file in files:
                network = load(file).row_network
                assert network is not None
                one = network._replace(weights=network.weights[None])
                costs = -engine.play_rows(one, windows.astype(np.uint64), np.zeros_like(windows))[0][0]
                cells.append(f"{costs.mean():.2f} / {np.exp(np.log(costs).mean()):.2f}")
            print(f"{name}, {rule}, {len(windows)} windows: {'  '.join(cells)}", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--train")
    parser.add_argument("--frames", type=int, default=1_200_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    os.environ.setdefault("SYSGYM_DATA", "../shared/data")
    if not chosen.train:
        validate(chosen.files)
        return
    words = {**SHARED, "backfill": "easy"}  # what it is meant to be played with
    search = Search(
        ENVIRONMENT,
        [{"workload": GENERATED, **SHARED}],
        seed=chosen.seed,
        frames=chosen.frames,
        words=words,
        start=START,
    )
    for progress in search.run():
        print(progress.update, progress.frames, f"{progress.seconds:.0f} s", dict(progress.metrics), flush=True)
    checkpoint.write(chosen.train, search.checkpoint(resumable=False))


if __name__ == "__main__":
    main()
