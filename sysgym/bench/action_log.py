"""The actions of a run, scenario by scenario: with them anybody can play a record again without the policy.

A log is an `.npz` file, which numpy alone can read: the scenarios' seeds, how many actions each took, and all actions
one after the other, in the narrowest integers that hold them. So the scenarios are compressed together; a member for
each of them, as logs were written before, cost five times the room in headers. Such logs are still read.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import RecordError
from sysgym.core.files import atomic_write

STORED = np.dtype("<i4")
"""How an action is handed over."""
MEMBERS = ("seeds", "lengths", "actions")
"""The arrays of a log."""


def write_actions(path: Path, actions: Mapping[int, bytes]) -> str:
    """Write the actions of each scenario, by its seed; the same bytes for the same actions.

    Args:
        path: An `.npz` file.
        actions: As `Scenario.actions`.

    Returns:
        Hexadecimal SHA-256 of the file.

    Raises:
        OutputError: The file cannot be written.
    """
    played = [np.frombuffer(stored, STORED) for stored in actions.values()]
    together = np.concatenate([np.zeros(0, STORED), *played])
    content = io.BytesIO()
    np.savez_compressed(
        content,
        seeds=np.array(list(actions), dtype="<i8"),
        lengths=np.array([len(part) for part in played], dtype="<i8"),
        actions=together.astype(_narrowest(together)),
    )
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
            if set(stored.files) != set(MEMBERS):  # a member a scenario, as before
                return {int(seed): stored[seed] for seed in stored.files}
            seeds, lengths, actions = (stored[name] for name in MEMBERS)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path}: no file of actions ({error})") from error
    parts = np.split(actions.astype(STORED), np.cumsum(lengths)[:-1])
    return dict(zip(seeds.tolist(), parts, strict=False))


def _narrowest(actions: NDArray[np.int32]) -> np.dtype[np.integer]:
    """The smallest integers that hold all actions, little-endian."""
    if not len(actions):
        return np.dtype(np.uint8)
    return np.result_type(*map(np.min_scalar_type, (actions.min(), actions.max()))).newbyteorder("<")
