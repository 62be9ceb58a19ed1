"""Which network suits which spaces, and the shapes of its weights.

Told apart by the observation alone (A actions; F features a row):

* `rows`: shape (A, F), one row an action. A perceptron shared over the rows gives each its logit, so that the policy
  does not depend on the order of the rows (RLScheduler's kernel network, Zhang et al., SC 2020, section 4.3).
* `rows_and_void`: shape (A - 1, F), one row an action, and a last action that belongs to no row; its logit comes
  from the pooled features of all rows.
* `choices`: shape (A, F) as well, one row an action; but the last action belongs to nothing, such as letting time pass,
  and its row describes the state as a whole. The perceptron over rows scores it like any other, and the value comes
  from its row alone. Environments ask for it by `metadata["network"]`. In training that row may end with columns
  that the value alone sees (`foreseen`), such as arrivals to come: a value is not played, so what it knows costs a
  policy nothing, and what it can foretell is no noise in the policy's gradient. (Asymmetric actor-critic, Pinto et
  al., RSS 2018; the input-driven baselines of Mao et al., ICLR 2019.)
* `flat`: everything else, one perceptron over all numbers.

Observations of the graph convention (N nodes) get a network that passes messages along the edges, both ways, and
differ in what the actions stand for:

* `pointer`: A = N k + extras, action v k + j is choice j of node v (row-major), the extras belong to no node. Chosen
  where there are at least as many actions as nodes. Where the observation has a part `choices`, with features of every
  action, one perceptron is shared by all of them: it scores a choice from its own features, its node's features and
  state, the globals, and the mean state; an extra has neither features nor a node.
* `leading`: A <= N, action v is node v, such as the device nodes of a placement.
* `graph`: a fixed set of actions that belong to the graph as a whole.

* `terms`: int32 tables of shape (N + 1, 8), A = N rules + 1: a row a term, operands by number, the last action stops
  (`core.term_network`). The widths are equal, one for each round of messages.

Policy and value share no weights in any of them.
The description is plain data: `networks` builds it in torch, `inference` runs its policy half in numpy, and a
checkpoint is checked against `weight_shapes`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sysgym.agents.acting.spaces import Spaces
from sysgym.core.errors import SettingError, require_known
from sysgym.core.term_network import EPISODE, term_shapes

GRAPH_KINDS = ("pointer", "leading", "graph")
KINDS = ("flat", "rows", "rows_and_void", "choices", "terms", *GRAPH_KINDS)
ACTIVATIONS = ("tanh", "relu")
HIDDEN = {"flat": (64, 64), "rows": (32, 16), "rows_and_void": (32, 16), "choices": (64, 32), "terms": (48, 48, 48)}
HIDDEN |= dict.fromkeys(GRAPH_KINDS, (32, 32, 32))


@dataclass(frozen=True)
class Architecture:
    """A policy and value network.

    Attributes:
        kind: One of `KINDS`.
        hidden: Widths of the hidden layers; of a graph network, of the nodes' states: the first is made from their
            features, each further one by a round of messages.
        activation: "tanh" or "relu".
        normalize: Whether observations are standardised by their running mean and standard deviation first.
        foreseen: Last columns of a choice's row that only the value sees, and that training alone shows; the spaces
            that the other methods take are those of play, without them.
    """

    kind: str
    hidden: tuple[int, ...]
    activation: str
    normalize: bool
    foreseen: int = 0

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Architecture:
        """The inverse of `dataclasses.asdict`; lists serve as tuples, as JSON has them."""
        return cls(**{**fields, "hidden": tuple(fields["hidden"])})

    def num_features(self, spaces: Spaces) -> int:
        """Numbers that enter the first layer at once: a row's, or all."""
        return spaces.size if self.kind == "flat" else spaces.shape[1]

    def played(self, spaces: Spaces) -> Spaces:
        """The spaces of play from those of training."""
        if not self.foreseen:
            return spaces
        actions, columns = spaces.shape
        return replace(spaces, shape=(actions, columns - self.foreseen))

    @property
    def is_graph(self) -> bool:
        """Whether messages are passed."""
        return self.kind in GRAPH_KINDS

    @property
    def has_fixed_shapes(self) -> bool:
        """Whether a layer's inputs have one shape whatever is observed; not where terms or nodes are picked out."""
        return self.kind != "terms" and not self.is_graph

    def graph_outputs(self, spaces: Spaces) -> GraphOutputs:
        """What a graph network gives for each node and for the graph as a whole."""
        graph = spaces.graph
        assert graph is not None
        if self.kind == "pointer":
            choices, extras = divmod(spaces.num_actions, graph.nodes)
            return GraphOutputs(graph.nodes, choices, extras)
        return (
            GraphOutputs(spaces.num_actions, 1, 0) if self.kind == "leading" else GraphOutputs(0, 0, spaces.num_actions)
        )


class GraphOutputs(NamedTuple):
    """Logits of a graph network: `choices` for each of the first `nodes` nodes, then `extras` of the whole graph."""

    nodes: int
    choices: int
    extras: int


