"""What a user hands in: an observation of one's own over any engine, and the check of a reward's form.

States have the same names in every engine of a problem, so an observation that is written from the state needs no
simulator: `EncodedEngine` lets the engine play and asks the encoder afterwards. Problems whose kernels call encoders
(`jobsched.batch`, `jobsched.slotted`) have a form of their own besides.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import allocate_observations
from sysgym.core.errors import SettingError
from sysgym.core.events import EventLog
from sysgym.core.packing import unpacked
from sysgym.core.protocols import ArraySpec, Engine, Observation, ObservationSpec, Slot


class Encoder(Protocol):
    """An observation of the user's."""

    spec: ObservationSpec

    def encode(self, state: Any, observation: Observation) -> None:
        """Write what is seen of a state into `observation` (its parts by name, if `spec` has), whatever was there."""


class EncodedEngine(Engine):
    """An engine that shows what an encoder makes of its states, one row after another.

    Args:
        engine: What plays.
        encoder: What is seen of it.
    """

    def __init__(self, engine: Engine, encoder: Encoder) -> None:
        self.engine, self.encoder = engine, encoder
        self.num_episodes, self.num_actions = engine.num_episodes, engine.num_actions
        self.observation_spec = encoder.spec
        self._unseen = allocate_observations(engine.observation_spec, (engine.num_episodes,))

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        self.engine.reset(rows, seeds, episodes, options)

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        self.engine.step(actions, active, replace(slot, observations=self._unseen))
        self._encode(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        self.engine.observe(rows, replace(slot, observations=self._unseen))
        self._encode(rows, slot)

    def _encode(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        for row in np.flatnonzero(rows).tolist():
            observation = unpacked(self.observation_spec, slot.observations[row])
            given: Any = self.encoder.encode(self.engine.state(row), observation)  # type: ignore[func-returns-value]
            if given is not None and given is not observation:
                raise SettingError(
                    f"encode() of {type(self.encoder).__name__} gave a {type(given).__name__}, which nobody sees; "
                    "write into its second argument instead: observation[...] = values"
                )

    def state(self, row: int) -> Any:
        """See `Engine.state`."""
        return self.engine.state(row)

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        return self.engine.events(row)

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return self.engine.metrics(row)

    def snapshot(self) -> dict[str, NDArray[Any]] | None:
        """See `Engine.snapshot`."""
        return self.engine.snapshot()

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        self.engine.restore(snapshot)


def is_encoder(observation: object) -> bool:
    """Whether an argument `observation` is an encoder of the form that every environment takes."""
    spec = getattr(observation, "spec", None)
    named = isinstance(spec, Mapping) and len(spec) > 0 and all(isinstance(part, ArraySpec) for part in spec.values())
    encode = getattr(observation, "encode", None)
    return callable(encode) and takes(encode, 2) and (named or isinstance(spec, ArraySpec))


def encoded(engine: Engine, observation: object) -> Engine:
    """An engine that shows what an encoder makes of its states.

    Raises:
        SettingError: It is no encoder.
    """
    if not is_encoder(observation):
        raise SettingError(
            f"observation is {observation!r}; give an object with spec (an ArraySpec, or several by name) and "
            "encode(state, observation)"
        )
    return EncodedEngine(engine, observation)  # type: ignore[arg-type]


def require_reward(reward: Any) -> None:
    """Raise `SettingError` for what is neither a name nor a function of (state before, action, state after)."""
    if not isinstance(reward, str) and not (callable(reward) and takes(reward, 3)):
        raise SettingError(f"reward is {reward!r}; give a name, or a function of (state before, action, state after)")


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function, compiled or not, can be called with that many arguments by position."""
    try:
        inspect.signature(getattr(function, "py_func", function)).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a function of C without a signature
        return True
    return True
