"""Rows of `make bench` on learning: PPO beside Stable-Baselines3, modes beside each other, where the time goes.

The schedule is the same for all: 2,048 frames (64 environments of compact JobSched, 32 steps), 4 epochs of 4 x 512, two
tanh networks of 2 x 64, Adam, clip 0.2, lambda 0.95. Stable-Baselines3 steps the same compiled environments through an
adapter, without masks, which spares it work. Rounds of all are interleaved, so that a busy moment hits them alike.
"""

import os
import statistics
import time

import gymnasium as gym
import numpy as np
import torch

from sysgym.agents import Training
from sysgym.agents.telemetry import shares

SCHEDULE = {
    "environment": {"observation": "compact"},
    "rollout_steps": 32,
    "network": "flat",
    "hidden": (64, 64),
    "activation": "tanh",
    "num_envs": 64,
    "trace_decay": 0.95,
}
CORES = min(2, os.cpu_count() or 1)
ROUNDS = 3


class Stopped(Exception):  # noqa: N818  not an error: the goal is reached
    """A run has reached what it was timed for."""


def ours(algorithm="ppo", frames=60_000, env_id="sysgym/JobSched-v0", **settings):
    """The last report of a training run."""
    last = None
    for last in Training(env_id, algorithm, frames=frames, **{**SCHEDULE, **settings}).run():  # noqa: B007
        pass
    return last


def vec_env(num_envs):
    """Our compiled environments as Stable-Baselines3 steps them."""
    from stable_baselines3.common.vec_env import VecEnv

    class Adapter(VecEnv):
        def __init__(self):
            self.vector = gym.make_vec("sysgym/JobSched-v0", num_envs, observation="compact")
            super().__init__(num_envs, self.vector.single_observation_space, self.vector.single_action_space)

        def reset(self):
            return self.vector.reset(seed=0)[0].copy()

        def step_async(self, actions):
            self.actions = actions

        def step_wait(self):
            observations, rewards, terminated, truncated, info = self.vector.step(self.actions)
            done = terminated | truncated
            infos = [{} for _ in range(num_envs)]
            for row in np.flatnonzero(done):
                infos[row] = {"terminal_observation": info["final_obs"][row].copy(),
                              "TimeLimit.truncated": bool(truncated[row] and not terminated[row])}  # fmt: skip
            return observations.copy(), rewards.astype(np.float32), done, infos

        def close(self):
            self.vector.close()

        def get_attr(self, name, indices=None):
            return [None] * num_envs

        def set_attr(self, name, value, indices=None):
            raise NotImplementedError

        def env_method(self, name, *args, indices=None, **named):
            raise NotImplementedError

        def env_is_wrapped(self, wrapper, indices=None):
            return [False] * num_envs

    return Adapter()


def baselines_model():
    """PPO of Stable-Baselines3 on the schedule."""
    from stable_baselines3 import PPO

    policy = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh}
    return PPO(
        "MlpPolicy", vec_env(64), n_steps=32, batch_size=512, n_epochs=4, policy_kwargs=policy, device="cpu", seed=0
    )


def baselines_rate(model, threads, frames):
    """Frames a second of Stable-Baselines3."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    model.learn(frames)
    seconds = time.perf_counter() - begun
    torch.set_num_threads(before)
    return frames / seconds


def ppo_rows(rows):
    """PPO on the schedule, ours and Stable-Baselines3's."""
    schedule = {"epochs": 4, "minibatches": 4}
    contenders = {
        f"{learner}, {threads} thread{'s' * (threads > 1)}": {"learner": learner, "threads": threads, **schedule}
        for learner in ("native", "torch")
        for threads in sorted({1, CORES})
    }
    model, found = baselines_model(), {}
    model.learn(4096)
    for settings in contenders.values():
        ours(frames=4096, **settings)
    for _ in range(ROUNDS):
        for threads in sorted({1, CORES}):
            found.setdefault(threads, []).append(baselines_rate(model, threads, 20_480))
        for name, settings in contenders.items():
            found.setdefault(name, []).append(ours(frames=40_960, **settings).frames_per_second)
    medians = {name: statistics.median(values) for name, values in found.items()}
    best = max(medians[threads] for threads in {1, CORES})
    for name in contenders:
        goal = 4.0 if name.startswith("native") else 1.8
        beside = f"{medians[name] / best:.2f}x stable-baselines3 at its best ({best:,.0f}), goal {goal:g}x"
        rows.append((f"train PPO, 4 epochs of 4x512, {name}, frames/s", medians[name], goal * best, beside))


