"""What an episode of rewriting is: its numbers, its actions, its state.

An action is a term and a rule, or to stop. Terms are the rows of the expression's table (`model.Expression.nodes`), so
a rewrite exchanges a term everywhere it occurs, as in a certificate. Rules that decrease the order of `rules.table`
need no decision: with `normalise` they run by themselves after every rewrite, and the actions are all other rules.
Without it, every rule is an action and nothing runs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_bool, require_known, require_range
from sysgym.exprsimp.proofs import require_proved
from sysgym.exprsimp.rewards import REWARDS
from sysgym.exprsimp.rules.table import Rule, published_rules, read_rules


@dataclass(frozen=True)
class CompileTime:
    """Modelled seconds.

    Attributes:
        look: Per unique term each time the session looks for rewrites.
        rewrite: Per rewrite.
        node: Per node of the term that a rewrite puts in place.
    """

    look: float = 20e-6
    rewrite: float = 5e-6
    node: float = 1e-6


@dataclass(frozen=True)
class EpisodeConfig:
    """Parameters of an episode.

    Attributes:
        rules: All rules.
        normalise: Whether the down rules run by themselves.
        max_nodes: Nodes that an expression may have; also the rows of the observation.
        max_steps: Actions after which the episode is truncated.
        time_limit: Modelled seconds after which it is over, or None.
        illegal_penalty: What an action that is not allowed costs; it changes nothing.
        costs: What looking and rewriting cost in modelled time.
    """

    rules: tuple[Rule, ...] = field(default_factory=published_rules)
    normalise: bool = True
    max_nodes: int = 128
    max_steps: int = 50
    time_limit: float | None = None
    illegal_penalty: float = 0.01
    costs: CompileTime = field(default_factory=CompileTime)

    def __post_init__(self) -> None:
        require_bool("normalise", self.normalise)
        require_range("max_nodes", self.max_nodes, 1, 4096, whole=True)
        require_range("max_steps", self.max_steps, 1, whole=True)
        require_range("illegal_penalty", self.illegal_penalty, 0.0)
        if self.time_limit is not None:
            require_range("time_limit", self.time_limit, 0.0, open_low=True)
        if not self.actions:
            raise SettingError(
                "no rule is left to choose: all of them are down rules, which run by themselves; use normalise=False"
            )

    @property
    def actions(self) -> tuple[Rule, ...]:
        """The rules that a policy chooses from."""
        return tuple(rule for rule in self.rules if not self.normalise or rule.direction != "down")

    @property
    def normal(self) -> tuple[Rule, ...]:
        """The rules that run by themselves."""
        return tuple(rule for rule in self.rules if self.normalise and rule.direction == "down")

    @property
    def num_actions(self) -> int:
        """Every pair of a row and a rule, and to stop."""
        return self.max_nodes * len(self.actions) + 1

    @property
    def limit(self) -> float:
        """The time limit; infinity where there is none."""
        return np.inf if self.time_limit is None else float(self.time_limit)


class ExpressionState(NamedTuple):
    """What is known of an episode; arrays are read-only.

    Attributes:
        nodes: int64 (n, 5), the expression's table, see `model.Expression`.
        size: Its nodes.
        length: Its characters.
        best: int64 (m, 5), the table of the best expression met, by (size, length).
        best_size: Its nodes.
        best_length: Its characters.
        input_size: Nodes of the expression that the episode began with.
        input_length: Its characters.
        steps: Actions so far.
        seconds: Modelled time so far.
        actions: int64 (k,), the rewrites that are allowed, ascending.
        sizes: int64 (k,), nodes of the expression that each leads to, normal form included.
        lengths: int64 (k,), its characters.
        stop: The action that stops.
        trace: int64 (rewrites, 2), row and rule of every rewrite so far.
    """

    nodes: NDArray[np.int64]
    size: int
    length: int
    best: NDArray[np.int64]
    best_size: int
    best_length: int
    input_size: int
    input_length: int
    steps: int
    seconds: float
    actions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    lengths: NDArray[np.int64]
    stop: int
    trace: NDArray[np.int64]


def rules_of(given: str | Path | Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that an argument means: "published", a file of rules, or rules.

    Raises:
        InputFileError: The file cannot be read as rules.
        SettingError: It is none of them, or a rule is not proved.
    """
    if isinstance(given, str) and given == "published":
        return published_rules()
    if isinstance(given, str | Path):
        read = read_rules(given)
        require_proved(read)
        return read
    chosen = [rule for rule in given if isinstance(rule, Rule)] if isinstance(given, Sequence) else []
    if chosen and len(chosen) == len(given):
        require_proved(chosen)
        return tuple(chosen)
    raise SettingError(f"rules is {given!r}; give 'published', the path of a file of rules, or a list of rules")


def require_reward(reward: str, config: EpisodeConfig) -> int:
    """Number of a named reward.

    Raises:
        UnknownNameError: There is none of this name.
        SettingError: It needs a time limit.
    """
    require_known("reward", reward, REWARDS)
    if reward == "time" and config.time_limit is None:
        raise SettingError("reward='time' needs time_limit, the modelled seconds of an episode; give for example 0.002")
    return REWARDS.index(reward)
