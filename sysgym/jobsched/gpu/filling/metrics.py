"""Scores of an episode of filling, from its event log alone."""

from __future__ import annotations

import numpy as np

from sysgym.core.events import EventKind, EventLog


def filling_metrics(events: EventLog, capacity: int) -> dict[str, float]:
    """Scores of the tasks so far.

    Args:
        events: SUBMIT for every task that came; START for those that were placed, DROP for those that were lost.
        capacity: Thousandths of all GPUs.

    Returns:
        `allocation_rate`: share of the GPUs in use; `most_allocation_rate`: what came could fill no more; `tasks`,
        `lost`; `first_loss`: share of the GPUs in use when a task was first lost (the rate where none was).
    """
    submits, starts, drops = (events.of(kind) for kind in (EventKind.SUBMIT, EventKind.START, EventKind.DROP))
    rate = float(starts.amount.sum()) / capacity
    first = float(starts.amount[starts.time < drops.time[0]].sum()) / capacity if len(drops) else rate
    most = float(np.minimum(1.0, submits.amount.sum() / capacity))
    return {"allocation_rate": rate, "most_allocation_rate": most, "tasks": float(len(submits)),
            "lost": float(len(drops)), "first_loss": first}  # fmt: skip
