"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import UnknownNameError
from sysgym.core.protocols import Engine
from sysgym.jobsched.gpu.filling.kernel import FillKernel
from sysgym.jobsched.gpu.filling.model import Filling
from sysgym.jobsched.gpu.filling.simulator import FillSimulator, Reward


def build_engine(filling: Filling, num_episodes: int, engine: str = "auto", reward: str | Reward = "share") -> Engine:
    """An engine of `num_episodes` clusters; a reward function of one's own is served by SimPy.

    Raises:
        UnknownNameError: An unknown engine or reward.
        SettingError: "compiled" is asked for beside a function.
    """
    if not callable(reward) and reward != "share":
        raise UnknownNameError("reward", reward, ["share"])
    function = reward if callable(reward) else None
    if resolve_engine(engine, needs_simulator=function is not None) == "compiled":
        return FillKernel(filling, num_episodes)
    return SimulatorEngine(lambda: FillSimulator(filling, function), num_episodes)
