"""`python -m tests.ratios.calibration`: every algorithm, with its defaults, on the queue whose optimum is known.

A policy is judged exactly: its probabilities in all 44 states give its long-run mean reward by linear algebra, so the
figure has no noise of evaluation. The goal is that 1 % of the optimum is missing at most.
"""

import sys
import time

import numpy as np

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import train
from sysgym.queueing.exact import gain_of, optimal_gain

FRAMES = {"ppo": 500_000, "a2c": 1_000_000, "vtrace": 1_000_000, "reinforce": 500_000, "evolution": 3_000_000}
"""Budgets that suffice."""


def gain(policy):
    """Exact long-run mean reward a step of a trained policy that draws its actions."""
    states = np.zeros((11, 4, 5), dtype=np.float32)
    states[..., 0] = np.arange(11)[:, None] / 10
    states[..., 1:] = np.eye(4)
    masks = np.ones((11, 4, 2), dtype=np.int8)
    masks[0, :, 1] = 0
    return gain_of(policy.probabilities(states.reshape(44, 5), masks.reshape(44, 2))[:, 1].reshape(11, 4))


def calibrate(algorithm, seed=0, **settings):
    """Train within the budget; returns the share of the optimum that is missing, and the seconds it took."""
    begun = time.perf_counter()
    policy = train("sysgym/AdmissionQueue-v0", algorithm, seed=seed, frames=FRAMES[algorithm], **settings)
    return 1.0 - gain(policy) / optimal_gain()[0], time.perf_counter() - begun


def main():
    """Print a line for every algorithm and seed."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    print(f"optimum {optimal_gain()[0]:.6f}; missing share of it, seconds of training, by seed")
    for algorithm, frames in FRAMES.items():
        results = [calibrate(algorithm, seed) for seed in seeds]
        shown = "  ".join(f"{missing:6.2%} {seconds:5.1f} s" for missing, seconds in results)
        print(f"{algorithm:10} {frames:9,} frames  {shown}", flush=True)


if __name__ == "__main__":
    main()
