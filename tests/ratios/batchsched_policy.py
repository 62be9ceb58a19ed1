"""The shipped queue policy: how it was searched for, and where it stands on the validation ranges.

    python -m tests.ratios.batchsched_policy --train sysgym/agents/weights/batchsched.safetensors --frames 10000000
    python -m tests.ratios.batchsched_policy FILE...

One priority for all machines, with and without EASY backfilling: `agents.search` over windows of the first 60 % of
KTH, SDSC-SP2, a Lublin workload and one of Poisson arrivals and Pareto run times. The Curie sample is left out: its
windows have no queue unless they are long, and it shows how the policy does on a log that it has not met. The second
form plays checkpoints on the validation ranges (the next 20 %); test ranges are the studies' business.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym.agents import load
from sysgym.agents.search import Search
from sysgym.core.files import filled

ENVIRONMENT = "sysgym/BatchSched-v0"
FOLDER = "${SYSGYM_DATA}/traces/swf"
LOGS: dict[str, dict[str, Any]] = {
    "KTH": {"workload": f"{FOLDER}/KTH-SP2-1996-raw.swf.gz", "clean": "sc15"},
    "SDSC-SP2": {"workload": f"{FOLDER}/SDSC-SP2-sc15.swf.gz", "clean": "sc15"},
    "Lublin": {"workload": {"model": "lublin", "jobs": 20_000, "processors": 256, "seed": 11}},
    "Poisson": {"workload": {"model": "poisson_pareto", "jobs": 40_000, "processors": 128, "seed": 0, "load": 0.9}},
}
START = (0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.2)
"""Minus the logarithm of the requested area, and a little of the slowdown that a job would have."""


def environments(backfills: tuple[str, ...] = ("none", "easy"), *, commit: bool = False) -> dict[str, dict[str, Any]]:
    """Arguments by name, a log and a backfilling each."""
    shared = {"observation": "queue", "commit": commit}
    return {f"{name}, {rule}": {**log, **shared, "backfill": rule} for name, log in LOGS.items() for rule in backfills}


def validate(files: list[str], backfills: tuple[str, ...], *, commit: bool) -> None:
    """Print mean and geometric mean of the disjoint validation windows."""
    for name, arguments in environments(backfills, commit=commit).items():
        vector: Any = gym.make_vec(ENVIRONMENT, 1, **filled(arguments), split="valid", sampling="disjoint")
        engine = vector.unwrapped.engine
        windows = np.arange(engine.sequences.num_windows)
        cells = []
        for file in files:
            network = load(file).row_network
            assert network is not None
            one = network._replace(weights=network.weights[None])
            costs = -engine.play_rows(one, windows.astype(np.uint64), np.zeros_like(windows))[0][0]
            cells.append(f"{costs.mean():.2f} / {np.exp(np.log(costs).mean()):.2f}")
        print(f"{name}, {len(windows)} windows: {'  '.join(cells)}", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--train")
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--backfill", default="none,easy")
    parser.add_argument("--commit", action="store_true")
    chosen = parser.parse_args()
    os.environ.setdefault("SYSGYM_DATA", "../shared/data")
    backfills = tuple(chosen.backfill.split(","))
    if not chosen.train:
        validate(chosen.files, backfills, commit=chosen.commit)
        return
    where = environments(backfills, commit=chosen.commit)
    search = Search(
        ENVIRONMENT,
        list(where.values()),
        seed=chosen.seed,
        frames=chosen.frames,
        output=chosen.train,
        resume=Path(chosen.train).exists(),
        words={"observation": "queue", "commit": chosen.commit, "backfill": backfills[-1]},
        population=24,
        episodes=4,
        pool=200,
        hidden=chosen.hidden,
        start=START,
    )
    for progress in search.run():
        if progress.update % 10 == 0:
            print(progress.update, progress.frames, f"{progress.seconds:.0f} s", dict(progress.metrics), flush=True)


if __name__ == "__main__":
    main()
