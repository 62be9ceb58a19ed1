"""The native learner: PPO, A2C, V-trace and REINFORCE as they stand in their files, with compiled gradients.

Each class inherits its algorithm and replaces the one method that takes a step of the optimiser. What an update is,
which minibatches it has, advantages, decay and metrics are said once, in the algorithm. Gradients equal those of torch
to 1e-5 and checkpoints are interchangeable; bits differ, because other libraries add up in another order.

Policy and value share no weights, so each takes its steps in a lane of its own: with two threads both lanes run at the
same time from the first minibatch of an epoch to its last, with four every lane has two threads for its shards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.a2c import A2C
from sysgym.agents.actor_critic import ActorCritic, Batch, means
from sysgym.agents.learner import Learner, require_finite
from sysgym.agents.native.behaviour import sees_bytes
from sysgym.agents.native.perceptron import NativeBytes, NativeChoices, NativePerceptron
from sysgym.agents.networks import Network, Perceptron
from sysgym.agents.ppo import PPO
from sysgym.agents.reinforce import Reinforce
from sysgym.agents.rollout import Rollout
from sysgym.agents.settings import Settings
from sysgym.agents.updates.optimizers import Tensors
from sysgym.agents.updates.team import Team
from sysgym.agents.vtrace import Passed, VTrace

Array = NDArray[Any]
Rows = NDArray[np.int64]
SettingsKind = TypeVar("SettingsKind", bound=Settings)

VALUE_ROWS = 512
"""Observations whose values are asked for at once."""


class NativeLearner(Learner[SettingsKind]):
    """What the native learners share; see `Learner` for the arguments.

    The network is one that `behaviour.learns` says yes to.
    """

    def __init__(self, network: Network, settings: SettingsKind, seed: int, threads: int = 1) -> None:
        super().__init__(network, settings, seed, threads)
        self.lanes = Team(min(2, threads))
        activation, inner = network.architecture.activation, max(1, threads // 2)
        assert isinstance(network.policy, Perceptron) and isinstance(network.value, Perceptron)
        self._chooses = network.architecture.kind == "choices"
        policy = NativeChoices if self._chooses else NativePerceptron
        self.policy = policy(network.policy, "policy", activation, settings, Team(inner))
        self.value = NativePerceptron(network.value, "value", activation, settings, Team(inner))

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """See `Learner.state`."""
        tensors, values = super().state()
        return tensors | self.policy.optimizer_tensors() | self.value.optimizer_tensors(), values

    def restore(self, tensors: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """See `Learner.restore`."""
        super().restore(tensors, values)
        self.policy.restore_optimizer(tensors)
        self.value.restore_optimizer(tensors)

    @torch.no_grad()
    def _encoded(self, observations: Array | Tensor) -> NDArray[np.float32]:
        """Observations (M, *shape) as the first layer takes them, (M, features); (M, A, features) of choices."""
        seen = observations if isinstance(observations, Tensor) else torch.from_numpy(observations)
        encoded: NDArray[np.float32] = self.network.inputs(seen).numpy()
        return encoded

    def _states(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the value sees of encoded observations, (M, features)."""
        return np.ascontiguousarray(inputs[:, -1]) if self._chooses else inputs

    def _descend_policy(
        self, rows: Rows, masks: Array, actions: Array, old: Array, advantages: Array, clip: float, entropy: float
    ) -> dict[str, float]:
        """A step of the policy's optimiser behind a `forward` of the same rows; see `gradients.policy_head`."""
        told = self.policy.policy_gradient(rows, masks, actions, old, advantages, clip, entropy)
        told["policy_gradient_norm"] = self.policy.descend(self.optimizer.param_groups[0]["lr"])
        require_finite({"policy_gradient_norm": told["policy_gradient_norm"]})
        return told

    def _descend_value(
        self, rows: Rows, returns: Array, old: Array, clip: float, weight: float, factor: float
    ) -> dict[str, float]:
        """A step of the value's optimiser on weight x factor x mean squared error, behind a `forward`."""
        loss = factor * self.value.value_gradient(rows, returns, old, clip, weight * factor)
        size = self.value.descend(self.optimizer.param_groups[0]["lr"])
        require_finite({"value_gradient_norm": size})
        return {"value_loss": loss, "value_gradient_norm": size}


