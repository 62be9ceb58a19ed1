"""`sysgym/AdmissionQueue-v0`: accept or reject, with a known optimum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.queueing.engine import build_engine
from sysgym.queueing.model import QueueConfig
from sysgym.queueing.policies import HEURISTICS
from sysgym.queueing.simulator import Reward


def build_queue_engine(
    num_episodes: int,
    *,
    servers: int = 10,
    free_probability: float = 0.06,
    priorities: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0),
    max_steps: int = 1000,
    horizon: str = "fixed",
    split: str = "train",
    reward: str | Reward = "priority",
    engine: str = "auto",
) -> Built:
    """The engine behind `AdmissionQueueEnv`, with the same arguments."""
    config = QueueConfig(servers, free_probability, tuple(float(p) for p in priorities), max_steps, horizon)
    return Built(build_engine(config, num_episodes, split, engine, reward))


class AdmissionQueueEnv(BuiltEnv):
    """Decide which customers ten servers take on: the calibration task, solved exactly.

    ## Description
    Ten servers, a queue that never empties, customers of four priorities. Each step the agent accepts the customer at
    the head, who takes a free server and pays his priority, or turns him away. Every busy server, the one just taken
    included, then becomes free with probability 0.06. The task goes on for ever; what counts is the mean reward a
    step. The optimum is 2.747642 (`sysgym.queueing.exact.optimal_gain`).

    ## Action Space
    `Discrete(2)`: 0 rejects, 1 accepts. Without a free server accepting is masked, and counts as rejecting.

    ## Observation Space
    `Box(0, 1, (5,), float32)`:

    | index | meaning | range |
    |---|---|---|
    | 0 | free servers over all servers | 0 to 1 |
    | 1 to 4 | priority of the head, one of 1, 2, 4, 8 | 0 or 1 |

    ## Rewards
    The priority of an accepted customer, else 0; or a function of (state before, action, state after).

    ## Starting State
    All servers free, a customer of random priority at the head.

    ## Episode End
    Never terminates. Truncates after `max_steps` steps, or with `horizon="geometric"` after every step with
    probability 1 / `max_steps`.

    ## Information
    `action_mask` (int8, shape (2,)); at the end `metrics`: `mean_reward`, `steps`, `accepted`, and the share accepted
    of each priority.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `servers` | 10 | number of servers |
    | `free_probability` | 0.06 | with which a busy server becomes free in a step |
    | `priorities` | (1, 2, 4, 8) | what customers pay, each equally likely |
    | `max_steps` | 1000 | length of an episode |
    | `horizon` | "fixed" | or `geometric` |
    | `split` | "train" | `train`, `valid`, `test`, `all`: streams of customers that share nothing |
    | `reward` | "priority" | or a function |
    | `observation` | None | an object with `spec` and `encode(state, observation)` in place of the above |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for a reward of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/AdmissionQueue-v0", num_envs=64)` steps compiled queues together; see `EngineVectorEnv`.

    ## Baselines and Bound
    Long-run mean rewards, exact: `reject_all` 0, `random` 1.698242, `accept_all` 2.181413, `at_least_2` 2.544463,
    `at_least_4` 2.717188, `optimal` 2.747642. Bound of an episode of 1,000 steps: 2.762235 (finite-horizon optimum).
    With other arguments `optimal` is the optimal policy of those.

    ## Validation
    `tests/queueing/test_exact.py` holds every digit above, closed forms for one to three servers, and simulated means
    beside the exact ones; SimPy and the kernel agree event by event (`tests/contracts`, `tests/queueing`).

    ## References
    Sutton and Barto: Reinforcement Learning, 2nd edition, example 10.2. If the server just taken could not free in
    its own step, the optimum would be 2.673192.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "discount": 0.99}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_queue_engine)
    heuristics = HEURISTICS
    do_nothing = "reject_all"
    objective = "mean_reward"
    direction = "max"
    bound = Bound("reference", policy="optimal")
    domain = "Admission control"
    shifts: ClassVar[Mapping[str, float]] = {"servers": 10, "free_probability": 0.06}
    time_unit = "steps"


class AdmissionQueueVectorEnv(BuiltVectorEnv, single=AdmissionQueueEnv):
    """Many episodes of `AdmissionQueueEnv` at once; see there for the arguments."""
