"""Environments as an actor steps them: into its own memory, with autoreset in the same step.

An environment of the kind described in `core.protocols` writes its step straight into a slot (`step_into`). Any
other Gymnasium environment is stepped row by row and copied. Both reset an ended episode in the step that ends it
(`AutoresetMode.SAME_STEP`), so that no step is wasted and none is learned from that was never played: under
`NEXT_STEP` every episode would be followed by a step that ignores its action.

Both can be taken down and put up again where they stood, which a resumed run needs: the native ones from copies of
their arrays, the others by playing the running episodes again from their seeds and actions. `processes` has a third
kind, which steps either of the two in worker processes.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from sysgym.agents.acting.spaces import Spaces
from sysgym.core.errors import SettingError, unknown_environment
from sysgym.core.protocols import Slot
from sysgym.core.seeding import stream_key

NATIVE_ENVS = 64
"""How many native environments are stepped together unless told otherwise: more fill a matrix product better, but
leave fewer updates in a budget of frames."""
COPIED_ENVS = 16
"""The same for environments in Python, whose steps cost more than the network's."""

Arrays = dict[str, NDArray[Any]]


class Environments(abc.ABC):
    """N episodes of an environment, stepped together.

    Args:
        num_envs: N.
        observation_space: Of one environment.
        action_space: Of one environment.

    Attributes:
        native: Whether steps are written into slots without a copy.
        network: Kind of network that suits what the actions stand for, from the environment's `metadata["network"]`;
            None where it says nothing.
        foreseen: Last columns of a choice's row that only a value may see, from `metadata["foreseen"]`.
    """

    native: bool
    network: str | None = None
    foreseen: int = 0

    def __init__(self, num_envs: int, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.num_envs, self.observation_space, self.action_space = num_envs, observation_space, action_space
        self.spaces = Spaces.of(observation_space, action_space)

    @abc.abstractmethod
    def reset(self, seeds: NDArray[np.int64], observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """Begin all episodes, each row with its seed; writes observations (N, *shape) and masks (N, A)."""

    def begin_slot(self) -> None:  # noqa: B027, most kinds need not know
        """A slot of experience begins here: whoever may have to play it again remembers where it stands."""

    @abc.abstractmethod
    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """Play one action (0 to A - 1) in every row; ended rows hold the next episode's first observation."""

    @abc.abstractmethod
    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The last observations of episodes that the last step has ended, as a copy of shape (k, *shape)."""

    @abc.abstractmethod
    def snapshot(self) -> Arrays | None:
        """Everything that decides what comes next, as copies; None where that cannot be had."""

    @abc.abstractmethod
    def restore(self, snapshot: Mapping[str, NDArray[Any]], observations: NDArray[Any]) -> bool:
        """Put the environments where they stood.

        Args:
            snapshot: From `snapshot`, of as many environments.
            observations: (N, *shape), what was seen there.

        Returns:
            Whether that is what is seen now; if not, the environments have to be reset.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Free what the environments hold."""


class NativeEnvironments(Environments):
    """A vector environment that offers `step_into`."""

    native = True

    def __init__(self, vector: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(vector.num_envs, vector.single_observation_space, vector.single_action_space)
        self.vector: Any = vector
        self.network, self.foreseen = vector.metadata.get("network"), vector.metadata.get("foreseen", 0)

    def reset(self, seeds: NDArray[np.int64], observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """See `Environments.reset`."""
        first, info = self.vector.reset(seed=seeds.tolist())
        observations[...], masks[...] = self.spaces.pack(first, 1), info["action_mask"]

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """See `Environments.step_into`."""
        self.vector.step_into(actions, slot)

    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """See `Environments.final_observations`."""
        final: NDArray[Any] = self.vector.final_observations[rows]
        return final

    def snapshot(self) -> Arrays | None:
        """See `Environments.snapshot`."""
        snapshot: Arrays | None = self.vector.snapshot() if hasattr(self.vector, "snapshot") else None
        return snapshot

    def restore(self, snapshot: Mapping[str, NDArray[Any]], observations: NDArray[Any]) -> bool:
        """See `Environments.restore`; copies of arrays need no comparison."""
        del observations
        if not snapshot:
            return False
        self.vector.restore(snapshot)
        return True

    def close(self) -> None:
        """See `Environments.close`."""
        self.vector.close()


class CopiedEnvironments(Environments):
    """Single environments, stepped one after another.

    Every episode begins with a seed of its own, so that it can be played again. A mask is taken from
    `info["action_mask"]`, or from a method `action_masks()` of the environment (the convention of sb3-contrib);
    without either, every action is allowed.

    Args:
        envs: N environments of the same spaces.
        first_row: Number of the first among all of the run, for messages.
    """

    native = False

    def __init__(self, envs: Sequence[gym.Env[Any, Any]], first_row: int = 0) -> None:
        super().__init__(len(envs), envs[0].observation_space, envs[0].action_space)
        self.envs, self._first_row = envs, first_row
        self.network = envs[0].metadata.get("network")
        self._ask = [
            env.get_wrapper_attr("action_masks") if env.has_wrapper_attr("action_masks") else None for env in envs
        ]
        self._final: list[Any] = [None] * len(envs)
        self._seeds = np.zeros(len(envs), dtype=np.int64)
        self._episodes = np.zeros(len(envs), dtype=np.int64)
        self._played: list[list[int]] = [[] for _ in envs]

    def reset(self, seeds: NDArray[np.int64], observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """See `Environments.reset`."""
        self._seeds[:], self._episodes[:] = seeds, 0
        for row in range(self.num_envs):
            first, info = self._begin(row)
            observations[row] = self.spaces.pack(first)
            self._write_mask(row, info, masks)

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """See `Environments.step_into`."""
        for row, action in enumerate((actions + self.spaces.first_action).tolist()):
            observation, reward, terminated, truncated, info = self._step(row, action)
            slot.rewards[row], slot.terminated[row], slot.truncated[row] = reward, terminated, truncated
            if terminated or truncated:
                self._final[row] = np.array(self.spaces.pack(observation))
                self._episodes[row] += 1
                observation, info = self._begin(row)
            slot.observations[row] = self.spaces.pack(observation)
            self._write_mask(row, info, slot.action_masks)

    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """See `Environments.final_observations`."""
        return np.stack([self._final[row] for row in rows])

    def snapshot(self) -> Arrays | None:
        """See `Environments.snapshot`: seeds, and the actions of the running episodes one behind the other."""
        return {
            "seeds": self._seeds.copy(),
            "episodes": self._episodes.copy(),
            "lengths": np.array([len(actions) for actions in self._played], dtype=np.int64),
            "actions": np.array([action for actions in self._played for action in actions], dtype=np.int64),
        }

    def restore(self, snapshot: Mapping[str, NDArray[Any]], observations: NDArray[Any]) -> bool:
        """See `Environments.restore`: plays the running episodes again."""
        self._seeds[:], self._episodes[:] = snapshot["seeds"], snapshot["episodes"]
        actions = np.split(snapshot["actions"], snapshot["lengths"].cumsum()[:-1])
        for row in range(self.num_envs):
            seen, _ = self._begin(row)
            for action in actions[row].tolist():
                seen, _, terminated, truncated, _ = self._step(row, action)
                if terminated or truncated:
                    return False
            if not np.array_equal(np.asarray(self.spaces.pack(seen), dtype=observations.dtype), observations[row]):
                return False
        return True

    def close(self) -> None:
        """See `Environments.close`."""
        for env in self.envs:
            env.close()

    def _begin(self, row: int) -> tuple[Any, dict[str, Any]]:
        self._played[row] = []
        seed, episode = int(self._seeds[row]), int(self._episodes[row])
        return self.envs[row].reset(seed=stream_key(seed, f"episode/{episode}") % 2**31 if episode else seed)

    def _step(self, row: int, action: int) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._played[row].append(action)
        try:
            return self.envs[row].step(action)
        except Exception as error:  # whatever it was, it goes on with the place where it happened
            place = f"seed {self._seeds[row]}, episode {self._episodes[row]}, step {len(self._played[row])}"
            error.add_note(
                f"environment {self._first_row + row} of this run, {place}; its actions: {self._played[row]}"
            )
            raise

    def _write_mask(self, row: int, info: dict[str, Any], masks: NDArray[np.int8]) -> None:
        ask = self._ask[row]
        if "action_mask" in info:
            masks[row] = info["action_mask"]
        else:
            masks[row] = 1 if ask is None else ask()


def part_of_copied(snapshot: Mapping[str, NDArray[Any]], rows: slice) -> Arrays:
    """What a snapshot of `CopiedEnvironments` says of some rows, as a snapshot of these alone."""
    ends = snapshot["lengths"].cumsum()
    first = ends[rows.start - 1] if rows.start else 0
    part = {name: snapshot[name][rows] for name in ("seeds", "episodes", "lengths")}
    return part | {"actions": snapshot["actions"][first : ends[rows.stop - 1]]}


@dataclass(frozen=True)
class Recipe:
    """How environments are made, here or in another process.

    Attributes:
        spec: What Gymnasium knows of the id.
        arguments: Passed on to the environment.
    """

    spec: EnvSpec
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, env_id: str, arguments: Mapping[str, Any]) -> Recipe:
        """The recipe of an id.

        Raises:
            UnknownNameError: No such id.
            SettingError: The module that the id names cannot be imported.
        """
        return cls(_spec(env_id), arguments)

    def make(self, num_envs: int | None, first_row: int = 0) -> Environments:
        """Build the environments, natively where the vector environment offers `step_into`.

        Args:
            num_envs: N; None chooses `NATIVE_ENVS` or `COPIED_ENVS`.
            first_row: Number of the first among all of the run, for messages.

        Raises:
            SettingError: The environment does not take the arguments, or its spaces do not suit an agent.
        """
        try:
            if self.spec.vector_entry_point is not None:
                vector = gym.make_vec(self.spec, num_envs or NATIVE_ENVS, "vector_entry_point", **self.arguments)
                if hasattr(vector, "step_into"):
                    return NativeEnvironments(vector)
                vector.close()
            envs = [gym.make(self.spec, **self.arguments) for _ in range(num_envs or COPIED_ENVS)]
            return CopiedEnvironments(envs, first_row)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise SettingError(f"{self.spec.id} does not take these arguments: {error}") from error


def make_environments(env_id: str, num_envs: int | None, arguments: Mapping[str, Any]) -> Environments:
    """Build the environments of an id in this process; see `Recipe` for what is raised.

    Args:
        env_id: A registered id, also as Gymnasium's `module:EnvId`.
        num_envs: N; None chooses `NATIVE_ENVS` or `COPIED_ENVS`.
        arguments: Passed on to the environment.
    """
    return Recipe.of(env_id, arguments).make(num_envs)


def _spec(env_id: str) -> EnvSpec:
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except gym.error.Error as error:
        raise unknown_environment(env_id, gym.registry) from error
    except ModuleNotFoundError as error:
        raise SettingError(f"environment {env_id!r} names a module that cannot be imported: {error}") from error
