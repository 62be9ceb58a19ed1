"""A page about a log: its figures and charts as one HTML file, drawn by hand as SVG, without scripts or libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sysgym.bench.formats import number
from sysgym.bench.plots import Axis

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 460, 190, 44, 34, 12
_STYLE = (
    ":root{color-scheme:light dark;--paper:#fff;--ink:#222;--soft:#555;--rule:#ddd;--bar:#2a6f97}"
    "@media(prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e8ea;--soft:#9aa4af;--rule:#2d333b;--bar:#6fa8cf}}"
    "body{font:15px/1.45 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:var(--ink);"
    "background:var(--paper)}"
    "figure{display:inline-block;margin:0 12px 18px 0}figcaption{font-weight:600;margin-bottom:2px}"
    "table{border-collapse:collapse;margin:.6em 0 1.4em}"
    "td,th{padding:2px 10px;text-align:right;border-bottom:1px solid var(--rule)}"
    "td:first-child,th:first-child{text-align:left}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}"
    "rect{fill:var(--bar)}line{stroke:var(--rule)}"
)

_NAMES = {"gap": "gap between arrivals, s", "run_time": "run time, s", "accuracy": "run time over estimate"}


def log_page(title: str, summary: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """The page as text; the same summary gives the same bytes.

    Args:
        title: Name of the log.
        summary: What `workloads.log_summary.summary_of` gives.
        notes: Lines to stand below the title, such as the repairs.
    """
    load = summary["offered_load"]
    facts = [
        f"{summary['jobs']:,} jobs over {summary['span'] / 86400:.1f} days",
        f"offered load {load:.3f}" if load is not None else "offered load unknown",
        f"{summary['users']:,} users" if summary["users"] else "users unknown",
    ]
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    below = f"<ul>{lines}</ul>" if lines else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><p>{'; '.join(facts)}</p>"
        f"{below}{_table(summary['quantiles'])}{''.join(_charts(summary))}</body></html>\n"
    )


def _charts(summary: Mapping[str, Any]) -> list[str]:
    hours = [str(hour) for hour in range(24)]
    charts = [bars(f"Jobs by hour of arrival ({summary['clock']})", hours, summary["arrivals_by_hour"], every=3)]
    if summary["arrivals_by_weekday"]:
        charts.append(
            bars(
                "Jobs by weekday of arrival",
                ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
                summary["arrivals_by_weekday"],
            )
        )
    for name, key, unit in (("processors", "sizes", ""), ("run time", "run_times", " s")):
        if summary[key]:
            labels = [f"{_short(low)}{unit}" for low, _ in summary[key]]
            every = 1 + len(labels) // 9
            charts.append(bars(f"Jobs by {name}, powers of two", labels, [count for _, count in summary[key]], every))
    if summary["accuracy"]:
        shares = [f"{place / len(summary['accuracy']):.2g}" for place in range(len(summary["accuracy"]))]
        charts.append(
            bars("Jobs by accuracy of the estimate: run time over estimate", shares, summary["accuracy"], every=4)
        )
    return charts


def _short(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:g}"


def bars(title: str, labels: Sequence[str], values: Sequence[float], every: int = 1) -> str:
    """A bar chart as an SVG figure.

    Args:
        title: Above the chart.
        labels: Below the bars.
        values: Heights, at least 0.
        every: Only each so-manieth label is written.
    """
    top = max(values, default=0) or 1
    step = (_WIDTH - _LEFT - 8) / max(len(values), 1)
    height = _HEIGHT - _BOTTOM - _TOP
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{tick.at:.1f}" y2="{tick.at:.1f}"/>'
        f'<text x="{_LEFT - 5}" y="{tick.at + 4:.1f}" text-anchor="end">{tick.label}</text>'
        for tick in Axis(0, top, _TOP + height, _TOP).ticks(4)
    ]
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        x, tall = _LEFT + place * step, height * value / top
        parts.append(
            f'<rect x="{x + step * 0.1:.1f}" y="{_TOP + height - tall:.1f}" '
            f'width="{step * 0.8:.1f}" height="{tall:.1f}">'
            f"<title>{escape(label)}: {value:,}</title></rect>"
        )
        if place % every == 0:
            middle = x + step / 2
            parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{escape(label)}</text>')
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _table(quantiles: Mapping[str, Mapping[str, float]]) -> str:
    rows = {name: row for name, row in quantiles.items() if row}
    if not rows:
        return ""
    heads = "".join(f"<th>{name}</th>" for name in next(iter(rows.values())))
    body = "".join(
        f"<tr><td>{escape(_NAMES.get(name, name))}</td>"
        + "".join(f"<td>{number(value)}</td>" for value in row.values())
        + "</tr>"
        for name, row in rows.items()
    )
    return f"<table><tr><th></th>{heads}</tr>{body}</table>"
