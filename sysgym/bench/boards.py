"""What several environments say together: one table for all that the same policies played of one problem.

An entry of a policy is one run on one environment, a mean over its scenarios, on a scale that environments share: the
normalised score where random and bound are known everywhere, else the ratio to the environment's best heuristic. The
figure of a row is the interquartile mean of its entries (Agarwal et al., NeurIPS 2021); fewer than four give the mean.
Intervals resample scenarios jointly for all policies, and runs, independently for each environment. Where an
environment is a single scenario (one graph), environments are what varies, and they are resampled as well.

A policy that has not played every environment of a board is named and not ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sysgym.bench import ranking, statistics
from sysgym.bench.contests import RULES, Contest, Entry, Replicates, contests
from sysgym.bench.improvement import Improvements, improvements
from sysgym.bench.leaderboard import (
    MINIMUM_SCENARIOS,
    NO_HEURISTIC,
    REFERENCE,
    TOO_FEW,
    Table,
    Training,
    lost_scenarios,
    seconds_per_step,
    table_of,
    training_of,
    verdict_of,
)
from sysgym.bench.records import Record
from sysgym.bench.statistics import Interval
from sysgym.bench.study_file import VALID

SCORE, RATIO = "score", "ratio"
WORST_SHARE = 10
"""Percentile of the scenarios that a row's `worst` is."""


@dataclass(frozen=True)
class BoardRow:
    """A policy over the environments of a board.

    Attributes:
        rank: 1 is the best figure.
        shared_rank: 1 + how many policies are shown to be better; ties share it.
        rank_interval: 95 % range of the rank.
        policy: Its name.
        kind: "heuristic", "search", "learned", "code", or "bound" for a policy that is the bound.
        best_heuristic: Whether it is the heuristic with the best figure.
        runs: Runs on an environment, the fewest of any.
        figure: Interquartile mean of its entries on the board's measure.
        mean: Their mean.
        gap: Optimality gap, 1 - mean of min(entry, 1); None where the measure is no score.
        borda: Sum over environments of how many policies it leaves behind.
        wins: Share of scenarios on which it beats the best heuristic of the environment, ties half.
        lost: Share of scenarios on which that heuristic does better.
        worst: The score that it misses in the worst tenth of the scenarios; None where the measure is no score.
        valid: The figure on the valid split, where the study played it; else None.
        verdict: As in a table, from the paired difference of the figures.
        invalid_actions: Answers that were no actions.
        timeouts: Scenarios that were played on by doing nothing, because an answer took too long.
        crashes: The same for policies that failed.
        seconds_per_step: Time for a decision.
        training: For learned policies.
    """

    rank: int
    shared_rank: int
    rank_interval: tuple[int, int]
    policy: str
    kind: str
    best_heuristic: bool
    runs: int
    figure: Interval
    mean: float
    gap: Interval | None
    borda: float
    wins: float | None
    lost: Interval | None
    worst: float | None
    valid: float | None
    verdict: str
    invalid_actions: int
    timeouts: int
    crashes: int
    seconds_per_step: float
    training: Training | None


@dataclass(frozen=True)
class Board:
    """A problem's leaderboard.

    Attributes:
        domain: What the problem belongs to.
        env_id: The problem.
        measure: "score" (larger is better) or "ratio" to the best heuristic, or "" where neither exists.
        direction: Which ratios are good: "min" or "max"; "max" for scores.
        bound_kinds: What is known of the bounds that score 1.
        resampled: Whether intervals resample environments as well.
        rows: Best first; empty without a measure.
        improvements: How likely each is to do better than each other; None with fewer than two rows.
        incomplete: Policies that have not played every environment.
        tables: One an environment.
    """

    domain: str
    env_id: str
    measure: str
    direction: str
    bound_kinds: list[str]
    resampled: bool
    rows: list[BoardRow]
    improvements: Improvements | None
    incomplete: list[str]
    tables: list[Table]

    @property
    def best_heuristic(self) -> BoardRow | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.best_heuristic), None)


