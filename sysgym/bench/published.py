"""The file of a reproduction: what a paper or a repository printed, and how we get the same number, in TOML.

    title = "Backfilling with predicted run times"
    source = "Gaussier et al., SC 2015, and the metric files of its repository"
    note = "What a reader should know before comparing."

    [shared]                                  # arguments that every row below has
    clean = "sc15"

    [[rows]]
    what = "KTH-SP2, EASY"                    # shown in the table
    measure = "replay"                        # a name of `measures.MEASURES`
    arguments = { log = "${SYSGYM_DATA}/traces/swf/KTH-SP2-1996-raw.swf.gz", policy = "easy" }
    value = 92.576540                         # the published number
    label = "published"                       # or "measured", or "unverified": as the specification has it
    digits = 6                                # how near ours has to be: see `Row`
    why = "..."                               # what stands behind a difference that is expected
    weights = ["jobsched"]                    # what it plays of the package's own: other weights make a new measurement

A row whose data is not on this machine is left out and says so.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from sysgym.bench.study_file import Name, Part
from sysgym.core.errors import StudyError
from sysgym.core.files import sha256_of

PACKAGE = Path(__file__).parents[1]
"""Where weights come with the package."""

Verdict = Literal["equal", "within", "reached", "missed", "different"]


class Row(Part):
    """One published number.

    Attributes:
        what: Shown in the table.
        measure: A name of `measures.MEASURES`.
        arguments: Of the measure.
        value: The published number.
        label: "published", "measured" or "unverified".
        digits: Equal when rounded to so many decimals.
        percent: Within so many percent; beside `at_most` or `at_least`, what ours may be worse by.
        spread: Within so much: a published sampling error.
        at_most: Ours, with its whole interval where it has one, is at most the published number.
        at_least: The same from above.
        expect: The verdict of the committed table; another one fails `make reproduce`.
        why: What stands behind it.
        weights: Files of weights that the number depends on: names of `agents.weights`, or paths within the package.
    """

    what: Name
    measure: Name
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    value: float
    label: Literal["published", "measured", "unverified"] = "published"
    digits: int | None = Field(default=None, ge=0, le=12)
    percent: float | None = Field(default=None, gt=0)
    spread: float | None = Field(default=None, gt=0)
    at_most: bool = False
    at_least: bool = False
    expect: Verdict | None = None
    why: str = ""
    weights: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _one_comparison(self) -> Row:
        one_sided = self.at_most or self.at_least
        near = self.percent is not None and not one_sided
        if sum([self.digits is not None, near, self.spread is not None, self.at_most, self.at_least]) != 1:
            raise ValueError("give exactly one of digits, percent, spread, at_most and at_least")
        return self

    def weight_hashes(self) -> dict[str, str]:
        """SHA-256 of each file of weights, "" for one that is not there."""
        files = {
            name: PACKAGE / (name if "/" in name else f"agents/weights/{name}.safetensors") for name in self.weights
        }
        return {name: sha256_of(file) if file.is_file() else "" for name, file in files.items()}

    def verdict(self, ours: float, low: float, high: float) -> Verdict:
        """How ours, with its 95 % interval, stands to the published number."""
        allowed = self.spread if self.spread is not None else abs(self.value) * (self.percent or 0.0) / 100
        if self.at_most:
            return "reached" if high <= self.value + allowed else "missed"
        if self.at_least:
            return "reached" if low >= self.value - allowed else "missed"
        if self.digits is not None:
            return "equal" if abs(ours - self.value) <= 0.5 * 10.0**-self.digits * (1 + 1e-6) else "different"
        return "within" if abs(ours - self.value) <= allowed else "different"

    def bar(self) -> str:
        """The comparison in words."""
        if self.at_most or self.at_least:
            slack = f", {self.percent:g} % granted" if self.percent is not None else ""
            return ("at most" if self.at_most else "at least") + slack
        if self.digits is not None:
            return f"{self.digits} decimals" if self.digits else "whole numbers"
        return f"{self.spread:g} either way" if self.spread is not None else f"{self.percent:g} %"


class Reproduction(Part):
    """A file of rows.

    Attributes:
        title: Heading.
        source: Who printed the numbers, and where.
        note: What a reader should know.
        shared: Arguments that all rows have, unless they say otherwise.
        rows: The numbers.
    """

    title: Name
    source: str
    note: str = ""
    shared: dict[str, JsonValue] = Field(default_factory=dict)
    rows: tuple[Row, ...] = Field(min_length=1)


def _row(table: Any) -> Any:
    """A row as TOML has it, with lists where the model has tuples."""
    if isinstance(table, dict) and isinstance(table.get("weights"), list):
        return table | {"weights": tuple(table["weights"])}
    return table


def read_reproduction(path: str | Path) -> Reproduction:
    """Read and check a file.

    Raises:
        StudyError: It is missing, no TOML, or a field is wrong; the message names it.
    """
    try:
        content: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        rows = tuple(_row(table) for table in content.get("rows", ()))
        found = Reproduction.model_validate(content | {"rows": rows})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StudyError(f"{path}: {place}: {first['msg']}") from error
    merged = [row.model_copy(update={"arguments": {**found.shared, **row.arguments}}) for row in found.rows]
    return found.model_copy(update={"rows": tuple(merged)})
