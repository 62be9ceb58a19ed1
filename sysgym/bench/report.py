"""The report: one self-contained HTML page, rendered from records alone.

No address outside the page, no time and no host of the rendering: the same records give the same bytes. The figures
are inline SVG in the page's own colours, light or dark as the reader's system is. The page can be read without its one
small script, which sorts tables. One study or many: a section a domain, a board a problem (`boards`), and below it
each environment.
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
from sysgym.bench.boards import SCORE, Board, board_of, drawn_environments, grouped
from sysgym.bench.contests import Contest, Replicates, contests
from sysgym.bench.forest import Forest, forest_of_board, forest_of_table, measured_by_score
from sysgym.bench.headlines import Headline, headline, headline_of_board
from sysgym.bench.leaderboard import Row, Table, tail_name
from sysgym.bench.plots import Curve, IntervalFigure, LineFigure
from sysgym.bench.profiles import THRESHOLDS, profile_of
from sysgym.bench.records import ProvenanceFacts, QueueFacts, Record, canonical
from sysgym.core.errors import RecordError
from sysgym.core.files import atomic_write

QUEUE_POINTS, TRAINING_POINTS = 120, 50
"""Most points of a line that a figure draws."""
MANY = 60
"""Environments above which a page leaves out the figures of each."""
PROFILES = 6
"""Most lines of a figure of profiles: as many as there are colours."""


@dataclass(frozen=True)
class Section:
    """All that the page shows of one environment."""

    anchor: str
    table: Table
    newest: Record
    headline: Headline
    tail: str
    scored: bool
    ratios: bool
    forest: Forest
    comparison: IntervalFigure | None
    queue: LineFigure | None
    curves: LineFigure | None
    metrics: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Problem:
    """All that the page shows of one board; `matrix` has a policy's score on each environment, as cells."""

    anchor: str
    board: Board
    studies: list[str]
    headline: Headline
    forest: Forest | None
    profiles: LineFigure | None
    matrix: list[tuple[str, list[Row | None]]]
    sections: list[Section]

    @property
    def shown(self) -> Forest | None:
        """What the overview draws."""
        return self.forest or (self.sections[0].forest if self.sections else None)

    @property
    def rows(self) -> Sequence[Any]:
        """The rows of what the overview draws."""
        return self.board.rows if self.forest else self.sections[0].table.rows


def write_report(records: Iterable[Record], path: str | Path, against: str | None = None) -> Path:
    """Render the report to a file.

    Raises:
        RecordError: There are no records.
        UnknownNameError: An environment has no heuristic of the name `against`.
        OutputError: The file cannot be written.
    """
    page = render_report(records, against)
    with atomic_write(path) as handle:
        handle.write(page)
    return Path(path)


def render_report(records: Iterable[Record], against: str | None = None) -> str:
    """The report as HTML; the same bytes from the same records."""
    found = contests(records, against)
    shown = [record for contest in found for record in contest.shown]
    if not shown:
        raise RecordError("there are no records to report; run a study first (sysgym run STUDY.toml)")
    brief = len(found) > MANY
    problems = [_problem(number, group, brief) for number, group in enumerate(grouped(found), start=1)]
    studies = list(dict.fromkeys(record.study for record in shown))
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            title=studies[0] if len(studies) == 1 else "Leaderboard",
            studies=studies,
            descriptions=[text for text in dict.fromkeys(record.description for record in shown) if text],
            problems=problems,
            environment_count=len([contest for contest in found if contest.entries]),
            failures=[(contest.newest.environment.name, *fault) for contest in found for fault in contest.failures],
            records=shown,
            digest=hashlib.sha256("".join(record.record_id for record in shown).encode()).hexdigest(),
            made=_made([record.provenance for record in shown]),
            instances=_distinct([contest.newest.played.model_dump() for contest in found if contest.newest.played]),
            environments=_distinct([_environment(contest.newest) for contest in found]),
            trainings=_distinct([_recipe(record) for record in shown if record.policy.training]),
        )
    )


