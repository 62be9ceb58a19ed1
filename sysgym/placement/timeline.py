"""Timelines of an execution: Chrome's trace format for tools, SVG for pages.

The JSON opens in chrome://tracing and in Perfetto: one process a device, with a row for operations and a row for
transfers that leave it. The SVG shows the same, a lane a device, and stands alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from sysgym.core.files import atomic_write
from sysgym.placement.execution import Trace
from sysgym.placement.model import UNITS_PER_SECOND

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#eeca3b")


def chrome_trace(trace: Trace) -> dict[str, Any]:
    """The execution as Chrome trace events, times in microseconds."""
    scale = 1e6 / UNITS_PER_SECOND[trace.graph.time_unit]
    events: list[dict[str, Any]] = []
    for number, device in enumerate(trace.cluster.devices):
        events.append({"name": "process_name", "ph": "M", "pid": number, "args": {"name": device.name}})
        for row, what in enumerate(("operations", "transfers")):
            events.append({"name": "thread_name", "ph": "M", "pid": number, "tid": row, "args": {"name": what}})
    for node, device_number in enumerate(trace.assignment.tolist()):
        begin, length = float(trace.start[node]), float(trace.end[node] - trace.start[node])
        events.append(_event(_name(trace, node), device_number, 0, begin * scale, length * scale))
    for transfer in trace.transfers():
        label = f"{_name(trace, transfer.producer)} to {trace.cluster.devices[transfer.target].name}"
        length = (transfer.end - transfer.start) * scale
        events.append(_event(label, transfer.source, 1, transfer.start * scale, length))
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _event(name: str, device: int, row: int, begin: float, length: float) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": device, "tid": row, "ts": begin, "dur": length}


def _name(trace: Trace, node: int) -> str:
    return trace.graph.names[node] if trace.graph.names else str(trace.graph.node_ids[node])


def svg(trace: Trace, width: int = 960, lane: int = 36) -> str:
    """The execution as an SVG picture of the given width in pixels, one lane a device."""
    margin, gap = 90, 8
    scale = (width - margin - 10) / trace.makespan if trace.makespan > 0 else 0.0
    height = len(trace.cluster) * (lane + gap) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11"><title>{escape(trace.graph.source)}: {trace.makespan:g} {trace.graph.time_unit}</title>'
    ]
    for number, device in enumerate(trace.cluster.devices):
        top = number * (lane + gap) + gap
        parts.append(f'<text x="4" y="{top + lane / 2:g}">{escape(device.name)}</text>')
        parts.append(f'<rect x="{margin}" y="{top}" width="{width - margin - 10}" height="{lane}" fill="#f2f2f2"/>')
    for node, number in enumerate(trace.assignment.tolist()):
        left, length = margin + float(trace.start[node]) * scale, float(trace.end[node] - trace.start[node]) * scale
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(_box(left, number * (lane + gap) + gap, length, lane * 0.7, colour, _name(trace, node)))
    for transfer in trace.transfers():
        under = transfer.source * (lane + gap) + gap + lane * 0.75
        left, length = margin + transfer.start * scale, (transfer.end - transfer.start) * scale
        parts.append(_box(left, under, length, lane * 0.25, "#bab0ac", f"{_name(trace, transfer.producer)} (transfer)"))
    foot = f"0 to {trace.makespan:.6g} {trace.graph.time_unit}"
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
    text = svg(trace) if str(path).endswith(".svg") else json.dumps(chrome_trace(trace))
    with atomic_write(path) as handle:
        handle.write(text + "\n")
