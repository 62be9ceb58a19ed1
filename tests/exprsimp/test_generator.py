"""Generated expressions: the published statistics, seeds, splits, and what compilers' data lacks."""

import numpy as np
import pytest

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.exprsimp import parse, parse_many, to_text
from sysgym.exprsimp.generator import DISTRIBUTIONS, SPLITS, generate, is_reducible, shape_of, split_of
from sysgym.exprsimp.model import Op


def test_the_published_statistics_are_met():
    """Table 2 of Chen & Tian: means within 5 %, shares of the buckets within 3 points, the ranges exactly."""
    made = generate(3000, "neurewriter", seed=4)
    lengths = np.array([expression.compact_length for expression in made])
    sizes = np.array([expression.size for expression in made])
    assert abs(lengths.mean() / 106.84 - 1) < 0.05 and abs(sizes.mean() / 27.39 - 1) < 0.05
    for most, share in ((20, 0.016), (30, 0.044), (50, 0.156), (100, 0.539)):
        assert abs((lengths <= most).mean() - share) < 0.03
    assert lengths.min() >= 10 and lengths.max() <= 579 and sizes.min() >= 3 and sizes.max() <= 100
    halide = [expression.length for expression in generate(1500, "halide", seed=4)]
    assert abs(np.median(halide) / 60 - 1) < 0.15 and abs(np.mean(halide) / 88.37 - 1) < 0.1


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_lists_are_distinct_repeat_and_read_back(name):
    made = generate(60, name, seed=9)
    texts = [to_text(expression) for expression in made]
    assert len(set(texts)) == 60 and made[:20] == generate(20, name, seed=9) and made != generate(60, name, seed=10)
    forest = parse_many(texts)
    for row, expression in enumerate(made):
        assert parse(texts[row]) == expression == forest[row]
        assert expression.variables == tuple(range(len(expression.variables))) != ()
        op, a, b, _, _ = expression.nodes[-1].tolist()
        assert not (op in (Op.LT, Op.LE, Op.EQ) and a == b)


def test_splits_share_no_shape():
    shapes = {split: {shape_of(made) for made in generate(80, seed=2, split=split)} for split in SPLITS}
    assert not shapes["train"] & shapes["test"] and not shapes["train"] & shapes["valid"]
    assert not shapes["valid"] & shapes["test"]
    assert shape_of(parse("v3 + 17")) == shape_of(parse("5 + v0")) == "(0 + 0)"
    assert split_of(parse("v3 + 17")) == split_of(parse("5 + v0"))


def test_hard_cases_occur_and_reducible_means_reducible():
    rows = np.concatenate([expression.nodes for expression in generate(300, "fuzz", seed=3)])
    assert set(range(Op.ADD, Op.SELECT + 1)) <= set(rows[:, 0].tolist())
    signs = {"zero": 0, "negative": 0, "variable": 0}
    for expression in generate(300, "neurewriter", seed=3):
        for op, _, divisor, _, _ in expression.nodes.tolist():
            if op in (Op.DIV, Op.MOD):
                kind, *_, value = expression.nodes[divisor].tolist()
                signs["variable"] += kind == Op.VAR
                signs["zero"] += kind == Op.INT and value == 0
                signs["negative"] += kind == Op.INT and value < 0
    assert min(signs.values()) > 0
    assert all(is_reducible(expression) for expression in generate(20, seed=1, reducible=True))
    assert not is_reducible(parse("v0 + v1"))


def test_requests_that_cannot_be_met():
    with pytest.raises(UnknownNameError, match="neurewriter"):
        generate(1, "neurewriters")
    with pytest.raises(UnknownNameError, match="did you mean test"):
        generate(1, split="tests")
    with pytest.raises(SettingError, match="count is 0"):
        generate(0)
