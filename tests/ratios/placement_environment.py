"""Rows of Placement-v0: stepping, and training on the graph observation with its share of time by stage."""

import gymnasium as gym

from sysgym.agents import train
from sysgym.placement import generate


def placement_environment_rows(rows, stepping, single):
    """Steps a second of many environments and of one, and PPO's frames a second.

    Args:
        rows: Takes the rows.
        stepping: Measures a vector environment.
        single: Measures `gym.make`.
    """
    vector = stepping(gym.make_vec("sysgym/Placement-v0", num_envs=64, groups=40), 200, 64)
    looped = stepping(gym.make_vec("sysgym/Placement-v0", num_envs=64, groups=40, vectorization_mode="sync"), 10, 64)
    rows.append(("Placement, make_vec 64, steps/s", vector, None, f"{vector / looped:.0f}x SyncVectorEnv"))
    given = {"graph": generate("transformer", 4), "cluster": "4xA100", "groups": 40}
    fixed = stepping(gym.make_vec("sysgym/Placement-v0", num_envs=64, **given), 200, 64)
    rows.append(("Placement, one given graph, make_vec 64, steps/s", fixed, None, "without drawing graphs"))
    for engine in ("compiled", "simpy"):
        one = single("sysgym/Placement-v0", 2000, engine=engine, **given)
        rows.append((f"Placement, gym.make {engine}, steps/s", one, None, ""))
    seen = []
    train(
        "sysgym/Placement-v0",
        frames=16_384,
        num_envs=32,
        rollout_steps=128,
        minibatches=8,
        epochs=1,
        environment={"groups": 40},
        on_progress=seen.append,
    )
    playing = sum(progress.waiting for progress in seen[1:])
    learning = sum(progress.learning for progress in seen[1:])
    rate = sum(32 * 128 for _ in seen[1:]) / (playing + learning)
    share = playing / (playing + learning)
    beside = f"message passing, 3 x 32; {share:.0%} playing, {1 - share:.0%} learning"
    rows.append(("train PPO on graphs (Placement), 1 epoch of 8x512, frames/s", rate, None, beside))