def boards(records: Iterable[Record], against: str | None = None) -> list[Board]:
    """One board for each problem and set of policies among the records, those of a domain together.

    Args:
        records: Of any studies.
        against: Name of the heuristic that the others are compared with; None takes the best.

    Raises:
        UnknownNameError: An environment has no such heuristic.
    """
    with threadpool_limits(1, "blas"):  # the matrices are small: threads would wait for one another
        return [board_of(group) for group in grouped(contests(records, against))]


def grouped(found: Sequence[Contest]) -> list[list[Contest]]:
    """Contests of the same problem on which the same policies met, domain by domain in order of first appearance.

    Within a domain those on which choices were made, of the valid split, come last.
    """
    domains = list(dict.fromkeys(contest.domain for contest in found))
    groups: dict[tuple[int, bool, str, frozenset[str]], list[Contest]] = {}
    for contest in found:
        names = frozenset(entry.name for entry in contest.entries) | {name for name, _ in contest.failures}
        facts = contest.newest.environment
        key = domains.index(contest.domain), facts.split == VALID, facts.id, names
        groups.setdefault(key, []).append(contest)
    return [groups[key] for key in sorted(groups, key=lambda key: key[:2])]


def board_of(group: Sequence[Contest], drawn: Sequence[Replicates] | None = None) -> Board:
    """The board of contests of one problem; `drawn` are the replicates of those that have entries, where known."""
    played = [contest for contest in group if contest.entries]
    replicates = drawn or [Replicates(contest) for contest in played]
    known = iter(replicates)
    tables = [table_of(contest, next(known) if contest.entries else None) for contest in group]
    names = list(dict.fromkeys(entry.name for contest in played for entry in contest.entries))
    complete = [n for n in names if all(any(e.name == n for e in contest.entries) for contest in played)]
    measure = _measure(played)
    rows = _rows(complete, replicates, measure) if measure and complete else []
    first, ranked = group[0], [row.policy for row in rows]
    return Board(
        domain=first.domain,
        env_id=first.newest.environment.id,
        measure=measure,
        direction="max" if measure == SCORE else first.newest.environment.direction,
        bound_kinds=sorted({contest.anchors.kind for contest in played if contest.anchors}),
        resampled=_resamples_environments(played),
        rows=rows,
        improvements=improvements(ranked, replicates, drawn_environments(replicates)) if len(rows) > 1 else None,
        incomplete=[name for name in names if name not in complete],
        tables=tables,
    )


def drawn_environments(drawn: Sequence[Replicates]) -> NDArray[np.int64] | None:
    """Which environments each replicate of a board is made of, shape (B, environments); None where each is itself."""
    played = [replicate.contest for replicate in drawn]
    if not _resamples_environments(played):
        return None
    return statistics.resample(len(played), seed=played[0].seed)[:, :, 0]


def to_data(found: Sequence[Board]) -> list[dict[str, Any]]:
    """The boards as plain values, for JSON."""
    return [asdict(board) for board in found]


@dataclass(frozen=True)
class _Line:
    """A policy's entries on every environment of a board, shape (K,), larger is better; figures and gaps of replicates.

    The replicates of the entries themselves are large and not kept.
    """

    name: str
    of: list[Entry]
    entries: NDArray[np.float64]
    figures: NDArray[np.float64]
    gaps: NDArray[np.float64]


def _measure(played: Sequence[Contest]) -> str:
    if played and all(contest.anchors for contest in played):
        return SCORE
    positive = all((entry.values > 0).all() for contest in played for entry in contest.entries)
    same = len({contest.minimise for contest in played}) == 1
    return RATIO if played and positive and same and all(contest.best for contest in played) else ""


