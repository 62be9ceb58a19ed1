"""Text, meaning and measures of expressions, and every way to write one wrongly."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import InputFileError, SettingError
from sysgym.exprsimp import ExpressionError, evaluate, parse, parse_many, read_expressions, to_text
from sysgym.exprsimp.evaluation import draw_points
from sysgym.exprsimp.model import Op, Sort, divide, modulo
from tests.exprsimp.random_terms import draw


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_print_and_parse_are_inverse(seed, is_bool):
    made = draw(np.random.default_rng(seed), 6, is_bool)
    if (made.nodes[-1, 0] == Op.SELECT and made.sort == Sort.BOOL) or made.size == 1:
        return  # `select(p, 1, 0)` on its own reads as an Int
    text = to_text(made)
    again = parse(text)
    assert to_text(again) == text and again.length == len(text) == made.length
    assert made.compact_length == len(to_text(made, compact=True))
    forest = parse_many([text])
    assert forest[0] == again and forest.arena.length[forest.roots[0]] == len(text)
    assert forest.arena.size[forest.roots[0]] == again.size


def test_the_fast_path_reads_what_the_parser_reads(shared_data):
    for name in ("train", "val", "long"):
        lines = shared_data(f"expressions/halide_caviar_{name}.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        forest = parse_many([record["expr"] for record in records])
        roots = forest.roots
        assert forest.arena.length[roots].tolist() == [record["len"] for record in records]
        assert forest.arena.size[roots].tolist() == [record["size"] for record in records]
        assert forest.arena.sort[roots].tolist() == [record["bool"] for record in records]
        for row in range(0, len(records), 40):
            text = records[row]["expr"]
            read = parse(text)
            assert forest[row] == read and to_text(read) == text and read.depth == records[row]["depth"]


def test_sugar_is_rewritten():
    assert to_text(parse("a > b".replace("a", "v0").replace("b", "v1"))) == "(v1 < v0)"
    assert to_text(parse("v0>=-3*v1")) == "((-3 * v1) <= v0)"
    assert to_text(parse("v0 != 1 || !true")) == "(!(v0 == 1) || !1)"
    assert to_text(parse("-v0 - -5")) == "((0 - v0) - -5)"
    assert to_text(parse("v0 - v1 - v2 * 3 / 4 % 5")) == "((v0 - v1) - (((v2 * 3) / 4) % 5))"
    assert to_text(parse("v3 && (v0 < 1)", bools=["v3"])) == "(v3 && (v0 < 1))"
    lenient = parse("!v0 && v1 + (v2 < 3) < 2", lenient=True)
    assert to_text(lenient) == "(!!(v0 == 0) && ((v1 + select((v2 < 3), 1, 0)) < 2))"
    assert parse("select(v0 < 1, 1, 0) && 1").sort == Sort.BOOL


@pytest.mark.parametrize(
    ("text", "word", "character"),
    [
        ("", "empty", 1), ("(v0 + ", "ends where an operand", 7), ("v0 v1", "expected an operator", 4),
        ("v0 + * v1", "before *", 6), ("foo + 1", "unknown name 'foo'", 1), ("v0 & v1", "'&'", 4),
        ("min(v0)", "takes 2 arguments, not 1", 7), ("max(v0, v1, v2)", "takes 2", 11),
        ("v0)", "without an opening", 3),
        ("(v0", "parenthesis is missing", 1), ("v0 + 99999999999999999999", "beyond 64 bits", 6),
        ("v0 && v1 < 2", "expected a Bool", 4), ("1 + (v0 < 1)", "expected an Int", 3), ("1, 2", "comma", 2),
        ("(v0 < 1) == (v1 < 1)", "expected an Int", 10), ("v0 = 1", "'='", 4), ("v01", "unknown name", 1),
        ("(v0 << v1)", "before <", 6), ("((v0 < v1) &= (v1 < 2))", "'&'", 12), ("((v0 < 1) |= (v1 < 2))", "'|'", 11),
        ("switch((v0 < v1), v2, v3)", "unknown name 'switch'", 1),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text, word, character):
    with pytest.raises(ExpressionError, match=f"character {character}, at the caret") as error:
        parse(text)
    assert word in str(error.value)
    before, _, after = str(error.value).rpartition(": ")[2].partition("^")
    assert before == text[: character - 1] and after == text[character - 1 :]
    with pytest.raises(ExpressionError):
        parse_many([text])


def test_nesting_has_no_limit():
    depth = 100_000
    deep = parse("(" * depth + "v0" + " + 1)" * depth)
    assert deep.depth == depth + 1 and len(to_text(deep)) == deep.length
    assert parse_many([to_text(deep)])[0] == deep
    assert evaluate(deep, [[5]]).tolist() == [5 + depth]
    assert pickle.loads(pickle.dumps(deep)) == deep and "200001 nodes" in repr(deep) and hash(deep) == hash(deep)
    assert parse("!" * depth + "(v0 < 1)").size == depth + 3


@pytest.mark.parametrize("text", ["v0 / v1", "v0 % v1"])
def test_division_is_euclidean_and_total(text):
    points = [[a, b] for a in (-7, -1, 0, 1, 7) for b in (-3, -2, -1, 0, 1, 2, 3)]
    values = evaluate(parse(text), points).tolist()
    for (a, b), value in zip(points, values, strict=True):
        quotient, remainder = divide(a, b), modulo(a, b)
        assert value == (quotient if "/" in text else remainder)
        assert (quotient, remainder) == (0, 0) if b == 0 else a == b * quotient + remainder and 0 <= remainder < abs(b)


def test_overflow_is_noticed_and_computed_exactly():
    power = parse("v0 * v0 * v0 * v0")
    assert evaluate(power, [[10**6], [-2]]).tolist() == [10**24, 16]
    assert evaluate(power, np.array([[10**30]], object)).tolist() == [10**120]
    assert evaluate(power, [[100]]).dtype == np.int64
    for points in ([[0.5]], np.array([[0.5]], object), [["7"]]):
        with pytest.raises(SettingError, match="expected integers of shape"):
            evaluate(power, points)


@pytest.mark.parametrize("value", [2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_points_at_the_limits_of_64_bits_keep_their_value(value):
    assert evaluate(parse("v0 - 1"), [[value]]).tolist() == [value - 1]
    assert evaluate(parse("v0 < v1"), [[value, -1]]).tolist() == [int(value < -1)]
    if 0 <= value < 2**64:
        assert evaluate(parse("v0 + 1"), np.array([[value]], np.uint64)).tolist() == [value + 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_the_compiled_evaluator_agrees_with_exact_integers(seed, is_bool):
    generator = np.random.default_rng(seed)
    made = draw(generator, 6, is_bool)
    points = draw_points(generator, 20, 3)
    assert evaluate(made, points).tolist() == evaluate(made, points.astype(object)).tolist()


def test_measures():
    shared = parse("(v0 + 1) * (v0 + 1)")
    assert (shared.size, shared.depth, len(shared.nodes), shared.variables) == (7, 3, 4, (0,))
    assert shared.weight({Op.MUL: 10.0, Op.VAR: 0.5}) == 10 + 2 * (1 + 0.5 + 1)


def test_files_of_expressions(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"expr": "v0"}\n\n{"text": "v1"}\n')
    with pytest.raises(InputFileError, match='line 3: has no text in the field "expr"'):
        read_expressions(path)
    path.write_text("{")
    with pytest.raises(InputFileError, match="line 1, column 2: not JSON"):
        read_expressions(path)
    path.write_text("\n")
    with pytest.raises(InputFileError, match="holds no expression"):
        read_expressions(path)
    plain = tmp_path / "some.txt"
    plain.write_text("v0 + 1\nv1\n")
    assert read_expressions(plain) == ["v0 + 1", "v1"]
    with pytest.raises(InputFileError, match="cannot be read"):
        read_expressions(tmp_path / "none.txt")
