"""Checkpoints: one safetensors file with arrays, and everything else as JSON in its header. Never a pickle.

A file is written beside its place and renamed, so that a crash at any byte leaves the one before. Its header carries
a SHA-256 over all arrays and facts: a file that was damaged, or is not ours, is refused in one line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from sysgym.core.columns import part_of
from sysgym.core.errors import CheckpointError
from sysgym.core.files import atomic_write

if TYPE_CHECKING:
    from sysgym.agents.acting.architecture import Architecture
    from sysgym.agents.acting.spaces import Spaces
    from sysgym.agents.telemetry.progress import History

FORMAT = "sysgym-agent"
VERSION = 1
SAVE_SECONDS = 30.0
"""Time between two checkpoints of a run that writes one."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        facts: Values that JSON takes: env_id, environment, spaces, architecture, algorithm, settings, seed, frames,
            curve, versions, and `training` where the run can be resumed.
        tensors: Arrays by name: `weights/...`, and those of the learner where the run can be resumed.
    """

    facts: dict[str, Any]
    tensors: dict[str, NDArray[Any]]

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose name begins with a prefix, under the rest of their name."""
        return part_of(self.tensors, prefix)


def write(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; equal checkpoints give equal bytes.

    Raises:
        OutputError: The place cannot be written.
    """
    # not ascontiguousarray: it turns a number into an array of one
    tensors = {name: np.array(array, order="C") for name, array in checkpoint.tensors.items()}
    facts = json.dumps(checkpoint.facts, sort_keys=True)
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "facts": facts,
        "sha256": _digest(facts, tensors),
    }
    data = _ordered(safetensors.numpy.save(tensors, header))
    with atomic_write(path, "wb") as handle:
        handle.write(data)


def _ordered(data: bytes) -> bytes:
    """A safetensors file with the names of its header in order; the library writes them in another each time."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # arrays begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + data[start:]


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: The file is absent, damaged, not a checkpoint of ours, or of a newer version.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint file")
    try:
        with safetensors.safe_open(path, framework="np") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118, not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of sysgym's agents")
    if header.get("version") != str(VERSION):
        raise CheckpointError(
            f"{path}: checkpoint version {header.get('version')}, this sysgym reads {VERSION}; use the sysgym that "
            "wrote it, or a newer one"
        )
    facts = header.get("facts", "")
    if header.get("sha256") != _digest(facts, tensors):
        raise CheckpointError(f"{path}: damaged, its checksum does not match; use a copy or an earlier checkpoint")
    return Checkpoint(json.loads(facts), tensors)


class Run(Protocol):
    """What a training and a search have in common."""

    env_id: str
    environment: Mapping[str, Any]
    spaces: Spaces
    architecture: Architecture
    settings: Any
    seed: int
    history: History


def facts_of(run: Run, algorithm: str, *packages: str) -> dict[str, Any]:
    """The facts of a checkpoint that cannot be resumed from, with the versions of some packages."""
    return {
        "env_id": run.env_id,
        "environment": run.environment,
        "spaces": plain(dataclasses.asdict(run.spaces)),
        "architecture": plain(dataclasses.asdict(run.architecture)),
        "algorithm": algorithm,
        "settings": plain(dataclasses.asdict(run.settings)),
        "seed": run.seed,
        "frames": run.history.frames,
        "curve": list(run.history.curve),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def plain(value: Any) -> Any:
    """A value as JSON takes it; an object that JSON cannot hold is described by its type's name."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value) if isinstance(value, Path) else {"object": f"{type(value).__module__}.{type(value).__qualname__}"}


def holds_object(described: Any) -> bool:
    """Whether a value from `plain` describes an object instead of holding it."""
    if isinstance(described, Mapping):
        return "object" in described or any(map(holds_object, described.values()))
    return isinstance(described, list) and any(map(holds_object, described))


def weights_sha256(weights: Mapping[str, NDArray[Any]]) -> str:
    """Hexadecimal SHA-256 over named arrays: equal exactly when two networks are."""
    return _digest("", weights)


def _digest(facts: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
