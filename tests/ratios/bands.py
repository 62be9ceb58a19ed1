"""`python -m tests.ratios.bands [seeds]`: PPO with CleanRL's settings and frames, beside CleanRL's published bands.

CleanRL's documentation gives 490.04 +- 6.12 for CartPole-v1 and -86.36 +- 1.32 for Acrobot-v1 after 500,000 frames (3
seeds); the goals are the lower ends, less what it says of its spread: 484 and -88. The figure is the mean return of the
last 100 training episodes. CleanRL takes a time limit for a termination (`truncation="terminal"`); both are run.
"""

import statistics
import sys
import time

import sysgym  # noqa: F401  registers the ids
from sysgym.agents import train

GOALS = {"CartPole-v1": 484.0, "Acrobot-v1": -88.0}
FRAMES = 500_000
CLEANRL = {
    "num_envs": 4,
    "rollout_steps": 128,
    "minibatches": 4,
    "epochs": 4,
    "learning_rate": 2.5e-4,
    "optimizer_epsilon": 1e-5,
    "discount": 0.99,
    "trace_decay": 0.95,
    "clip": 0.2,
    "clip_values": True,
    "entropy_weight": 0.01,
    "value_weight": 0.5,
    "max_gradient_norm": 0.5,
    "scale_rewards": False,
    "normalize_observations": False,
    "network": "flat",
    "hidden": (64, 64),
    "activation": "tanh",
}


def last_return(env_id, seed, truncation):
    """Mean return of the last 100 training episodes, and the seconds it took."""
    seen, begun = [], time.process_time()
    train(env_id, "ppo", seed=seed, frames=FRAMES, truncation=truncation, on_progress=seen.append, **CLEANRL)
    return seen[-1].mean_return, time.process_time() - begun


def main():
    """Print a line for every environment and treatment of time limits."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    print("mean return of the last 100 training episodes after 500,000 frames, by seed (seconds of processor)")
    for truncation in ("bootstrap", "terminal"):
        for env_id, goal in GOALS.items():
            found = [last_return(env_id, seed, truncation) for seed in seeds]
            mean = statistics.mean(value for value, _ in found)
            shown = "  ".join(f"{value:7.1f} ({seconds:.0f} s)" for value, seconds in found)
            verdict = "" if mean >= goal else " !"
            print(f"{env_id:12} {truncation:9} mean {mean:7.1f}, goal {goal:g}{verdict}  {shown}", flush=True)


if __name__ == "__main__":
    main()
