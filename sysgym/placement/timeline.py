"""Timelines of an execution or of a pipeline's step: Chrome's trace format for tools, SVG for pages.

The JSON opens in chrome://tracing and in Perfetto: one process a device, with a row for operations and a row for
transfers that leave it. The SVG shows the same, a lane a device, and stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from sysgym.core.files import atomic_write
from sysgym.placement.execution import Trace
from sysgym.placement.model import UNITS_PER_SECOND
from sysgym.placement.pipeline import PipelineRun

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#eeca3b")
_GREY = "#bab0ac"


class _Bar(NamedTuple):
    """A stretch of work: its lane, whether it is a transfer, what it is, when it begins and how long it takes."""

    lane: int
    moved: bool
    name: str
    begin: float
    length: float
    colour: str


class _Picture(NamedTuple):
    """Lanes and bars, in a unit of time, under a title."""

    title: str
    lanes: tuple[str, ...]
    bars: tuple[_Bar, ...]
    makespan: float
    unit: str


def _of_trace(trace: Trace) -> _Picture:
    """An execution: operations on their devices, transfers on the device that sends."""
    bars = []
    for node, device in enumerate(trace.assignment.tolist()):
        begin, length = float(trace.start[node]), float(trace.end[node] - trace.start[node])
        bars.append(_Bar(device, False, _name(trace, node), begin, length, _COLOURS[device % len(_COLOURS)]))
    for transfer in trace.transfers():
        label = f"{_name(trace, transfer.producer)} to {trace.cluster.devices[transfer.target].name}"
        bars.append(_Bar(transfer.source, True, label, transfer.start, transfer.end - transfer.start, _GREY))
    lanes = tuple(device.name for device in trace.cluster.devices)
    return _Picture(trace.graph.source, lanes, tuple(bars), trace.makespan, trace.graph.time_unit)


def _of_pipeline(run: PipelineRun, devices: Sequence[str], title: str) -> _Picture:
    """A step: forwards in one colour, backwards in another, weight gradients in a third."""
    bars = []
    for kind, what in enumerate(("forward", "backward", "weight gradient")[: len(run.start)]):
        for chunk in range(run.start.shape[1]):
            for batch in range(run.start.shape[2]):
                begin, length = float(run.start[kind, chunk, batch]), float(run.end[kind, chunk, batch])
                name = f"{what} {batch}" + (f", chunk {chunk}" if run.start.shape[1] > len(devices) else "")
                bars.append(_Bar(chunk % len(devices), False, name, begin, length - begin, _COLOURS[kind]))
    return _Picture(title, tuple(devices), tuple(bars), run.makespan, "s")


def _name(trace: Trace, node: int) -> str:
    return trace.graph.names[node] if trace.graph.names else str(trace.graph.node_ids[node])


def chrome_trace(trace: Trace) -> dict[str, Any]:
    """The execution as Chrome trace events, times in microseconds."""
    return _chrome(_of_trace(trace))


def _chrome(picture: _Picture) -> dict[str, Any]:
    scale = 1e6 / UNITS_PER_SECOND[picture.unit]
    events: list[dict[str, Any]] = []
    for number, lane in enumerate(picture.lanes):
        events.append({"name": "process_name", "ph": "M", "pid": number, "args": {"name": lane}})
        for row, what in enumerate(("operations", "transfers")):
            events.append({"name": "thread_name", "ph": "M", "pid": number, "tid": row, "args": {"name": what}})
    events += [
        {"name": bar.name, "ph": "X", "pid": bar.lane, "tid": int(bar.moved), "ts": bar.begin * scale,
         "dur": bar.length * scale}
        for bar in picture.bars
    ]  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def svg(trace: Trace, width: int = 960, lane: int = 36) -> str:
    """The execution as an SVG picture of the given width in pixels, one lane a device."""
    return _svg(_of_trace(trace), width, lane)


def _svg(picture: _Picture, width: int = 960, lane: int = 36) -> str:
    margin, gap = 90, 8
    scale = (width - margin - 10) / picture.makespan if picture.makespan > 0 else 0.0
    height = len(picture.lanes) * (lane + gap) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11"><title>{escape(picture.title)}: {picture.makespan:g} {picture.unit}</title>'
    ]
    for number, name in enumerate(picture.lanes):
        top = number * (lane + gap) + gap
        parts.append(f'<text x="4" y="{top + lane / 2:g}">{escape(name)}</text>')
        parts.append(f'<rect x="{margin}" y="{top}" width="{width - margin - 10}" height="{lane}" fill="#f2f2f2"/>')
    for bar in picture.bars:
        begin, below = margin + bar.begin * scale, bar.lane * (lane + gap) + gap + (lane * 0.75 if bar.moved else 0.0)
        tall = lane * (0.25 if bar.moved else 0.7)
        parts.append(_box(begin, below, bar.length * scale, tall, bar.colour, bar.name))
    foot = f"0 to {picture.makespan:.6g} {picture.unit}"
    return "\n".join([*parts, f'<text x="{margin}" y="{height - 6}">{foot}</text></svg>'])


def _box(left: float, top: float, width: float, height: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{left:.3f}" y="{top:.1f}" width="{max(width, 0.2):.3f}" height="{height:.1f}" fill="{colour}" '
        f'stroke="white" stroke-width="0.3"><title>{escape(title)}</title></rect>'
    )


def write_timeline(trace: Trace, path: str | Path) -> None:
    """Write a timeline; the ending chooses the form: .svg, else Chrome's JSON.

    Raises:
        OutputError: The place cannot be written.
    """
    _write(_of_trace(trace), path)


def write_pipeline_timeline(run: PipelineRun, devices: Sequence[str], path: str | Path, title: str = "step") -> None:
    """Write a pipeline's step, a lane a device; the ending chooses the form: .svg, else Chrome's JSON.

    Raises:
        OutputError: The place cannot be written.
    """
    _write(_of_pipeline(run, devices, title), path)


def _write(picture: _Picture, path: str | Path) -> None:
    text = _svg(picture) if str(path).endswith(".svg") else json.dumps(_chrome(picture))
    with atomic_write(path) as handle:
        handle.write(text + "\n")
