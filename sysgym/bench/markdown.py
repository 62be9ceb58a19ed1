"""Leaderboards as Markdown: a board for each problem, and a table for each of its environments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sysgym.bench import formats
from sysgym.bench.boards import SCORE, Board, BoardRow
from sysgym.bench.leaderboard import Row, Table, Training, tail_name


def boards_to_markdown(found: Sequence[Board]) -> str:
    """The boards, domain by domain, each followed by its environments."""
    parts, domain = [], ""
    for board in found:
        if board.domain != domain:
            parts.append(f"## {board.domain}\n")
            domain = board.domain
        if board.rows and len(board.tables) > 1:
            parts.append(_board(board))
        parts += [_table(table) for table in board.tables]
    return "\n".join(parts)


def _board(board: Board) -> str:
    figure = "score (IQM)" if board.measure == SCORE else "ratio to the best heuristic (IQM)"
    columns = ["rank", "policy", "kind", "runs", f"{figure} [95 % CI]", "mean", "optimality gap", "Borda", "verdict"]
    columns += ["wins", "lost", "training", "a decision"]
    heading = f"### {board.env_id}: {len(board.tables)} environments"
    lines = [heading, "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line(_board_cells(row)) for row in board.rows]
    if board.measure == SCORE:
        lines.append(f"\nA score of 0 is the random policy's, 1 the bound's ({', '.join(board.bound_kinds)}).")
    if board.resampled:
        lines.append("\nIntervals resample environments as well.")
    if board.incomplete:
        lines.append(f"\nNot ranked, since they have not played every environment: {', '.join(board.incomplete)}.")
    return "\n".join([*lines, ""])


def _board_cells(row: BoardRow) -> list[str]:
    return [
        formats.rank(row.shared_rank, row.rank_interval),
        _name(row),
        row.kind,
        str(row.runs),
        formats.ratio(row.figure),
        formats.fixed(row.mean),
        formats.ratio(row.gap),
        formats.number(row.borda, trim=True),
        row.verdict,
        formats.percent(row.wins),
        formats.percent(row.lost.estimate if row.lost else None),
        _cost(row.training),
        formats.duration(row.seconds_per_step),
    ]


def _table(table: Table) -> str:
    heading = f"### {table.environment}: {table.objective} ({table.direction}, {table.split})"
    columns = ["rank", "policy", "kind", "runs", "scenarios", "mean [95 % CI]", "score [95 % CI]", "median"]
    columns += [tail_name(table.direction), f"ratio to {table.reference}", "verdict", "lost", "training"]
    lines = [heading, "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line(_cells(row)) for row in table.rows]
    if table.bound is not None:
        lines.append(f"\nThe bound is {formats.number(table.bound)} ({table.bound_kind}).")
    if table.note:
        lines.append(f"\n{table.note[0].upper()}{table.note[1:]}.")
    lines += [f"\nFailed: {policy}: {cause}" for policy, cause in table.failures]
    return "\n".join([*lines, ""])


def _cells(row: Row) -> list[str]:
    return [
        formats.rank(row.shared_rank, row.rank_interval),
        _name(row),
        row.kind,
        str(row.runs),
        str(row.scenarios),
        formats.interval(row.mean),
        formats.ratio(row.score),
        formats.number(row.median),
        formats.number(row.tail),
        formats.ratio(row.ratio) if row.ratio else formats.interval(row.difference),
        row.verdict,
        formats.percent(row.lost),
        _cost(row.training),
    ]


def _name(row: Row | BoardRow) -> str:
    return f"**{row.policy}**" if row.best_heuristic else row.policy


def _cost(training: Training | None) -> str:
    if training is None:
        return "-"
    warning = ", budget too small to train" if training.too_short else ""
    return f"{formats.count(training.frames)} steps, {formats.duration(training.seconds)}{warning}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
