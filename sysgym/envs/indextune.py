"""`sysgym/IndexTune-v0`: which learned index suits these keys, in as few evaluations as possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.learned_index.tuning.engine import build_engine
from sysgym.learned_index.tuning.instances import shipped
from sysgym.learned_index.tuning.live import instances_of
from sysgym.learned_index.tuning.policies import HEURISTICS
from sysgym.learned_index.tuning.rewards import Reward, RewardRule
from sysgym.learned_index.tuning.simulator import TuningConfig


def build_tuning_engine(
    num_episodes: int,
    *,
    evaluations: int = 40,
    seconds: float | None = None,
    split: str = "train",
    keys: Any = None,
    latency: str = "model",
    encoder: str = "rows",
    reward: str | Reward = "hypervolume",
    weight: float = 0.5,
    max_log_bytes: float = 20.0,
    engine: str = "auto",
) -> Built:
    """The engine behind `IndexTuneEnv`, with the same arguments."""
    function = reward if callable(reward) else None
    rule = RewardRule("hypervolume" if function or callable(reward) else reward, weight, max_log_bytes)
    config = TuningConfig(evaluations, seconds, encoder, rule)
    instances = shipped(split) if keys is None else instances_of(keys, latency)
    return Built(build_engine(config, num_episodes, instances, split, engine, function), instances)


class IndexTuneEnv(BuiltEnv):
    """Find the recursive model indexes on the front of size and latency, one evaluation after the other.

    ## Description
    A recursive model index has a root model (7 kinds), leaf models (3 kinds) and a fan-out (2^6 to 2^24): 399
    configurations. An episode is one key set and a budget of evaluations. Each evaluation builds an index and finds
    out its latency; its size is known beforehand. The agent wants the evaluated indexes to dominate as much of the
    plane of log2 bytes and nanoseconds as it can. Building takes time on the clock, more for more keys and leaves.

    ## Action Space
    `Discrete(399)`: `learned_index.tuning.model.configuration(action)`. Masked: what was evaluated before, and
    fan-outs beyond the number of keys. A masked one is evaluated again, costs as much, and earns nothing.

    ## Observation Space
    `Box(0, 1, (399, 26), float32)` (`encoder="rows"`), a row a configuration:

    | columns | meaning |
    |---|---|
    | 0 to 2 | what it would gain if it were as expected: linear, logarithmic, over the best gain |
    | 3, 4 | its latency as expected now, and as estimated from 4096 keys; over that of plain search |
    | 5 | how much was evaluated near it |
    | 6, 7, 25 | log2 of its bytes and of its fan-out; the fan-out beside the number of keys |
    | 8 | whether it is allowed |
    | 9 to 15, 16 to 18 | its root and its leaf |
    | 19 to 21 | the same in every row: budget left, hypervolume so far, best gain |
    | 22 to 24 | the same in every row: log2 of the keys, outliers, spread of the gaps |

    `Box(0, 1, (148,), float32)` (`encoder="flat"`): 64 quantiles, 65 shares of gaps by bit length, outliers, log2 of
    the keys, best latency and size so far, hypervolume, budget, the last configuration and what it turned out to be.
    No estimates.

    ## Rewards
    `hypervolume`: what the evaluation adds, over the hypervolume of all 399; the return is the share that was reached.
    The reference point is 1 GiB and the latency of plain search. `weighted` and `capped`: see
    `learned_index.tuning.rewards`. Or a function of (state before, action, state after).

    ## Starting State
    Nothing is evaluated. Training draws one of 152 key sets of six families; validation (23) and test (14) take theirs
    in turn, of families that training never sees. Test: uniform, lognormal, normal, osm, steps, bursts and words, with
    131,072 and with 1,048,576 keys.

    ## Episode End
    Terminates when the evaluations or the seconds are spent, or nothing is left to evaluate.

    ## Information
    `action_mask` (int8, shape (399,)); at the end `metrics`: `share` of the whole grid's hypervolume, `share_5`,
    `share_10`, `share_20`, `share_40`, `share_84`, `enough` (evaluations up to a share of 0.95), `evaluations`,
    `seconds`, `best_ns`, `speedup` over plain search.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `evaluations` | 40 | budget |
    | `seconds` | None | budget of time on the clock; the evaluation that exceeds it is the last |
    | `split` | "train" | `train`, `valid`, `test`, `all` |
    | `keys` | None | sorted keys of your own: every evaluation really builds; shares are of what a sample promises |
    | `latency` | "model" | of your own keys: by the cost model, or `measured` (never for leaderboards) |
    | `encoder` | "rows" | or `flat` |
    | `reward` | "hypervolume" | `weighted`, `capped`, or a function |
    | `weight` | 0.5 | of `weighted` |
    | `max_log_bytes` | 20 | of `capped` |
    | `observation` | None | an object with `spec` and `encode(state, observation)` in place of the above |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for a reward or keys of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/IndexTune-v0", num_envs=64)` steps compiled searches together; see `EngineVectorEnv`.

    ## Baselines and Bound
    `default` (cubic over linear, 2^18 leaves), `random`, `grid`, `two_phase` (CDFShop), `two_phase_shuffled`,
    `expected_gain`. The bound is 1, all 399.

    ## Validation
    The shipped tables equal indexes that are built (`tests/learned_index/test_tuning.py`); hypervolumes equal a count
    of cells; SimPy and the kernel agree event by event. The cost model was fitted to 260 measurements, with a median
    error of 14 % (`tests/ratios/indextune_calibration.py`).

    ## References
    Kraska et al., The Case for Learned Index Structures, SIGMOD 2018. Marcus, Zhang and Kraska, CDFShop: Exploring and
    Optimizing Learned Index Structures, SIGMOD 2020.

    ## Version History
    - v0: first version, costs version 1.
    """

    metadata: dict[str, Any] = {"render_modes": [], "discount": 0.95}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_tuning_engine)
    heuristics = HEURISTICS
    do_nothing = "default"
    objective = "share"
    direction = "max"
    bound = Bound("bound", 1.0)
    domain = "Learned indexes"
    shifts: ClassVar[Mapping[str, float]] = {"evaluations": 40}


class IndexTuneVectorEnv(BuiltVectorEnv, single=IndexTuneEnv):
    """Many episodes of `IndexTuneEnv` at once; see there for the arguments."""
