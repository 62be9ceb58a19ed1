"""Lines over time: how long the queue is in an episode, and how a training goes.

Few training seeds are a line each. From `FEWEST_SEEDS` on they are a median with the band that holds 95 % of them: what
another seed has to be compared with. What the final scores of new trainings have to be compared with is in `bands`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysgym.bench import plots
from sysgym.bench.bands import reference_band
from sysgym.bench.contests import RULES, Contest, Entry
from sysgym.bench.plots import Curve, LineFigure
from sysgym.bench.records import QueueFacts, Record

QUEUE_POINTS, TRAINING_POINTS = 100, 50
"""Most points of a line that a figure draws."""
FEWEST_SEEDS = 5
"""Training seeds from which a band is drawn instead of their lines."""
REFERENCES, NEW_RUNS = 10, 5
"""Training seeds from which there is a reference band, and how many new trainings it is told for."""


def queue_figure(contest: Contest, *, wide: bool) -> LineFigure | None:
    """Queue length of the best heuristic and the best other policy, on the scenario that both kept.

    None where nothing ever waits, or where an environment logs starts of what it never logged as submitted.
    """
    others = [entry for entry in contest.entries if entry.kind not in RULES][:1]
    chosen = ([contest.best] if contest.best else []) + (others or contest.entries[1:2])
    kept = [(entry.name, entry.records[0].evidence.queue) for entry in chosen]
    series = [(name, queue) for name, queue in kept if queue is not None]
    same = [(name, queue) for name, queue in series if queue.scenario == series[0][1].scenario]
    lengths = [length for _, queue in same for length in queue.length]
    if min(lengths, default=0.0) < 0 or max(lengths, default=0.0) == 0:
        return None
    curves = [_until_empty(_merged(name, n, queue)) for n, (name, queue) in enumerate(same)]
    title = f"queue length in the busiest scenario, {series[0][1].scenario}" if series else ""
    unit = series[0][1].time_unit if series else ""
    return plots.line_figure(title, f"time since the first submission, {unit}", curves, wide=wide, filled=True)


def _merged(name: str, colour: int, queue: QueueFacts) -> Curve:
    """Mean queue lengths at the middles of slices of time, neighbours merged to `QUEUE_POINTS` at most."""
    size = max(1, -(-len(queue.length) // QUEUE_POINTS))
    parts = [queue.length[start : start + size] for start in range(0, len(queue.length), size)]
    middles = [(number * size + len(part) / 2) * queue.step for number, part in enumerate(parts)]
    return Curve(name, colour, middles, [sum(part) / len(part) for part in parts])


def _until_empty(curve: Curve) -> Curve:
    """The curve up to where the queue has emptied for good."""
    busy = [number for number, length in enumerate(curve.y) if length > 0]
    end = min(len(curve.y), busy[-1] + 4) if busy else len(curve.y)
    return Curve(curve.name, curve.colour, curve.x[:end], curve.y[:end])


def training_figure(contest: Contest) -> LineFigure | None:
    """Training curves, one colour a policy: a line a seed, or a band for many."""
    learned = [entry for entry in contest.entries if entry.kind == "learned"]
    curves = []
    for colour, entry in enumerate(learned, start=1):
        lines = [line for record in entry.records if (line := _points_of(record)) is not None and len(line[0]) > 1]
        if len(lines) >= FEWEST_SEEDS:
            curves.append(_band_of(f"{entry.name}, 95 % of {len(lines)} seeds", colour, lines))
        else:
            curves += [Curve(entry.name, colour, x, y) for x, y in lines]
    return plots.line_figure("mean return while training", "environment steps", curves)


def expected_trainings(contest: Contest) -> list[tuple[str, int, float, float]]:
    """Policy, its training seeds, and between what the mean of five new trainings has to lie."""
    bands = [(entry, len(entry.values)) for entry in contest.entries if _trained(entry) >= REFERENCES]
    found = [(entry.name, seeds, reference_band(entry.values.mean(axis=1), NEW_RUNS)) for entry, seeds in bands]
    return [(name, seeds, band.low, band.high) for name, seeds, band in found]


def _trained(entry: Entry) -> int:
    return len({record.policy.training.seed for record in entry.records if record.policy.training})


def _points_of(record: Record) -> tuple[list[float], list[float]] | None:
    if record.policy.training is None:
        return None
    points = [p for p in record.policy.training.curve if p.get("mean_return") is not None]
    points = points[:: -max(1, -(-len(points) // TRAINING_POINTS))][::-1]
    return [float(p["frames"] or 0.0) for p in points], [float(p["mean_return"] or 0.0) for p in points]


def _band_of(name: str, colour: int, lines: Sequence[tuple[list[float], list[float]]]) -> Curve:
    """The median of lines and the middle 95 %, at common points."""
    begin, end = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    at = np.linspace(begin, end, TRAINING_POINTS)
    low, middle, high = np.percentile([np.interp(at, x, y) for x, y in lines], [2.5, 50.0, 97.5], axis=0)
    return Curve(name, colour, at.tolist(), middle.tolist(), low.tolist(), high.tolist())
