"""What a hurried reader takes away: who wins, by how much, and how sure that is, in a sentence or two."""

from __future__ import annotations

from dataclasses import dataclass

from sysgym.bench import formats
from sysgym.bench.boards import SCORE, Board, BoardRow
from sysgym.bench.contests import RULES
from sysgym.bench.leaderboard import BETTER, EQUAL, TOO_FEW, WORSE, Row, Table


@dataclass(frozen=True)
class Headline:
    """A sentence, what supports it, and its tone ("good", "bad", "even")."""

    title: str
    detail: str
    tone: str


def headline_of_board(board: Board) -> Headline:
    """The headline of a problem: its environment's where there is one, else that of all together."""
    if len(board.tables) == 1 or not board.rows:
        return headline(next((table for table in board.tables if table.rows), board.tables[0]))
    best = board.best_heuristic
    challenger = next((row for row in board.rows if row.kind not in RULES), None)
    title, tone = _title(best, challenger, board.rows)
    return Headline(title, _figures(board, challenger, best), tone)


def headline(table: Table) -> Headline:
    """The headline of an environment."""
    if not table.rows:
        return Headline("Every run failed", "", "bad")
    best = table.best_heuristic
    challenger = next((row for row in table.rows if row.kind not in RULES), None)
    title, tone = _title(best, challenger, table.rows)
    if best is None:
        return Headline(title, "No heuristic to compare with.", tone)
    compared = challenger or next((row for row in table.rows if row is not best), None)
    return Headline(title, _against(table, compared, best) if compared else "", tone)


def _title(
    best: Row | BoardRow | None, challenger: Row | BoardRow | None, rows: list[Row] | list[BoardRow]
) -> tuple[str, str]:
    if best is None:
        return f"{rows[0].policy} has the best mean", "even"
    if challenger is None:
        tied = [row.policy for row in rows if row.shared_rank == best.shared_rank]
        if len(tied) > 1:
            return f"No difference found between the best of {len(rows)} heuristics: {' and '.join(tied[:3])}", "even"
        return f"{best.policy} is the best of {len(rows)} heuristics", "even"
    titles = {
        BETTER: (f"{challenger.policy} beats the best heuristic", "good"),
        WORSE: (f"{best.policy} beats {challenger.policy}", "bad"),
        EQUAL: (f"No difference found between {challenger.policy} and {best.policy}", "even"),
        TOO_FEW: ("Too few scenarios for a verdict", "even"),
    }
    return titles[challenger.verdict]


def _figures(board: Board, challenger: BoardRow | None, best: BoardRow | None) -> str:
    """The figures of the best of each kind over a board's environments."""
    measure = "score" if board.measure == SCORE else "ratio to the best heuristic"
    shown = [row for row in (challenger, best) if row is not None] or board.rows[:1]
    texts = [f"{row.policy} {formats.ratio(row.figure)}" for row in shown]
    text = f"Interquartile mean of the {measure} over {len(board.tables)} environments: {', '.join(texts)}."
    if challenger is not None and challenger.lost is not None:
        share = formats.percent(challenger.lost.estimate)
        text += f" {challenger.policy} does worse than the best heuristic of the environment on {share} of scenarios."
    return text + _one_seed(challenger)


def _against(table: Table, row: Row, best: Row) -> str:
    """How a policy compares with the best heuristic."""
    metric = table.objective.replace("_", " ")
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
    seeds = row.training is not None and row.runs > 1
    text += f", {row.runs} training seeds)." if seeds else ")."
    text += f" It does worse on {formats.percent(row.lost)} of them."
    return text + _one_seed(row)


def _one_seed(row: Row | BoardRow | None) -> str:
    if row is None or row.training is None or row.runs > 1:
        return ""
    return " One training seed: this says nothing of what another one would give."
