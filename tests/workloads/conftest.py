"""The public logs, where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def logs() -> Path:
    """The folder of public SWF logs; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SYSGYM_DATA", REPOSITORY.parent / "shared" / "data")) / "traces" / "swf"
    if not folder.is_dir():
        pytest.skip(f"no public logs at {folder}; set SYSGYM_DATA")
    return folder