def _rows(names: Sequence[str], replicates: Sequence[Replicates], measure: str) -> list[BoardRow]:
    minimise = measure == RATIO and replicates[0].contest.minimise
    chosen = drawn_environments(replicates)
    found = [_line(name, replicates, measure, chosen) for name in names]
    lines = sorted(found, key=lambda line: (-_iqm(line.entries), line.name))
    figures = np.column_stack([line.figures for line in lines])
    valid = {line.name: _valid_figure(line.name, replicates, measure) for line in lines}
    best = _best_heuristic(lines, replicates, valid)
    borda = ranking.borda_points([_by_environment(line) for line in lines])
    shown, ranges = ranking.shared_ranks(figures), ranking.rank_intervals(figures)
    back = partial(_shown_figure, measure=measure, minimise=minimise)
    rows = []
    for number, line in enumerate(lines):
        sample = line.of[0]
        records = [record for entry in line.of for record in entry.records]
        difference = None
        if best is not None and best != number:
            estimate = _iqm(line.entries) - _iqm(lines[best].entries)
            difference = statistics.interval(estimate, figures[:, number] - figures[:, best])
        low, high = np.percentile(figures[:, number], [2.5, 97.5])
        low, high = sorted((back(low), back(high)))
        rows.append(
            BoardRow(
                rank=number + 1,
                shared_rank=shown[number],
                rank_interval=ranges[number],
                policy=line.name,
                kind=sample.kind,
                best_heuristic=number == best,
                runs=min(len(entry.values) for entry in line.of),
                figure=Interval(back(_iqm(line.entries)), low, high),
                mean=back(line.entries.mean()),
                gap=_gap(line) if measure == SCORE else None,
                borda=float(borda[number]),
                wins=_wins(line, replicates),
                lost=_lost(line, replicates),
                worst=_worst(line, replicates) if measure == SCORE else None,
                valid=None if (chosen_by := valid[line.name]) is None else back(chosen_by),
                verdict=_verdict(number, best, difference, replicates),
                invalid_actions=sum(record.result.invalid_actions for record in records),
                timeouts=sum(record.result.timeouts for record in records),
                crashes=sum(record.result.crashes for record in records),
                seconds_per_step=seconds_per_step(records),
                training=training_of(records),
            )
        )
    return rows


def _resamples_environments(played: Sequence[Contest]) -> bool:
    return len(played) > 1 and any(contest.scenarios == 1 for contest in played)


def _line(name: str, replicates: Sequence[Replicates], measure: str, environments: NDArray[np.int64] | None) -> _Line:
    found, entries, drawn = [], [], []
    for replicate in replicates:
        contest = replicate.contest
        entry = next(entry for entry in contest.entries if entry.name == name)
        found.append(entry)
        entries.append(_entries_of(entry, contest, measure))
        if measure == SCORE:
            drawn.append(replicate.scores(entry))
        else:
            assert contest.best is not None
            sign = -1.0 if contest.minimise else 1.0
            drawn.append(sign * np.log(replicate.runs(entry) / replicate.means(contest.best)[:, None]))
    if environments is not None:
        fewest = min(part.shape[1] for part in drawn)  # as many entries of each, whichever are drawn
        stacked = np.stack([part[:, :fewest] for part in drawn], axis=1)
        drawn = [np.take_along_axis(stacked, environments[:, :, None], axis=1).reshape(len(stacked), -1)]
    joined = np.concatenate(drawn, axis=1)[..., None]
    return _Line(name, found, np.concatenate(entries), statistics.iqm(joined), statistics.optimality_gap(joined))


def _entries_of(entry: Entry, contest: Contest, measure: str) -> NDArray[np.float64]:
    """A policy's runs on the board's measure, larger is better; shape (runs,)."""
    means: NDArray[np.float64] = entry.values.mean(axis=1)
    if measure == SCORE:
        assert contest.anchors is not None
        return contest.anchors.score(means)
    assert contest.best is not None
    found: NDArray[np.float64] = np.log(means / contest.best.mean)
    return -found if contest.minimise else found


