"""Scores of a rewriting episode, from its event log alone."""

from __future__ import annotations

from sysgym.core.events import EventKind, EventLog


def episode_metrics(events: EventLog) -> dict[str, float]:
    """Scores so far.

    Args:
        events: SUBMIT with the input's size, LENGTH with its length, then REWRITE and LENGTH for the expression that
            the episode began with (subject 0) and for every one after it.

    Returns:
        `length_share` and `size_share` (of the input's characters and nodes, saved by the best expression, by size,
        then length), `start_length_share` (what was saved before the first action), `best_length`, `best_size`,
        `rewrites`, `seconds` of modelled time until the best was found.
    """
    before = float(events.of(EventKind.SUBMIT).amount[0])
    lengths = events.of(EventKind.LENGTH).amount.tolist()
    rewrites = events.of(EventKind.REWRITE)
    sizes, characters, begun = rewrites.amount.tolist(), lengths[0], lengths[1]
    best = min(range(len(sizes)), key=lambda place: (sizes[place], lengths[place + 1], place))
    return {
        "length_share": 1 - lengths[best + 1] / characters,
        "size_share": 1 - sizes[best] / before,
        "start_length_share": 1 - begun / characters,
        "best_length": lengths[best + 1],
        "best_size": sizes[best],
        "rewrites": float(len(sizes) - 1),
        "seconds": float(rewrites.time[best]),
    }
