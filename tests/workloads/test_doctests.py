"""The examples in the docstrings of this room hold."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import sysgym.workloads

ROOM = Path(sysgym.workloads.__file__).parent
MODULES = sorted(
    ".".join(("sysgym.workloads", *path.relative_to(ROOM).with_suffix("").parts))
    for path in ROOM.rglob("*.py")
    if ">>>" in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(import_module(name)).failed == 0
