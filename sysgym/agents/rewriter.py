"""The rewriter: a score of regions and a policy over rules, taught by a search and then by its own episodes.

The algorithm of the rewriting ids, after Chen & Tian, "Learning to perform local rewriting for combinatorial
optimization", NeurIPS 2019: an action is a region (a row of the observation) and a rule, chosen by the sum of a
region's score and a rule's. It differs where the search at hand is good and quick:

1. *Imitation.* A heuristic of the environment (`teacher`) plays, and the network learns to choose as it does. Nothing
   is known of it but that it acts on a state; an environment without it skips this part.
2. *Its own episodes.* REINFORCE (`reinforce`), where several episodes on the same expression judge each other.

Where the network is one over tables of terms, only allowed actions are scored: a mask over terms and rules is long and
nearly empty. With any other network the rewriter learns likewise, over dense masks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.learner import Share
from sysgym.agents.networks import Network, masked_log_probabilities
from sysgym.agents.reinforce import Floats, Reinforce, ReinforceSettings
from sysgym.agents.rollout import Rollout
from sysgym.agents.stepping.environments import NativeEnvironments, make_environments
from sysgym.agents.term_network import Packed, TermNetwork, log_probabilities
from sysgym.core.engines import allocate_slot
from sysgym.core.errors import SettingError, require_range
from sysgym.core.protocols import ArraySpec
from sysgym.core.seeding import stream
from sysgym.core.term_network import pack

_KEPT = 32
_SHARD = 512


@dataclass(frozen=True)
class RewriterSettings(ReinforceSettings):
    """Settings of the rewriter."""

    rollout_steps: int = 20
    """Steps after which an episode is cut."""
    learning_rate: float = 3e-4
    """Of its own episodes."""
    episodes_per_workload: int = 8
    """Episodes that begin with the same expression."""
    entropy_weight: float = 0.003
    """Of its own episodes."""
    discount: float = 1.0
    """Rewards are improvements; none is worth less for coming later."""
    normalize_observations: bool | None = False
    """Off, and not to be had: the running scale would first move behind the imitation, and undo what was learned."""
    teacher: str = "lookahead"
    """Heuristic that is imitated first."""
    lessons: int = 100
    """Slots that the teacher plays; 0 skips imitation."""
    lesson_steps: int = 16
    """Steps of each environment in a lesson."""
    repetitions: int = 4
    """Slots, of the last 32, that are learned from after each lesson."""
    imitation_rate: float = 2e-3
    """Learning rate of imitation; falls linearly to a tenth."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("lessons", self.lessons, 0, whole=True)
        for name in ("lesson_steps", "repetitions"):
            require_range(name, getattr(self, name), 1, whole=True)
        require_range("imitation_rate", self.imitation_rate, 0.0, open_low=True)
        if self.normalize_observations:
            raise SettingError("normalize_observations is True; imitation comes before a scale moves: leave it out")


class Lesson(NamedTuple):
    """Observations (S, rows + 1, 8), allowed (table, action) pairs by table, and the action that was taken (S,)."""

    observations: NDArray[Any]
    pairs: NDArray[np.int64]
    actions: NDArray[np.int64]


class Rewriter(Reinforce):
    """The rewriter at work on one network; see `Learner` for the arguments."""

    settings: RewriterSettings

    def prepare(self, env_id: str, environment: Mapping[str, Any]) -> None:
        """Imitate the teacher; see `Learner.prepare`."""
        settings = self.settings
        teacher = Teacher(env_id, environment, settings, self.seed) if settings.lessons else None
        if teacher is None or not teacher.builds:
            return
        weights = self.network.parts()["policy"]
        optimizer = torch.optim.Adam(weights, settings.imitation_rate)
        choose, kept = stream(self.seed, "imitation"), deque[Lesson](maxlen=_KEPT)
        for number in range(settings.lessons):
            kept.append(teacher.lesson())
            optimizer.param_groups[0]["lr"] = settings.imitation_rate * (1 - 0.9 * number / settings.lessons)
            for place in choose.integers(len(kept), size=settings.repetitions).tolist():
                loss = imitation_loss(self.network, kept[place])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()

    def _learn(
        self, rollout: Rollout, chosen: NDArray[np.int64], weights: Floats, entropy_weight: float
    ) -> dict[str, float]:
        """See `Reinforce`."""
        policy = self.network.policy
        if not isinstance(policy, TermNetwork):
            return super()._learn(rollout, chosen, weights, entropy_weight)
        lesson = lesson_of(rollout.observations[:-1], rollout.masks[:-1], rollout.actions, chosen)
        credit = torch.from_numpy(weights[chosen].astype(np.float32))
        cuts = range(0, len(chosen), _SHARD)

        def terms(begin: int) -> tuple[Tensor, dict[str, float]]:
            part = part_of(lesson, begin, begin + _SHARD)
            log_all, taken = scored(policy, part)
            loss = -(log_all[taken] * credit[begin : begin + _SHARD]).mean()
            entropy = -(log_all.exp() * log_all).sum() / len(part.actions)
            return loss - entropy_weight * entropy, {"policy_loss": loss.item(), "entropy": entropy.item()}

        sizes = [min(_SHARD, len(chosen) - begin) / len(chosen) for begin in cuts]
        return self._descend(policy=[Share(size, partial(terms, at)) for size, at in zip(sizes, cuts, strict=True)])


