"""Where and with what a run was made: revision, command, versions, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from sysgym.bench.guard import printable
from sysgym.bench.records import ProvenanceFacts

PACKAGES = ("sysgym", "gymnasium", "numpy", "numba", "simpy", "torch", "safetensors", "stable-baselines3")
"""Packages whose version can change a result."""

WRITTEN = ":(top,exclude,glob)**/*.results/**"
"""What studies write, as git says it: records beside their study do not change what is run."""


def collect(folder: Path, command: str) -> ProvenanceFacts:
    """The facts of this machine and moment.

    Args:
        folder: Of the study; its repository is named where sysgym itself does not run from one.
        command: From `command_line`, of the process that was started by the user.
    """
    revision, dirty = _revision(Path(__file__).parent) if _is_tracked(Path(__file__)) else _revision(folder)
    return ProvenanceFacts(
        git_revision=revision,
        git_dirty=dirty,
        command=command,
        packages=_versions(),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu(),
        cores=os.cpu_count() or 0,
    )


def command_line() -> str:
    """The command of this process as a shell takes it, without the folder that its program lies in."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name  # python -m sysgym
    return printable(shlex.join([name, *sys.argv[1:]]))


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _is_tracked(file: Path) -> bool:
    return bool(_git(file.parent, "ls-files", file.name))


def _revision(folder: Path) -> tuple[str, bool]:
    revision = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", WRITTEN)
    return revision, bool(revision and changes)


def _git(folder: Path, *arguments: str) -> str:
    """What git prints, or nothing where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@functools.cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
