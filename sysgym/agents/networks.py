"""Policy and value networks in torch, and the masked categorical distribution.

The kinds and their choice are described in `acting.architecture`; here they are built and differentiated.
Initialisation follows common PPO practice (Huang et al., "The 37 implementation details of PPO", 2022): orthogonal,
gain sqrt(2) inside, 0.01 for the policy's and 1 for the value's last layer, zero biases.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from sysgym.agents.acting.architecture import Architecture, GraphOutputs, num_rules
from sysgym.agents.acting.inference import LARGEST_STANDARD
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.graph_networks import GraphNetwork
from sysgym.agents.term_network import TermNetwork, TermValue


class Perceptron(nn.Module):
    """Linear layers with an activation between them.

    Args:
        widths: Widths of input, hidden layers and output.
        activation: "tanh" or "relu".
        gain: Gain of the last layer's orthogonal initialisation.
    """

    def __init__(self, widths: tuple[int, ...], activation: str, gain: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(widths))
        self.activation = torch.tanh if activation == "tanh" else torch.relu
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.orthogonal_(layer.weight, gain if layer is self.layers[-1] else math.sqrt(2))
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layers to the last dimension."""
        *inner, last = self.layers
        for layer in inner:
            inputs = self.activation(layer(inputs))
        output: Tensor = last(inputs)
        return output


