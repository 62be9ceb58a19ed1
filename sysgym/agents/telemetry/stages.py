"""Where a run's time goes: nanoseconds by stage for every update, and a timeline that a browser shows.

The actor counts `environment` (stepping), `inference` (choosing actions) and `hand_over` (the rest of playing a slot:
what is between the two); the learner counts `wait` (for a slot; in `sync` what is left when playing is taken off),
`learn` and `publish`. Actors and learner overlap in `lockstep` and `async`, so the stages may add up to more than the
time that has passed. Counting costs four readings of a clock a step of all environments, about 0.2 microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sysgym.core.files import atomic_write, require_writable

if TYPE_CHECKING:
    from sysgym.agents.telemetry.progress import Progress

STAGES = ("environment", "inference", "hand_over", "wait", "learn", "publish")
MOST_SPANS = 200_000
"""Spans that a timeline keeps; later ones are left out, and it says so."""


class Span(NamedTuple):
    """Something that took a while.

    Attributes:
        track: Who did it, such as "learner" or "actor 0".
        name: What.
        begun: Nanoseconds of `time.perf_counter_ns`.
        ended: The same.
    """

    track: str
    name: str
    begun: int
    ended: int


def shares(stages: Mapping[str, int]) -> dict[str, float]:
    """What share of the counted time each stage took; empty where nothing was counted."""
    total = sum(stages.values())
    return {name: spent / total for name, spent in stages.items()} if total else {}


class ChromeTrace:
    """A timeline in the Trace Event Format, for chrome://tracing or ui.perfetto.dev: hand it to `train`.

    Args:
        path: File that is written at the end, or when `close` is called.

    Raises:
        OutputError: The place cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        require_writable(path)
        self.path, self.left_out = path, 0
        self._events: list[dict[str, Any]] = []
        self._tracks: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        """Add an update."""
        facts = {"update": progress.update, "frames": progress.frames, "lag": progress.lag}
        if len(self._events) < MOST_SPANS:
            self._events += [self._event(span, facts) for span in progress.spans]
        else:
            self.left_out += len(progress.spans)
        if progress.share >= 1.0:
            self.close()

    def close(self) -> None:
        """Write the file."""
        named = [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": number, "args": {"name": track}}
            for track, number in self._tracks.items()
        ]
        trace = {"traceEvents": named + self._events, "otherData": {"left_out": self.left_out}}
        with atomic_write(self.path) as handle:
            json.dump(trace, handle)

    def _event(self, span: Span, facts: Mapping[str, Any]) -> dict[str, Any]:
        number = self._tracks.setdefault(span.track, len(self._tracks))
        event = {"name": span.name, "ph": "X", "pid": 0, "tid": number, "args": dict(facts)}
        return event | {"ts": span.begun / 1000, "dur": (span.ended - span.begun) / 1000}


def scalars(progress: Progress) -> dict[str, float]:
    """The numbers of an update under the names by which trackers show them."""
    found = {f"learner/{name}": value for name, value in progress.metrics.items()}
    found |= {name: getattr(progress, name) for name in ("frames_per_second", "lag", "waiting", "learning")}
    found |= {f"stage/{name}": share for name, share in shares(progress.stages).items()}
    playing = sum(progress.stages.get(name, 0) for name in ("environment", "inference", "hand_over"))
    for name, spent in {"collect": playing, "learn": progress.stages.get("learn", 0)}.items():
        if spent:
            found[f"frames_per_second/{name}"] = progress.slot_frames / spent * 1e9
    if progress.mean_return is not None:
        found["mean_return"] = progress.mean_return
    return found


def lag_shares(lags: Sequence[int]) -> dict[str, float]:
    """What share of the slots was 0, 1, ... updates old."""
    total = sum(lags)
    return {str(lag): count / total for lag, count in enumerate(lags)} if total else {}
