"""The algorithms by name: the one place where they are listed, light enough for a command line to read.

An algorithm is a settings class and a learner in a file of its own; both are imported when they are asked for, so that
listing the names needs no torch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sysgym.core.errors import UnknownNameError

if TYPE_CHECKING:
    from sysgym.agents.learner import Learner
    from sysgym.agents.settings import Settings


LEARNERS = ("auto", "torch", "native")
_NATIVE = "sysgym.agents.native.learners"


@dataclass(frozen=True)
class Algorithm:
    """Where an algorithm stands.

    Attributes:
        summary: One line for people.
        module: Its file, as Python imports it.
        name: Of its learner there; its settings are called the same with "Settings" behind.
        native: Whether `native.learners` has it too, with "Native" before its name.
    """

    summary: str
    module: str
    name: str
    native: bool = True

    @property
    def settings(self) -> type[Settings]:
        """The settings class; loads torch."""
        kind: type[Settings] = getattr(importlib.import_module(self.module), f"{self.name}Settings")
        return kind

    def learner(self, kind: str = "torch") -> type[Learner[Any]]:
        """The learner class, "torch" or "native"; loads torch."""
        module, name = (self.module, self.name) if kind == "torch" else (_NATIVE, f"Native{self.name}")
        found: type[Learner[Any]] = getattr(importlib.import_module(module), name)
        return found


ALGORITHMS = {
    "ppo": Algorithm("proximal policy optimisation, clipped", "sysgym.agents.ppo", "PPO"),
    "a2c": Algorithm("advantage actor-critic, one pass", "sysgym.agents.a2c", "A2C"),
    "vtrace": Algorithm("actor-critic corrected for old policies (IMPALA)", "sysgym.agents.vtrace", "VTrace"),
    "reinforce": Algorithm("Monte Carlo, time-dependent baseline (DeepRM)", "sysgym.agents.reinforce", "Reinforce"),
    "evolution": Algorithm(
        "evolution strategies with antithetic pairs", "sysgym.agents.evolution", "Evolution", native=False
    ),
    "rewriter": Algorithm(
        "regions and rules, taught by a search, then by itself (NeuRewriter)",
        "sysgym.agents.rewriter",
        "Rewriter",
        native=False,
    ),
}


SEARCHES = {"cma": "covariance matrix adaptation of a row or graph network, by returns alone"}
"""What `train` takes besides: searches that play whole episodes in compiled code; see `search`."""


def algorithm_of(name: str) -> Algorithm:
    """The algorithm of a name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in ALGORITHMS:
        raise UnknownNameError("algorithm", name, [*ALGORITHMS, *SEARCHES])
    return ALGORITHMS[name]
