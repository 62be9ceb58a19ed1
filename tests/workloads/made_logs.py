"""Hand-written SWF logs for the tests, sound but for what a test spoils."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

POSITION = {
    "job": 0, "submit": 1, "wait": 2, "run": 3, "allocated": 4, "cpu": 5, "requested": 7, "estimate": 8, "memory": 9,
    "status": 10, "user": 11, "group": 12, "executable": 13, "queue": 14, "partition": 15,
}  # fmt: skip


def swf_row(job: float, **values: object) -> str:
    """A row of 18 fields: a job of 10 s on one processor, submitted at its number, but for the values given by name."""
    fields: list[object] = [-1] * 18
    sound: dict[str, object] = {"submit": job, "run": 10, "allocated": 1, "requested": 1, "estimate": 20, "status": 1}
    for name, value in ({"job": job} | sound | values).items():
        fields[POSITION[name]] = value
    return " ".join(str(value) for value in fields)


def write_log(path: Path, rows: Sequence[str], header: Sequence[str] = ("; MaxProcs: 8",)) -> Path:
    """Write header and rows; a name in .gz is packed. The first row then stands on line 2."""
    data = "\n".join([*header, *rows, ""]).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
