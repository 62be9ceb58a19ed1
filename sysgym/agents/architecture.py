"""Which network suits which spaces, and the shapes of its weights.

Three kinds, told apart by the observation's shape alone (A actions, F features a row):

* `rows`: shape (A, F), one row an action. A perceptron shared over the rows gives each its logit, so that the policy
  does not depend on the order of the rows (RLScheduler's kernel network, Zhang et al., SC 2020, section 4.3).
* `rows_and_void`: shape (A - 1, F), one row an action, and a last action that belongs to no row; its logit comes
  from the pooled features of all rows.
* `flat`: everything else, one perceptron over all numbers.

A graph network for the Dict convention becomes a fourth kind here. Policy and value share no weights in any of them.
The description is plain data: `networks` builds it in torch, `inference` runs its policy half in numpy, and a
checkpoint is checked against `weight_shapes`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from sysgym.agents.spaces import Spaces
from sysgym.core.errors import SettingError, UnknownNameError

KINDS = ("flat", "rows", "rows_and_void")
ACTIVATIONS = ("tanh", "relu")
HIDDEN = {"flat": (64, 64), "rows": (32, 16), "rows_and_void": (32, 16)}


@dataclass(frozen=True)
class Architecture:
    """A policy and value network.

    Attributes:
        kind: One of `KINDS`.
        hidden: Widths of the hidden layers.
        activation: "tanh" or "relu".
        normalize: Whether observations are standardised by their running mean and standard deviation first.
    """

    kind: str
    hidden: tuple[int, ...]
    activation: str
    normalize: bool

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Architecture:
        """The inverse of `dataclasses.asdict`; lists serve as tuples, as JSON has them."""
        return cls(**{**fields, "hidden": tuple(fields["hidden"])})

    def num_features(self, spaces: Spaces) -> int:
        """Numbers that enter the first layer at once: a row's, or all."""
        return spaces.size if self.kind == "flat" else spaces.shape[1]


def choose_architecture(
    spaces: Spaces,
    kind: str | None = None,
    hidden: tuple[int, ...] | None = None,
    activation: str | None = None,
    normalize: bool = False,
) -> Architecture:
    """The network for these spaces; what is None is chosen.

    Raises:
        UnknownNameError: The kind or activation does not exist.
        SettingError: The kind does not fit the observation's shape, or a width is not positive.
    """
    kind = kind or _kind_for(spaces)
    activation = activation or ("tanh" if kind == "flat" else "relu")
    if kind not in KINDS:
        raise UnknownNameError("network", kind, KINDS)
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS)
    rows = spaces.num_actions - (kind == "rows_and_void")
    if kind != "flat" and (len(spaces.shape) != 2 or spaces.shape[0] != rows):
        raise SettingError(f"network={kind!r} needs observations of shape ({rows}, F); these are {spaces}")
    hidden = HIDDEN[kind] if hidden is None else tuple(hidden)
    if not hidden or min(hidden) < 1:
        raise SettingError(f"hidden is {hidden}; it must be one or more widths of at least 1")
    return Architecture(kind, hidden, activation, normalize)


def weight_shapes(spaces: Spaces, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights, as `networks.Network.state_dict` has them."""
    features, hidden = architecture.num_features(spaces), architecture.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    if architecture.normalize:
        shapes |= {"scale.mean": (features,), "scale.variance": (features,), "scale.count": ()}
    if architecture.kind == "flat":
        shapes |= _perceptron("policy", (features, *hidden, spaces.num_actions))
        return shapes | _perceptron("value", (features, *hidden, 1))
    shapes |= _perceptron("policy", (features, *hidden, 1))
    for head in ("void", "value") if architecture.kind == "rows_and_void" else ("value",):
        shapes |= _perceptron(f"{head}.rows", (features, *hidden))
        shapes |= _perceptron(f"{head}.pooled", (2 * hidden[-1], hidden[-1], 1))
    return shapes


def _kind_for(spaces: Spaces) -> str:
    if len(spaces.shape) == 2:
        if spaces.shape[0] == spaces.num_actions:
            return "rows"
        if spaces.shape[0] == spaces.num_actions - 1:
            return "rows_and_void"
    return "flat"


def _perceptron(name: str, widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        shapes[f"{name}.layers.{layer}.weight"] = (outputs, inputs)
        shapes[f"{name}.layers.{layer}.bias"] = (outputs,)
    return shapes