def _problem(number: int, group: Sequence[Contest], brief: bool) -> Problem:
    played = [contest for contest in group if contest.entries]
    drawn = [Replicates(contest) for contest in played]
    board = board_of(group, drawn)
    tables = [table for table in board.tables if table.rows]
    sections = [
        _section(f"environment-{number}-{place}", contest, table, brief)
        for place, (contest, table) in enumerate(zip(played, tables, strict=True), start=1)
    ]
    several = len(tables) > 1 and bool(board.rows)
    return Problem(
        anchor=f"problem-{number}",
        board=board,
        studies=list(dict.fromkeys(contest.newest.study for contest in group)),
        headline=headline_of_board(board),
        forest=forest_of_board(board) if several else None,
        profiles=_profiles(board, drawn) if board.measure == SCORE and board.rows else None,
        matrix=_matrix(board, tables) if several else [],
        sections=sections,
    )


def _section(anchor: str, contest: Contest, table: Table, brief: bool) -> Section:
    training, scored = None if brief else _curves(contest), measured_by_score(table)
    return Section(
        anchor=anchor,
        table=table,
        newest=contest.newest,
        headline=headline(table),
        tail=tail_name(table.direction),
        scored=scored,
        ratios=plots.has_ratios(table),
        forest=forest_of_table(table),
        comparison=plots.comparison_figure(table) if scored else None,
        queue=None if brief else _queue(contest, wide=training is not None),
        curves=training,
        metrics=_metrics(contest),
    )


def _matrix(board: Board, tables: Sequence[Table]) -> list[tuple[str, list[Row | None]]]:
    """Each policy's row of every environment."""
    names = [row.policy for row in board.rows] + board.incomplete
    return [(name, [next((r for r in table.rows if r.policy == name), None) for table in tables]) for name in names]


def _profiles(board: Board, drawn: Sequence[Replicates]) -> LineFigure | None:
    """Profiles of the best policies, the heuristics' best and all that are no heuristics first; bands for two."""
    ours = [row for row in board.rows if row.kind != "heuristic"]
    best = [row for row in board.rows if row.best_heuristic]
    first = [*best, *ours[: PROFILES - 1]]
    rest = [row for row in board.rows if row not in first]
    environments = drawn_environments(drawn)
    curves = []
    for colour, row in enumerate([*first, *rest][:PROFILES]):
        profile = profile_of(row.policy, drawn, environments)
        band = (profile.low.tolist(), profile.high.tolist()) if row in (*best, *ours[:1]) else ((), ())
        curves.append(Curve(row.policy, colour, THRESHOLDS.tolist(), profile.share.tolist(), *band))
    title = "share of scenarios that score more"
    return plots.line_figure(title, "score: 0 is random, 1 the bound", curves, wide=True, y_range=(0.0, 1.0))


def _queue(contest: Contest, *, wide: bool) -> LineFigure | None:
    """Queue length of the best heuristic and the best other policy, on the scenario that both kept."""
    others = [entry for entry in contest.entries if entry.kind != "heuristic"][:1]
    chosen = ([contest.best] if contest.best else []) + (others or contest.entries[1:2])
    kept = [(entry.name, entry.records[0].evidence.queue) for entry in chosen]
    series = [(name, queue) for name, queue in kept if queue is not None]
    same = [(name, queue) for name, queue in series if queue.scenario == series[0][1].scenario]
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


def _curves(contest: Contest) -> LineFigure | None:
    """Training curves, one line a seed and one colour a policy."""
    learned = [entry for entry in contest.entries if entry.kind == "learned"]
    curves = []
    for colour, entry in enumerate(learned, start=1):
        for record in entry.records:
            if record.policy.training is not None:
                points = [p for p in record.policy.training.curve if p.get("mean_return") is not None]
                points = points[:: -max(1, -(-len(points) // TRAINING_POINTS))][::-1]
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
    facts = record.environment.model_dump(exclude={"domain", "bound"})
    return {**facts, "study": record.study, "seeds": span} if seeds else {}


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
        fixed=formats.fixed,
        interval=formats.interval,
        percent=formats.percent,
        duration=formats.duration,
        count=formats.count,
        words=plots.words,
        json=lambda value: canonical(value).decode(),
    )
    return environment