def mode_rows(rows):
    """Actor and learner in turn and side by side, and where the time of both goes."""
    schedule = {"epochs": 1, "minibatches": 4}
    found = {"sync": [], "lockstep": []}
    for _ in range(ROUNDS):
        for mode, reports in found.items():
            reports.append(ours(frames=100_000, mode=mode, **schedule))
    turn, beside = (statistics.median(report.frames_per_second for report in reports) for reports in found.values())
    where = ", ".join(f"{name} {share:.0%}" for name, share in shares(found["sync"][-1].total_stages).items())
    rows.append(("train PPO, 1 epoch of 4x512, sync, frames/s", turn, None, where))
    rows.append(
        (
            "train PPO, 1 epoch of 4x512, lockstep, frames/s",
            beside,
            1.25 * turn,
            f"{beside / turn:.2f}x sync, goal 1.25x",
        )
    )
    reports = [ours("vtrace", 200_000, mode="async", minibatches=1) for _ in range(ROUNDS)]
    found = statistics.median(report.frames_per_second for report in reports)
    lag = max(len(report.lags) - 1 for report in reports)
    rows.append(("train V-trace, async, frames/s", found, 250_000, f"largest lag {lag}, goal 2"))


def seconds_to_cartpole(seed=0):
    """Seconds until the last episodes (at least 21) have a mean return of 475; None where that never happens."""
    settings = {"environment": {}, "num_envs": 16, "rollout_steps": 32, "learning_rate": 2.5e-3, "epochs": 4}
    training = Training("CartPole-v1", seed=seed, frames=500_000, **{**SCHEDULE, **settings, "minibatches": 4})
    for progress in training.run():
        if progress.episodes > 20 and progress.mean_return >= 475:
            return progress.seconds
    return None


def baselines_seconds_to_cartpole(seed=0):
    """The same of Stable-Baselines3, at the best setting that we know: 16 environments, 128 steps."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    class Goal(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            returns = [episode["r"] for episode in self.model.ep_info_buffer]
            if len(returns) > 20 and np.mean(returns) >= 475:
                raise Stopped

    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 16, seed=seed), n_steps=128, batch_size=512, n_epochs=4,
                learning_rate=2.5e-3, device="cpu", seed=seed)  # fmt: skip
    begun = time.perf_counter()
    try:
        model.learn(500_000, callback=Goal())
    except Stopped:
        return time.perf_counter() - begun
    return None


def cartpole_rows(rows):
    """Time to solve CartPole."""
    mine = [seconds_to_cartpole(seed) for seed in range(3)]
    theirs = [baselines_seconds_to_cartpole(seed) for seed in range(3)]
    middle = [statistics.median(seconds or float("inf") for seconds in found) for found in (mine, theirs)]
    beside = f"{middle[0]:.1f} s; stable-baselines3 {middle[1]:.1f} s; goal 2x"
    rows.append(("CartPole-v1 to a mean return of 475, runs/hour", 3600 / middle[0], 2 * 3600 / middle[1], beside))


def learning_rows(rows):
    """All of them."""
    ppo_rows(rows)
    mode_rows(rows)
    cartpole_rows(rows)


def main():
    """These rows alone, each group as soon as it is measured: `python -m tests.ratios.learning`."""
    for measure in (ppo_rows, mode_rows, cartpole_rows):
        rows = []
        measure(rows)
        for name, measured, goal, beside in rows:
            verdict = "" if goal is None else f"{goal:,.0f}" + ("" if measured >= goal else " !")
            print(f"{name:65} {measured:12,.0f} {verdict:>12}  {beside}", flush=True)


if __name__ == "__main__":
    main()
