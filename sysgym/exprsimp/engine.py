"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import SettingError
from sysgym.core.protocols import Engine
from sysgym.exprsimp.compiled_engine import ExpressionKernel
from sysgym.exprsimp.episode import EpisodeConfig, require_reward
from sysgym.exprsimp.pool import ExpressionPool
from sysgym.exprsimp.simulator import ExpressionSimulator, Reward


def build_engine(
    config: EpisodeConfig,
    pool: ExpressionPool,
    num_episodes: int,
    engine: str = "auto",
    reward: str | Reward = "length",
) -> Engine:
    """An engine of `num_episodes` episodes; a reward function of one's own is served by SimPy.

    Raises:
        UnknownNameError: An unknown engine or reward.
        SettingError: "compiled" is asked for beside a function, or a reward lacks its time limit.
    """
    if not callable(reward) and not isinstance(reward, str):
        raise SettingError(f"reward is {reward!r}; give a name, or a function of (state before, action, state after)")
    chosen = reward if callable(reward) else require_reward(reward, config)
    if resolve_engine(engine, needs_simulator=callable(chosen)) == "compiled":
        assert isinstance(chosen, int)
        return ExpressionKernel(config, pool, chosen, num_episodes)
    return SimulatorEngine(lambda: ExpressionSimulator(config, pool, chosen), num_episodes)
