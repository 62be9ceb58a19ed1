"""What the best possible score of an environment is, for scores that mean the same everywhere.

A normalised score is 0 for the random policy and 1 for the bound, on the same scenarios. An environment declares its
bound beside its objective; the leaderboard does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sysgym.core.errors import SettingError


@dataclass(frozen=True)
class Bound:
    """The objective's best value, in one of three forms, and what is known of it.

    Attributes:
        kind: "exact" is reached by an optimal policy, "bound" can't be beaten and need not be reachable, "reference" is
            the best that is known, so that a score above 1 is possible and is marked.
        value: The same value in every scenario.
        metric: Name of a metric that is the scenario's bound, the same whoever plays.
        policy: Name of the heuristic whose own score it is.

    Raises:
        SettingError: Not exactly one of value, metric and policy is given.
    """

    kind: Literal["exact", "bound", "reference"]
    value: float | None = None
    metric: str = ""
    policy: str = ""

    def __post_init__(self) -> None:
        """Check that one form is given."""
        if (self.value is not None) + bool(self.metric) + bool(self.policy) != 1:
            raise SettingError(f"{self}: a bound is one of a value, a metric's name and a heuristic's name")
