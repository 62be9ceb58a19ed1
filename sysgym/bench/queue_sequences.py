"""RLScheduler's test: sequences of consecutive jobs of a log on an empty machine, each scored by its mean slowdown.

After `compare-pick-jobs.py` of deep-batch-scheduler (Zhang et al., SC 2020): a choice is a commitment, a submission and
a completion of one instant are handled one after the other, and a heuristic chooses among all waiting jobs, not among
the 128 that an agent sees. The paper's sequences are not known, so ours are drawn from a seed, and means are compared
with the spread over sequences (`experiments/published/rlscheduler.toml`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.agents import load
from sysgym.bench.policies import shipped_policy
from sysgym.core.errors import SettingError
from sysgym.core.playing import play_rows_on_state
from sysgym.core.protocols import ArraySpec, Engine, StatePolicy
from sysgym.core.row_network import RowNetwork
from sysgym.jobsched.batch.engine import build_engine
from sysgym.jobsched.batch.kernel import BatchKernel
from sysgym.jobsched.batch.model import decided_rules
from sysgym.jobsched.batch.observation import QueueEncoding, encode_features, feature_table
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.jobsched.batch.queue_features import QUEUE_FEATURES, encode_queue, machine_table
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.workloads import read_trace

ENVIRONMENT = "sysgym/BatchSched-v0"
SEED = 0


def sequence_scores(
    log: str, policy: str, backfill: str = "none", sequences: int = 30, jobs: int = 1024, commit: bool = True
) -> NDArray[np.float64]:
    """Mean bounded slowdown of each sequence, shape (sequences,); the same sequences for every policy.

    Args:
        log: File of a log.
        policy: A heuristic of `sysgym/BatchSched-v0`, "learned", or the checkpoint of a policy over rows.
        backfill: What stands behind a choice.
        sequences: How many.
        jobs: Jobs in each.
        commit: Whether a choice stays until it starts.

    Raises:
        SettingError: The checkpoint's network is not one over rows of the observation `queue`.
    """
    windows = JobSequences(read_trace(log), jobs, "all")
    rules = decided_rules(backfill, "per_event", commit)
    if policy in HEURISTICS:
        all_jobs = QueueEncoding(ArraySpec((jobs, 8), np.float32, 0.0, 1.0), feature_table, encode_features, jobs)
        return _asked(build_engine(windows, rules, sequences, "compiled", all_jobs), HEURISTICS[policy]())
    seen = QueueEncoding(
        ArraySpec((jobs, len(QUEUE_FEATURES)), np.float32, 0.0, 1.0), machine_table, encode_queue, jobs
    )
    engine = build_engine(windows, rules, 1, "compiled", seen)
    assert isinstance(engine, BatchKernel)
    seeds, episodes = np.full(sequences, SEED, dtype=np.uint64), np.arange(sequences)
    returns, _ = engine.play_rows(_network(policy), seeds, episodes)
    scores: NDArray[np.float64] = -returns[0]
    return scores


def _network(policy: str) -> RowNetwork:
    network = load(shipped_policy(policy, ENVIRONMENT)).row_network
    if network is None or network.widths[0] != len(QUEUE_FEATURES):
        raise SettingError(f"{policy} is no network over the rows of observation='queue'; give one that is")
    return network._replace(weights=network.weights[None])


def _asked(engine: Engine, policy: StatePolicy) -> NDArray[np.float64]:
    """The scores of episodes 0, 1, ... under a policy that is asked for every decision."""
    count = engine.num_episodes
    play_rows_on_state(engine, policy, np.full(count, SEED, dtype=np.uint64), np.arange(count))
    return np.array([engine.metrics(row)["mean_bounded_slowdown"] for row in range(count)])
