"""What an admission policy sees, and the mask, for both engines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.protocols import ArraySpec
from sysgym.queueing.model import ACCEPT, REJECT, QueueConfig


def spec_of(config: QueueConfig) -> ArraySpec:
    """Share of free servers, then the priority of the head as one of n."""
    return ArraySpec((1 + len(config.priorities),), np.float32, 0.0, 1.0)


@uncounted
def write_view(
    free: int, head: int, servers: int, observation: NDArray[np.float32], action_mask: NDArray[np.int8]
) -> None:
    """Write the observation and the mask of one episode."""
    observation[:] = 0.0
    observation[0] = free / servers
    observation[1 + head] = 1.0
    action_mask[REJECT] = 1
    action_mask[ACCEPT] = 1 if free > 0 else 0
