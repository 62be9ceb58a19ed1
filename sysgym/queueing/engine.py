"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import UnknownNameError
from sysgym.core.protocols import Engine
from sysgym.queueing.kernel import QueueKernel
from sysgym.queueing.model import QueueConfig
from sysgym.queueing.simulator import QueueSimulator, Reward


def build_engine(
    config: QueueConfig,
    num_episodes: int,
    split: str = "train",
    engine: str = "auto",
    reward: str | Reward = "priority",
) -> Engine:
    """An engine of `num_episodes` queues; a reward function of one's own is served by SimPy.

    Raises:
        UnknownNameError: An unknown split, engine or reward.
        SettingError: "compiled" is asked for beside a function.
    """
    if not callable(reward) and reward != "priority":
        raise UnknownNameError("reward", reward, ["priority"])
    function = reward if callable(reward) else None
    if resolve_engine(engine, needs_simulator=function is not None) == "compiled":
        return QueueKernel(config, split, num_episodes)
    return SimulatorEngine(lambda: QueueSimulator(config, split, function), num_episodes)
