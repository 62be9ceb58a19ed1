"""The report: one self-contained HTML page, rendered from records alone.

No address outside the page, no time and no host of the rendering: the same records give the same bytes. The figures
are inline SVG in the page's own colours, light or dark as the reader's system is. The page can be read without its one
small script, which sorts tables. One study or many: a section a domain, a board a problem (`boards`), and below it
each environment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from threadpoolctl import threadpool_limits

from sysgym.bench import formats, plots
from sysgym.bench.boards import SCORE, Board, board_of, drawn_environments, grouped
from sysgym.bench.contests import RULES, Contest, Replicates, contests
from sysgym.bench.curves import expected_trainings, queue_figure, training_figure
from sysgym.bench.forest import Forest, forest_of_board, forest_of_table, measured_by_score
from sysgym.bench.headlines import Headline, headline, headline_of_board
from sysgym.bench.leaderboard import Row, Table, tail_name
from sysgym.bench.plots import Curve, IntervalFigure, LineFigure
from sysgym.bench.profiles import THRESHOLDS, profile_of
from sysgym.bench.records import ProvenanceFacts, Record, canonical
from sysgym.bench.replay_marks import Replays
from sysgym.bench.shift import Shift, shifts_of
from sysgym.bench.splits import SplitFigure, splits_of
from sysgym.bench.verification import Verdict
from sysgym.bench.worst_cases import WorstCases, worst_cases_of
from sysgym.core.errors import RecordError
from sysgym.core.files import atomic_write

MANY = 200
"""Environments above which queues, trainings and worst cases are not even looked at."""
DETAILS = (3, 2, 1, 0)
"""From a whole page to one without the figures of each environment: the first that is small enough is shown."""
LARGEST = 990_000
"""Bytes of a page."""
PROFILES = 6
"""Most lines of a figure of profiles: as many as there are colours."""


_LINES = re.compile(r"\n\s*\n+")


@dataclass(frozen=True)
class Section:
    """All that the page shows of one environment."""

    anchor: str
    contest: Contest
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
    expected: list[tuple[str, int, float, float]]
    worst: WorstCases | None
    metrics: list[tuple[str, list[str]]]
    replayed: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Problem:
    """All that the page shows of one board; `matrix` has a policy's score on each environment, as cells.

    `replayed` tells of each policy how many of its records were played again and agreed, how many differed, and how
    many there are.
    """

    anchor: str
    board: Board
    studies: list[str]
    description: str
    headline: Headline
    forest: Forest | None
    profiles: LineFigure | None
    splits: SplitFigure | None
    shifts: list[Shift]
    replayed: dict[str, tuple[int, int, int]]
    matrix: list[tuple[str, list[Row | None]]]
    sections: list[Section]

    @property
    def told(self) -> bool:
        """Whether the overview has it: two policies or more."""
        return any(len(section.table.rows) > 1 for section in self.sections) or not self.sections

    @property
    def shown(self) -> Forest | None:
        """What the overview draws."""
        return self.forest or (self.sections[0].forest if self.sections else None)

    @property
    def rows(self) -> Sequence[Any]:
        """The rows of what the overview draws."""
        return self.board.rows if self.forest else self.sections[0].table.rows


def write_report(
    records: Iterable[Record], path: str | Path, against: str | None = None, verdicts: Sequence[Verdict] = ()
) -> Path:
    """Render the report to a file; see `render_report`.

    Raises:
        RecordError: There are no records.
        UnknownNameError: An environment has no heuristic of the name `against`.
        OutputError: The file cannot be written.
    """
    page = render_report(records, against, verdicts)
    with atomic_write(path) as handle:
        handle.write(page)
    return Path(path)


def render_report(records: Iterable[Record], against: str | None = None, verdicts: Sequence[Verdict] = ()) -> str:
    """The report as HTML; the same bytes from the same records.

    Args:
        records: Of any studies.
        against: Name of the heuristic that the others are compared with; None takes the best.
        verdicts: What came of playing records again, just now; the page marks what agreed, and claims nothing else.

    Raises:
        RecordError: There are no records.
        UnknownNameError: An environment has no heuristic of the name `against`.
    """
    found = contests(records, against)
    shown = [record for contest in found for record in contest.shown]
    if not shown:
        raise RecordError("there are no records to report; run a study first (sysgym run STUDY.toml)")
    brief = len(found) > MANY
    replays = Replays(verdicts)
    with threadpool_limits(1, "blas"):  # as in `boards`
        problems = [_problem(number, group, brief, replays) for number, group in enumerate(grouped(found), start=1)]
        _place_shifts(problems, found)
    studies = list(dict.fromkeys(record.study for record in shown))
    facts = {
        "title": studies[0] if len(studies) == 1 else "Leaderboard",
        "studies": studies,
        "descriptions": [text for text in dict.fromkeys(record.description for record in shown) if text],
        "problems": problems,
        "environment_count": len([contest for contest in found if contest.entries]),
        "failures": [(contest.newest.environment.name, *fault) for contest in found for fault in contest.failures],
        "records": shown,
        "replays": replays,
        "digest": hashlib.sha256("".join(record.record_id for record in shown).encode()).hexdigest(),
        "made": _made([record.provenance for record in shown]),
        "instances": _distinct([contest.newest.played.model_dump() for contest in found if contest.newest.played]),
        "environments": _distinct([_environment(contest.newest) for contest in found]),
        "trainings": _distinct([_recipe(record) for record in shown if record.policy.training]),
    }
    template, page = _templates().get_template("report.html.j2"), ""
    for detail in DETAILS[2:] if brief else DETAILS:
        page = _LINES.sub("\n", template.render(facts, detail=detail))
        if len(page.encode()) <= LARGEST:
            break
    return page


def _place_shifts(problems: Sequence[Problem], found: Sequence[Contest]) -> None:
    """Put each shift below the board of its first environment."""
    tables = {id(section.contest): section.table for problem in problems for section in problem.sections}
    played = [(contest, tables[id(contest)]) for contest in found if id(contest) in tables]
    for shift in shifts_of(played):
        home = next(p for p in problems if any(s.table is shift.tables[0] for s in p.sections))
        home.shifts.append(shift)


def _problem(number: int, group: Sequence[Contest], brief: bool, replays: Replays) -> Problem:
    played = [contest for contest in group if contest.entries]
    drawn = [Replicates(contest) for contest in played]
    board = board_of(group, drawn)
    tables = [table for table in board.tables if table.rows]
    sections = [
        _section(f"environment-{number}-{place}", contest, table, brief, replays)
        for place, (contest, table) in enumerate(zip(played, tables, strict=True), start=1)
    ]
    several = len(tables) > 1 and bool(board.rows)
    return Problem(
        anchor=f"problem-{number}",
        board=board,
        studies=list(dict.fromkeys(contest.newest.study for contest in group)),
        description=group[0].newest.description,
        headline=headline_of_board(board),
        forest=forest_of_board(board) if several else None,
        profiles=_profiles(board, drawn) if board.measure == SCORE and board.rows else None,
        splits=splits_of(board),
        shifts=[],
        replayed=replays.of_entries([entry for contest in played for entry in contest.entries]),
        matrix=_matrix(board, tables) if several else [],
        sections=sections,
    )


def _section(anchor: str, contest: Contest, table: Table, brief: bool, replays: Replays) -> Section:
    training, scored = None if brief else training_figure(contest), measured_by_score(table)
    return Section(
        anchor=anchor,
        contest=contest,
        table=table,
        newest=contest.newest,
        headline=headline(table),
        tail=tail_name(table.direction),
        scored=scored,
        ratios=plots.has_ratios(table),
        forest=forest_of_table(table),
        comparison=plots.comparison_figure(table) if scored else None,
        queue=None if brief else queue_figure(contest, wide=training is not None),
        curves=training,
        expected=expected_trainings(contest),
        worst=None if brief else worst_cases_of(contest),
        metrics=_metrics(contest),
        replayed=replays.of_entries(contest.entries),
    )


def _matrix(board: Board, tables: Sequence[Table]) -> list[tuple[str, list[Row | None]]]:
    """Each policy's row of every environment."""
    names = [row.policy for row in board.rows] + board.incomplete
    return [(name, [next((r for r in table.rows if r.policy == name), None) for table in tables]) for name in names]


def _profiles(board: Board, drawn: Sequence[Replicates]) -> LineFigure | None:
    """Profiles of the best policies, the heuristics' best and all that are no heuristics first; bands for two."""
    ours = [row for row in board.rows if row.kind not in RULES]
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
        key=lambda value: f"{value:.6g}" if isinstance(value, float) else value,
        decile=lambda share: min(4, int(10 * share)),
        short=lambda env_id: env_id.removeprefix("sysgym/").rpartition("-v")[0] or env_id,
        words=plots.words,
        json=lambda value: canonical(value).decode(),
    )
    return environment