class PooledRows(nn.Module):
    """One number from a set of rows: each row through a perceptron, mean and maximum over rows, a perceptron."""

    def __init__(self, features: int, hidden: tuple[int, ...], activation: str, gain: float) -> None:
        super().__init__()
        self.rows = Perceptron((features, *hidden), activation, math.sqrt(2))
        self.pooled = Perceptron((2 * hidden[-1], hidden[-1], 1), activation, gain)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, rows, F) to (B, 1)."""
        rows = self.rows.activation(self.rows(inputs))
        output: Tensor = self.pooled(torch.cat([rows.mean(-2), rows.amax(-2)], dim=-1))
        return output

    def sparse(self, inputs: Tensor) -> Tensor:
        """The same, in the time that the rows take that are not all 0: of those that are, one passes for all.

        A window of 128 jobs in which ten wait is nearly empty. How many rows pass depends on the data, which
        `torch.func` cannot map; so this is for learners, and `forward` for it.
        """
        filled = (inputs != 0.0).any(-1)
        count, states = filled.sum(-1, keepdim=True), filled.nonzero()[:, :1]
        if len(states) == filled.numel():
            return self.forward(inputs)
        rows = self.rows.activation(self.rows(inputs[filled]))
        empty = self.rows.activation(self.rows(inputs.new_zeros(1, inputs.shape[-1])))
        total = (filled.shape[1] - count) * empty
        mean = total.index_add(0, states[:, 0], rows) / filled.shape[1]
        least = torch.where(count < filled.shape[1], empty, -torch.inf)
        largest = least.scatter_reduce(0, states.expand_as(rows), rows, "amax")
        output: Tensor = self.pooled(torch.cat([mean, largest], dim=-1))
        return output


class ObservationScale(nn.Module):
    """Running mean and variance of each feature; part of the model, so that no one can forget them.

    The three buffers are float64: they accumulate over a whole run.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(features, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardise the last dimension, clipped at `LARGEST_STANDARD` standard deviations."""
        deviation = (self.variance + 1e-8).sqrt().float()
        return ((inputs - self.mean.float()) / deviation).clamp(-LARGEST_STANDARD, LARGEST_STANDARD)

    @torch.no_grad()
    def update(self, inputs: Tensor) -> None:
        """Take in a batch of inputs, shape (..., features) (Chan et al.'s parallel update of mean and variance)."""
        rows = inputs.reshape(-1, inputs.shape[-1]).double()
        count, mean = len(rows), rows.mean(0)
        variance = (rows - mean).square_().mean(0)  # several times as fast as var, which goes down the columns
        total = self.count + count
        delta = mean - self.mean
        between = delta**2 * self.count * count / total**2
        self.variance.copy_((self.variance * self.count + variance * count) / total + between)
        self.mean.add_(delta * count / total)
        self.count.copy_(total)


class Network(nn.Module):
    """A policy and a value network that share no weights.

    Args:
        spaces: What is seen and may be done in play.
        architecture: The network's kind, widths and activation.
    """

    def __init__(self, spaces: Spaces, architecture: Architecture) -> None:
        super().__init__()
        self.spaces, self.architecture = spaces, architecture
        hidden, activation = architecture.hidden, architecture.activation
        self.scale = self.void = None
        self.policy: nn.Module
        self.value: nn.Module
        if architecture.is_graph:
            graph = spaces.graph
            assert graph is not None
            outputs = architecture.graph_outputs(spaces)
            self.policy = GraphNetwork(graph, hidden, outputs, activation, 0.01)
            self.value = GraphNetwork(graph, hidden, GraphOutputs(0, 0, 1), activation, 1.0)
            return
        if architecture.kind == "terms":
            terms, width, rounds = spaces.shape[0] - 1, hidden[0], len(hidden)
            self.policy = TermNetwork(terms, width, rounds, num_rules(spaces), 0.1)
            self.value = TermValue(terms, width, rounds, 1, 1.0)
            return
        features = architecture.num_features(spaces)
        self.scale = ObservationScale(features) if architecture.normalize else None
        if architecture.kind == "flat":
            self.policy = Perceptron((features, *hidden, spaces.num_actions), activation, 0.01)
            self.value = Perceptron((features, *hidden, 1), activation, 1.0)
        elif architecture.kind == "choices":
            self.policy = Perceptron((features, *hidden, 1), activation, 0.01)
            self.value = Perceptron((features + architecture.foreseen, *hidden, 1), activation, 1.0)
        else:
            self.policy = Perceptron((features, *hidden, 1), activation, 0.01)
            self.value = PooledRows(features, hidden, activation, 1.0)
        self.void = PooledRows(features, hidden, activation, 0.01) if architecture.kind == "rows_and_void" else None

    def policy_logits(self, observations: Tensor, masks: Tensor | None = None) -> Tensor:
        """Logits of all actions from observations; masks are not applied, but spare work.

        Args:
            observations: (B, *shape).
            masks: bool, (B, A); where they are given, logits of actions that are not allowed may be anything finite.

        Returns:
            (B, A).
        """
        inputs = self.inputs(observations)
        if self.architecture.kind in ("flat", "terms") or self.architecture.is_graph:
            logits: Tensor = self.policy(inputs)
            return logits
        inputs = inputs[..., : self.spaces.shape[-1]]  # what is foreseen is not for the policy
        if masks is None:
            logits = self.policy(inputs).squeeze(-1)
        else:
            allowed = masks[:, : inputs.shape[1]]
            logits = inputs.new_zeros(inputs.shape[:2])
            logits[allowed] = self.policy(inputs[allowed]).squeeze(-1)
        return logits if self.void is None else torch.cat([logits, self.void(inputs)], dim=-1)

    def forward(self, observations: Tensor) -> Tensor:
        """Logits of all actions, as `policy_logits`; what `torch.func` calls."""
        return self.policy_logits(observations)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The weights of the policy and those of the value, which share none."""
        value = list(self.value.parameters())
        policy = [*self.policy.parameters(), *(self.void.parameters() if self.void is not None else ())]
        return {"policy": policy, "value": value}

    def values(self, observations: Tensor) -> Tensor:
        """State values, (B,), from observations (B, *shape)."""
        inputs = self.inputs(observations)
        if isinstance(self.value, PooledRows):
            return self.value.sparse(inputs).squeeze(-1)
        value: Tensor = self.value(inputs[:, -1] if self.architecture.kind == "choices" else inputs)
        return value.squeeze(-1)

    def update_scale(self, observations: Tensor) -> None:
        """Let the running scale of observations, if there is one, take in a batch (B, *shape)."""
        if self.scale is not None:
            self.scale.update(self._features(observations))

    def inputs(self, observations: Tensor) -> Tensor:
        """Observations (B, *shape) as the first layer takes them: float32, encoded, on their scale."""
        features = self._features(observations)
        return features if self.scale is None else self.scale(features)

    def _features(self, observations: Tensor) -> Tensor:
        if self.spaces.categories:
            return nn.functional.one_hot(observations, self.spaces.categories).float()
        if self.architecture.kind == "terms":
            return observations
        features = observations.float()
        return features.reshape(len(features), -1) if self.architecture.kind == "flat" else features


def build_network(spaces: Spaces, architecture: Architecture, seed: int) -> Network:
    """A freshly initialised network; the same weights for the same seed, and torch's own generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(spaces, architecture)


def masked_log_probabilities(logits: Tensor, masks: Tensor) -> Tensor:
    """Log-softmax over the allowed actions.

    Args:
        logits: (B, A).
        masks: bool, (B, A), at least one True a row.

    Returns:
        (B, A); minus infinity, with a gradient of exactly 0, where an action is not allowed.
    """
    return torch.log_softmax(logits.masked_fill(~masks, -torch.inf), dim=-1)


def masked_entropy(log_probabilities: Tensor, masks: Tensor) -> Tensor:
    """Entropy over the allowed actions, (B,), of `masked_log_probabilities`."""
    finite = log_probabilities.masked_fill(~masks, 0.0)  # 0 * -inf would be NaN, here and in the gradient
    return -(log_probabilities.exp() * finite).sum(-1)
