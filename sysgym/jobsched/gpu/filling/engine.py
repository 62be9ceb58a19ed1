"""Builds the engine that an environment asks for: the kernel, or simulators."""

from __future__ import annotations

from sysgym.core.engines import SimulatorEngine, resolve_engine
from sysgym.core.protocols import Engine
from sysgym.jobsched.gpu.filling.kernel import FillKernel
from sysgym.jobsched.gpu.filling.model import Filling
from sysgym.jobsched.gpu.filling.simulator import FillSimulator


def build_engine(filling: Filling, num_episodes: int, engine: str = "auto") -> Engine:
    """An engine of `num_episodes` clusters.

    Raises:
        UnknownNameError: An unknown engine.
    """
    if resolve_engine(engine, needs_simulator=False) == "compiled":
        return FillKernel(filling, num_episodes)
    return SimulatorEngine(lambda: FillSimulator(filling), num_episodes)
