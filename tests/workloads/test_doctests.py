"""The examples in the docstrings of this room hold."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["cleaning", "generic_csv", "job_table", "reading", "swf", "synthetic", "trace_file"])
def test_examples(name):
    assert doctest.testmod(import_module(f"sysgym.workloads.{name}")).failed == 0
