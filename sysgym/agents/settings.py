"""What all algorithms can be told, and settings from names and values: mistakes are refused in one line.

The settings of an algorithm are a frozen dataclass beside it that extends `Settings`; each is documented where it is
declared, and a subclass gives another default by declaring it again.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from sysgym.core.errors import SettingError, require_known, require_range

T = TypeVar("T")

OPTIMIZERS = ("adam", "rmsprop", "rmsprop_inside")


@dataclass(frozen=True)
class Settings:
    """What every algorithm can be told.

    Attributes:
        whole_episodes: Whether a slot holds episodes from their beginning instead of the next steps of running ones.
    """

    whole_episodes: ClassVar[bool] = False

    rollout_steps: int = 64
    """T, steps of every environment between two updates; of whole episodes, the step after which they are cut."""
    optimizer: str = "adam"
    """"adam", "rmsprop" (epsilon beside the root) or "rmsprop_inside" (inside it), see `updates.optimizers`."""
    learning_rate: float = 2e-3
    """Of the optimiser."""
    optimizer_epsilon: float = 1e-8
    """Epsilon of the optimiser."""
    optimizer_decay: float = 0.99
    """rho of RMSProp, what it keeps of the mean square."""
    decay: bool = True
    """Whether learning rate and entropy weight fall linearly to 0 with the budget."""
    max_gradient_norm: float = 0.5
    """c, to which a gradient's norm is cut; policy and value, which share no weights, are cut apart, so that a rare
    large error of the value does not hold the policy up."""
    discount: float = 0.99
    """gamma. Below 1 even where the score is not discounted: what arrives much later is noise to today's decision
    (compact JobSched-v0, PPO, 3 M frames, seeds 0, 1, 2: mean slowdown 4.9, 4.8, 3.8; with 1.0 5.0, 5.0, 5.2). Rewards
    paid at the end only need 1."""
    network: str | None = None
    """Kind of network, see `acting.architecture`; None chooses from the spaces."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; None chooses by kind."""
    activation: str | None = None
    """"tanh" or "relu"; None chooses by kind."""
    normalize_observations: bool | None = None
    """Whether observations are standardised by a running scale; None: where their bounds exceed 1."""
    start: tuple[float, ...] = ()
    """Weights by feature of the linear rule that a network over rows begins as, see `linear_start`; () is chance."""
    masked: bool = True
    """Whether actions that the environment's mask forbids are never taken; without, the policy learns and plays with
    all actions, as the agents of DeepRM's code do. That changes what is learned."""

    def __post_init__(self) -> None:
        require_range("rollout_steps", self.rollout_steps, 1)
        for name in ("learning_rate", "optimizer_epsilon", "max_gradient_norm"):
            require_range(name, getattr(self, name), 0.0, open_low=True)
        for name in ("discount", "optimizer_decay"):
            require_range(name, getattr(self, name), 0.0, 1.0)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)

    def rows_per_workload(self, num_envs: int) -> int:
        """How many rows play the same workload, where episodes are whole.

        Raises:
            SettingError: They do not divide `num_envs`.
        """
        del num_envs
        return 1


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `SettingError` unless a value is among the choices."""
    if value not in choices:
        raise SettingError(f"{name} is {value!r}; it must be {' or '.join(map(repr, choices))}")


def make_settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a settings dataclass.

    Args:
        kind: The dataclass; its own `__post_init__` checks ranges.
        values: By name; what is absent keeps its default. Whole numbers serve where a float is expected, lists where
            a tuple is.

    Raises:
        UnknownNameError: A name is not a setting.
        SettingError: A value has the wrong type, or lies outside its range.
    """
    hints = {
        name: hint for name, hint in typing.get_type_hints(kind).items() if typing.get_origin(hint) is not ClassVar
    }
    for name in values:
        require_known("setting", name, hints)
    return kind(**{name: _converted(name, value, hints[name]) for name, value in values.items()})


def _converted(name: str, value: Any, hint: Any) -> Any:
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for choice in choices:
        if choice is type(None) and value is None:
            return None
        if typing.get_origin(choice) is tuple and isinstance(value, list | tuple):
            return tuple(_converted(name, part, typing.get_args(choice)[0]) for part in value)
        if choice is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(choice, type) and isinstance(value, choice) and isinstance(value, bool) == (choice is bool):
            return value
    expected = " or ".join("None" if choice is type(None) else _name(choice) for choice in choices)
    raise SettingError(f"{name} is {value!r}; it must be {expected}")


def _name(choice: Any) -> str:
    readable = {int: "a whole number", float: "a number", bool: "True or False", str: "a name"}
    return readable.get(choice, "a list of whole numbers")
