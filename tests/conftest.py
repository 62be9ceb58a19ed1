"""Fixtures of all tests: the shared public data, when there is any."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_data():
    """Path of a file of the public data in `SYSGYM_DATA` (or in ../shared/data); skips when it isn't there."""
    folder = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def path(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"no {name}: set SYSGYM_DATA to the folder of the public logs")
        return folder / name

    return path
