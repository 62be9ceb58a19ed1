"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from typing import Any

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
    observation: str | Any = "rows",
    reward: Reward | None = None,
) -> Engine:
    """An engine of `num_episodes` episodes; a reward or an encoder of one's own is served by the simulator.

    Args:
        config: What is asked.
        source: Of the jobs.
        num_episodes: B.
        engine: "auto", "compiled" or "simpy", which here stands for the plain Python reference.
        observation: "rows", or an object with `spec` and `encode(state, observation)`.
        reward: A function of (state before, action, state after).

    Raises:
        UnknownNameError: An unknown engine or observation.
        SettingError: "compiled" is asked for beside a Python function or encoder, or the reward is no function.
        WorkloadError: The jobs do not fit the machine.
    """
    own = not isinstance(observation, str)
    if not own and observation != "rows":
        raise UnknownNameError("observation", observation, ["rows"])
    if own and not (hasattr(observation, "encode") and hasattr(observation, "spec")):
        raise SettingError(f"observation is {observation!r}; it must be 'rows' or have spec and encode")
    if reward is not None and not callable(reward):
        raise SettingError(f"reward is {reward!r}; give one of {', '.join(REWARDS)}, or a function")
    if resolve_engine(engine, needs_simulator=own or reward is not None) == "compiled":
        return RewriteKernel(config, source, num_episodes)
    encoder = observation if own else None
    return SimulatorEngine(lambda: RewriteSimulator(config, source, encoder, reward), num_episodes)
