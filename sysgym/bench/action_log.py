"""The actions of a run, scenario by scenario: with them anybody can play a record again without the policy."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import RecordError
from sysgym.core.files import atomic_write

STORED = np.dtype("<i4")
"""How an action is stored."""


def write_actions(path: Path, actions: Mapping[int, bytes]) -> str:
    """Write the actions of each scenario, by its seed; the same bytes for the same actions.

    Args:
        path: An `.npz` file, which numpy alone can read.
        actions: As `Scenario.actions`.

    Returns:
        Hexadecimal SHA-256 of the file.

    Raises:
        OutputError: The file cannot be written.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {str(seed): np.frombuffer(played, STORED) for seed, played in actions.items()}
    np.savez_compressed(content, **arrays)
    with atomic_write(path, "wb") as handle:
        handle.write(content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


def read_actions(path: Path, sha256: str) -> dict[int, NDArray[np.int32]]:
    """The inverse of `write_actions`.

    Raises:
        RecordError: No such file, one that was altered, or no file of actions.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}; the record's actions must lie beside it") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RecordError(f"{path}: the actions were altered, their sha256 is not that in the record")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {int(seed): stored[seed] for seed in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path}: no file of actions ({error})") from error
