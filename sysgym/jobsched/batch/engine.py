"""Builds the engine that an environment or a replay asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, is_compiled, resolve_engine
from sysgym.core.protocols import Engine
from sysgym.jobsched.batch.kernel import BatchKernel
from sysgym.jobsched.batch.model import Rules
from sysgym.jobsched.batch.observation import QueueEncoding, encoding_of
from sysgym.jobsched.batch.rewards import QueueReward, RewardFunction
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.jobsched.batch.simulator import BatchSimulator


def build_engine(
    sequences: JobSequences,
    rules: Rules,
    num_episodes: int,
    engine: str = "auto",
    observation: str | QueueEncoding = "features",
    reward: str | RewardFunction = "bounded_slowdown",
) -> Engine:
    """An engine of `num_episodes` episodes.

    Args:
        sequences: Which jobs an episode has.
        rules: What a pass does.
        num_episodes: How many episodes it plays.
        engine: "auto" takes the kernel unless an encoder or a reward is plain Python.
        observation: Name of an encoding, or an encoding.
        reward: Name of a reward, or a function of (state before, action, state after).

    Raises:
        SettingError: "compiled" is asked for beside a plain Python function.
    """
    encoding, paid = encoding_of(observation), QueueReward.named(reward)
    python_reward = paid.function is not None and not is_compiled(paid.function)
    if resolve_engine(engine, needs_simulator=python_reward or not is_compiled(encoding.encode)) == "compiled":
        return BatchKernel(sequences, rules, encoding, paid, num_episodes)
    table = encoding.table(sequences.workload)
    return SimulatorEngine(lambda: BatchSimulator(sequences, rules, encoding, paid, table), num_episodes)
