"""Fixtures of all tests, and which of them run in one process."""

import gc
import os
import sys
from pathlib import Path

import pytest

gc.set_threshold(50_000, 20, 100)  # compiling fills a big heap with what stays; to search it often took a seventh of it

KERNELS = {
    "exprsimp": ("tests/exprsimp/", "ExprSimplify", "test_rewriter.py"),
    "dag": ("test_dag", "DagSched"),
    "gpu": ("test_gpu", "GpuSched"),
    "rewriting": ("test_rewriting.py", "ScheduleRewrite"),
    "slotted": ("test_slotted", "JobSched", "test_jobsched.py", "test_deeprm", "test_reinforce.py"),
    "batch": (
        "test_batch",
        "BatchSched",
        "test_row_play.py",
        "test_search.py",
        "test_replays.py",
        "test_comparisons.py",
    ),
    "learned_index": ("tests/learned_index/", "IndexTune", "test_index_records.py", "test_tuning.py"),
    "placement": ("tests/placement/", "test_placement.py", "Placement"),
}
"""Words in the names of tests that need the same kernels."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Let one process of pytest-xdist run what needs the same kernels, so that they are compiled once; else a file."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            rooms = (room for room, words in KERNELS.items() if any(word in item.nodeid for word in words))
            item.add_marker(pytest.mark.xdist_group(next(rooms, item.nodeid.partition("::")[0])))


@pytest.fixture
def shared_data():
    """Path of a file of the public data in `SYSGYM_DATA` (or in ../shared/data); skips when it isn't there."""
    folder = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def path(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"no {name}: set SYSGYM_DATA to the folder of the public logs")
        return folder / name

    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `sysgym ...` and gives (exit code, standard output, standard error)."""

    from sysgym.cli import main

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["sysgym", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def local_ray():
    """One small Ray for all tests; whatever asks for Ray uses it. Its workers are as important as everybody else."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=100 * 2**20, _system_config={"worker_niceness": 0})  # fmt: skip
    yield ray
    ray.shutdown()
