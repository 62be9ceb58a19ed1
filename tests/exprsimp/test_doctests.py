"""The examples in the docstrings of this room hold."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["evaluation", "generator", "model", "parser", "printer", "rules.table", "simplification"]
)
def test_examples(name):
    assert doctest.testmod(import_module(f"sysgym.exprsimp.{name}")).failed == 0
