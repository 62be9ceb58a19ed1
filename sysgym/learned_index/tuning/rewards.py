"""What an evaluation earns: the rise of a potential, so that a return is what was reached, whatever the way.

A function of one's own, of (state before, action, state after), takes a reward's place in the simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_known, require_range
from sysgym.learned_index.tuning.model import REFERENCE_LOG_BYTES, TuningState

Reward = Callable[[TuningState, int, TuningState], float]

HYPERVOLUME, WEIGHTED, CAPPED = range(3)
NAMES = ("hypervolume", "weighted", "capped")


@dataclass(frozen=True)
class RewardRule:
    """A named reward.

    Attributes:
        name: "hypervolume": share of the whole grid's; "weighted": least latency over that of plain search, plus
            `weight` times log2 bytes over 30; "capped": least latency over that of plain search, of an index that has
            at most `max_log_bytes`. The last two begin at plain search, without an index.
        weight: Of "weighted".
        max_log_bytes: Of "capped".
    """

    name: str = "hypervolume"
    weight: float = 0.5
    max_log_bytes: float = 20.0

    def __post_init__(self) -> None:
        require_known("reward", self.name, NAMES)
        require_range("weight", self.weight, 0)
        require_range("max_log_bytes", self.max_log_bytes, 0)

    @property
    def parameter(self) -> float:
        """The one number that the named reward needs."""
        return self.weight if self.name == "weighted" else self.max_log_bytes


@compiled
def loss_of(kind: int, parameter: float, log_bytes: float, latency: float, reference: float) -> float:
    """What "weighted" and "capped" want to be small, of one index; 1 is plain search."""
    loss = latency / reference
    if kind == WEIGHTED:
        loss += parameter * log_bytes / REFERENCE_LOG_BYTES
    elif log_bytes > parameter:
        loss = 1.0
    return min(loss, 1.0)
