"""Policies that come with the package, one safetensors file each.

Each has a study of its name in `experiments` (that of `jobsched` is `deeprm_best`), whose records say how well it does
and whose head says how it was trained.
"""

from __future__ import annotations

from pathlib import Path

from sysgym.core.errors import require_known

FOLDER = Path(__file__).parent

SHIPPED = {
    "sysgym/BatchSched-v0": "batchsched",
    "sysgym/IndexTune-v0": "indextune",
    "sysgym/JobSched-v0": "jobsched",
    "sysgym/Placement-v0": "placement",
}
"""The one that `learned` means, by environment."""


def shipped(name: str) -> Path:
    """File of a policy that comes with the package, for `agents.load`.

    Raises:
        UnknownNameError: No such policy.
    """
    known = {path.stem: path for path in FOLDER.glob("*.safetensors")}
    require_known("shipped policy", name, known)
    return known[name]
