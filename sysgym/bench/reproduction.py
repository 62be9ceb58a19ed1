"""Published numbers and ours, side by side: what `make reproduce` does.

Each row of a file (see `published`) is measured, compared as the row says, and written down as one line of JSON, from
which the page is rendered; the same lines give the same bytes. A row whose record is there for the same arguments, and
for the same weights where it plays what comes with the package, is not measured again. A verdict that is not the one
that the file expects is a failure: a number that used to be reproduced and is not any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from sysgym.bench.guard import FAULTS, one_line
from sysgym.bench.measures import MEASURES
from sysgym.bench.published import Reproduction, Row, read_reproduction
from sysgym.core.errors import RecordError, require_known
from sysgym.core.files import DATA_VARIABLE, atomic_write, filled

MISSING = "no data"
FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """A row as it was measured.

    Attributes:
        file: Name of the file that the row stands in.
        row: The row, as in the file.
        ours: Our number; None where it was not measured.
        low: Lower end of its 95 % interval.
        high: Upper end.
        verdict: See `published.Row.verdict`; or "no data", or "failed".
        seconds: What it took.
        cause: Why it failed.
        weights: SHA-256 of the weights that it was measured with.
    """

    file: str
    row: dict[str, Any]
    ours: float | None
    low: float | None
    high: float | None
    verdict: str
    seconds: float
    cause: str = ""
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def is_expected(self) -> bool:
        """Whether the verdict is the committed one; a row without data, or without an expectation, passes."""
        return self.verdict in (MISSING, self.row["expect"]) or (self.row["expect"] is None and self.verdict != FAILED)


def reproduce(
    files: Sequence[str | Path],
    records: str | Path,
    jobs: int = 1,
    resume: bool = True,
    tell: Callable[[int, int, Outcome], object] = lambda done, total, outcome: None,
) -> list[Outcome]:
    """Measure the rows of all files and write their records, sorted as in the files.

    Args:
        files: As `published.read_reproduction` reads them.
        records: File of JSON lines; rows of other files stay there, those of these if `resume`.
        jobs: Rows that are measured at the same time, each in a process.
        resume: Whether rows that were measured with the same arguments stay as they are.
        tell: Called with rows done, rows in all, and each outcome.

    Raises:
        StudyError: A file cannot be read.
        UnknownNameError: A measure that does not exist.
        RecordError: The records cannot be read.
    """
    wanted = [(Path(file).name, row) for file in files for row in read_reproduction(file).rows]
    for _, row in wanted:
        require_known("measure", row.measure, MEASURES)
    written = read_outcomes(records)
    others = [outcome for outcome in written if outcome.file not in {file for file, _ in wanted}]
    known = {_key(outcome.file, outcome.row): outcome for outcome in written} if resume else {}
    outcomes: dict[int, Outcome] = {}
    missing = []
    for place, (file, row) in enumerate(wanted):
        kept = known.get(_key(file, row.model_dump()))
        if kept is None or kept.verdict in (MISSING, FAILED) or kept.weights != row.weight_hashes():
            missing.append(place)
        else:
            outcomes[place] = _judged(file, row, kept)
    for place, outcome in zip(missing, _measured([wanted[place] for place in missing], jobs), strict=True):
        outcomes[place] = outcome
        _write(records, [*others, *(outcomes[each] for each in sorted(outcomes))])
        tell(len(outcomes), len(wanted), outcome)
    ordered = [outcomes[place] for place in range(len(wanted))]
    _write(records, [*others, *ordered])
    return ordered


def read_outcomes(records: str | Path) -> list[Outcome]:
    """The records of a file; empty where there is none.

    Raises:
        RecordError: A line is no record.
    """
    path = Path(records)
    if not path.exists():
        return []
    try:
        return [Outcome(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise RecordError(f"{path}: not records of a reproduction ({error}); delete it to measure anew") from error


def page(files: Sequence[str | Path], outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown, a section a file."""
    sections = [_summary(outcomes)]
    for file in files:
        content = read_reproduction(file)
        rows = [outcome for outcome in outcomes if outcome.file == Path(file).name]
        sections.append(_section(content, Path(file).name, rows))
    return "# Reproduction\n\n" + "\n\n".join(sections) + "\n"


def _key(file: str, row: Mapping[str, Any]) -> str:
    return json.dumps([file, row["what"], row["measure"], row["arguments"]], sort_keys=True)


