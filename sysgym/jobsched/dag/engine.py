"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import SettingError
from sysgym.core.protocols import Engine
from sysgym.jobsched.dag.arrivals import DagJobs
from sysgym.jobsched.dag.kernel import DagKernel
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.observation import View
from sysgym.jobsched.dag.rewards import REWARDS, Reward, reward_code
from sysgym.jobsched.dag.simulator import DagSimulator


def build_engine(
    config: DagConfig,
    jobs: DagJobs,
    num_episodes: int,
    engine: str = "auto",
    observation: str = "graph",
    reward: str | Reward = "completion",
) -> Engine:
    """An engine of `num_episodes` clusters; a reward of one's own is served by SimPy.

    Args:
        config: The cluster.
        jobs: Where its jobs come from.
        num_episodes: B.
        engine: "auto", "compiled" or "simpy".
        observation: "graph", "choices" or "rows".
        reward: A name of `REWARDS`, or a function of (state before, action, state after).

    Raises:
        UnknownNameError: An unknown engine, observation or reward.
        SettingError: "compiled" is asked for beside a function, or the reward is neither name nor function.
        WorkloadError: A job has more stages than there is room for.
    """
    view, named = View(observation, config), isinstance(reward, str)
    if isinstance(reward, str):
        reward_code(reward)
        if resolve_engine(engine, needs_simulator=False) == "compiled":
            return DagKernel(config, jobs, num_episodes, view, reward)
    elif not callable(reward):
        raise SettingError(f"reward is {reward!r}; give one of {', '.join(REWARDS)}, or a function")
    resolve_engine(engine, needs_simulator=not named)
    return SimulatorEngine(lambda: DagSimulator(config, jobs, view, reward), num_episodes)
