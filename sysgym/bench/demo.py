"""The main job in a minute and a half: a log, its replay, a short training, a test on unseen weeks.

`prepare` writes a study beside the log; everything else is what anybody would do with a study of their own. Without a
log of one's own, the demo generates one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysgym.bench.study import expand, read_study
from sysgym.core.errors import WorkloadError
from sysgym.core.files import atomic_write
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.workloads import SPLITS, poisson_pareto, read_trace, write_swf

SEQUENCE_LENGTHS = (256, 128, 64)
"""Jobs of a scenario: as many as leave the last fifth enough of them."""
SCENARIOS = 24
FEWEST_SCENARIOS = 6
TEMPLATE = """\
# Written by `sysgym demo`: a trained scheduler beside the heuristics, on the last fifth of the log.
name = "demo"
description = "Which policy should this machine run? Trained on the first 60 % of the log, tested on the last 20 %."
split = "test"
scenarios = {scenarios}

[[environments]]
name = {name}
id = "sysgym/BatchSched-v0"
arguments = {{ workload = {log}, clean = "{clean}", sequence_length = {length}{processors}{columns} }}

{heuristics}

[[policies]]
name = "PPO"
train = {{ algorithm = "ppo", seeds = [0], seconds = {seconds} }}
"""


def prepare(
    folder: str | Path,
    log: str | Path | None = None,
    clean: str = "default",
    processors: int | None = None,
    seconds: float = 25.0,
    columns: Mapping[str, Any] | Path | None = None,
) -> tuple[Path, Path]:
    """Write the demo's study.

    Args:
        folder: Where the study, its results and the report go.
        log: A log; None generates one into the folder.
        clean: Cleaning rule of the log.
        processors: Size of the machine, if the log doesn't say.
        seconds: Time for the training.
        columns: Column mapping of a CSV log, as `read_trace` takes it.

    Returns:
        The study's file and the log's.

    Raises:
        WorkloadError: The log is too short for its last fifth to have enough disjoint windows, short ones included.
    """
    folder = Path(folder)
    if log is None:
        log = folder / "generated.swf.gz"
        write_swf(poisson_pareto(jobs=40_000, processors=128, load=0.9, seed=0), log)
    jobs = len(read_trace(log, clean=clean, processors=processors, columns=columns))
    share = SPLITS["test"][1] - SPLITS["test"][0]
    unseen, shortest = int(round(share, 6) * jobs), SEQUENCE_LENGTHS[-1]
    length = next((each for each in SEQUENCE_LENGTHS if unseen // each >= FEWEST_SCENARIOS), shortest)
    windows = unseen // length
    if windows < FEWEST_SCENARIOS:
        needed = int(FEWEST_SCENARIOS * shortest / round(share, 6))
        raise WorkloadError(f"{log}: {jobs} jobs are too few for a test on the last fifth; bring at least {needed}")
    study = folder / "demo.toml"
    with atomic_write(study) as handle:
        handle.write(
            TEMPLATE.format(
                scenarios=min(SCENARIOS, windows),
                name=json.dumps(Path(log).name),
                log=json.dumps(str(Path(log).resolve())),
                clean=clean,
                length=length,
                processors="" if processors is None else f", processors = {processors}",
                columns="" if columns is None else f", columns = {_toml(columns)}",
                heuristics="\n".join(f'[[policies]]\npolicy = "{name}"' for name in HEURISTICS),
                seconds=float(seconds),
            )
        )
    return study, Path(log)


def _toml(columns: Mapping[str, Any] | Path) -> str:
    """A mapping of names to names, or to names with units, as an inline table; a file's path as text."""
    if isinstance(columns, Path):
        return json.dumps(str(columns.resolve()))
    pairs = (
        f"{json.dumps(name)} = {_toml(entry) if isinstance(entry, Mapping) else json.dumps(entry)}"
        for name, entry in columns.items()
    )
    return "{ " + ", ".join(pairs) + " }"


def trained_policy(study: Path) -> Path:
    """The policy that the demo's study trained, under a name that people can type: `trained.safetensors`."""
    weights = next(run.weights for run in expand(read_study(study)) if run.training_seed is not None)
    return Path(shutil.copy(weights, study.with_name("trained.safetensors")))
