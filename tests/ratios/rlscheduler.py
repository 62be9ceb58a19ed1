"""RLScheduler's table on Lublin-1, its baselines as published and as corrected: `python -m tests.ratios.rlscheduler`.

Ten sequences of 1,024 consecutive jobs of `lublin_256`, mean bounded slowdown, without backfilling and with the
repository's own. WFP3 and UNICEF stand there twice: as its code computes them, with a negative wait, and with the real
one. The sequences are ours (the paper's are not known), so means are compared with the spread over sequences.
"""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import sysgym  # noqa: F401  registers the environments
from sysgym.core.files import filled
from sysgym.core.protocols import ArraySpec
from sysgym.jobsched.batch.observation import FEATURES, QueueEncoding, encode_features, feature_table
from sysgym.jobsched.batch.policies import HEURISTICS

SEQUENCES, JOBS = 10, 1024
PUBLISHED: dict[str, dict[str, float]] = {
    "none": {"fcfs": 7273.77, "wfp3_published": 19753.53, "unicep_published": 22274.74, "sjf": 277.35, "f1": 258.37},
    "rlscheduler": {"fcfs": 235.82, "wfp3_published": 133.87, "unicep_published": 307.23, "sjf": 73.31, "f1": 75.07},
}
"""Lublin-1 without and with backfilling, from the README of deep-batch-scheduler; its RL has 254.67 and 58.64."""
EVERY_JOB = QueueEncoding(ArraySpec((JOBS, len(FEATURES)), np.float32, 0.0, 1.0), feature_table, encode_features, JOBS)
"""Its heuristics choose among all waiting jobs, and not among the 128 that its agent sees."""
ROWS = ("fcfs", "wfp3_published", "wfp3", "unicep_published", "unicep", "sjf", "f1")


def sequence_scores(policy: str, backfill: str, sequences: int = SEQUENCES, seed: int = 0) -> NDArray[np.float64]:
    """Mean bounded slowdown of each sequence under a heuristic, shape (sequences,)."""
    env: Any = gym.make(
        "sysgym/BatchSched-v0",
        disable_env_checker=True,
        workload=filled("${SYSGYM_DATA}/traces/swf/lublin_256.swf.gz"),
        split="all",
        sequence_length=JOBS,
        backfill=backfill,
        pass_rule="per_event",
        observation=EVERY_JOB,
    )
    chosen, scores = HEURISTICS[policy](), []
    for number in range(sequences):
        env.reset(seed=seed if number == 0 else None)
        ended = False
        while not ended:
            action = chosen.act_on_state(env.unwrapped.engine.state(0))
            _, _, ended, _, info = env.step(action)
        scores.append(info["metrics"]["mean_bounded_slowdown"])
    return np.array(scores)


def table() -> list[str]:
    """The table in Markdown."""
    lines = ["| backfilling | policy | published | ours (sd over sequences) |", "|---|---|---|---|"]
    for backfill, known in PUBLISHED.items():
        for policy in ROWS:
            scores = sequence_scores(policy, backfill)
            said = f"{known[policy]:,.2f}" if policy in known else "-"
            lines.append(f"| {backfill} | `{policy}` | {said} | {scores.mean():,.1f} ({scores.std(ddof=1):,.1f}) |")
    return lines


if __name__ == "__main__":
    os.environ.setdefault("SYSGYM_DATA", "../shared/data")
    print("\n".join(table()))
