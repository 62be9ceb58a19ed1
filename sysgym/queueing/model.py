"""The queue: parameters, customers and state.

Sutton and Barto, *Reinforcement Learning*, 2nd edition, example 10.2. A step, in this order: the agent sees the number
of free servers and the priority of the customer at the head; accepted, the customer takes the free server of the
lowest index and pays its priority; every busy server, the one just taken included, becomes free with probability
`free_probability`; the next customer comes, whatever happened. Whether the server just taken may free in its own step
decides the digits: here it may (gain 2.747642), otherwise the optimum is 2.673192.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.seeding import stream_key
from sysgym.workloads.draws import integer, uniform
from sysgym.workloads.workload import SPLITS

REJECT, ACCEPT = 0, 1
IDLE = -1
HORIZONS = ("fixed", "geometric")


@dataclass(frozen=True)
class QueueConfig:
    """Parameters; the defaults are the book's.

    Attributes:
        servers: k, identical servers.
        free_probability: p, with which a busy server becomes free in a step.
        priorities: What customers pay, in the order of their number; each is equally likely.
        max_steps: Steps after which an episode is truncated, on average where the horizon is geometric.
        horizon: "fixed", or "geometric": the episode goes on with probability 1 - 1 / max_steps after every step.
    """

    servers: int = 10
    free_probability: float = 0.06
    priorities: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    max_steps: int = 1000
    horizon: str = "fixed"

    def __post_init__(self) -> None:
        require_range("servers", self.servers, 1, 64, whole=True)
        require_range("free_probability", self.free_probability, 0, 1)
        require_range("max_steps", self.max_steps, 1, whole=True)
        if not self.priorities or not all(np.isfinite(self.priorities)) or min(self.priorities) < 0:
            raise SettingError(f"priorities is {self.priorities}; give numbers of at least 0")
        require_known("horizon", self.horizon, HORIZONS)


class QueueState(NamedTuple):
    """One episode's state; read-only.

    Attributes:
        time: Steps so far.
        free: Free servers, before the decision.
        head: Number of the head's priority in `priorities`.
        busy: int64, shape (servers,): the customer (numbered by its step) that a server serves, or -1.
        priorities: float64: what each number pays.
        free_probability: With which a busy server becomes free in a step.
    """

    time: int
    free: int
    head: int
    busy: NDArray[np.int64]
    priorities: NDArray[np.float64]
    free_probability: float


@uncounted
def draw_priority(key: int, episode: int, step: int, servers: int, priorities: int) -> int:
    """Number of the priority of the customer of a step."""
    return integer(key, episode, step * (servers + 2), 0, priorities - 1)


@uncounted
def draw_release(key: int, episode: int, step: int, servers: int, server: int) -> float:
    """The number in [0, 1) that frees a busy server in a step if it is below p."""
    return uniform(key, episode, step * (servers + 2) + 1 + server)


@uncounted
def draw_ending(key: int, episode: int, step: int, servers: int) -> float:
    """The number in [0, 1) that ends an episode of geometric horizon after a step."""
    return uniform(key, episode, step * (servers + 2) + 1 + servers)


def customer_key(seed: int, split: str) -> int:
    """Key of the customers of a split; train, valid and test never share one.

    Raises:
        UnknownNameError: No such split.
    """
    require_known("split", split, SPLITS)
    return stream_key(seed, f"customers/{split}")