def choose_architecture(
    spaces: Spaces,
    kind: str | None = None,
    hidden: tuple[int, ...] | None = None,
    activation: str | None = None,
    normalize: bool = False,
    foreseen: int = 0,
) -> Architecture:
    """The network for these spaces, those of training; what is None is chosen.

    Raises:
        UnknownNameError: The kind or activation does not exist.
        SettingError: The kind does not fit the observation's shape, or a width is not positive.
    """
    kind = kind or _kind_for(spaces)
    activation = activation or ("tanh" if kind == "flat" else "relu")
    require_known("network", kind, KINDS)
    require_known("activation", activation, ACTIVATIONS)
    if kind in GRAPH_KINDS:
        _require_graph(spaces, kind, normalize)
    elif kind == "terms":
        if not shows_terms(spaces):
            raise SettingError(f"network='terms' needs int32 tables of shape (N + 1, 8), N rules + 1 actions; {spaces}")
        normalize = False
    elif kind != "flat":
        rows = spaces.num_actions - (kind == "rows_and_void")
        if len(spaces.shape) != 2 or spaces.shape[0] != rows:
            raise SettingError(f"network={kind!r} needs observations of shape ({rows}, F); these are {spaces}")
    hidden = HIDDEN[kind] if hidden is None else tuple(hidden)
    if not hidden or min(hidden) < 1:
        raise SettingError(f"hidden is {hidden}; it must be one or more widths of at least 1")
    if kind == "terms" and len(set(hidden)) > 1:
        raise SettingError(f"hidden is {hidden}; the rounds of a network over terms have one width")
    if foreseen and (kind != "choices" or normalize):
        raise SettingError(
            f"network={kind!r}, normalize_observations={normalize}; observations whose last {foreseen} columns are for "
            "the value alone need network='choices' and no running scale"
        )
    return Architecture(kind, hidden, activation, normalize, foreseen)


def weight_shapes(spaces: Spaces, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights, as `networks.Network.state_dict` has them."""
    if architecture.is_graph:
        return _graph_shapes(spaces, architecture)
    if architecture.kind == "terms":
        return {
            f"{half}.{name}": shape
            for half, rules in (("policy", num_rules(spaces)), ("value", 1))
            for name, shape in term_shapes(architecture.hidden[0], len(architecture.hidden), rules).items()
        }
    features, hidden = architecture.num_features(spaces), architecture.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    if architecture.normalize:
        shapes |= {"scale.mean": (features,), "scale.variance": (features,), "scale.count": ()}
    if architecture.kind == "flat":
        shapes |= _perceptron("policy", (features, *hidden, spaces.num_actions))
        return shapes | _perceptron("value", (features, *hidden, 1))
    shapes |= _perceptron("policy", (features, *hidden, 1))
    if architecture.kind == "choices":
        return shapes | _perceptron("value", (features + architecture.foreseen, *hidden, 1))
    for head in ("void", "value") if architecture.kind == "rows_and_void" else ("value",):
        shapes |= _perceptron(f"{head}.rows", (features, *hidden))
        shapes |= _perceptron(f"{head}.pooled", (2 * hidden[-1], hidden[-1], 1))
    return shapes


def _require_graph(spaces: Spaces, kind: str, normalize: bool) -> None:
    graph = spaces.graph
    if graph is None:
        raise SettingError(f"network={kind!r} needs observations of the graph convention; these are {spaces}")
    if kind == "pointer" and spaces.num_actions < graph.nodes:
        raise SettingError(f"network='pointer' needs an action for each node; there are {spaces}")
    if kind == "leading" and spaces.num_actions > graph.nodes:
        raise SettingError(f"network='leading' needs a node for each action; there are {spaces}")
    if normalize:
        raise SettingError("normalize_observations is True; a graph's features are scaled by its encoder: leave it out")


def _graph_shapes(spaces: Spaces, architecture: Architecture) -> dict[str, tuple[int, ...]]:
    graph, outputs, hidden = spaces.graph, architecture.graph_outputs(spaces), architecture.hidden
    assert graph is not None
    shapes: dict[str, tuple[int, ...]] = {}
    for half in ("policy", "value"):
        shapes |= {f"{half}.first.weight": (hidden[0], graph.features), f"{half}.first.bias": (hidden[0],)}
        shapes |= {f"{half}.context.weight": (hidden[0], graph.context)}
        for number, (inputs, width) in enumerate(itertools.pairwise(hidden)):
            begin = f"{half}.rounds.{number}"
            shapes |= {f"{begin}.{way}.weight": (width, inputs) for way in ("own", "along", "against", "overall")}
            shapes |= {f"{begin}.own.bias": (width,)}
        if half == "policy" and graph.choice and outputs.nodes == graph.nodes:
            seen = graph.features + graph.choice + graph.context + 2 * hidden[-1]
            for layer, size in (("hidden", (hidden[-1], seen)), ("last", (1, hidden[-1]))):
                shapes |= {f"{half}.choices.{layer}.weight": size, f"{half}.choices.{layer}.bias": size[:1]}
            continue
        nodes, extras = (outputs.choices, outputs.extras) if half == "policy" else (0, 1)
        for head, width in (("nodes", nodes), ("whole", extras)):
            for layer, size in (("hidden", (hidden[-1], 2 * hidden[-1])), ("last", (width, hidden[-1]))):
                if width:
                    shapes |= {f"{half}.{head}.{layer}.weight": size, f"{half}.{head}.{layer}.bias": size[:1]}
    return shapes


def shows_terms(spaces: Spaces) -> bool:
    """Whether observations are tables of terms, and actions a rule at one of them or to stop."""
    if spaces.dtype != "int32" or len(spaces.shape) != 2 or spaces.shape[1] != EPISODE or spaces.shape[0] < 2:
        return False
    return spaces.num_actions > 1 and (spaces.num_actions - 1) % (spaces.shape[0] - 1) == 0


def num_rules(spaces: Spaces) -> int:
    """Choices at a term."""
    return (spaces.num_actions - 1) // (spaces.shape[0] - 1)


def _kind_for(spaces: Spaces) -> str:
    if shows_terms(spaces):
        return "terms"
    graph = spaces.graph
    if graph is not None:
        return "pointer" if spaces.num_actions >= graph.nodes else "graph"
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
