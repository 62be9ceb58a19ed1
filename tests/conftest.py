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


@pytest.fixture(scope="session")
def local_ray():
    """One small Ray for all tests; whatever asks for Ray uses it."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=100 * 2**20)  # fmt: skip
    yield ray
    ray.shutdown()
