"""Where a network over rows can begin: as a linear priority that somebody believes in, instead of as chance.

A queue's rules of thumb are nearly linear in the logarithms of what a job asks for. A perceptron with ReLU carries a
linear score exactly, z = max(0, z) - max(0, -z), in two units a layer; what else it has weighs nothing at first, and
learns. The larger the weights, the surer the policy is of its rule from the beginning. Their size stands in the last
layer, the others are of size 1: a step of the optimiser, which moves every weight alike, would hardly turn a rule whose
weights are large.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sysgym.agents.networks import Network, Perceptron
from sysgym.core.errors import SettingError


@torch.no_grad()
def begin_linear(network: Network, slope: Sequence[float]) -> None:
    """Let the logit of a row be the sum of its features by these weights; 0 for features beyond the list.

    Raises:
        SettingError: The network is not one over rows with ReLU, its features as they are; or too many weights.
    """
    architecture = network.architecture
    if architecture.kind not in ("rows", "choices") or architecture.activation != "relu" or architecture.normalize:
        raise SettingError(
            f"start needs a network over rows with activation 'relu' and normalize_observations False; it is "
            f"{architecture.kind!r}, {architecture.activation!r}, {architecture.normalize}"
        )
    assert isinstance(network.policy, Perceptron)
    layers = [layer for layer in network.policy.layers if isinstance(layer, torch.nn.Linear)]
    features = layers[0].in_features
    if len(slope) > features or min(architecture.hidden) < 2:
        raise SettingError(
            f"start has {len(slope)} weights, hidden is {architecture.hidden}; a row has {features} features, and the "
            "score takes two units of each layer"
        )
    score, gain = torch.zeros(features), max(map(abs, slope)) or 1.0
    score[: len(slope)] = torch.tensor(slope) / gain
    first, *inner, last = layers
    first.weight[:2] = torch.stack([score, -score])
    for layer in inner:
        layer.weight[:2] = torch.eye(2, layer.in_features)
    last.weight.zero_()
    last.weight[0, 0], last.weight[0, 1] = gain, -gain
