"""The two thin adapters between an engine and Gymnasium: one episode, and many at once.

An environment is an engine (see `core.protocols`) behind one of these classes, or behind those of `built`, which make
the engine from keyword arguments. Seeds, autoreset, `final_obs`, masks and copies are settled here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sysgym.core.columns import part_of
from sysgym.core.engines import allocate_observations, allocate_slot
from sysgym.core.errors import InvalidActionError, SettingError, require_range
from sysgym.core.events import EventLog
from sysgym.core.packing import unpacked
from sysgym.core.protocols import ArraySpec, Engine, Observation, ObservationSpec, Slot
from sysgym.envs.bounds import Bound


def observation_space(spec: ObservationSpec) -> spaces.Space[Any]:
    """The Gymnasium space of an observation: a `Box`, or a `Dict` of them."""
    if isinstance(spec, ArraySpec):
        return spaces.Box(spec.low, spec.high, spec.shape, spec.dtype)
    return spaces.Dict({name: observation_space(part) for name, part in spec.items()})


class EngineEnv(gym.Env[Any, Any]):
    """One episode of an engine, as a Gymnasium environment.

    Every observation and mask that is returned is a fresh copy. The mask stands in `info["action_mask"]` (int8) and
    is what `action_masks()` returns. When an episode ends, `info["metrics"]` holds its scores.

    Args:
        engine: An engine of one episode.
        render_mode: One of `metadata["render_modes"]`, or None.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    heuristics: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    """Named policies that come with the problem; each value builds one."""
    do_nothing: ClassVar[str] = ""
    """The heuristic that counts as doing nothing."""
    objective: ClassVar[str] = ""
    """The metric by which policies are ranked."""
    direction: ClassVar[str] = "min"
    """Whether a smaller ("min") or a larger ("max") objective is better."""
    bound: ClassVar[Bound | None] = None
    """The objective's best value."""
    domain: ClassVar[str] = ""
    """What the problem belongs to; leaderboards have a section a domain."""
    shifts: ClassVar[Mapping[str, float]] = {}
    """Numeric arguments that change what is met (a load, a size, a budget), with what leaving one out amounts to."""
    known_at_once: ClassVar[bool] = False
    """Whether an episode's instance is known when it begins, so that trying it often is search and no hindsight."""
    time_unit: ClassVar[str] = "s"
    """Unit of the times in the event log."""
    scenario_arguments: ClassVar[Mapping[str, Any]] = {}
    """Arguments with which an evaluation makes the environment, so that seed k is scenario k of the split."""
    training_only: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Values of arguments that show what a policy must not know; evaluations refuse them."""

    def __init__(self, engine: Engine, render_mode: str | None = None) -> None:
        if engine.num_episodes != 1:
            raise SettingError(f"a single environment needs an engine of 1 episode, not {engine.num_episodes}")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            known = self.metadata["render_modes"] or "none"
            raise SettingError(f"render_mode is {render_mode!r}; this environment knows {known}")
        self.engine = engine
        self.render_mode = render_mode
        self.observation_space = observation_space(engine.observation_spec)
        self.action_space: spaces.Discrete = spaces.Discrete(engine.num_actions)
        self._slot = allocate_slot(engine.observation_spec, 1, engine.num_actions)
        self._row, self._on = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
        self._action = np.zeros(1, dtype=np.int64)
        self._seed, self._episodes = np.zeros(1, dtype=np.uint64), np.full(1, -1, dtype=np.int64)
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; without a seed, the next one of the seed given last (or of a random one)."""
        if seed is not None:
            _require_seed(seed)
            seed = int(seed)
        super().reset(seed=seed)
        if seed is not None:
            self._seed[0], self._episodes[0] = seed, -1
        elif self._episodes[0] < 0:
            self._seed[0] = self.np_random.integers(2**63)
        self._episodes += 1
        self.engine.reset(self._row, self._seed, self._episodes, options)
        self.engine.observe(self._on, self._slot)
        self._over = False
        return self._observation(), {"action_mask": self.action_masks()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one action.

        Raises:
            InvalidActionError: The action is not an integer of the action space.
        """
        if self._over:
            raise gym.error.ResetNeeded("call reset() before step(): no episode has begun, or it has ended")
        self._action[0] = self._checked(action)
        slot = self._slot
        self.engine.step(self._action, self._on, slot)
        terminated, truncated = bool(slot.terminated[0]), bool(slot.truncated[0])
        info: dict[str, Any] = {"action_mask": slot.action_masks[0].copy()}
        self._over = terminated or truncated
        if self._over:
            info["metrics"] = self.engine.metrics(0)
        return self._observation(), float(slot.rewards[0]), terminated, truncated, info

    def action_masks(self) -> NDArray[np.int8]:
        """int8, shape (A,): 1 for every action that is allowed now."""
        mask: NDArray[np.int8] = self._slot.action_masks[0].copy()
        return mask

    @property
    def state(self) -> Any:
        """The episode's named, columnar state, read-only."""
        return self.engine.state(0)

    @property
    def events(self) -> EventLog:
        """The episode's event log so far."""
        return self.engine.events(0)

    def metrics(self) -> dict[str, float]:
        """The episode's scores so far, computed from its event log."""
        return self.engine.metrics(0)

    def _checked(self, action: Any) -> int:
        try:
            index = action.__index__()
        except (AttributeError, TypeError):
            index = -1
        if not 0 <= index < self.engine.num_actions:
            raise InvalidActionError(
                f"action {action!r} is not in {self.action_space}; give an integer from 0 to "
                f"{self.engine.num_actions - 1}"
            )
        return int(index)

    def _observation(self) -> Any:
        return unpacked(self.engine.observation_spec, self._slot.observations[0].copy())


def _require_seed(seed: int) -> None:
    require_range("seed", seed, 0, 2**63 - 1, whole=True)


class EngineVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """Many episodes of an engine, stepped together, as a Gymnasium vector environment.

    The arrays that `reset` and `step` return belong to the environment and are overwritten by the next call: copy
    what you keep, or use `step_into` with a slot of your own. Masks are in `info["action_mask"]` and
    `action_masks()`. Sub-environment i of seed s plays the episodes of a single environment seeded with s + i.

    Args:
        engine: An engine of `num_envs` episodes.
        autoreset_mode: `SAME_STEP` (default; the last observation of an ended episode is in `info["final_obs"]`,
            its scores in `info["final_info"]` if `episode_metrics`), `NEXT_STEP`, or `DISABLED`.
        episode_metrics: Whether to compute the scores of every episode that ends; costs some Python per episode.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration

    def __init__(
        self,
        engine: Engine,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        episode_metrics: bool = False,
    ) -> None:
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise SettingError(f"autoreset_mode is {autoreset_mode!r}; known: {known}") from error
        self.engine = engine
        self.episode_metrics = episode_metrics
        self.num_envs = engine.num_episodes
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(engine.observation_spec)
        self.single_action_space = spaces.Discrete(engine.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.slot = allocate_slot(engine.observation_spec, self.num_envs, engine.num_actions)
        self.final_observations = allocate_observations(engine.observation_spec, (self.num_envs,))
        self.done = np.zeros(self.num_envs, dtype=np.bool_)
        self._seeds = np.zeros(self.num_envs, dtype=np.uint64)
        self._episodes = np.full(self.num_envs, -1, dtype=np.int64)
        self._all = np.ones(self.num_envs, dtype=np.bool_)
        self._active = np.ones(self.num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes in all rows, or in those of `options["reset_mask"]` (bool, shape (num_envs,))."""
        if not isinstance(options, Mapping | None):
            raise SettingError(f"options is {options!r}; give reset() a mapping of names, or None")
        options = dict(options or {})
        rows = self._checked_mask(options.pop("reset_mask", None))
        self._seed(rows, seed)
        self._begin(rows, options)
        self.engine.observe(rows, self.slot)
        return self.observations, {"action_mask": self.slot.action_masks}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one action in every row; see the class for the memory that is returned."""
        info = self.step_into(actions, self.slot)
        return self.observations, self.slot.rewards, self.slot.terminated, self.slot.truncated, info

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> dict[str, Any]:
        """Play one action in every row and write the result into the caller's slot.

        Args:
            actions: Integers, shape (num_envs,), each in the action space.
            slot: Memory of this environment's shapes; see `Slot`.

        Returns:
            The info of the step: `action_mask` and, where episodes ended under `SAME_STEP`, `final_obs` with its
            row mask `_final_obs`, and `final_info`.
        """
        actions = self._checked_actions(actions)
        resumed = self._resumed_rows()
        np.logical_not(resumed, out=self._active)
        self.engine.step(actions, self._active, slot)
        if resumed.any():
            slot.rewards[resumed], slot.terminated[resumed], slot.truncated[resumed] = 0.0, False, False
            self._begin(resumed, {})
            self.engine.observe(resumed, slot)
        np.logical_or(slot.terminated, slot.truncated, out=self.done)
        info: dict[str, Any] = {"action_mask": slot.action_masks}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self.done.any():
            self._end_and_begin(slot, info)
        return info

    def action_masks(self) -> NDArray[np.int8]:
        """int8, shape (num_envs, A): the masks of the last step into the environment's own slot."""
        return self.slot.action_masks

    @property
    def observations(self) -> Observation:
        """What `reset` and `step` return: the observations of the last step into the environment's own slot."""
        return unpacked(self.engine.observation_spec, self.slot.observations)

    def metrics(self, row: int) -> dict[str, float]:
        """The scores of the episode in a row; of use under `DISABLED`, before the row is reset."""
        return self.engine.metrics(row)

    def snapshot(self) -> dict[str, NDArray[Any]] | None:
        """Everything that decides how the environments go on, as copies; None where the engine cannot give it."""
        engine = self.engine.snapshot()
        if engine is None:
            return None
        own = {"seeds": self._seeds.copy(), "episodes": self._episodes.copy(), "done": self.done.copy()}
        return own | {f"engine/{name}": array for name, array in engine.items()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Let the environments stand where they stood at a `snapshot` of environments made alike."""
        self._seeds[:], self._episodes[:], self.done[:] = (snapshot[name] for name in ("seeds", "episodes", "done"))
        self.engine.restore(part_of(snapshot, "engine/"))
        self.engine.observe(self._all, self.slot)

    def _end_and_begin(self, slot: Slot, info: dict[str, Any]) -> None:
        done = self.done.copy()
        self.final_observations[done] = slot.observations[done]
        info["final_obs"] = unpacked(self.engine.observation_spec, self.final_observations)
        info["_final_obs"] = done
        if self.episode_metrics:
            names: dict[str, NDArray[np.float64]] = {}
            for row in np.flatnonzero(done):
                for name, value in self.engine.metrics(int(row)).items():
                    names.setdefault(name, np.full(self.num_envs, np.nan))[row] = value
            info["final_info"], info["_final_info"] = {"metrics": names}, done
        self._begin(done, {})
        self.engine.observe(done, slot)

    def _resumed_rows(self) -> NDArray[np.bool_]:
        if (self._episodes < 0).any():
            raise gym.error.ResetNeeded("call reset() before step()")
        if self.autoreset_mode == AutoresetMode.DISABLED and self.done.any():
            ended = np.flatnonzero(self.done).tolist()
            raise gym.error.ResetNeeded(f"rows {ended} have ended; reset them with options={{'reset_mask': ...}}")
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            return self.done.copy()
        return np.zeros(self.num_envs, dtype=np.bool_)

    def _begin(self, rows: NDArray[np.bool_], options: Mapping[str, Any]) -> None:
        chosen = np.flatnonzero(rows)
        self._episodes[chosen] += 1
        self.engine.reset(chosen, self._seeds[chosen], self._episodes[chosen], options)
        self.done[chosen] = False

    def _seed(self, rows: NDArray[np.bool_], seed: int | Sequence[int | None] | None) -> None:
        if seed is None:
            seed = [None] * self.num_envs
        elif not isinstance(seed, Sequence | np.ndarray):
            _require_seed(seed)
            super().reset(seed=int(seed))
            seed = [int(seed) + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise SettingError(f"{len(seed)} seeds were given for {self.num_envs} environments")
        for value in seed:
            if value is not None:
                _require_seed(value)
        for row in np.flatnonzero(rows).tolist():
            value = seed[row]
            if value is not None:
                self._seeds[row], self._episodes[row] = value, -1
            elif self._episodes[row] < 0:
                self._seeds[row] = self.np_random.integers(2**63)

    def _checked_mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return self._all
        rows = np.asarray(mask)
        if rows.shape != (self.num_envs,) or rows.dtype != np.bool_ or not rows.any():
            raise SettingError(f"reset_mask must be {self.num_envs} booleans with at least one True")
        return rows

    def _checked_actions(self, actions: Any) -> NDArray[np.int64]:
        array = np.asarray(actions)
        if array.shape != (self.num_envs,) or array.dtype.kind not in "iu":
            raise InvalidActionError(f"actions must be {self.num_envs} integers, got {array.dtype} {array.shape}")
        array = np.ascontiguousarray(array, dtype=np.int64)
        if array.size and (array.min() < 0 or array.max() >= self.engine.num_actions):
            wrong = int(np.flatnonzero((array < 0) | (array >= self.engine.num_actions))[0])
            raise InvalidActionError(f"action {array[wrong]} of row {wrong} is not in {self.single_action_space}")
        return array
