"""Slots and engines that every domain shares.

`allocate_slot` makes the memory that a step is written to. `SimulatorEngine` turns simulators of one episode into an
engine of many, by stepping them one after another: what a domain has before, or instead of, a compiled kernel.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known
from sysgym.core.events import EventLog
from sysgym.core.packing import packed_spec
from sysgym.core.protocols import Engine, ObservationSpec, Simulator, Slot

ENGINES = ("auto", "simpy", "compiled")


def allocate_observations(spec: ObservationSpec, leading: tuple[int, ...]) -> NDArray[Any]:
    """Zeroed memory for observations with the given leading dimensions, such as (B,) or (T, B)."""
    row = packed_spec(spec)
    return np.zeros(leading + row.shape, dtype=row.dtype)


def allocate_slot(spec: ObservationSpec, num_episodes: int, num_actions: int) -> Slot:
    """A slot for one step of `num_episodes` episodes."""
    return Slot(
        allocate_observations(spec, (num_episodes,)),
        np.zeros((num_episodes, num_actions), dtype=np.int8),
        np.zeros(num_episodes),
        np.zeros(num_episodes, dtype=np.bool_),
        np.zeros(num_episodes, dtype=np.bool_),
    )


class SimulatorEngine(Engine):
    """An engine of simulators that play one episode each, stepped one after another.

    A simulator is put back where it stood by playing its episode again: it remembers what it was reset with, and the
    actions since. So does a copy of an engine, pickled or not, with simulators as they were built: what SimPy holds of
    a running episode can be neither copied nor pickled.

    Args:
        make: Builds one simulator.
        num_episodes: How many.
    """

    def __init__(self, make: Callable[[], Simulator], num_episodes: int) -> None:
        self.simulators = [make() for _ in range(num_episodes)]
        self._built = [dict(vars(simulator)) for simulator in self.simulators]
        self.num_episodes = num_episodes
        self._begun: list[tuple[int, int, Mapping[str, Any] | None] | None] = [None] * num_episodes
        self._played: list[list[int]] = [[] for _ in range(num_episodes)]
        self.num_actions = self.simulators[0].num_actions
        self.observation_spec = self.simulators[0].observation_spec

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        for row, seed, episode in zip(rows, seeds, episodes, strict=True):
            self.simulators[row].reset(int(seed), int(episode), options)
            self._begun[row], self._played[row] = (int(seed), int(episode), options), []

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        for row in np.flatnonzero(active).tolist():
            reward, terminated, truncated = self._step(row, int(actions[row]))
            slot.rewards[row], slot.terminated[row], slot.truncated[row] = reward, terminated, truncated
        self.observe(active, slot)

    def _step(self, row: int, action: int) -> tuple[float, bool, bool]:
        self._played[row].append(action)
        try:
            return self.simulators[row].step(action)
        except Exception as error:  # whatever it was, it goes on with the place where it happened
            seed, episode, options = self._begun[row] or (None, None, None)
            error.add_note(
                f"simulator {row}, seed {seed}, episode {episode}, options {options}, step {len(self._played[row])}; "
                f"its actions: {self._played[row]}"
            )
            raise

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        for row in np.flatnonzero(rows).tolist():
            self.simulators[row].observe(slot.observations[row], slot.action_masks[row])

    def state(self, row: int) -> Any:
        """See `Engine.state`."""
        return self.simulators[row].state()

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        return self.simulators[row].events()

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return self.simulators[row].metrics()

    def snapshot(self) -> dict[str, NDArray[Any]] | None:
        """See `Engine.snapshot`: one JSON text of seeds, episodes, options and actions; None if JSON cannot hold it."""
        try:
            text = json.dumps([self._begun, self._played])
        except TypeError:  # options of a type of one's own
            return None
        return {"episodes": np.frombuffer(text.encode(), dtype=np.uint8).copy()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        begun, played = json.loads(snapshot["episodes"].tobytes())
        self._begun, self._played = [one and tuple(one) for one in begun], played
        self._play_again()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"simulators": [type(simulator) for simulator in self.simulators]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        kinds: list[type[Simulator]] = state["simulators"]
        self.simulators = [object.__new__(kind) for kind in kinds]
        for simulator, built in zip(self.simulators, self._built, strict=True):
            take_over = getattr(simulator, "__setstate__", vars(simulator).update)
            take_over(built)
        self._play_again()

    def _play_again(self) -> None:
        """Let every simulator stand where its episode stands."""
        for simulator, begun, played in zip(self.simulators, self._begun, self._played, strict=True):
            if begun:
                simulator.reset(*begun)
                for action in played:
                    simulator.step(action)


def resolve_engine(engine: str, *, needs_simulator: bool) -> str:
    """The engine that `auto` means: the kernel, or SimPy where an injected Python function asks for it.

    Raises:
        SettingError: The engine is unknown, or "compiled" cannot serve what was injected.
    """
    if engine == "auto":
        return "simpy" if needs_simulator else "compiled"
    require_known("engine", engine, ENGINES)
    if engine == "compiled" and needs_simulator:
        raise SettingError(
            "engine='compiled' cannot call a Python function; compile it with numba.njit, or use engine='simpy'"
        )
    return engine


def is_compiled(function: Any) -> bool:
    """Whether a function was compiled by numba, told without importing numba.

    With numba's JIT switched off (`NUMBA_DISABLE_JIT=1`, for coverage) every function counts as compiled.
    """
    numba = sys.modules.get("numba")
    if numba is None:
        return False
    return bool(numba.config.DISABLE_JIT) or isinstance(function, numba.core.registry.CPUDispatcher)