class Teacher:
    """A heuristic that plays an environment, slot after slot.

    Args:
        env_id: The environment.
        environment: Its arguments.
        settings: Name the heuristic and the slots.
        seed: Of the episodes.
    """

    def __init__(self, env_id: str, environment: Mapping[str, Any], settings: RewriterSettings, seed: int) -> None:
        self._environments = make_environments(env_id, None, environment)
        vector = self._environments.vector if isinstance(self._environments, NativeEnvironments) else None
        build = getattr(vector, "heuristics", {}).get(settings.teacher)
        self.builds = build is not None  # and the environment shows one array
        if vector is not None and not isinstance(vector.unwrapped.engine.observation_spec, ArraySpec):
            self.builds, build = False, None
        if build is None or vector is None:
            return
        self._engine, self._steps, rows = vector.unwrapped.engine, settings.lesson_steps, vector.num_envs
        self._policies = [build() for _ in range(rows)]
        spec, actions = self._engine.observation_spec, self._engine.num_actions
        self._slots = [allocate_slot(spec, rows, actions) for _ in range(self._steps + 1)]
        first, rows_seeds = self._slots[0], stream(seed, "lessons").integers(2**31, size=rows)
        assert isinstance(first.observations, np.ndarray)
        self._environments.reset(rows_seeds, first.observations, first.action_masks)

    def lesson(self) -> Lesson:
        """What the heuristic did in the next steps."""
        taken = np.zeros((self._steps, len(self._policies)), np.int64)
        for step in range(self._steps):
            slot = self._slots[step + 1]
            for row, policy in enumerate(self._policies):
                taken[step, row] = policy.act_on_state(self._engine.state(row))
            self._environments.step_into(taken[step], slot)
            for row in np.flatnonzero(slot.terminated | slot.truncated).tolist():
                self._policies[row].reset()
        observations = np.stack([np.asarray(slot.observations) for slot in self._slots])
        masks = np.stack([slot.action_masks for slot in self._slots])
        self._slots[0], self._slots[-1] = self._slots[-1], self._slots[0]
        return lesson_of(observations[:-1], masks[:-1], taken, np.arange(taken.size))


def lesson_of(
    observations: NDArray[Any], masks: NDArray[np.int8], actions: NDArray[np.int64], chosen: NDArray[np.int64]
) -> Lesson:
    """Some steps of a slot, numbers of (T, N) flattened."""
    seen = observations.reshape(-1, *observations.shape[2:])[chosen]
    allowed = masks.reshape(-1, masks.shape[2])[chosen]
    return Lesson(seen, np.argwhere(allowed), actions.ravel()[chosen])


def part_of(lesson: Lesson, begin: int, end: int) -> Lesson:
    """Steps from `begin` to `end`."""
    low, high = np.searchsorted(lesson.pairs[:, 0], [begin, end])
    return Lesson(lesson.observations[begin:end], lesson.pairs[low:high] - (begin, 0), lesson.actions[begin:end])


def imitation_loss(network: Network, lesson: Lesson) -> Tensor:
    """Mean of minus the log-probability of what was done in a lesson."""
    if isinstance(network.policy, TermNetwork):
        log_all, taken = scored(network.policy, lesson)
        return -log_all[taken].mean()
    masks = torch.zeros((len(lesson.actions), network.spaces.num_actions), dtype=torch.bool)
    masks[lesson.pairs[:, 0], lesson.pairs[:, 1]] = True
    log_dense = masked_log_probabilities(network.policy_logits(torch.from_numpy(lesson.observations), masks), masks)
    return -log_dense.gather(1, torch.from_numpy(lesson.actions[:, None])).mean()


def scored(policy: TermNetwork, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all that is allowed, and the places of the actions that were taken among them."""
    packed = Packed.of(pack(lesson.observations))
    log_all = log_probabilities(*policy.parts(packed), packed, lesson.pairs, policy.rules, policy.rows)
    taken = np.flatnonzero(lesson.pairs[:, 1] == lesson.actions[lesson.pairs[:, 0]])
    return log_all, torch.from_numpy(taken)
