"""Scores of a search, from its event log and its key set alone."""

from __future__ import annotations

import numpy as np

from sysgym.core.events import EventKind, EventLog
from sysgym.learned_index.tuning.dynamics import dominated
from sysgym.learned_index.tuning.instances import Instance

MILESTONES = (5, 10, 20, 40, 84)
ENOUGH = 0.95


def tuning_metrics(events: EventLog, instance: Instance) -> dict[str, float]:
    """Scores of the evaluations so far.

    Args:
        events: MEASURE for every evaluation: the configuration, and the latency that was found.
        instance: The key set, whose whole grid is 1.

    Returns:
        `share` of the grid's hypervolume; `share_5`, `share_10`, `share_20`, `share_40`, `share_84` after so many
        evaluations, as far as there were so many; `evaluations`; `enough`, the evaluations after which the share
        was at least 0.95 (infinite where it never was); `seconds`; `best_ns`, the least latency; `speedup` over plain
        search.
    """
    measured = events.of(EventKind.MEASURE)
    count = len(measured)
    shares = np.array([0.0] + [_share(measured, k, instance) for k in range(1, count + 1)])
    reached = np.flatnonzero(shares >= ENOUGH)
    best = float(measured.amount.min()) if count else instance.reference
    return {
        "share": float(shares[-1]),
        **{f"share_{k}": float(shares[k]) for k in MILESTONES if k <= count},
        "evaluations": float(count),
        "enough": float(reached[0]) if len(reached) else float("inf"),
        "seconds": float(measured.time[-1]) if count else 0.0,
        "best_ns": best,
        "speedup": instance.reference / best,
    }


def _share(measured: EventLog, count: int, instance: Instance) -> float:
    chosen = measured.subject[:count]
    area = dominated(instance.log_bytes[chosen], measured.amount[:count].copy(), instance.reference)
    return float(area) / instance.total if instance.total > 0 else 1.0