def _valid_figure(name: str, replicates: Sequence[Replicates], measure: str) -> float | None:
    """The figure that a policy has on the valid split; None unless it was played for every environment."""
    entries = []
    for replicate in replicates:
        contest = replicate.contest.chosen_on
        entry = next((each for each in contest.entries if each.name == name), None) if contest else None
        if contest is None or entry is None or _measure([contest]) not in (SCORE, measure):
            return None
        entries.append(_entries_of(entry, contest, measure))
    return float(_iqm(np.concatenate(entries)))


def _iqm(entries: NDArray[np.float64]) -> Any:
    return statistics.iqm(entries[..., None])


def _shown_figure(value: float, measure: str, minimise: bool) -> float:
    """A figure as it is shown: ratios are averaged as logarithms, turned so that large is good."""
    if measure == SCORE:
        return float(value)
    return float(np.exp(-value if minimise else value))


def _best_heuristic(
    lines: Sequence[_Line], replicates: Sequence[Replicates], valid: Mapping[str, float | None]
) -> int | None:
    """Which line the others are compared with: the best on the valid split, where it was played, else on the board."""
    asked = replicates[0].contest.against
    rules = [n for n, line in enumerate(lines) if line.of[0].kind in RULES and asked in (None, line.name)]
    numbers = [n for n in rules if lines[n].of[0].kind == "heuristic"] or rules
    figures = [valid[lines[number].name] for number in numbers]
    known = [figure for figure in figures if figure is not None]
    return numbers[figures.index(max(known))] if known and len(known) == len(numbers) else next(iter(numbers), None)


def _by_environment(line: _Line) -> list[float]:
    """Mean of a line's entries on each environment."""
    ends = np.cumsum([len(entry.values) for entry in line.of])[:-1]
    return [float(part.mean()) for part in np.split(line.entries, ends)]


def _gap(line: _Line) -> Interval:
    return statistics.interval(statistics.optimality_gap(line.entries[:, None]), line.gaps)


def _wins(line: _Line, replicates: Sequence[Replicates]) -> float | None:
    shares = []
    for entry, replicate in zip(line.of, replicates, strict=True):
        best = replicate.contest.best
        if best is None:
            return None
        x, y = entry.values, np.broadcast_to(best.values.mean(axis=0), entry.values.shape)
        won = statistics.paired_win_rate(x, y)
        shares.append(1 - won if replicate.contest.minimise else won)
    return float(np.mean(shares))


def _lost(line: _Line, replicates: Sequence[Replicates]) -> Interval | None:
    """Share of scenarios lost to the best heuristic of each environment, environments counting alike."""
    estimates, drawn = [], []
    for entry, replicate in zip(line.of, replicates, strict=True):
        if replicate.contest.best is None:
            return None
        lost = lost_scenarios(entry, replicate.contest)
        estimates.append(0.0 if lost is None else lost.mean())
        drawn.append(np.zeros(len(replicate.weights)) if lost is None else replicate.weights @ lost)
    return statistics.interval(np.mean(estimates), np.mean(drawn, axis=0))


def _worst(line: _Line, replicates: Sequence[Replicates]) -> float:
    scores = []
    for entry, replicate in zip(line.of, replicates, strict=True):
        assert replicate.contest.anchors is not None
        scores.append(replicate.contest.anchors.score(entry.values).ravel())
    return float(np.percentile(np.concatenate(scores), WORST_SHARE))


def _verdict(number: int, best: int | None, difference: Interval | None, replicates: Sequence[Replicates]) -> str:
    if number == best:
        return replicates[0].contest.against or REFERENCE
    if difference is None:
        return NO_HEURISTIC
    if sum(replicate.contest.scenarios for replicate in replicates) < MINIMUM_SCENARIOS:
        return TOO_FEW
    return verdict_of(difference, minimise=False)
