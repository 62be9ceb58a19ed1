"""The report: one self-contained HTML page, rendered from records alone.

No address outside the page, no script, no time and no host of the rendering: the same records give the same bytes.
The figures are inline SVG in the page's own colours, light or dark as the reader's system is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from sysgym.bench import formats, plots
from sysgym.bench.leaderboard import BETTER, EQUAL, TOO_FEW, WORSE, Contest, Row, Table, contests, table_of, tail_name
from sysgym.bench.plots import Curve, IntervalFigure, LineFigure
from sysgym.bench.records import ProvenanceFacts, QueueFacts, Record, canonical
from sysgym.core.errors import RecordError
from sysgym.core.files import atomic_write


@dataclass(frozen=True)
class Headline:
    """What a hurried reader takes away: a sentence, what supports it, and its tone ("good", "bad", "even")."""

    title: str
    detail: str
    tone: str


@dataclass(frozen=True)
class Section:
    """All that the page shows of one environment."""

    anchor: str
    table: Table
    newest: Record
    headline: Headline
    tail: str
    ratios: bool
    means: IntervalFigure
    comparison: IntervalFigure | None
    queue: LineFigure | None
    curves: LineFigure | None
    metrics: list[tuple[str, list[str]]]


def write_report(records: Iterable[Record], path: str | Path) -> Path:
    """Render the report to a file.

    Raises:
        RecordError: There are no records.
        OutputError: The file cannot be written.
    """
    page = render_report(records)
    with atomic_write(path) as handle:
        handle.write(page)
    return Path(path)


def render_report(records: Iterable[Record]) -> str:
    """The report as HTML; the same bytes from the same records."""
    found = contests(records)
    shown = [record for contest in found for record in contest.shown]
    if not shown:
        raise RecordError("there are no records to report; run a study first (sysgym run STUDY.toml)")
    template = _templates().get_template("report.html.j2")
    return template.render(
        title=", ".join(dict.fromkeys(record.study for record in shown)),
        descriptions=[text for text in dict.fromkeys(record.description for record in shown) if text],
        sections=[_section(number, contest) for number, contest in enumerate(found, start=1) if contest.entries],
        failures=[(contest.newest.environment.name, *fault) for contest in found for fault in contest.failures],
        records=shown,
        digest=hashlib.sha256(b"".join(record.line() for record in shown)).hexdigest(),
        made=_made([record.provenance for record in shown]),
        instances=_distinct([record.played.model_dump() for record in shown if record.played]),
        environments=_distinct([_environment(record) for record in shown]),
        trainings=_distinct([_recipe(record) for record in shown if record.policy.training]),
    )


def headline(table: Table) -> Headline:
    """Who wins, by how much, and how sure that is."""
    best = table.best_heuristic
    challenger = next((row for row in table.rows if row.kind != "heuristic"), None)
    if best is None:
        first = table.rows[0]
        return Headline(f"{first.policy} has the best mean", "No heuristic to compare with.", "even")
    if challenger is None:
        following = next((row for row in table.rows if row is not best), None)
        title = f"{best.policy} is the best of {len(table.rows)} heuristics"
        return Headline(title, _against(table, following, best) if following else "", "even")
    titles = {
        BETTER: (f"{challenger.policy} beats the best heuristic", "good"),
        WORSE: (f"{best.policy} beats {challenger.policy}", "bad"),
        EQUAL: (f"No difference found between {challenger.policy} and {best.policy}", "even"),
        TOO_FEW: ("Too few scenarios for a verdict", "even"),
    }
    title, tone = titles[challenger.verdict]
    return Headline(title, _against(table, challenger, best), tone)


def _against(table: Table, row: Row, best: Row) -> str:
    """How a policy compares with the best heuristic, in a sentence or two."""
    metric = plots.words(table.objective)
    assert row.difference is not None
    if row.ratio is not None:
        change = row.ratio.estimate - 1
        size = f"{formats.percent(abs(change))} {'lower' if change < 0 else 'higher'} than"
        if row.ratio.estimate >= 2:
            size = f"{formats.number(row.ratio.estimate, 3)} times"
        bounds = f"ratio {row.ratio.low:.3f} to {row.ratio.high:.3f}"
    else:
        change = row.difference.estimate
        size = f"{formats.number(abs(change))} {'lower' if change < 0 else 'higher'} than"
        bounds = f"difference {formats.number(row.difference.low, 3)} to {formats.number(row.difference.high, 3)}"
    text = f"The {metric} of {row.policy} is {size} that of {best.policy}"
    text += f" ({bounds} at 95 % confidence, {row.scenarios} paired scenarios"
    text += f", {row.runs} training seeds)." if row.runs > 1 else ")."
    text += f" It does worse on {formats.percent(row.lost)} of them."
    if row.training and row.runs == 1:
        text += " One training seed: this says nothing of what another one would give."
    return text


def _section(number: int, contest: Contest) -> Section:
    table, training = table_of(contest), _curves(contest)
    return Section(
        anchor=f"environment-{number}",
        table=table,
        newest=contest.newest,
        headline=headline(table),
        tail=tail_name(table.direction),
        ratios=plots.has_ratios(table),
        means=plots.mean_figure(table),
        comparison=plots.comparison_figure(table),
        queue=_queue(contest, wide=training is None),
        curves=training,
        metrics=_metrics(contest),
    )


def _queue(contest: Contest, *, wide: bool) -> LineFigure | None:
    """Queue length of the best heuristic and the best other policy, on the scenario that both kept."""
    others = [entry for entry in contest.entries if entry.kind != "heuristic"][:1]
    chosen = ([contest.best] if contest.best else []) + (others or contest.entries[1:2])
    kept = [(entry.name, entry.records[0].evidence.queue) for entry in chosen]
    series = [(name, queue) for name, queue in kept if queue is not None]
    same = [(name, queue) for name, queue in series if queue.scenario == series[0][1].scenario]
    curves = [_until_empty(Curve(name, n, _middles(queue), queue.length)) for n, (name, queue) in enumerate(same)]
    title = f"queue length in the busiest scenario, {series[0][1].scenario}" if series else ""
    unit = series[0][1].time_unit if series else ""
    return plots.line_figure(title, f"time since the first submission, {unit}", curves, wide=wide, filled=True)


def _middles(queue: QueueFacts) -> list[float]:
    """The middle of each slice of time."""
    return [(number + 0.5) * queue.step for number in range(len(queue.length))]


def _until_empty(curve: Curve) -> Curve:
    """The curve up to where the queue has emptied for good."""
    busy = [number for number, length in enumerate(curve.y) if length > 0]
    end = min(len(curve.y), busy[-1] + 4) if busy else len(curve.y)
    return Curve(curve.name, curve.colour, curve.x[:end], curve.y[:end])


def _curves(contest: Contest) -> LineFigure | None:
    """Training curves, one line a seed and one colour a policy."""
    learned = [entry for entry in contest.entries if entry.kind == "learned"]
    curves = []
    for colour, entry in enumerate(learned, start=1):
        for record in entry.records:
            if record.policy.training is not None:
                points = [p for p in record.policy.training.curve if p.get("mean_return") is not None]
                x, y = ([float(p[name] or 0.0) for p in points] for name in ("frames", "mean_return"))
                curves.append(Curve(entry.name, colour, x, y))
    return plots.line_figure("mean return while training", "environment steps", curves)


def _metrics(contest: Contest) -> list[tuple[str, list[str]]]:
    """Means of every metric, a row each, a column a policy; a dash where a scenario has none."""
    names = list(dict.fromkeys(n for e in contest.entries for r in e.records for n in r.result.metrics))
    return [(plots.words(name), [_mean_of(entry.records, name) for entry in contest.entries]) for name in names]


def _mean_of(records: Sequence[Record], name: str) -> str:
    columns = [record.result.metrics.get(name, [None]) for record in records]
    values = [value for column in columns for value in column]
    known = [value for value in values if value is not None]
    return formats.number(float(np.mean(known)), trim=True) if known and len(known) == len(values) else "-"


def _environment(record: Record) -> dict[str, Any]:
    seeds = record.seeds.scenarios
    span = f"{seeds[0]} to {seeds[-1]}" if seeds else "-"
    return {**record.environment.model_dump(), "seeds": span} if seeds else {}


def _recipe(record: Record) -> dict[str, Any]:
    training = record.policy.training
    assert training is not None
    return {"policy": record.policy.name, "algorithm": training.algorithm, "settings": training.settings}


def _made(provenances: Sequence[ProvenanceFacts]) -> dict[str, list[str]]:
    """Commands, revisions, versions and machines, equal ones once."""
    found: dict[str, list[str]] = {"commands": [], "revisions": [], "versions": [], "machines": []}
    for facts in provenances:
        packages = [f"{name} {version}" for name, version in sorted(facts.packages.items())]
        changed = " (with changes)" if facts.git_dirty else ""
        found["commands"].append(facts.command)
        found["revisions"].append(f"{facts.git_revision or 'unknown'}{changed}")
        found["versions"].append(", ".join([f"Python {facts.python}", *packages]))
        found["machines"].append(f"{facts.cpu}, {facts.cores} cores, {facts.platform}")
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}


def _distinct(facts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equal ones once, empty ones never, in order of first appearance."""
    return list({canonical(fact): fact for fact in facts if fact}.values())


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("sysgym.bench"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        number=formats.number,
        interval=formats.interval,
        percent=formats.percent,
        duration=formats.duration,
        count=formats.count,
        words=plots.words,
        json=lambda value: canonical(value).decode(),
    )
    return environment
