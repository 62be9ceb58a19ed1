"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.core.protocols import Engine
from sysgym.jobsched.rewriting.kernel import RewriteKernel
from sysgym.jobsched.rewriting.model import REWARDS, RewriteConfig
from sysgym.jobsched.rewriting.rewards import Reward
from sysgym.jobsched.rewriting.simulator import RewriteSimulator
from sysgym.workloads.jobsets import JobsetSource


def build_engine(
    config: RewriteConfig,
    source: JobsetSource,
    num_episodes: int,
    engine: str = "auto",
    observation: str = "rows",
    reward: Reward | None = None,
) -> Engine:
    """An engine of `num_episodes` episodes; a reward of one's own is served by the simulator.

    Args:
        config: What is asked.
        source: Of the jobs.
        num_episodes: B.
        engine: "auto", "compiled" or "simpy", which here stands for the plain Python reference.
        observation: "rows".
        reward: A function of (state before, action, state after).

    Raises:
        UnknownNameError: An unknown engine or observation.
        SettingError: "compiled" is asked for beside a Python function, or the reward is no function.
        WorkloadError: The jobs do not fit the machine.
    """
    if observation != "rows":
        raise UnknownNameError("observation", observation, ["rows"])
    if reward is not None and not callable(reward):
        raise SettingError(f"reward is {reward!r}; give one of {', '.join(REWARDS)}, or a function")
    if resolve_engine(engine, needs_simulator=reward is not None) == "compiled":
        return RewriteKernel(config, source, num_episodes)
    return SimulatorEngine(lambda: RewriteSimulator(config, source, reward), num_episodes)
