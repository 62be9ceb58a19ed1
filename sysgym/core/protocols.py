"""The seams of the house: what a policy, a slot, an engine and a simulator are.

A domain offers *engines*: batches of independent episodes that are stepped together. Its compiled kernel is one
directly; its SimPy simulator plays one episode and becomes one through `core.engines.SimulatorEngine`. Single and
vector environments, replay, evaluation and the learner meet a domain through these protocols alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sysgym.core.choice_network import ChoiceNetwork
from sysgym.core.events import EventLog
from sysgym.core.row_network import RowNetwork

Observation = NDArray[Any] | dict[str, NDArray[Any]]
"""What a policy sees: one array, or the named arrays of the graph convention."""


@dataclass(frozen=True)
class ArraySpec:
    """Shape, dtype and range of one observation array; environments turn it into a `gymnasium.spaces.Box`."""

    shape: tuple[int, ...]
    dtype: type[np.generic]
    low: float
    high: float


ObservationSpec = ArraySpec | Mapping[str, ArraySpec]


@dataclass(frozen=True)
class Slot:
    """Where a step of B episodes is written; the caller owns the memory.

    Attributes:
        observations: Array (B, ...); observations of several named parts as packed rows, see `core.packing`.
        action_masks: int8, shape (B, A); 1 where an action is allowed, never all 0 in a row.
        rewards: float64, shape (B,).
        terminated: bool, shape (B,).
        truncated: bool, shape (B,).
    """

    observations: NDArray[Any]
    action_masks: NDArray[np.int8]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def rows(self, chosen: slice) -> Slot:
        """The part of some episodes, as views."""
        return Slot(
            self.observations[chosen],
            self.action_masks[chosen],
            self.rewards[chosen],
            self.terminated[chosen],
            self.truncated[chosen],
        )


class Engine(Protocol):
    """A batch of B independent episodes of one problem.

    All methods take or write arrays with one row an episode. An engine never resets by itself: what follows the end
    of an episode is the environment's business.
    """

    num_episodes: int
    num_actions: int
    observation_spec: ObservationSpec

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin new episodes in the named rows.

        Args:
            rows: Which episodes, shape (k,).
            seeds: Seed of each, shape (k,).
            episodes: How many episodes that seed has begun before, shape (k,); together they fix the workload.
            options: The `options` of Gymnasium's `reset`, such as the start of a window.
        """

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """Play one action in every active row.

        Writes rewards and flags of the active rows, and their observations and masks, into `slot`. Other rows are
        left as they are. Releases the interpreter lock where it is compiled.
        """

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """Write observations and masks of the chosen rows into `slot`, as after a reset."""

    def state(self, row: int) -> Any:
        """The named, columnar state of one episode: the same names in every engine of a domain.

        It tells what is known now and never what is still to come. Arrays are read-only and may be views that follow
        the episode: copy what you keep beyond the next step.
        """

    def events(self, row: int) -> EventLog:
        """The event log of the episode in this row."""

    def metrics(self, row: int) -> dict[str, float]:
        """The scores of the episode in this row, computed from its event log."""

    def snapshot(self) -> dict[str, NDArray[Any]] | None:
        """Everything that decides how the episodes go on, as copies; None from an engine that cannot give it."""
        return None

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Let the episodes stand where they stood at a `snapshot` of an engine built alike."""


@runtime_checkable
class RowPlayer(Protocol):
    """An engine that can play whole episodes by itself, always taking the row that a network scores highest.

    It must be one whose observation has a row for each action. A search over networks then plays at the speed of the
    dynamics (`agents.search`).
    """

    def play_rows(
        self, networks: RowNetwork, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], int]:
        """Play the same episodes with each of M networks; what the engine's own episodes do is not touched.

        Args:
            networks: M of them.
            seeds: As `Engine.reset` takes them, shape (W,).
            episodes: Likewise.

        Returns:
            The returns, float64 (M, W), less what makes them costs (at most 0), and the number of decisions.

        Raises:
            SettingError: The engine was built with an observation or a reward that it cannot play so.
        """


@runtime_checkable
class ChoicePlayer(Protocol):
    """As `RowPlayer`, under graph networks that score the choices of nodes; see `core.choice_network`."""

    def play_choices(
        self, networks: ChoiceNetwork, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], int]:
        """See `RowPlayer.play_rows`."""


class Simulator(Protocol):
    """One episode in readable Python: the reference that a kernel must equal."""

    num_actions: int
    observation_spec: ObservationSpec

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """Begin an episode."""

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Play an action; returns reward, terminated, truncated."""

    def observe(self, observation: NDArray[Any], action_mask: NDArray[np.int8]) -> None:
        """Write what a policy may see into the given arrays (one row of a slot)."""

    def state(self) -> Any:
        """The named, columnar state, read-only."""

    def events(self) -> EventLog:
        """The event log so far."""

    def metrics(self) -> dict[str, float]:
        """The scores so far, computed from the event log."""


@runtime_checkable
class Policy(Protocol):
    """Whatever chooses actions from observations: a heuristic, a search, a trained network, a user's own class.

    A policy *class* is built as `Policy(observation_space, action_space)`.
    """

    def reset(self) -> None:
        """Forget the last episode."""

    def act(self, observation: Any, action_mask: NDArray[np.int8]) -> int:
        """Choose an action from one observation (unbatched) and its mask."""


@runtime_checkable
class StatePolicy(Protocol):
    """A policy with the second door: it reads the state arrays instead of an observation."""

    def reset(self) -> None:
        """Forget the last episode; whoever inherits this remembers none."""
        return

    def act_on_state(self, state: Any) -> int:
        """Choose an action from a domain's state."""


@runtime_checkable
class BatchPolicy(Protocol):
    """A policy that answers many observations at once, such as a network.

    Where it remembers or draws anything, it also has `begin(rows, seeds)`: episodes of these seeds begin in the chosen
    rows (bool, shape (B,)) of the batches to come, and nothing of a row may depend on its neighbours.
    """

    def act_batch(self, observations: Any, action_masks: NDArray[np.int8]) -> NDArray[np.int64]:
        """Choose one action for each of B observations."""
