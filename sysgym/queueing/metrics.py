"""Scores of an episode of admission control, from its event log alone."""

from __future__ import annotations

import numpy as np

from sysgym.core.events import EventKind, EventLog
from sysgym.queueing.model import QueueConfig


def queue_metrics(events: EventLog, steps: int, config: QueueConfig) -> dict[str, float]:
    """Scores of the steps played so far.

    Args:
        events: SUBMIT for every customer that was decided on, START for every one accepted, DROP for every other.
        steps: Decisions so far.
        config: Parameters of the queue.

    Returns:
        `mean_reward` a step (NaN before the first), `steps`, `accepted` (share of customers), and `accepted_<priority>`
        for every priority that came.
    """
    starts, submits = events.of(EventKind.START), events.of(EventKind.SUBMIT)
    scores = {"mean_reward": float(starts.amount.sum() / steps) if steps else float("nan"), "steps": float(steps)}
    if steps:
        scores["accepted"] = len(starts) / steps
    decided = submits.amount[submits.subject < steps]
    for priority in config.priorities:
        came = np.count_nonzero(decided == priority)
        if came:
            scores[f"accepted_{priority:g}"] = np.count_nonzero(starts.amount == priority) / came
    return scores
