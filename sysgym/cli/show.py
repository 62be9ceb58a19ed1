"""What the commands show: tables for people, JSON for machines, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

out, log = Console(), Console(stderr=True)
SHORT = 24
"""Figures with intervals, and words, of up to so many characters are never broken."""


@contextmanager
def bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error, which is silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def advance(share: float, note: str) -> None:
            progress.update(task, completed=share, note=note)

        yield advance


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on standard error while something without a measure of progress runs."""
    with log.status(what):
        yield


def print_json(value: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table; numbers to the right. Where the terminal is narrow, headings and sentences go on below."""
    out.print(escape(title), highlight=False)
    columns = [[name.replace("_", " "), *(figure(row[name]) for row in rows)] for name in rows[0]]
    gap = 2 if sum(map(_least, columns)) + 2 * len(columns) <= out.width else 1
    table = Table(box=SIMPLE_HEAD, padding=(0, gap - 1), collapse_padding=True, header_style="bold")
    table.pad_edge, table.show_edge = False, False
    widths = _widths(columns, out.width - gap * (len(columns) - 1))
    for column, width, value in zip(columns, widths, rows[0].values(), strict=True):
        right = isinstance(value, int | float)
        table.add_column(column[0], width=width, justify="right" if right else "left", overflow="fold")
    for cells in list(zip(*columns, strict=True))[1:]:
        table.add_row(*map(escape, cells))
    out.print(table)
    out.print()


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """What each column gets of a terminal: the least that keeps words whole, then more where something still wraps."""
    widths = [_least(column) for column in columns]
    wanted = [max(map(len, column)) - width for column, width in zip(columns, widths, strict=True)]
    spare = max(0, room - sum(widths))
    for served, place in enumerate(sorted(range(len(columns)), key=wanted.__getitem__)):
        more = min(wanted[place], spare // (len(columns) - served))
        widths[place] += more
        spare -= more
    return widths


def _least(column: Sequence[str]) -> int:
    """Characters that a column needs: its longest word, and all of a figure with its interval."""
    whole = [cell for cell in column if "[" in cell] + [word for cell in column for word in cell.split()]
    return max((len(text) for text in whole if len(text) <= SHORT), default=SHORT if whole else 1)


def figure(value: Any) -> str:
    """A cell: numbers as `bench.formats` writes them."""
    from sysgym.bench.formats import number

    return "-" if value is None else number(value) if isinstance(value, float) else str(value)


def show_written(path: Path, as_json: bool) -> None:
    """Say which file was written, and how large it is."""
    if as_json:
        print_json({"output": str(path), "bytes": path.stat().st_size})
    else:
        out.print(f"wrote {escape(str(path))} ({path.stat().st_size:,} bytes)", highlight=False)