def _judged(file: str, row: Row, kept: Outcome) -> Outcome:
    """A kept measurement beside the row as it is now; its number stays, the published one may have been mended."""
    assert kept.ours is not None and kept.low is not None and kept.high is not None
    verdict = row.verdict(kept.ours, kept.low, kept.high)
    return Outcome(
        file, row.model_dump(mode="json"), kept.ours, kept.low, kept.high, verdict, kept.seconds, weights=kept.weights
    )


def _measured(rows: Sequence[tuple[str, Row]], jobs: int) -> Iterator[Outcome]:
    if jobs == 1 or len(rows) < 2:
        yield from (measure(file, row) for file, row in rows)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(measure, *zip(*rows, strict=True))


def measure(file: str, row: Row) -> Outcome:
    """Measure one row; a failure is an outcome too."""
    if not _has_data(row.arguments):
        return Outcome(file, row.model_dump(mode="json"), None, None, None, MISSING, 0.0)
    began, weights = perf_counter(), row.weight_hashes()
    try:
        value, low, high = MEASURES[row.measure](**filled(row.arguments))
    except FAULTS as error:
        return Outcome(
            file, row.model_dump(mode="json"), None, None, None, FAILED, perf_counter() - began, one_line(error)
        )
    seconds = round(perf_counter() - began, 2)
    return Outcome(
        file, row.model_dump(mode="json"), value, low, high, row.verdict(value, low, high), seconds, weights=weights
    )


def _has_data(value: Any) -> bool:
    """Whether every file below the folder of the data that the arguments name is there."""
    if isinstance(value, Mapping):
        return all(_has_data(part) for part in value.values())
    if isinstance(value, list | tuple):
        return all(_has_data(part) for part in value)
    if not isinstance(value, str) or f"${{{DATA_VARIABLE}}}" not in value:
        return True
    return bool(os.environ.get(DATA_VARIABLE)) and Path(filled(value)).exists()


def _write(records: str | Path, outcomes: Sequence[Outcome]) -> None:
    with atomic_write(records) as handle:
        for outcome in sorted(outcomes, key=lambda outcome: outcome.file):  # stable: rows stay as in their file
            handle.write(json.dumps(asdict(outcome), sort_keys=True, separators=(",", ":")) + "\n")


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts = {name: sum(outcome.verdict == name for outcome in outcomes) for name in _MEANINGS}
    told = "; ".join(f"{count} {name} ({_MEANINGS[name]})" for name, count in counts.items() if count)
    return (
        "Published numbers beside ours, written by `make reproduce`. Every row is measured by the function that its "
        "file in `experiments/published` names, and has a record in `experiments/published/records.jsonl`. The label "
        "says whether the number was printed by its authors (published), measured by running their code (measured), "
        f"or is quoted from memory (unverified).\n\n{len(outcomes)} rows: {told}."
    )


_MEANINGS = {
    "equal": "to the decimals given",
    "within": "the tolerance given",
    "reached": "at least as good",
    "missed": "not as good",
    "different": "outside the tolerance",
    MISSING: "its data are not on this machine",
    FAILED: "could not be measured",
}


def _section(content: Reproduction, file: str, rows: Sequence[Outcome]) -> str:
    lines = [f"## {content.title}", "", f"{content.source} (`{file}`)"]
    if content.note:
        lines += ["", content.note]
    lines += ["", "| what | theirs | label | compared to | ours | verdict |", "|---|---|---|---|---|---|"]
    for outcome in rows:
        row = Row.model_validate(outcome.row | {"weights": tuple(outcome.row.get("weights", ()))})
        lines.append(
            f"| {row.what} | {_number(row.value, row)} | {row.label} | {row.bar()} | {_ours(outcome, row)} | "
            f"{outcome.verdict} |"
        )
    played = {name: digest for outcome in rows for name, digest in outcome.weights.items()}
    if played:
        named = ", ".join(f"{name} `{digest[:12]}`" for name, digest in sorted(played.items()))
        lines += ["", f"Measured with the weights {named}."]
    reasons = [f"- {outcome.row['what']}: {outcome.row['why']}" for outcome in rows if outcome.row["why"]]
    causes = [f"- {outcome.row['what']}: {outcome.cause}" for outcome in rows if outcome.cause]
    return "\n".join([*lines, *([""] if reasons or causes else []), *reasons, *causes])


def _number(value: float, row: Row) -> str:
    return f"{value:,.{row.digits}f}" if row.digits is not None else f"{value:,.5g}"


def _ours(outcome: Outcome, row: Row) -> str:
    if outcome.ours is None:
        return "-"
    shown = _number(outcome.ours, row)
    if outcome.low == outcome.high:
        return shown
    return f"{shown} [{_number(outcome.low or 0.0, row)}, {_number(outcome.high or 0.0, row)}]"
