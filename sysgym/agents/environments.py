"""Vector environments as the learner steps them: into its own memory, with autoreset in the same step.

An environment of the kind described in `core.protocols` writes its step straight into a slot (`step_into`). Any
other Gymnasium environment is stepped by `SyncVectorEnv` and copied. Both reset an ended episode in the step that
ends it (`AutoresetMode.SAME_STEP`), so that no step is wasted and none is learned from that was never played: under
`NEXT_STEP` every episode would be followed by a step that ignores its action.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from sysgym.agents.spaces import Spaces
from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.core.protocols import Slot

NATIVE_ENVS = 64
"""How many native environments are stepped together unless told otherwise: more fill a matrix product better, but
leave fewer updates in a budget of frames."""
COPIED_ENVS = 16
"""The same for environments in Python, whose steps cost more than the network's."""

AnyVectorEnv = VectorEnv[Any, Any, Any]


class Environments(abc.ABC):
    """N episodes of an environment, stepped together.

    Attributes:
        native: Whether steps are written into slots without a copy.
    """

    native: bool

    def __init__(self, vector: AnyVectorEnv) -> None:
        self.vector = vector
        self.num_envs = vector.num_envs
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space
        self.spaces = Spaces.of(self.observation_space, self.action_space)

    @abc.abstractmethod
    def reset(self, seed: int, observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """Begin all episodes; writes observations (N, *shape) and masks (N, A)."""

    @abc.abstractmethod
    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """Play one action (0 to A - 1) in every row; ended rows hold the next episode's first observation."""

    @abc.abstractmethod
    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The last observations of episodes that the last step has ended, as a copy of shape (k, *shape)."""

    def close(self) -> None:
        """Free what the environments hold."""
        self.vector.close()


class NativeEnvironments(Environments):
    """A vector environment that offers `step_into`."""

    native = True

    def reset(self, seed: int, observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """See `Environments.reset`."""
        first, info = self.vector.reset(seed=seed)
        observations[...], masks[...] = first, info["action_mask"]

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """See `Environments.step_into`."""
        self.vector.step_into(actions, slot)  # type: ignore[attr-defined]

    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """See `Environments.final_observations`."""
        final: NDArray[Any] = self.vector.final_observations[rows]  # type: ignore[attr-defined]
        return final


class CopiedEnvironments(Environments):
    """Single environments behind Gymnasium's `SyncVectorEnv`.

    A mask is taken from `info["action_mask"]`, or from a method `action_masks()` of the environment (the convention
    of sb3-contrib); without either, every action is allowed.
    """

    native = False

    def __init__(self, vector: SyncVectorEnv) -> None:
        super().__init__(vector)
        self._final: Any = None
        self._ask = [
            env.get_wrapper_attr("action_masks") for env in vector.envs if env.has_wrapper_attr("action_masks")
        ]

    def reset(self, seed: int, observations: NDArray[Any], masks: NDArray[np.int8]) -> None:
        """See `Environments.reset`."""
        first, info = self.vector.reset(seed=seed)
        observations[...] = first
        self._write_masks(info, masks)

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """See `Environments.step_into`."""
        observations, rewards, terminated, truncated, info = self.vector.step(actions + self.spaces.first_action)
        assert isinstance(slot.observations, np.ndarray)
        slot.observations[...], slot.rewards[...] = observations, rewards
        slot.terminated[...], slot.truncated[...] = terminated, truncated
        self._write_masks(info, slot.action_masks)
        self._final = info.get("final_obs")

    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """See `Environments.final_observations`."""
        return np.stack([self._final[row] for row in rows])

    def _write_masks(self, info: dict[str, Any], masks: NDArray[np.int8]) -> None:
        if "action_mask" in info:
            masks[...] = info["action_mask"]
        elif self._ask:
            masks[...] = [mask() for mask in self._ask]
        else:
            masks[...] = 1


def make_environments(env_id: str, num_envs: int | None, arguments: Mapping[str, Any]) -> Environments:
    """Build the environments of an id, natively where its vector environment offers `step_into`.

    Args:
        env_id: A registered id, also as Gymnasium's `module:EnvId`.
        num_envs: N; None chooses `NATIVE_ENVS` or `COPIED_ENVS`.
        arguments: Passed on to the environment.

    Raises:
        UnknownNameError: No such id.
        SettingError: The environment does not take the arguments, or its spaces do not suit an agent.
    """
    spec = _spec(env_id)
    try:
        if spec.vector_entry_point is not None:
            vector = gym.make_vec(spec, num_envs or NATIVE_ENVS, "vector_entry_point", **arguments)
            if hasattr(vector, "step_into"):
                return NativeEnvironments(vector)
            vector.close()
        mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
        vector = gym.make_vec(spec, num_envs or COPIED_ENVS, "sync", vector_kwargs=mode, **arguments)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise SettingError(f"{env_id} does not take these arguments: {error}") from error
    assert isinstance(vector, SyncVectorEnv)
    return CopiedEnvironments(vector)


def _spec(env_id: str) -> EnvSpec:
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except gym.error.Error as error:
        raise UnknownNameError("environment", env_id, gym.registry) from error
    except ModuleNotFoundError as error:
        raise SettingError(f"environment {env_id!r} names a module that cannot be imported: {error}") from error
