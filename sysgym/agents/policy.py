"""Trained policies: what `train` returns and `load` reads; they act with numpy, without torch.

A greedy policy has a trap that its training never shows: where the observation does not change after an action, it
takes the same action again, and so for ever. (In a scheduler: it lets time pass while nothing arrives any more.) The
policy that was trained draws its actions and leaves such a place sooner or later. So a greedy policy that has seen the
same observation `PATIENCE` times in a row draws too, until the observation changes.

What a policy draws in a row of a batch depends on that row's episode and step alone, never on its neighbours: a
scenario's score is the same whatever is played beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.acting.architecture import Architecture, weight_shapes
from sysgym.agents.acting.inference import PolicyFunction, masked_probabilities, most_likely, sample
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.checkpoint import Checkpoint
from sysgym.agents.weights import FOLDER
from sysgym.core.errors import CheckpointError
from sysgym.core.row_network import RowNetwork
from sysgym.core.seeding import philox4x32, stream_key

PATIENCE = 4
"""Times in a row that a greedy policy sees the same observation before it draws."""


class TrainedPolicy:
    """A learned policy: a `Policy` and a `BatchPolicy` of `core.protocols`.

    It takes the allowed action of the largest logit, unless the environment stands still (see the module);
    `sampled(seed)` gives one that always draws from the distribution.

    Args:
        checkpoint: Weights and facts, as `load` reads or a training run writes them.
        seed: Of the draws; None acts greedily and draws with the training run's seed.

    Attributes:
        env_id: Environment that it was trained in.
        environment: Arguments of that environment.
        algorithm: Name of the algorithm.
        settings: Its settings, with everything that was chosen automatically settled.
        seed: Seed of the training run.
        frames: Environment steps that it has learned from.
        curve: Training curve, dicts of `frames`, `seconds`, `mean_return` (of the last 100 episodes, or None).
        spaces: Spaces that it needs.
        parameter_count: Trainable numbers of policy and value network.

    Raises:
        CheckpointError: Facts or weights are incomplete or do not fit each other.
    """

    def __init__(self, checkpoint: Checkpoint, seed: int | None = None) -> None:
        facts = checkpoint.facts
        self._checkpoint = checkpoint
        self._weights = checkpoint.part("weights/")
        try:
            self.env_id: str = facts["env_id"]
            self.environment: dict[str, Any] = facts["environment"]
            self.algorithm: str = facts["algorithm"]
            self.settings: dict[str, Any] = facts["settings"]
            self.seed: int = facts["seed"]
            self.frames: int = facts["frames"]
            self.curve: list[dict[str, Any]] = facts["curve"]
            self.spaces = Spaces.from_dict(facts["spaces"])
            self.architecture = Architecture.from_dict(facts["architecture"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint's facts are incomplete ({error})") from error
        shapes = weight_shapes(self.spaces, self.architecture)
        found = {name: array.shape for name, array in self._weights.items()}
        if found != shapes:
            wrong = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
            raise CheckpointError(f"the checkpoint's weights do not fit its network: {', '.join(wrong)}")
        self.parameter_count = sum(array.size for name, array in self._weights.items() if not name.startswith("scale."))
        self._logits = PolicyFunction(self.spaces, self.architecture, self._weights)
        self._greedy = seed is None
        self._key = stream_key(self.seed if seed is None else seed, "act")
        self._resets = 0
        self._seen: NDArray[Any] | None = None
        self._repeats = self._steps = self._episodes = np.zeros(0, dtype=np.int64)

    @property
    def row_network(self) -> RowNetwork | None:
        """The network of a greedy policy whose every action is a row, for engines that play it themselves; or None.

        It takes the row of the largest logit always, and does not draw where the environment stands still.
        """
        return self._logits.row_network if self._greedy else None

    def sampled(self, seed: int) -> TrainedPolicy:
        """The same policy, drawing its actions from a stream of this seed."""
        return TrainedPolicy(self._checkpoint, seed)

    def reset(self) -> None:
        """Forget the last episodes; those of a greedy policy repeat, those of a sampled one differ."""
        self._steps = np.zeros(0, dtype=np.int64)
        self._resets += not self._greedy

    def begin(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> None:
        """Let episodes begin in some rows of the batches to come.

        Args:
            rows: Which rows, shape (B,).
            seeds: Of every row's episode, shape (B,); fixes what is drawn in it.
        """
        if len(self._steps) != len(rows):
            self._seen = None
            self._repeats, self._steps, self._episodes = (np.zeros(len(rows), dtype=np.int64) for _ in range(3))
        self._repeats[rows] = self._steps[rows] = 0
        self._episodes[rows] = seeds[rows]

    def act(self, observation: Any, action_mask: NDArray[np.int8] | None = None) -> int:
        """An action for one observation; without a mask every action counts as allowed."""
        mask = None if action_mask is None else np.asarray(action_mask)[None]
        return int(self.act_batch(self.spaces.pack(observation)[None], mask)[0])

    def act_batch(self, observations: Any, action_masks: NDArray[np.int8] | None = None) -> NDArray[np.int64]:
        """Actions, int64 (B,), for observations (B, ...) and masks (B, A).

        Observations of several parts are a dict of arrays (B, ...), or packed rows.

        Raises:
            CheckpointError: The observations or masks are not of the shape that the policy was trained with.
        """
        observations = self._seen_of(self.spaces.pack(observations, 1))
        if action_masks is None or not self.settings.get("masked", True):
            action_masks = np.ones((len(observations), self.spaces.num_actions), dtype=np.int8)
        if observations.shape[1:] != self.spaces.shape or action_masks.shape[1:] != (self.spaces.num_actions,):
            raise CheckpointError(
                f"this policy was trained in {self.env_id} ({self.spaces}); it got observations of shape "
                f"{list(observations.shape[1:])} and {action_masks.shape[-1]} actions"
            )
        if len(self._steps) != len(observations):
            every = np.ones(len(observations), dtype=np.bool_)
            self.begin(every, (self._resets << 32) + np.arange(len(observations)))
        logits = self._logits(observations)
        if self._greedy:
            actions = most_likely(logits, action_masks)
            drawing = self._stands_still(observations)
        else:
            actions, drawing = np.zeros(len(logits), dtype=np.int64), np.ones(len(logits), dtype=np.bool_)
        if drawing.any():
            probabilities = masked_probabilities(logits[drawing], action_masks[drawing])
            actions[drawing] = sample(probabilities, self._uniforms(np.flatnonzero(drawing)))
        self._steps += 1
        self._seen = observations.copy()
        return actions + self.spaces.first_action

    def _uniforms(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """A number in [0, 1) for each of the rows, from its episode and step."""
        draws = zip(self._steps[rows].tolist(), self._episodes[rows].tolist(), strict=True)
        words = [philox4x32(self._key, step, episode & 0xFFFFFFFF, episode >> 32, 0)[0] for step, episode in draws]
        return np.array(words) / 2.0**32

    def _stands_still(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Rows that have shown the same observation `PATIENCE` times in a row."""
        if self._seen is not None:
            same = (self._seen == observations).reshape(len(observations), -1).all(axis=1)
            self._repeats = np.where(same & (self._steps > 0), self._repeats + 1, 0)
        return self._repeats >= PATIENCE - 1

    def probabilities(self, observations: Any, action_masks: NDArray[np.int8]) -> NDArray[np.float64]:
        """Probability of each action, (B, A); exactly 0 where it is not allowed."""
        return masked_probabilities(self._logits(self._seen_of(self.spaces.pack(observations, 1))), action_masks)

    def trained_in(self, env_id: str) -> bool:
        """Whether it was trained in the environment of this id, with whatever arguments."""
        return _plain_id(env_id) == _plain_id(self.env_id)

    def check(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], env_id: str = "") -> None:
        """Refuse an environment of other spaces, or of another id where one is given.

        Equal spaces do not make two environments one: an action of the one means something else in the other. The
        same id with other arguments is no other environment.

        Raises:
            CheckpointError: They differ; the message names both.
        """
        if env_id and not self.trained_in(env_id):
            raise CheckpointError(
                f"this policy was trained in {_plain_id(self.env_id)}, not in {_plain_id(env_id)}; give one that was, "
                "or, in a study that wants to know how it transfers, transfer = true"
            )
        spaces = Spaces.of(observation_space, action_space)
        if self.spaces not in (spaces, self._played(spaces)):
            raise CheckpointError(
                f"this policy was trained in {self.env_id} ({self.spaces}); the environment has {spaces}: "
                "make it with the arguments that the policy was trained with"
            )

    def _seen_of(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Observations without the columns that only a value sees, if they have them."""
        return observations[..., : self.spaces.shape[-1]] if self.architecture.foreseen else observations

    def _played(self, spaces: Spaces) -> Spaces:
        """Spaces without the columns that only a value sees, if they may have them."""
        return self.architecture.played(spaces) if len(spaces.shape) == 2 else spaces

    def weights_sha256(self) -> str:
        """Hexadecimal SHA-256 of the weights."""
        return checkpoints.weights_sha256(self._weights)

    def save(self, path: str | Path) -> None:
        """Write the policy, without what only a resumed run needs.

        Raises:
            OutputError: The place cannot be written.
        """
        facts = {name: value for name, value in self._checkpoint.facts.items() if name != "training"}
        tensors = {f"weights/{name}": array for name, array in self._weights.items()}
        checkpoints.write(path, Checkpoint(facts, tensors))

    def __repr__(self) -> str:
        return f"<TrainedPolicy {self.algorithm} for {self.env_id}, {self.parameter_count} parameters>"


def load(path: str | Path, env: gym.Env[Any, Any] | None = None) -> TrainedPolicy:
    """Read a policy that `TrainedPolicy.save` or a training run has written.

    Args:
        path: A file, or the name of weights that ship with sysgym, such as "placement".
        env: The environment that it shall play in, if it shall be told whether it can.

    Raises:
        CheckpointError: The file is absent, damaged, foreign, or of a newer version; or it was trained in an
            environment of another id or of other spaces than `env`.
    """
    shipped = FOLDER / f"{path}.safetensors"
    if not Path(path).exists() and shipped.is_file():
        path = shipped
    checkpoint = checkpoints.read(path)
    try:
        policy = TrainedPolicy(checkpoint)
        if env is not None:
            policy.check(env.observation_space, env.action_space, env.spec.id if env.spec else "")
        return policy
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _plain_id(env_id: str) -> str:
    """An id without the module that registers it."""
    return env_id.rpartition(":")[2]
