"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from typing import Any

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.errors import SettingError, UnknownNameError, require_range
from sysgym.core.protocols import Engine
from sysgym.placement.decision_kernel import PlacementKernel
from sysgym.placement.decisions import PlacementConfig, PlacementSimulator, Reward
from sysgym.placement.instances import GraphSource
from sysgym.placement.observation import GraphView


def build_engine(
    source: GraphSource,
    config: PlacementConfig,
    num_episodes: int,
    engine: str = "auto",
    observation: str | Any = "graph",
    operations: int = 64,
    reward: Reward | None = None,
) -> Engine:
    """An engine of `num_episodes` placements; a reward or an encoder of one's own is served by SimPy.

    Args:
        source: Of instances.
        config: What is asked.
        num_episodes: B.
        engine: "auto", "compiled" or "simpy".
        observation: "graph", or an object with `spec`, `num_actions` and `write` like `GraphView`'s.
        operations: Groups that the graph observation has room for.
        reward: A function of (state before, action, state after).

    Raises:
        UnknownNameError: An unknown engine or observation.
        SettingError: "compiled" is asked for beside a Python function or encoder.
    """
    require_range("operations", operations, 8, 1024, whole=True)
    own = not isinstance(observation, str)
    if not own and observation != "graph":
        raise UnknownNameError("observation", observation, ["graph"])
    if own and not (hasattr(observation, "write") and hasattr(observation, "spec")):
        raise SettingError(f"observation is {observation!r}; it must be 'graph' or have spec, num_actions and write")
    view: Any = observation if own else GraphView(operations)
    if resolve_engine(engine, needs_simulator=own or reward is not None) == "compiled":
        return PlacementKernel(source, config, view, num_episodes)
    return SimulatorEngine(lambda: PlacementSimulator(source, config, view, reward), num_episodes)
