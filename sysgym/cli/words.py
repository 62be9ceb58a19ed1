"""Options that several commands share, and how their words are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sysgym.core.errors import InputFileError, SettingError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
Clean = Annotated[str, typer.Option(help="Cleaning rule: default, sc15 or none.")]
Processors = Annotated[int | None, typer.Option(help="Size of the machine; the log's header when left out.")]
Format = Annotated[str, typer.Option("--format", help="Format of the log, as in docs/logs.md; auto recognises it.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(help="Column of a CSV log, name=header, or one TOML file with the mapping; repeatable."),
]
Zone = Annotated[str | None, typer.Option(help="Zone of a log's local times, such as America/Los_Angeles.")]
Load = Annotated[float | None, typer.Option(help="Scale arrivals to this offered load.")]
Arrivals = Annotated[float | None, typer.Option(help="Scale arrivals by a factor instead; 0.5 doubles the load.")]
Window = Annotated[str | None, typer.Option(help="Only the jobs i:j in order of submission, such as 0:5000.")]
DropUsers = Annotated[list[int] | None, typer.Option("--drop-user", help="Leave out a user's jobs; repeatable.")]
KnownRuns = Annotated[
    bool, typer.Option("--with-run-times", help="Leave out jobs whose run time the log doesn't tell.")
]
Flurries = Annotated[
    int | None, typer.Option("--drop-flurries", help="Leave out bursts: more than so many jobs of a user in an hour.")
]
Environment = Annotated[str, typer.Option("--env", help="Id of the environment, also as module:Id.")]
Secret = Annotated[Path | None, typer.Option(help="File with the secret of the sealed split, at least 16 bytes.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Setting of the algorithm, name=value; repeatable.")]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", help="Argument of the environment, name=value; repeatable.")
]


def secret_of(path: Path | None) -> bytes:
    """The secret in a file; nothing without one."""
    if path is None:
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(path, f"{error.strerror}; give the file of the secret") from error


def window_of(text: str | None) -> tuple[int, int] | None:
    """`i:j` as two numbers, or None where nothing was given."""
    if text is None:
        return None
    begin, colon, end = text.partition(":")
    if not colon or not (begin.strip() or "0").isdecimal() or not end.strip().isdecimal():
        raise SettingError(f"--window {text}: write it as i:j, such as 0:5000")
    return int(begin or 0), int(end)


def pairs(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    """`name=value` words as a mapping; a value is JSON where it reads as JSON, else text."""
    pairs = {}
    for word in given or ():
        name, value = _pair(word, option, "value")
        try:
            pairs[name] = json.loads(value)
        except json.JSONDecodeError:
            pairs[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return pairs


def _pair(word: str, option: str, what: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise SettingError(f"{option} {word}: write it as name={what}")
    return name, value


def trace_columns(given: Sequence[str] | None) -> Any:
    """What `read_trace` takes: a mapping, a TOML file's path, or None."""
    if given and len(given) == 1 and "=" not in given[0]:
        return Path(given[0])
    columns = {}
    for word in given or ():
        name, header = _pair(word, "--columns", "header")
        columns[name] = json.loads(header) if header.startswith("{") else header
    return columns or None
