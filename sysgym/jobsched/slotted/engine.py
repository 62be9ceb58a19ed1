"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, is_compiled, resolve_engine
from sysgym.core.protocols import Engine
from sysgym.jobsched.slotted.kernel import SlottedKernel
from sysgym.jobsched.slotted.model import SlottedConfig
from sysgym.jobsched.slotted.observation import BuiltinEncoder, Encoder, encoder_of
from sysgym.jobsched.slotted.rewards import Reward
from sysgym.jobsched.slotted.simulator import SlottedSimulator
from sysgym.workloads.jobsets import JobsetSource


def build_engine(
    config: SlottedConfig,
    source: JobsetSource,
    num_episodes: int,
    *,
    engine: str = "auto",
    observation: str | Encoder = "image",
    reward: Reward = "slowdown",
) -> Engine:
    """An engine of `num_episodes` episodes.

    Args:
        config: The cluster; with a palette if the observation has colours.
        source: Where the arrivals come from.
        num_episodes: How many episodes it plays.
        engine: "auto" takes the kernel unless an encoder or a reward is plain Python.
        observation: A name in `observation.ENCODERS`, or an encoder.
        reward: A name in `rewards.REWARDS`, or a function of (state before, action, state after).

    Raises:
        SettingError: "compiled" is asked for beside a plain Python function.
        WorkloadError: The jobs do not fit the cluster.
    """
    encoder = encoder_of(observation)
    compiled = getattr(encoder, "compiled", None)
    python_encoder = not isinstance(encoder, BuiltinEncoder) and (compiled is None or not is_compiled(compiled))
    python_reward = callable(reward) and not is_compiled(reward)
    if resolve_engine(engine, needs_simulator=python_encoder or python_reward) == "compiled":
        return SlottedKernel(config, source, num_episodes, encoder, reward)
    return SimulatorEngine(lambda: SlottedSimulator(config, source, encoder, reward), num_episodes)