class NativeActorCritic(NativeLearner[Any], ActorCritic[Any]):
    """What the native learners with a value network share."""

    _seen: Tensor | None = None
    _inputs: NDArray[np.float32]
    _seen_by_value: NDArray[np.float32]

    def _values(self, observations: Tensor) -> NDArray[np.float64]:
        """See `ActorCritic._values`."""
        inputs = self._states(self._encoded(observations))
        cuts = range(0, len(inputs), VALUE_ROWS)
        parts = self.lanes.run([partial(self.value.outputs, inputs[cut : cut + VALUE_ROWS]) for cut in cuts])
        return np.concatenate(parts)[:, 0].astype(np.float64)

    def _both(self, policy: Callable[[], dict[str, float]], value: Callable[[], dict[str, float]]) -> dict[str, float]:
        """The metrics of both lanes."""
        first, second = self.lanes.run([policy, value])
        return first | second

    def _steps(
        self, batch: Batch, parts: list[Rows], entropy_weight: float, clip: float, value_clip: float, factor: float
    ) -> dict[str, float]:
        """Steps of both optimisers on the parts of a batch; mean metrics. See `gradients` for the last three."""
        if self._seen is not batch.observations:  # once an update, not once an epoch
            self._seen, self._inputs = batch.observations, self._encoded(batch.observations)
            self._seen_by_value = self._states(self._inputs)
        inputs, decisions = self._inputs, batch.decisions.numpy()
        masks, actions, old = batch.masks.numpy().view(np.int8), batch.actions.numpy(), batch.log_probabilities.numpy()
        advantages, values, returns = batch.advantages.numpy(), batch.values.numpy(), batch.returns.numpy()

        def policy(part: Rows) -> dict[str, float]:
            rows = part[decisions[part]]
            rows = rows if len(rows) else part
            self.policy.forward(inputs, rows, masks)
            credit = self._credit(advantages, rows)
            return self._descend_policy(rows, masks, actions, old, credit, clip, entropy_weight)

        def value(part: Rows) -> dict[str, float]:
            self.value.forward(self._seen_by_value, part)
            return self._descend_value(part, returns, values, value_clip, self.settings.value_weight, factor)

        return self._both(
            lambda: means([policy(part) for part in parts]), lambda: means([value(part) for part in parts])
        )

    def _credit(self, advantages: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """What the policy's gradient multiplies; the advantages as they are."""
        del rows
        return advantages


class NativePPO(NativeActorCritic, PPO):
    """`ppo.PPO` with compiled gradients."""

    def _epoch(self, batch: Batch, parts: list[Rows], entropy_weight: float) -> dict[str, float]:
        value_clip = self.settings.clip if self.settings.clip_values else 0.0
        return self._steps(batch, parts, entropy_weight, self.settings.clip, value_clip, 0.5)

    def _credit(self, advantages: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        if not self.settings.normalize_advantages or len(rows) < 2:
            return advantages
        chosen = advantages[rows].astype(np.float64)
        mean, deviation = np.float32(chosen.mean()), np.float32(chosen.std(ddof=1) + 1e-8)
        return (advantages - mean) / deviation


class NativeA2C(NativeActorCritic, A2C):
    """`a2c.A2C` with compiled gradients."""

    def _learn(self, batch: Batch, entropy_weight: float) -> dict[str, float]:
        metrics = self._steps(batch, [np.arange(len(batch))], entropy_weight, 0.0, 0.0, 1.0)
        return {name: value for name, value in metrics.items() if name not in RATIO_METRICS}


RATIO_METRICS = ("approximate_kl", "approximate_kl_k1", "clip_share")
"""Those that say something only where ratios are counted."""


class NativeVTrace(NativeActorCritic, VTrace):
    """`vtrace.VTrace` with compiled gradients."""

    def _pass(self, rollout: Rollout, chosen: Rows) -> Passed:
        steps, envs = rollout.actions.shape
        inputs = self._encoded(rollout.observations.reshape(-1, *rollout.observations.shape[2:]))
        every, masks = np.arange(steps * envs), rollout.masks[:-1].reshape(steps * envs, -1)
        old = rollout.log_probabilities.ravel().astype(np.float32)
        states = self._states(inputs)
        self.lanes.run(
            [partial(self.policy.forward, inputs, chosen, masks), partial(self.value.forward, states, every)]
        )
        log_taken = self.policy.log_taken(chosen, masks, rollout.actions.ravel())
        ahead = self.value.outputs(states[steps * envs :])
        values = np.concatenate([self.value.passed(len(every)), ahead])[:, 0].astype(np.float64)
        return Passed(log_taken, values.reshape(steps + 1, envs), (every, masks, old))

    def _improve(
        self,
        rollout: Rollout,
        chosen: Rows,
        passed: Passed,
        advantages: NDArray[np.float64],
        targets: NDArray[np.float64],
        entropy_weight: float,
    ) -> dict[str, float]:
        every, masks, old = passed.kept
        actions, weight = rollout.actions.ravel(), self.settings.value_weight
        credit, returns = advantages.astype(np.float32), targets.astype(np.float32)
        metrics = self._both(
            partial(self._descend_policy, chosen, masks, actions, old, credit, 0.0, entropy_weight),
            partial(self._descend_value, every, returns, returns, 0.0, weight, 0.5),
        )
        return {name: value for name, value in metrics.items() if name not in RATIO_METRICS}


class NativeReinforce(NativeLearner[Any], Reinforce):
    """`reinforce.Reinforce` with compiled gradients."""

    def __init__(self, network: Network, settings: Any, seed: int, threads: int = 1) -> None:
        super().__init__(network, settings, seed, threads)
        if sees_bytes(network):
            assert isinstance(network.policy, Perceptron)
            self.policy = NativeBytes(
                network.policy, "policy", network.architecture.activation, settings, self.policy.team
            )

    def _encoded(self, observations: Array | Tensor) -> Any:
        """Bytes as they are where the policy takes them so."""
        if isinstance(self.policy, NativeBytes):
            return np.asarray(observations).reshape(len(observations), -1)
        return super()._encoded(observations)

    def _descend_policy(self, *terms: Any) -> dict[str, float]:
        """Without a step, as long as further slots are to be added; see `ReinforceSettings.slots_per_step`."""
        told = self.policy.policy_gradient(*terms)
        whole = self._add([self.policy.gradient()])
        if whole is not None:
            self.policy.follow(whole[0])
            told["policy_gradient_norm"] = self.policy.descend(self.optimizer.param_groups[0]["lr"])
            require_finite({"policy_gradient_norm": told["policy_gradient_norm"]})
        return told

    def _learn(
        self, rollout: Rollout, chosen: Rows, weights: NDArray[np.float64], entropy_weight: float
    ) -> dict[str, float]:
        inputs = self._encoded(rollout.observations[:-1].reshape(-1, *rollout.observations.shape[2:]))
        masks = rollout.masks[:-1].reshape(len(inputs), -1)
        old = np.zeros(len(inputs), dtype=np.float32)
        self.policy.forward(inputs, chosen, masks)
        metrics = self._descend_policy(
            chosen, masks, rollout.actions.ravel(), old, weights.astype(np.float32), 0.0, entropy_weight
        )
        return {name: value for name, value in metrics.items() if name not in RATIO_METRICS}
