"""Shifts: how policies fare where one number of an environment changes and everything else stays.

Loads, sizes, budgets: where a study plays the same policies at three values or more of one numeric argument, the scores
(or ratios to the best heuristic there) stand over that argument. Policies that were trained at one value, or over a
range, show there what they are worth beyond it. What lies beyond the axis of a forest is left out here too. An argument
that a record leaves out has its environment's default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sysgym.bench import environments, formats
from sysgym.bench.contests import RANDOM, RULES, Contest, is_ours
from sysgym.bench.forest import FARTHEST_RATIO, LOWEST_SCORE, measured_by_score
from sysgym.bench.leaderboard import WORSE, Row, Table
from sysgym.bench.plots import Curve, LineFigure, line_figure, words
from sysgym.bench.records import canonical
from sysgym.bench.statistics import Interval

FEWEST = 3
"""Fewest values of an argument that make a figure."""
LINES = 6
"""Most policies of a figure."""


@dataclass(frozen=True)
class Shift:
    """One argument that changes.

    Attributes:
        argument: Its name.
        tables: Of the environments, by its value.
        figure: Scores or ratios over it.
        below: Where policies that are no heuristics are shown to be worse than the best heuristic, as "policy at 0.8".
    """

    argument: str
    tables: list[Table]
    figure: LineFigure
    below: list[str]


def shifts_of(played: Sequence[tuple[Contest, Table]]) -> list[Shift]:
    """The shifts among environments, each of the same study, id and split."""
    groups: dict[tuple[str, ...], dict[float, Table]] = {}
    for contest, table in played:
        facts, log = contest.newest.environment, contest.newest.played
        defaults = environments.shifts_of(facts.id) if is_ours(facts.id) else {}
        arguments = {**defaults, **facts.arguments}
        for name, value in arguments.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = canonical({other: arguments[other] for other in arguments if other != name}).decode()
                key = contest.newest.study, facts.id, facts.split, name, rest, log.file_sha256 if log else ""
                groups.setdefault(key, {}).setdefault(float(value), table)
    found = [_shift(key[3], dict(sorted(members.items()))) for key, members in groups.items() if len(members) >= FEWEST]
    return [shift for shift in found if shift is not None]


def _shift(argument: str, tables: Mapping[float, Table]) -> Shift | None:
    scored = all(measured_by_score(table) for table in tables.values())
    lines: dict[str, list[tuple[float, Row, Interval]]] = {}
    for value, table in tables.items():
        for row in (row for row in table.rows if not scored or row.policy != RANDOM):  # whose score is 0 everywhere
            shown = row.score if scored else Interval(1.0, 1.0, 1.0) if row.best_heuristic else row.ratio
            if shown is not None and (shown.estimate >= LOWEST_SCORE if scored else shown.estimate <= FARTHEST_RATIO):
                lines.setdefault(row.policy, []).append((value, row, shown))
    ours = [name for name, points in lines.items() if points[0][1].kind not in RULES]
    chosen = [name for name in [*ours, *lines] if len(lines[name]) >= FEWEST]
    curves = []
    for colour, name in enumerate(list(dict.fromkeys(chosen))[:LINES], start=1):
        x, y = [point[0] for point in lines[name]], [point[2] for point in lines[name]]
        low, high = ([each.low for each in y], [each.high for each in y]) if name in ours else ([], [])
        curves.append(Curve(name, colour, x, [each.estimate for each in y], low, high))
    measure = "score" if scored else "ratio to the best heuristic there"
    figure = line_figure(f"{measure}, over {words(argument)}", words(argument), curves, dotted=True)
    below = [
        f"{name} at {formats.number(value, trim=True)}"
        for name in ours
        for value, row, _ in lines[name]
        if row.verdict == WORSE
    ]
    return None if figure is None else Shift(argument, list(tables.values()), figure, below)
