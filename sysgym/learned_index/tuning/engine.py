"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from collections.abc import Sequence

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import SettingError
from sysgym.core.protocols import Engine
from sysgym.learned_index.tuning.instances import Instance
from sysgym.learned_index.tuning.kernel import TuningKernel
from sysgym.learned_index.tuning.rewards import Reward
from sysgym.learned_index.tuning.simulator import TuningConfig, TuningSimulator


def build_engine(
    config: TuningConfig,
    num_episodes: int,
    instances: Sequence[Instance],
    split: str = "train",
    engine: str = "auto",
    reward: Reward | None = None,
) -> Engine:
    """An engine of `num_episodes` searches; a reward function of one's own, and live instances, are served by SimPy.

    Raises:
        UnknownNameError: An unknown engine.
        SettingError: "compiled" is asked for beside a function or a live instance, or there are no instances.
    """
    live = any(one.live for one in instances)
    if live and engine == "compiled":
        raise SettingError("engine='compiled' cannot index keys of one's own; leave it out, or give 'simpy'")
    if resolve_engine(engine, needs_simulator=live or reward is not None) == "compiled":
        return TuningKernel(config, instances, split, num_episodes)
    return SimulatorEngine(lambda: TuningSimulator(config, instances, split, reward), num_episodes)
